/*
 * pool.h - shared memory for the bytes of segments on their way.
 *
 * difs.stream_pool_size of shared memory in units of 4 KiB.  A backend takes a
 * contiguous run of units for each segment, puts the packed header and the
 * stored form into it, and hands it to the streamer, which gives it back once
 * all members have acknowledged.  A bitmap, searched first-fit from the lowest
 * address, so that memory that has been touched is used again first; after
 * compression the tail of a run goes back at once.
 *
 * The pool's spinlock guards the bitmap.  Who waits for room waits on one
 * condition variable.  A waiter that has been passed by for 100 ms may become
 * "the patient one": until it is served, nobody else gets memory, so a large
 * segment is not starved by small ones.  There is no deadlock, because memory is
 * only ever held by segments that the streamer can send without anything else,
 * or that it can let fail (stream.h, KEPT).
 */
#ifndef DIFS_POOL_H
#define DIFS_POOL_H

#include "postgres.h"

#define DIFS_POOL_UNIT 4096

/* A run of units. units 0 = none. */
typedef struct DifsRun
{
	uint32 first;
	uint32 units;
} DifsRun;

extern Size difs_pool_shmem_size(void);
extern void difs_pool_shmem_init(void *area, bool found);

/* Bytes of the whole pool. */
extern Size difs_pool_bytes(void);

/* Takes a run of at least bytes; waits, interruptibly, until there is room, and calls meanwhile() now and then, which may give back what this
 * process holds. Errors out if the pool could never hold it (54000, with the setting to raise). */
extern DifsRun difs_pool_take(Size bytes, void (*meanwhile)(void));

/* Gives back all but the first bytes of a run. */
extern void difs_pool_trim(DifsRun *run, Size bytes);

/* Gives a run back; wakes those who wait. Never errors. */
extern void difs_pool_return(DifsRun run);

/* Where it is. */
extern void *difs_pool_address(DifsRun run);

/* Does somebody wait for a long time already? */
extern bool difs_pool_is_scarce(void);

/* Forgets that this process is the patient one: after an error, and at exit. */
extern void difs_pool_give_up(void);

#endif
