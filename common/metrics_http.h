/*
 * metrics_http.h - serves a page of metrics by HTTP, to Prometheus and to people.
 *
 * GET /metrics has the page; nothing can be changed, and nobody is asked who he is,
 * so a page has no secrets, and the address should be a loopback one unless a
 * network is trusted.  libmicrohttpd does the protocol; it has no thread of its
 * own here: whoever uses this waits for its descriptor beside his own ones, and
 * calls difs_metrics_http_run(), which never blocks.
 *
 * What a client can take is bounded: 16 connections, 10 s without progress, 8 KiB
 * for a request, one request a connection; and the page is made at most once a
 * second, however often it is asked for.
 */
#ifndef DIFS_METRICS_HTTP_H
#define DIFS_METRICS_HTTP_H

#include "error.h"
#include "metrics_page.h"

typedef struct DifsMetricsHttp DifsMetricsHttp;

/* Fills in the page; called by difs_metrics_http_run(). */
typedef void (*DifsMetricsWrite)(void *context, DifsMetricsPage *page);

/* Listens; NULL with *error. port "0": the system picks one. */
extern DifsMetricsHttp *difs_metrics_http_start(const char *host, const char *port, DifsMetricsWrite write, void *context,
												DifsError *error);
extern void difs_metrics_http_stop(DifsMetricsHttp *http); /* NULL is fine */

/* Readable when there is something to do. */
extern int difs_metrics_http_descriptor(const DifsMetricsHttp *http);

/* Does what there is to do. */
extern void difs_metrics_http_run(DifsMetricsHttp *http);

/* How long one may wait for the descriptor before it is to be run all the same, in milliseconds; -1: for ever. */
extern int difs_metrics_http_timeout_ms(const DifsMetricsHttp *http);

/* "http://127.0.0.1:9187/metrics" */
extern const char *difs_metrics_http_url(const DifsMetricsHttp *http);

#endif
