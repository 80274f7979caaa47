/*
 * metrics.c - see metrics.h.
 *
 * Names are part of what users build on (monitoring/): they are added to, not changed.
 */
#include "metrics.h"

#include <ctype.h>
#include <string.h>

#include "log.h"
#include "server.h"
#include "tenant.h"

/* What a walk over all groups finds. */
typedef struct Totals
{
	uint64_t open;
	uint64_t sealed;
	uint64_t failed;
	uint64_t segments;
	uint64_t live_bytes;
	uint64_t dead_bytes;
	uint64_t index_bytes;  /* in memory */
	uint64_t mapped_bytes; /* of index files */
} Totals;

static void on_readable(uv_poll_t *poll, int status, int events);
static void write_page(void *context, DifsMetricsPage *page);
static void write_requests(const DifsServer *server, DifsMetricsPage *page);
static void write_request_counters(const DifsServer *server, DifsMetricsPage *page);
static void write_syncs(DifsMetricsPage *page);
static void write_connections(const DifsServer *server, DifsMetricsPage *page);
static void write_groups(const DifsServer *server, DifsMetricsPage *page);
static void write_space(const DifsServer *server, const Totals *totals, DifsMetricsPage *page);
static void count_groups(const DifsServer *server, Totals *totals);
static const char *word_of(int message, char word[32]);

bool
difs_metrics_start(DifsMetrics *metrics, DifsServer *server, DifsError *error)
{
	const DifsOptions *options = server->options;

	if (options->metrics_host[0] == '\0')
		return true;
	metrics->http = difs_metrics_http_start(options->metrics_host, options->metrics_port, write_page, server, error);
	if (metrics->http == NULL)
		return false;
	metrics->poll.data = metrics;
	(void) uv_poll_init(server->loop, &metrics->poll, difs_metrics_http_descriptor(metrics->http));
	(void) uv_poll_start(&metrics->poll, UV_READABLE, on_readable);
	difs_log(DIFS_LOG_INFO, "metrics are at %s", difs_metrics_http_url(metrics->http));
	return true;
}

void
difs_metrics_tick(DifsMetrics *metrics)
{
	if (metrics->http != NULL)
		difs_metrics_http_run(metrics->http);
}

void
difs_metrics_stop(DifsMetrics *metrics)
{
	if (metrics->http == NULL)
		return;
	/* the loop forgets the descriptor before it is closed */
	uv_close((uv_handle_t *) &metrics->poll, NULL);
	difs_metrics_http_stop(metrics->http);
	metrics->http = NULL;
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
	(void) status, (void) events;
	difs_metrics_tick(poll->data);
}

static void
write_page(void *context, DifsMetricsPage *page)
{
	const DifsServer *server = context;
	const char *tier = server->options->tier == DIFS_TIER_MEMORY ? "memory" : "disk";

	difs_metrics_family(page, "gauge", "difsd_build_info", "1; the version and name of this chunk server are its labels.");
	difs_metrics_sample(page, DIFS_LABELS({"version", DIFS_VERSION}, {"name", server->options->name}, {"tier", tier}), 1);
	write_requests(server, page);
	write_syncs(page);
	write_connections(server, page);
	write_groups(server, page);
	difs_metrics_process(page);
}

static void
write_requests(const DifsServer *server, DifsMetricsPage *page)
{
	char word[32];

	difs_metrics_family(page, "histogram", "difsd_request_duration_seconds",
						"Time from a request's last byte to its answer, by message.");
	for (int i = 0; i < DIFS_COUNTED_MESSAGES; i++)
		if (word_of(i, word) != NULL)
			difs_metrics_histogram(page, DIFS_LABELS({"message", word}), server->counts.requests[i].took,
								   server->counts.requests[i].took_us);
	write_request_counters(server, page);
}

static void
write_request_counters(const DifsServer *server, DifsMetricsPage *page)
{
	static const struct
	{
		const char *name;
		const char *help;
		size_t offset;
	} families[] = {
		{"difsd_request_errors_total", "Requests that were answered with an error, by message.", offsetof(DifsRequestCounts, errors)},
		{"difsd_received_bytes_total", "Payload of requests, by message.", offsetof(DifsRequestCounts, received_bytes)},
		{"difsd_sent_bytes_total", "Payload of answers, by message.", offsetof(DifsRequestCounts, sent_bytes)},
	};
	char word[32];

	for (size_t family = 0; family < sizeof(families) / sizeof(families[0]); family++)
	{
		difs_metrics_family(page, "counter", families[family].name, families[family].help);
		for (int i = 0; i < DIFS_COUNTED_MESSAGES; i++)
			if (word_of(i, word) != NULL)
				difs_metrics_sample(page, DIFS_LABELS({"message", word}),
									(double) *(const uint64_t *) ((const char *) &server->counts.requests[i] + families[family].offset));
	}
}

static void
write_syncs(DifsMetricsPage *page)
{
	DifsSyncCounts syncs;

	difs_count_syncs(&syncs);
	difs_metrics_family(page, "histogram", "difsd_sync_duration_seconds", "Time that the disk took to make the data of a file durable, each time.");
	difs_metrics_histogram(page, DIFS_NO_LABELS, syncs.took, syncs.took_us);
	difs_metrics_value(page, "counter", "difsd_sync_errors_total", "Syncs that failed: each makes a block group read-only.", (double) syncs.errors);
}

