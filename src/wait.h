/*
 * wait.h - what a process of difs waits for: wait events, and how long it was.
 *
 * From PostgreSQL 17 on each has a name of its own in pg_stat_activity.wait_event, of type Extension.  Before, all of them are called
 * "Extension"; then the process's backend_type and application_name, or its statement, tell them apart, and the times in the log of slow
 * operations (slow.h).
 */
#ifndef DIFS_WAIT_H
#define DIFS_WAIT_H

#include "postgres.h"

typedef enum DifsWait
{
	DIFS_WAIT_POOL,		   /* memory for a segment on its way (pool.h, stream.h) */
	DIFS_WAIT_STREAMER,	   /* segments that are to be stored */
	DIFS_WAIT_SERVER,	   /* chunk servers that are asked */
	DIFS_WAIT_GROUP,	   /* a block group for an upload */
	DIFS_WAIT_LOCK,		   /* a lock of difs_lock() */
	DIFS_WAIT_WORKERS,	   /* workers of the database that begin or end */
	DIFS_WAIT_DUTY,		   /* a round of a duty */
	DIFS_WAIT_RATE,		   /* the pace that a setting allows */
	DIFS_WAIT_SOURCE,	   /* the source of difs_insert() */
	DIFS_WAIT_EXPORT,	   /* a file that difs_export() writes */
	DIFS_WAIT_KEEPER_MAIN, /* the main loops of workers: nothing to do */
	DIFS_WAIT_STREAMER_MAIN,
	DIFS_WAIT_LAUNCHER_MAIN,
	DIFS_WAITS
} DifsWait;

/* For WaitLatch() and its kin. */
extern uint32 difs_wait_event(DifsWait wait);

/* Around a wait that an operation is held up by: the time goes to difs_waited_us[], which only ever grows. */
extern uint64 difs_waited_us[DIFS_WAITS];
extern int64 difs_wait_begin(void);
extern void difs_wait_end(DifsWait wait, int64 began_us);

#endif
