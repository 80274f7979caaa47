/*
 * ids.c - numbers for segments and block groups that are never used twice (ids.h).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "replication/message.h"

#include "common/fault.h"
#include "src/compat.h"
#include "src/ids.h"
#include "src/table.h"

static void flush_sequence(void);
static uint64 with_epoch(const DifsDatabase *database, uint64 number);

void
difs_segment_refill(DifsDatabase *database)
{
	uint64 first;

	if (database->limit_segment - database->next_segment >= DIFS_SEGMENT_ID_BATCH / 2)
		return;
	first = (uint64) difs_sequence_next(DIFS_REL_SEQ_SEGMENT) * DIFS_SEGMENT_ID_BATCH;
	flush_sequence();
	DIFS_FAULT("backend.ids.flushed");

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (database->limit_segment - database->next_segment < DIFS_SEGMENT_ID_BATCH / 2)
	{
		database->next_segment = with_epoch(database, first);
		database->limit_segment = database->next_segment + DIFS_SEGMENT_ID_BATCH;
	}
	LWLockRelease(&difs_shared->lock);
}

uint64
difs_group_id_next(DifsDatabase *database)
{
	uint64 number = difs_sequence_next(DIFS_REL_SEQ_BLOCK_GROUP);

	flush_sequence();
	return with_epoch(database, number);
}

uint64
difs_fence_next(DifsDatabase *database)
{
	uint64 number = difs_sequence_next(DIFS_REL_SEQ_FENCE);

	flush_sequence();
	return with_epoch(database, number);
}

uint64
difs_upload_id_next(DifsDatabase *database)
{
	return with_epoch(database, difs_sequence_next(DIFS_REL_SEQ_UPLOAD));
}

/* A sequence logs many values ahead in one WAL record, which may be another backend's and not on disk yet. A record of our own comes after it, so
 * flushing ours flushes it. */
static void
flush_sequence(void)
{
	XLogFlush(difs_log_message("difs", "", 0));
}

static uint64
with_epoch(const DifsDatabase *database, uint64 number)
{
	return database->epoch << DIFS_ID_EPOCH_SHIFT | (number & ((UINT64CONST(1) << DIFS_ID_EPOCH_SHIFT) - 1));
}
