/*
 * ids.h - numbers for segments and block groups that are never used twice.
 *
 * An id has the epoch of the claim in its upper 22 bits and a number from a
 * sequence in the lower 41.  A restore to an earlier time, a failover or a copy
 * of the cluster may see the sequence go back, but must raise the epoch before it
 * writes, so its ids differ from those of the lost future.
 *
 * Segment ids are taken from the sequence 8,192 at a time and handed out from
 * shared memory.  A sequence's advance is only durable once its WAL record is,
 * so the record is flushed before the first id of a range is used: a crash can
 * lose ids but never hand them out again.
 */
#ifndef DIFS_IDS_H
#define DIFS_IDS_H

#include "postgres.h"

#include "src/shmem.h"

#define DIFS_ID_EPOCH_SHIFT 41
#define DIFS_SEGMENT_ID_BATCH 8192

/* Refills the database's range of segment ids if fewer than half a batch are left. In a transaction; flushes WAL. */
extern void difs_segment_refill(DifsDatabase *database);

/* A new block group id. In a transaction; flushes WAL. */
extern uint64 difs_group_id_next(DifsDatabase *database);

/* The number of a new upload. Not flushed: one that was lost with its upload may come again. */
extern uint64 difs_upload_id_next(DifsDatabase *database);

/* A new fencing number of a lock (lock.h). In a transaction; flushes WAL. */
extern uint64 difs_fence_next(DifsDatabase *database);

#endif
