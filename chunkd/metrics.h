/*
 * metrics.h - what difsd --metrics serves (../common/metrics_http.h).
 *
 * All of it runs on the loop thread, which waits for the HTTP library's descriptor
 * as for any other.  The page is made of counters and of a walk over the groups in
 * memory, as STAT's answer is.
 */
#ifndef DIFS_METRICS_H
#define DIFS_METRICS_H

#include <uv.h>

#include "../common/metrics_http.h"

struct DifsServer;

typedef struct DifsMetrics
{
	DifsMetricsHttp *http; /* NULL: not served */
	uv_poll_t poll;
} DifsMetrics;

/* Begins to serve, if the options say so; false with *error if that is not possible. */
extern bool difs_metrics_start(DifsMetrics *metrics, struct DifsServer *server, DifsError *error);

/* Every second: time-outs. */
extern void difs_metrics_tick(DifsMetrics *metrics);

/* Ends it; uv_run() takes the handle off the loop. */
extern void difs_metrics_stop(DifsMetrics *metrics);

#endif