static void
write_connections(const DifsServer *server, DifsMetricsPage *page)
{
	const uint64_t *refused = server->counts.refused;
	uint64_t others = 0;

	for (int i = 0; i <= DIFS_ERROR_VERSION; i++)
		others += refused[i];
	others -= refused[DIFS_ERROR_REFUSED] + refused[DIFS_ERROR_FULL] + refused[DIFS_ERROR_VERSION];
	difs_metrics_value(page, "gauge", "difsd_connections", "Connections that are open.", server->connection_count);
	difs_metrics_value(page, "gauge", "difsd_connections_limit", "Connections that may be open at a time.", server->options->max_connections);
	difs_metrics_value(page, "counter", "difsd_connections_accepted_total", "Connections that were accepted.", (double) server->counts.accepted);
	difs_metrics_family(page, "counter", "difsd_connections_refused_total",
						"Connections that were refused: authentication (key, token, TLS or name are not right), limit (too many), version, other.");
	difs_metrics_sample(page, DIFS_LABELS({"reason", "authentication"}), (double) refused[DIFS_ERROR_REFUSED]);
	difs_metrics_sample(page, DIFS_LABELS({"reason", "limit"}), (double) refused[DIFS_ERROR_FULL]);
	difs_metrics_sample(page, DIFS_LABELS({"reason", "version"}), (double) refused[DIFS_ERROR_VERSION]);
	difs_metrics_sample(page, DIFS_LABELS({"reason", "other"}), (double) others);
	difs_metrics_value(page, "gauge", "difsd_request_memory_bytes", "Memory that requests take which are being received or worked on.",
					   (double) server->budget.used);
}

static void
write_groups(const DifsServer *server, DifsMetricsPage *page)
{
	Totals totals = {0};

	count_groups(server, &totals);
	difs_metrics_value(page, "gauge", "difsd_clusters", "Databases that keep segments here.", server->tenant_count);
	difs_metrics_family(page, "gauge", "difsd_block_groups", "Block groups by state: open, sealed, and failed, which the disk has made read-only.");
	difs_metrics_sample(page, DIFS_LABELS({"state", "open"}), (double) totals.open);
	difs_metrics_sample(page, DIFS_LABELS({"state", "sealed"}), (double) totals.sealed);
	difs_metrics_sample(page, DIFS_LABELS({"state", "failed"}), (double) totals.failed);
	difs_metrics_value(page, "gauge", "difsd_segments", "Segments that are stored.", (double) totals.segments);
	difs_metrics_value(page, "gauge", "difsd_index_memory_bytes", "Memory of the indexes of open block groups.", (double) totals.index_bytes);
	difs_metrics_value(page, "gauge", "difsd_index_mapped_bytes", "Index files of sealed block groups that are mapped.", (double) totals.mapped_bytes);
	difs_metrics_value(page, "gauge", "difsd_open_files", "Block groups whose files are open.", server->open_group_count);
	write_space(server, &totals, page);
}

static void
write_space(const DifsServer *server, const Totals *totals, DifsMetricsPage *page)
{
	uint64_t capacity = server->options->capacity_bytes;
	uint64_t taken = server->used_bytes + server->queued_bytes;
	uint64_t left = capacity > taken ? capacity - taken : 0;

	difs_metrics_value(page, "gauge", "difsd_segment_bytes", "Payload of the segments that are stored.", (double) totals->live_bytes);
	difs_metrics_value(page, "gauge", "difsd_dead_bytes", "Space of deleted segments that only compaction gives back.", (double) totals->dead_bytes);
	difs_metrics_value(page, "gauge", "difsd_used_bytes", "Space that block groups take on the disk.", (double) server->used_bytes);
	difs_metrics_value(page, "gauge", "difsd_free_bytes", "Space that is left, of the file system and of --capacity.",
					   (double) (capacity > 0 && left < server->free_bytes ? left : server->free_bytes));
	difs_metrics_value(page, "gauge", "difsd_queued_bytes", "Segments that wait to be written.", (double) server->queued_bytes);
}

static void
count_groups(const DifsServer *server, Totals *totals)
{
	const DifsTenant *tenant;

	TAILQ_FOREACH (tenant, &server->tenants, link)
	{
		for (uint32_t i = 0; i < tenant->group_count; i++)
		{
			const DifsGroup *group = tenant->groups[i];

			*(group->failed ? &totals->failed : (group->sealed ? &totals->sealed : &totals->open)) += 1;
			totals->segments += group->live_segments;
			totals->live_bytes += group->live_bytes;
			totals->dead_bytes += group->dead_bytes;
			totals->index_bytes += (uint64_t) group->index.allocated * sizeof(DifsListEntry);
			if (group->file != NULL && group->file->map.fd >= 0)
				totals->mapped_bytes += group->file->map.size;
		}
	}
}

/* "put" for DIFS_MESSAGE_PUT; NULL if the number has no message. */
static const char *
word_of(int message, char word[32])
{
	const char *name = difs_message_name((uint8_t) message);
	size_t length = strlen(name);

	if (!isupper((unsigned char) name[0]) || length >= 32)
		return NULL;
	for (size_t i = 0; i <= length; i++)
		word[i] = (char) tolower((unsigned char) name[i]);
	return word;
}
