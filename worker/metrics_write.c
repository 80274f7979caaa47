/*
 * metrics_write.c - the page of metrics (metrics.h).
 *
 * Called from inside the HTTP library, so nothing here may error out: it copies
 * the entries of databases under the lock into memory of its own, and writes from
 * there.  A family's samples stand together, so each goes over all databases.
 *
 * Names are part of what users build on (monitoring/): they are added to, not changed.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "src/cache.h"
#include "src/counters.h"
#include "src/shmem.h"
#include "src/stream.h"
#include "worker/duties.h"
#include "worker/metrics.h"

/* A database, as it was at one moment. */
typedef struct View
{
	DifsDatabase *entry; /* a copy; what is atomic in it is not looked at */
	uint64 staged_bytes;
	DifsCounters *counters; /* live; NULL: there are none */
	DifsStreamCount stream;
} View;

typedef enum Kind
{
	COUNTER,
	GAUGE
} Kind;

static View *views; /* of this page */
static int view_count;

StaticAssertDecl(DIFS_IO_BUCKETS == DIFS_METRICS_BUCKETS && DIFS_IO_FIRST_US == DIFS_METRICS_FIRST_US,
				 "histograms have the same buckets");

static bool begin_views(void);
static void end_views(void);
static bool copy_entry(int index, View *view);
static void write_databases(DifsMetricsPage *page);
static void write_stream(DifsMetricsPage *page);
static void write_sampled(DifsMetricsPage *page);
static void write_duties(DifsMetricsPage *page);
static void write_duty_family(DifsMetricsPage *page, Kind kind, const char *name, const char *help, double (*of)(const DifsDutyState *));
static void write_servers(DifsMetricsPage *page);
static void write_server_family(DifsMetricsPage *page, Kind kind, const char *name, const char *help, double (*of)(const DifsSharedServer *));
static void write_requests(DifsMetricsPage *page);
static void write_request_family(DifsMetricsPage *page, const char *name, const char *help, int count);
static void write_cache(DifsMetricsPage *page);
static void family(DifsMetricsPage *page, Kind kind, const char *name, const char *help);
static double unix_time(TimestampTz at);
static uint64 read_count(pg_atomic_uint64 *count);

static const char *const operations[DIFS_IO_KINDS] = {[DIFS_IO_GET] = "get", [DIFS_IO_PUT] = "put", [DIFS_IO_CALL] = "call"};

void
difs_metrics_write(void *context, DifsMetricsPage *page)
{
	if (!begin_views())
	{
		page->failed = true;
		return;
	}
	family(page, GAUGE, "difs_build_info", "1; the version of the extension's library is a label.");
	difs_metrics_sample(page, DIFS_LABELS({"version", DIFS_VERSION}), 1);
	difs_metrics_value(page, "gauge", "difs_databases", "Databases with difs whose workers run.", view_count);
	write_databases(page);
	write_stream(page);
	write_sampled(page);
	write_duties(page);
	write_servers(page);
	write_requests(page);
	write_cache(page);
	difs_metrics_process(page);
	end_views();
}

/* False: no memory. */
static bool
begin_views(void)
{
	view_count = 0;
	views = calloc(difs_shared->database_count, sizeof(View));
	for (int i = 0; views != NULL && i < difs_shared->database_count; i++)
	{
		View *view = &views[view_count];

		if (difs_shared->databases[i].state != DIFS_DATABASE_RUNNING)
			continue;
		view->entry = malloc(sizeof(DifsDatabase));
		if (view->entry == NULL)
		{
			end_views();
			return false;
		}
		if (copy_entry(i, view))
			view_count++;
		else
			free(view->entry);
	}
	return views != NULL;
}

static void
end_views(void)
{
	for (int i = 0; i < view_count; i++)
		free(views[i].entry);
	free(views);
	views = NULL;
}

/* False if it does not run any more. */
static bool
copy_entry(int index, View *view)
{
	DifsDatabase *shared = &difs_shared->databases[index];

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	memcpy(view->entry, shared, sizeof(DifsDatabase));
	LWLockRelease(&difs_shared->lock);
	if (view->entry->state != DIFS_DATABASE_RUNNING)
		return false;
	view->staged_bytes = read_count(&shared->staged_bytes);
	view->counters = difs_counters_of(view->entry->database, NULL);
	difs_stream_count(index, &view->stream);
	return true;
}

