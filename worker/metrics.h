/*
 * metrics.h - metrics of all databases for Prometheus, served by the launcher (difs.metrics_port).
 *
 *	metrics.c        the HTTP server (common/metrics_http.h): it follows the settings, and has its turn beside the launcher's other work
 *	metrics_write.c  the page, of what is in shared memory
 *
 * There is a launcher, and so a page, where files can be written: not on a standby.
 */
#ifndef DIFS_WORKER_METRICS_H
#define DIFS_WORKER_METRICS_H

#include "postgres.h"

#include "storage/latch.h"
#include "utils/timestamp.h"

#include "common/metrics_page.h"

/* Launcher: begins or ends to serve as the settings say, and serves who waits; moves *next. And what to wait for. */
extern void difs_metrics_turn(TimestampTz *next);
extern void difs_metrics_wait_for(WaitEventSet *set);

/* Fills in the page. Never errors. */
extern void difs_metrics_write(void *context, DifsMetricsPage *page);

#endif
