/*
 * counts.h - what a server has done since it started, counted for metrics.c.
 *
 * All belongs to the loop thread, but for syncs, which any thread does: these are
 * atomics of the process.
 */
#ifndef DIFS_COUNTS_H
#define DIFS_COUNTS_H

#include "../common/error.h"
#include "../common/metrics_page.h"
#include "../common/wire.h"

struct DifsRequest;

#define DIFS_COUNTED_MESSAGES (DIFS_MESSAGE_MEND + 1)

/* Of one kind of message. */
typedef struct DifsRequestCounts
{
	uint64_t took[DIFS_METRICS_BUCKETS]; /* histogram of all that were answered, from the request's last byte to the answer's first */
	uint64_t took_us;
	uint64_t errors;		 /* of these, answered with an error */
	uint64_t received_bytes; /* payload */
	uint64_t sent_bytes;
} DifsRequestCounts;

typedef struct DifsCounts
{
	DifsRequestCounts requests[DIFS_COUNTED_MESSAGES]; /* by number */
	uint64_t accepted;								   /* connections */
	uint64_t refused[DIFS_ERROR_VERSION + 1];		   /* greetings, by DifsErrorCode */
} DifsCounts;

typedef struct DifsSyncCounts
{
	uint64_t took[DIFS_METRICS_BUCKETS];
	uint64_t took_us;
	uint64_t errors;
} DifsSyncCounts;

/* A request has been answered with that frame. */
extern void difs_count_request(DifsCounts *counts, const struct DifsRequest *request, const DifsFrame *reply);

/* A peer has been refused. */
extern void difs_count_refusal(DifsCounts *counts, DifsErrorCode code);

/* A file's data has been synced, or that has failed; began_ns by uv_hrtime(). Any thread. */
extern void difs_count_sync(uint64_t began_ns, bool ok);
extern void difs_count_syncs(DifsSyncCounts *counts); /* what these have come to */

#endif