#define foreach_view(view) for (const View *view = views; view < views + view_count; view++)
/* clang-format off */
#define OF(view) {"database", (view)->entry->name}
/* clang-format on */

/* One value for each database. */
#define PER_DATABASE(page, kind, name, help, expression)                             \
	do                                                                               \
	{                                                                                \
		family(page, kind, name, help);                                              \
		foreach_view (view)                                                          \
			difs_metrics_sample(page, DIFS_LABELS(OF(view)), (double) (expression)); \
	} while (0)

static void
write_databases(DifsMetricsPage *page)
{
	PER_DATABASE(page, GAUGE, "difs_claim_held", "1 if the database holds the claim, 0 if it may only read.", view->entry->claimed);
	PER_DATABASE(page, GAUGE, "difs_keeper_up", "1 if the keeper of the database runs.", view->entry->keeper != -1);
	PER_DATABASE(page, GAUGE, "difs_streamer_up", "1 if the streamer of the database runs.", view->entry->streamer != -1);
	PER_DATABASE(page, GAUGE, "difs_staged_bytes", "Bytes that wait in the database to be moved to chunk servers.", view->staged_bytes);
}

static void
write_stream(DifsMetricsPage *page)
{
	static const struct
	{
		DifsStreamerCount count;
		const char *name;
		const char *help;
		double unit;
	} counts[] = {
		{DIFS_STREAMER_BATCHES, "difs_stream_batches_total", "Turns of the streamer in which it sent segments.", 1},
		{DIFS_STREAMER_SENT, "difs_stream_sent_total", "Tries to store a segment.", 1},
		{DIFS_STREAMER_TRIED_AGAIN, "difs_stream_retries_total", "Tries that failed and were followed by others.", 1},
		{DIFS_STREAMER_STORED, "difs_stream_stored_total", "Segments stored on all their chunk servers.", 1},
		{DIFS_STREAMER_BYTES, "difs_stream_stored_bytes_total", "Bytes of these segments, each counted once.", 1},
		{DIFS_STREAMER_FAILED, "difs_stream_failed_total", "Segments that could not be stored: their transactions failed, or they were staged.", 1},
		{DIFS_STREAMER_WAITED_US, "difs_stream_waiting_seconds_total", "Time that stored segments had waited for their last try.", 1e-6},
		{DIFS_STREAMER_STORING_US, "difs_stream_storing_seconds_total", "Time of these tries, until all copies were durable.", 1e-6},
	};

	PER_DATABASE(page, GAUGE, "difs_stream_queued", "Segments that wait to be sent.", view->stream.queued);
	PER_DATABASE(page, GAUGE, "difs_stream_queued_bytes", "Bytes of these.", view->stream.queued_bytes);
	PER_DATABASE(page, GAUGE, "difs_stream_in_flight", "Segments that were sent and are not acknowledged.", view->stream.in_flight);
	PER_DATABASE(page, GAUGE, "difs_stream_in_flight_bytes", "Bytes of these.", view->stream.in_flight_bytes);
	PER_DATABASE(page, GAUGE, "difs_stream_age_seconds", "For how long the oldest segment has been on its way; 0: there is none.",
				 view->stream.oldest == DT_NOEND ? 0 : Max(0, GetCurrentTimestamp() - view->stream.oldest) / 1e6);
	for (int i = 0; i < lengthof(counts); i++)
	{
		family(page, COUNTER, counts[i].name, counts[i].help);
		foreach_view (view)
			if (view->counters != NULL)
				difs_metrics_sample(page, DIFS_LABELS(OF(view)), read_count(&view->counters->streamer[counts[i].count]) * counts[i].unit);
	}
}

