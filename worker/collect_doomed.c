/*
 * collect_doomed.c - content that committed transactions have let go of (collect.h).
 *
 * Batch by batch, each in three steps:
 *
 *	1. a transaction: which items are behind the horizon, here; which of their rows nobody needs, and which segments
 *	   may die, collect_doomed_release.c
 *	2. outside of it: all members of those segments' block groups delete them, collect_doomed_segments.c
 *	3. a transaction: the rows go, collect_doomed_rows.c
 *
 * Settling.  A row of difs.doomed has place and time of the call, but what
 * standbys, holds and retention are about is the commit.  So if there are any of
 * those, an item whose transaction is over for everybody is first given the
 * present place and time, and waits from there.
 *
 * State: the batch, in memory of the round.  After a crash the next round begins
 * with the same rows; servers say of segments that are gone already that they are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "common/fault.h"
#include "src/liveness.h"
#include "worker/collect.h"
#include "worker/collect_doomed.h"
#include "worker/duties.h"

static bool gather(DifsDoomedBatch *batch, const DifsDoomedItem *after);
static void read_items(DifsDoomedBatch *batch, const DifsDoomedItem *after);
static void resume(const DifsDoomedBatch *batch, const DifsDoomedItem *after, DifsDoomedItem *item);
static void break_off(DifsDoomedBatch *batch, int leader);
static bool is_due(DifsDoomedBatch *batch, DifsDoomedItem *item, uint64 *settle_xid);
static void settle(DifsDoomedBatch *batch, uint64 xid);

bool
difs_collect_doomed(void)
{
	DifsDoomedBatch *batch = palloc0(sizeof(DifsDoomedBatch));
	DifsDoomedItem last = {0};
	int64 done = 0;
	bool alive = true;

	batch->context = AllocSetContextCreate(CurrentMemoryContext, "difs releases", ALLOCSET_DEFAULT_SIZES);
	while (alive && !batch->last)
	{
		alive = gather(batch, &last);
		if (!alive)
			break;
		DIFS_FAULT("keeper.collect.gathered");
		difs_doomed_delete_segments(batch);
		DIFS_FAULT("keeper.collect.deleted");
		alive = difs_doomed_delete_rows(batch);
		if (batch->unfinished_count > 0)
			last = batch->unfinished[0];
		else if (batch->item_count > 0)
			last = batch->items[batch->item_count - 1];
		done += batch->item_count;
		difs_duty_progress(done, batch->last ? done : done + 1);
	}
	MemoryContextDelete(batch->context);
	pfree(batch);
	return alive;
}

/* Step 1. after is the last item of the batch before, which may not have been read to its end. */
static bool
gather(DifsDoomedBatch *batch, const DifsDoomedItem *after)
{
	DifsLiveness *liveness;
	uint64 settle_xid = 0;

	if (!difs_collect_begin())
		return false;
	difs_horizon_read(&batch->horizon);
	batch->row_count = 0;
	read_items(batch, after);
	for (int i = 0; i < batch->item_count; i++)
		batch->items[i].released = is_due(batch, &batch->items[i], &settle_xid);
	SPI_execute("LOCK TABLE difs.fragmented IN SHARE UPDATE EXCLUSIVE MODE", false, 0); /* compaction moves rows: not while we look */
	liveness = difs_liveness_begin(true);
	difs_doomed_release(batch, liveness);
	for (int i = 0; i < batch->item_count; i++)
	{
		DifsDoomedItem *item = &batch->items[i];

		item->ended = true;
		if (!item->released)
			item->kept = 1;
		else if (item->leader == i && !difs_doomed_gather_rows(batch, item, liveness))
		{
			break_off(batch, i);
			break;
		}
	}
	difs_liveness_end(liveness);
	if (settle_xid != 0)
	{
		settle(batch, settle_xid);
		DIFS_FAULT("keeper.collect.settled");
	}
	difs_duty_commit();
	return true;
}

