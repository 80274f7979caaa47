/*
 * process.h - what launcher, keeper and their children have in common.
 *
 * A background worker begins with difs_process_begin() and calls
 * difs_process_asked_to_stop() on each turn of its loop.  SIGTERM ends an idle
 * worker at that call and without a word; one that is inside a transaction, where
 * it may wait for a lock, is interrupted there like any backend.
 *
 * A DifsPause says when something that died may be started again: at once after
 * a long life, then after pauses that grow from half a second to ten seconds.
 */
#ifndef DIFS_PROCESS_H
#define DIFS_PROCESS_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Installs signal handlers and unblocks signals. First of all in a worker's main function. */
extern void difs_process_begin(void);

/* Serves interrupts and re-reads the configuration after a reload; true if SIGTERM has come. */
extern bool difs_process_asked_to_stop(void);

typedef struct DifsPause
{
	int length_ms; /* of the pause before the next start but one */
	TimestampTz started_at;
	TimestampTz retry_at; /* no start before this */
} DifsPause;

extern void difs_pause_started(DifsPause *pause);
extern void difs_pause_ended(DifsPause *pause);

/* Moves *next forward in time to at, if that is earlier. */
static inline void
difs_process_by(TimestampTz *next, TimestampTz at)
{
	if (at < *next)
		*next = at;
}

/* A moment so many milliseconds from now. */
static inline TimestampTz
difs_process_in(int milliseconds)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
}

#endif