/* What the last sample has counted; where there is none yet, or difs.sample_interval is 0, nothing. */
static void
write_sampled(DifsMetricsPage *page)
{
	static const struct
	{
		DifsSampled count;
		const char *name;
		const char *help;
	} counts[] = {
		{DIFS_SAMPLED_COPIES_MISSING, "difs_copies_missing", "Copies of block groups that are to be made anew."},
		{DIFS_SAMPLED_COPIES_TO_MOVE, "difs_copies_to_move", "Copies of block groups on chunk servers that are being drained."},
		{DIFS_SAMPLED_FILES_TO_REPAIR, "difs_files_to_repair", "Files with fewer good copies than they should have."},
		{DIFS_SAMPLED_LOST_SEGMENTS, "difs_lost_segments", "Segments of which the scrub has found no good copy."},
		{DIFS_SAMPLED_BAD_COPIES, "difs_bad_copies", "Bad copies of segments that the last scrub of each block group has found."},
		{DIFS_SAMPLED_MENDED_COPIES, "difs_mended_copies", "How many of these were mended."},
		{DIFS_SAMPLED_DOOMED, "difs_doomed", "Deleted contents that have not been collected."},
	};
	static const char *const states[] = {
		[DIFS_SAMPLED_GROUPS_OPEN] = "open",
		[DIFS_SAMPLED_GROUPS_SEALED] = "sealed",
		[DIFS_SAMPLED_GROUPS_REPAIRING] = "repairing",
	};

	PER_DATABASE(page, GAUGE, "difs_sample_timestamp_seconds", "When difs_block_groups and what follows were counted, as Unix time; 0: never.",
				 unix_time(view->entry->sample.taken));
	family(page, GAUGE, "difs_block_groups", "Block groups by state.");
	foreach_view (view)
		for (int i = 0; i < lengthof(states) && view->entry->sample.taken != 0; i++)
			difs_metrics_sample(page, DIFS_LABELS(OF(view), {"state", states[i]}), view->entry->sample.count[i]);
	for (int i = 0; i < lengthof(counts); i++)
	{
		family(page, GAUGE, counts[i].name, counts[i].help);
		foreach_view (view)
			if (view->entry->sample.taken != 0)
				difs_metrics_sample(page, DIFS_LABELS(OF(view)), view->entry->sample.count[counts[i].count]);
	}
	PER_DATABASE(page, GAUGE, "difs_doomed_age_seconds", "For how long the oldest deleted content waits to be collected that difs.retain does not keep; 0: there is none.",
				 view->entry->sample.doomed_since == 0 ? 0 : Max(0, GetCurrentTimestamp() - view->entry->sample.doomed_since) / 1e6);
}

/* clang-format off */
static double duty_rounds(const DifsDutyState *state) { return state->round; }
static double duty_running(const DifsDutyState *state) { return state->ended_round != state->round; }
static double duty_failed(const DifsDutyState *state) { return state->problem[0] != '\0'; }
static double duty_started(const DifsDutyState *state) { return state->round == 0 ? 0 : unix_time(state->started); }
static double duty_ended(const DifsDutyState *state) { return state->ended_round == 0 ? 0 : unix_time(state->ended); }
/* clang-format on */

static void
write_duties(DifsMetricsPage *page)
{
	write_duty_family(page, COUNTER, "difs_duty_rounds_total", "Rounds of a duty of the keeper that were begun.", duty_rounds);
	write_duty_family(page, GAUGE, "difs_duty_running", "1 while a round runs.", duty_running);
	write_duty_family(page, GAUGE, "difs_duty_failed", "1 if the last round failed.", duty_failed);
	write_duty_family(page, GAUGE, "difs_duty_started_timestamp_seconds", "When the last round began, as Unix time; 0: never.", duty_started);
	write_duty_family(page, GAUGE, "difs_duty_ended_timestamp_seconds", "When the last round ended, as Unix time; 0: never.", duty_ended);
}

static void
write_duty_family(DifsMetricsPage *page, Kind kind, const char *name, const char *help, double (*of)(const DifsDutyState *))
{
	family(page, kind, name, help);
	foreach_view (view)
		for (int i = 0; i < DIFS_DUTIES; i++)
			difs_metrics_sample(page, DIFS_LABELS(OF(view), {"duty", difs_duties[i].name}), of(&view->entry->duties[i]));
}

/* clang-format off */
static double server_up(const DifsSharedServer *server) { return server->alive; }
static double server_active(const DifsSharedServer *server) { return server->accepts_groups; }
static double server_capacity(const DifsSharedServer *server) { return server->capacity_bytes; }
static double server_used(const DifsSharedServer *server) { return server->used_bytes; }
static double server_free(const DifsSharedServer *server) { return server->free_bytes; }
static double server_syncs(const DifsSharedServer *server) { return server->syncs; }
static double server_sync_time(const DifsSharedServer *server) { return server->sync_us / 1e6; }
static double server_seen(const DifsSharedServer *server) { return unix_time(server->last_seen); }
/* clang-format on */

