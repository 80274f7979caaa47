/*
 * metrics.c - see metrics.h.
 *
 * State: the HTTP server, and for which address and port it was started.
 */
#include "postgres.h"

#include "common/metrics_http.h"
#include "src/settings.h"
#include "worker/metrics.h"
#include "worker/process.h"

#define AGAIN_MS 5000 /* where the address could not be listened on */

static DifsMetricsHttp *http = NULL;
static int port = 0; /* that was tried last; 0 = none */
static char address[256];
static TimestampTz again_at;

static void follow_settings(TimestampTz *next);
static void start(void);

void
difs_metrics_turn(TimestampTz *next)
{
	int timeout_ms;

	follow_settings(next);
	if (http == NULL)
		return;
	difs_metrics_http_run(http);
	timeout_ms = difs_metrics_http_timeout_ms(http);
	if (timeout_ms >= 0)
		difs_process_by(next, difs_process_in(timeout_ms));
}

void
difs_metrics_wait_for(WaitEventSet *set)
{
	if (http != NULL)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, difs_metrics_http_descriptor(http), NULL, NULL);
}

static void
follow_settings(TimestampTz *next)
{
	bool changed = port != difs_metrics_port || strcmp(address, difs_metrics_address) != 0;

	if (changed)
	{
		difs_metrics_http_stop(http);
		http = NULL;
		port = difs_metrics_port;
		strlcpy(address, difs_metrics_address, sizeof(address));
		again_at = 0;
	}
	if (port == 0 || http != NULL)
		return;
	if (GetCurrentTimestamp() >= again_at)
		start();
	if (http == NULL)
		difs_process_by(next, again_at);
}

static void
start(void)
{
	char text[8];
	DifsError error;

	snprintf(text, sizeof(text), "%d", port);
	http = difs_metrics_http_start(address, text, difs_metrics_write, NULL, &error);
	if (http != NULL)
		ereport(LOG,
				(errmsg("difs: metrics are at %s", difs_metrics_http_url(http))));
	else if (again_at == 0)
		ereport(WARNING,
				(errmsg("difs: metrics are not served: %s", error.text),
				 errhint("Change difs.metrics_port or difs.metrics_address; until then it is tried again every five seconds.")));
	again_at = difs_process_in(AGAIN_MS);
}
