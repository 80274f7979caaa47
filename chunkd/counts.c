/*
 * counts.c - see counts.h.
 */
#include "counts.h"

#include <stdatomic.h>

#include "connection.h"

static atomic_uint_fast64_t synced[DIFS_METRICS_BUCKETS];
static atomic_uint_fast64_t synced_us;
static atomic_uint_fast64_t sync_errors;

void
difs_count_request(DifsCounts *counts, const DifsRequest *request, const DifsFrame *reply)
{
	uint64_t took_us = (uv_hrtime() - request->began_ns) / 1000;
	DifsRequestCounts *kind;

	/* one that has no name is not counted: a stranger made it up */
	if (request->frame.message >= DIFS_COUNTED_MESSAGES)
		return;
	kind = &counts->requests[request->frame.message];
	kind->took[difs_metrics_bucket(took_us)]++;
	kind->took_us += took_us;
	kind->errors += reply->status != DIFS_OK;
	kind->received_bytes += request->frame.payload_length;
	kind->sent_bytes += reply->payload_length;
}

void
difs_count_refusal(DifsCounts *counts, DifsErrorCode code)
{
	counts->refused[code]++;
}

void
difs_count_sync(uint64_t began_ns, bool ok)
{
	uint64_t took_us = (uv_hrtime() - began_ns) / 1000;

	atomic_fetch_add_explicit(&synced[difs_metrics_bucket(took_us)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&synced_us, took_us, memory_order_relaxed);
	if (!ok)
		atomic_fetch_add_explicit(&sync_errors, 1, memory_order_relaxed);
}

void
difs_count_syncs(DifsSyncCounts *counts)
{
	for (int i = 0; i < DIFS_METRICS_BUCKETS; i++)
		counts->took[i] = atomic_load_explicit(&synced[i], memory_order_relaxed);
	counts->took_us = atomic_load_explicit(&synced_us, memory_order_relaxed);
	counts->errors = atomic_load_explicit(&sync_errors, memory_order_relaxed);
}