static void
write_servers(DifsMetricsPage *page)
{
	write_server_family(page, GAUGE, "difs_server_up", "1 if the chunk server answers.", server_up);
	write_server_family(page, GAUGE, "difs_server_active", "1 if it gets new block groups, 0 if it is being drained or removed.", server_active);
	write_server_family(page, GAUGE, "difs_server_seen_timestamp_seconds", "When it answered last, as Unix time; 0: never.", server_seen);
	write_server_family(page, GAUGE, "difs_server_capacity_bytes", "What it may take; 0: what its file system has.", server_capacity);
	write_server_family(page, GAUGE, "difs_server_used_bytes", "What block groups of all databases take there.", server_used);
	write_server_family(page, GAUGE, "difs_server_free_bytes", "What is left there.", server_free);
	write_server_family(page, COUNTER, "difs_server_syncs_total", "Syncs of its disk since it started, for all databases.", server_syncs);
	write_server_family(page, COUNTER, "difs_server_sync_seconds_total", "What these took.", server_sync_time);
}

static void
write_server_family(DifsMetricsPage *page, Kind kind, const char *name, const char *help, double (*of)(const DifsSharedServer *))
{
	family(page, kind, name, help);
	foreach_view (view)
		for (int i = 0; i < DIFS_MAX_SERVERS; i++)
		{
			const DifsSharedServer *server = &view->entry->servers[i];

			if (server->id != 0)
				difs_metrics_sample(page, DIFS_LABELS(OF(view), {"server", server->name}), of(server));
		}
}

static void
write_requests(DifsMetricsPage *page)
{
	difs_metrics_family(page, "histogram", "difs_request_duration_seconds",
						"Time from a request to a chunk server to its answer: get reads, put stores a segment, call all others.");
	write_request_family(page, NULL, NULL, DIFS_IO_TOOK);
	write_request_family(page, "difs_request_errors_total", "Requests that were not answered, or not with what was wanted.", DIFS_IO_ERRORS);
	write_request_family(page, "difs_request_bytes_total", "Content that was read and stored by requests.", DIFS_IO_BYTES);
}

/* name NULL: the histogram, whose family has begun. A server that was never asked has zeros. */
static void
write_request_family(DifsMetricsPage *page, const char *name, const char *help, int count)
{
	if (name != NULL)
		family(page, COUNTER, name, help);
	foreach_view (view)
		for (int i = 0; i < DIFS_MAX_SERVERS && view->counters != NULL; i++)
		{
			const DifsSharedServer *server = &view->entry->servers[i];
			DifsServerCounters *counters = server->id == 0 ? NULL : difs_counters_server(view->counters, server->id);

			for (int kind = 0; kind < DIFS_IO_KINDS && counters != NULL; kind++)
			{
				const DifsMetricsLabel *labels = DIFS_LABELS(OF(view), {"server", server->name}, {"operation", operations[kind]});
				uint64 took[DIFS_IO_BUCKETS];

				if (name != NULL)
				{
					difs_metrics_sample(page, labels, read_count(&counters->io[kind][count]));
					continue;
				}
				for (int bucket = 0; bucket < DIFS_IO_BUCKETS; bucket++)
					took[bucket] = read_count(&counters->io[kind][DIFS_IO_TOOK + bucket]);
				difs_metrics_histogram(page, labels, took, read_count(&counters->io[kind][DIFS_IO_TIME_US]));
			}
		}
}

static void
write_cache(DifsMetricsPage *page)
{
	uint64 totals[DIFS_CACHE_TOTALS];

	difs_cache_totals(totals);
	difs_metrics_value(page, "gauge", "difs_cache_size_bytes", "Size of the shared cache.", totals[DIFS_CACHE_SIZE]);
	difs_metrics_value(page, "gauge", "difs_cache_used_bytes", "What is in it.", totals[DIFS_CACHE_USED]);
	difs_metrics_value(page, "counter", "difs_cache_hits_total", "Blocks that were found in it.", totals[DIFS_CACHE_HITS]);
	difs_metrics_value(page, "counter", "difs_cache_misses_total", "Blocks that were not.", totals[DIFS_CACHE_MISSES]);
}

static void
family(DifsMetricsPage *page, Kind kind, const char *name, const char *help)
{
	difs_metrics_family(page, kind == COUNTER ? "counter" : "gauge", name, help);
}

static double
unix_time(TimestampTz at)
{
	return at == 0 ? 0 : at / 1e6 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

static uint64
read_count(pg_atomic_uint64 *count)
{
	return pg_atomic_read_u64(count);
}