/* The next items; the first of them may be one that the last batch had not read to the end. */
static void
read_items(DifsDoomedBatch *batch, const DifsDoomedItem *after)
{
	Oid types[] = {INT8OID, INT4OID, BOOLOID};
	Datum values[] = {Int64GetDatum(after->ino), Int32GetDatum(after->version), BoolGetDatum(after->ended)};

	if (SPI_execute_with_args("SELECT ino, coalesce(version, 0), xid, lsn, doomed, settled FROM difs.doomed "
							  "WHERE ino > $1 OR (ino = $1 AND (coalesce(version, 0) > $2 "
							  "OR (coalesce(version, 0) = $2 AND NOT $3))) ORDER BY 1, 2 LIMIT " CppAsString2(DIFS_DOOMED_ITEMS),
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.doomed");
	batch->item_count = (int) SPI_processed;
	batch->last = batch->item_count < DIFS_DOOMED_ITEMS;
	for (int i = 0; i < batch->item_count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		DifsDoomedItem *item = &batch->items[i];
		bool null;

		memset(item, 0, sizeof(*item));
		item->ino = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &null));
		item->version = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null));
		item->after_offset = -1;
		if (!after->ended && item->ino == after->ino)
			resume(batch, after, item);
		item->xid = U64FromFullTransactionId(DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 3, &null)));
		item->lsn = DatumGetLSN(SPI_getbinval(tuple, desc, 4, &null));
		item->doomed = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &null));
		item->settled = DatumGetBool(SPI_getbinval(tuple, desc, 6, &null));
	}
}

/* Goes on with an item where the last batch ended; one that was not in that has rows that were not read for it, and waits for the next round. */
static void
resume(const DifsDoomedBatch *batch, const DifsDoomedItem *after, DifsDoomedItem *item)
{
	item->after_offset = after->after_offset;
	item->after_version = after->after_version;
	item->kept = 1;
	for (int i = 0; i < batch->unfinished_count; i++)
	{
		if (batch->unfinished[i].version == item->version)
			item->kept = batch->unfinished[i].kept;
	}
}

/* The batch ends with the items of this leader, whose rows are not all read; the items of other inodes come with the next one. */
static void
break_off(DifsDoomedBatch *batch, int leader)
{
	int end = leader;

	for (; end < batch->item_count && batch->items[end].ino == batch->items[leader].ino; end++)
	{
		DifsDoomedItem *item = &batch->items[end];

		item->ended = false;
		if (!item->released)
			item->kept = 1;
	}
	batch->item_count = end;
	batch->last = false;
}

/* Is it behind the horizon? Raises *settle_xid if it has to be settled first. */
static bool
is_due(DifsDoomedBatch *batch, DifsDoomedItem *item, uint64 *settle_xid)
{
	const DifsHorizon *horizon = &batch->horizon;

	if (!difs_horizon_passed(horizon, item->xid))
		return false;
	if (!horizon->exact)
		return true;
	/* a place that does not exist is of another cluster, from which the row was restored */
	if (item->settled && item->lsn <= horizon->now_lsn)
		return item->lsn < horizon->lsn && item->doomed < horizon->time;
	item->settled = false;
	*settle_xid = Max(*settle_xid, Min(item->xid, horizon->xid - 1));
	return false;
}

static void
settle(DifsDoomedBatch *batch, uint64 xid)
{
	XLogRecPtr lsn = difs_horizon_tell_standbys(xid);
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < batch->item_count; i++)
	{
		DifsDoomedItem *item = &batch->items[i];
		Oid types[] = {INT8OID, INT4OID, PG_LSNOID, TIMESTAMPTZOID};
		char nulls[] = "    ";
		Datum values[] = {
			Int64GetDatum(item->ino),
			difs_doomed_item_version(item, &nulls[1]),
			LSNGetDatum(lsn),
			TimestampTzGetDatum(now),
		};

		if (item->settled || !difs_horizon_passed(&batch->horizon, item->xid))
			continue;
		SPI_execute_with_args("UPDATE difs.doomed SET lsn = $3, doomed = $4, settled = true "
							  "WHERE ino = $1 AND version IS NOT DISTINCT FROM $2",
							  lengthof(types), types, values, nulls, false, 0);
	}
}
