/*
 * collect_doomed.c - content that committed transactions have let go of (collect.h).
 *
 * Batch by batch, each in three steps:
 *
 *	1. a transaction: which items are behind the horizon, which of their segments may die
 *	2. outside of it: all members of those segments' block groups delete them; what is staged has none
 *	3. a transaction: the manifest rows of segments that are gone everywhere, and what is staged of them; and when an
 *	   item has none left, its version rows and the row of difs.doomed
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
#include "utils/array.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "src/liveness.h"
#include "worker/collect.h"
#include "worker/duties.h"
#include "worker/horizon.h"

#define MAX_ITEMS	256			/* of a batch */
#define MAX_ROWS	8192		/* of a batch, more or less */

/* A row of difs.doomed. */
typedef struct Doomed
{
	int64		ino;
	int32		version;		/* 0 = all of the inode */
	uint64		xid;
	XLogRecPtr	lsn;
	TimestampTz doomed;
	bool		settled;
	bool		ended;			/* its rows have been read to the end */
	int64		kept;			/* rows that had to stay, in this round */
	bool		released;		/* no snapshot can see it */
	int64		after_offset;	/* where to go on reading rows */
	int32		after_version;
} Doomed;

/* A row of the manifest whose segment may die. */
typedef struct Row
{
	Doomed	   *item;
	int64		offset;
	int32		from_version;
	uint64		segment;
	uint64		group;
	uint32		stored_length;
	bool		gone;			/* from all servers */
} Row;

typedef struct Batch
{
	DifsHorizon horizon;
	Doomed		items[MAX_ITEMS];
	int			item_count;
	Row			rows[MAX_ROWS];
	int			row_count;
	bool		last;
} Batch;

static bool gather(Batch *batch, const Doomed *after);
static void read_items(Batch *batch, const Doomed *after);
static bool is_due(Batch *batch, Doomed *item, uint64 *settle_xid);
static void settle(Batch *batch, uint64 xid);
static void gather_rows(Batch *batch, Doomed *item, DifsLiveness *liveness);
static void add_row(Batch *batch, Doomed *item, HeapTuple tuple, TupleDesc desc, DifsLiveness *liveness, const DifsRelease *release);
static void delete_segments(Batch *batch);
static int	compare_groups(const void *a, const void *b);
static void delete_run(Row *rows, int count);
static bool delete_rows(Batch *batch);
static void delete_manifest_rows(Batch *batch);
static void keep_staged_items(Batch *batch);
static void delete_copies(const Doomed *item);
static void delete_item(const Doomed *item);
static Datum item_version(const Doomed *item, char *null);

bool
difs_collect_doomed(void)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	Doomed		last = {0};
	int64		done = 0;
	bool		alive = true;

	while (alive && !batch->last)
	{
		alive = gather(batch, &last);
		if (!alive)
			break;
		delete_segments(batch);
		alive = delete_rows(batch);
		if (batch->item_count > 0)
			last = batch->items[batch->item_count - 1];
		done += batch->item_count;
		difs_duty_progress(done, batch->last ? done : done + 1);
	}
	pfree(batch);
	return alive;
}

/* Step 1. after is the last item of the batch before, which may not have been read to its end. */
static bool
gather(Batch *batch, const Doomed *after)
{
	DifsLiveness *liveness;
	uint64		settle_xid = 0;

	if (!difs_collect_begin())
		return false;
	difs_horizon_read(&batch->horizon);
	batch->row_count = 0;
	read_items(batch, after);
	liveness = difs_liveness_begin();
	for (int i = 0; i < batch->item_count; i++)
	{
		Doomed	   *item = &batch->items[i];

		if (batch->row_count == MAX_ROWS)
		{
			batch->item_count = i;	/* the others come with the next batch */
			batch->last = false;
			break;
		}
		if (is_due(batch, item, &settle_xid))
			gather_rows(batch, item, liveness);
		else
		{
			item->kept = 1;
			item->ended = true;
		}
	}
	difs_liveness_end(liveness);
	if (settle_xid != 0)
		settle(batch, settle_xid);
	if (batch->item_count > 0)
		batch->last = batch->last && batch->items[batch->item_count - 1].ended;
	difs_duty_commit();
	return true;
}

/* The next items; the first of them may be one that the last batch had not read to the end. */
static void
read_items(Batch *batch, const Doomed *after)
{
	Oid			types[] = {INT8OID, INT4OID, BOOLOID};
	Datum		values[] = {Int64GetDatum(after->ino), Int32GetDatum(after->version), BoolGetDatum(after->ended)};

	if (SPI_execute_with_args("SELECT ino, coalesce(version, 0), xid, lsn, doomed, settled FROM difs.doomed "
							  "WHERE ino > $1 OR (ino = $1 AND (coalesce(version, 0) > $2 "
							  "OR (coalesce(version, 0) = $2 AND NOT $3))) ORDER BY 1, 2 LIMIT " CppAsString2(MAX_ITEMS),
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.doomed");
	batch->item_count = (int) SPI_processed;
	batch->last = batch->item_count < MAX_ITEMS;
	for (int i = 0; i < batch->item_count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Doomed	   *item = &batch->items[i];
		bool		null;

		memset(item, 0, sizeof(*item));
		item->ino = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &null));
		item->version = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null));
		item->after_offset = -1;
		if (!after->ended && item->ino == after->ino && item->version == after->version)
		{
			item->kept = after->kept;
			item->released = after->released;
			item->after_offset = after->after_offset;
			item->after_version = after->after_version;
		}
		item->xid = U64FromFullTransactionId(DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 3, &null)));
		item->lsn = DatumGetLSN(SPI_getbinval(tuple, desc, 4, &null));
		item->doomed = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &null));
		item->settled = DatumGetBool(SPI_getbinval(tuple, desc, 6, &null));
	}
}

/* Is it behind the horizon? Raises *settle_xid if it has to be settled first. */
static bool
is_due(Batch *batch, Doomed *item, uint64 *settle_xid)
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
settle(Batch *batch, uint64 xid)
{
	XLogRecPtr	lsn = difs_horizon_tell_standbys(xid);
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < batch->item_count; i++)
	{
		Doomed	   *item = &batch->items[i];
		Oid			types[] = {INT8OID, INT4OID, PG_LSNOID, TIMESTAMPTZOID};
		char		nulls[] = "    ";
		Datum		values[] = {
			Int64GetDatum(item->ino), item_version(item, &nulls[1]), LSNGetDatum(lsn), TimestampTzGetDatum(now)
		};

		if (item->settled || !difs_horizon_passed(&batch->horizon, item->xid))
			continue;
		SPI_execute_with_args("UPDATE difs.doomed SET lsn = $3, doomed = $4, settled = true "
							  "WHERE ino = $1 AND version IS NOT DISTINCT FROM $2",
							  lengthof(types), types, values, nulls, false, 0);
	}
}

static void
gather_rows(Batch *batch, Doomed *item, DifsLiveness *liveness)
{
	Oid			types[] = {INT8OID, INT8OID, INT4OID, INT4OID, INT4OID, INT4OID};
	int			limit = MAX_ROWS - batch->row_count;
	Datum		values[] = {
		Int64GetDatum(item->ino), Int64GetDatum(item->after_offset), Int32GetDatum(item->after_version),
		Int32GetDatum(limit), 0, 0
	};
	DifsRelease release;

	if (!difs_liveness_release(liveness, item->ino, item->version, &release))
	{
		item->kept = 1;
		item->ended = true;
		return;
	}
	item->released = true;
	values[4] = Int32GetDatum(release.first);
	values[5] = Int32GetDatum(release.last);
	if (SPI_execute_with_args("SELECT file_offset, from_version, segment, block_group, stored_length FROM difs.manifest "
							  "WHERE ino = $1 AND (file_offset, from_version) > ($2, $3) AND from_version BETWEEN $5 AND $6 "
							  "ORDER BY file_offset, from_version LIMIT $4",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.manifest");
	item->ended = SPI_processed < limit;
	for (uint64 i = 0; i < SPI_processed; i++)
		add_row(batch, item, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, liveness, &release);
}

static void
add_row(Batch *batch, Doomed *item, HeapTuple tuple, TupleDesc desc, DifsLiveness *liveness, const DifsRelease *release)
{
	Row		   *row = &batch->rows[batch->row_count];
	bool		null;

	row->item = item;
	row->offset = item->after_offset = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &null));
	row->from_version = item->after_version = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null));
	row->segment = (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 3, &null));
	row->group = (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 4, &null));
	row->stored_length = (uint32) DatumGetInt32(SPI_getbinval(tuple, desc, 5, &null));
	row->gone = false;
	switch (difs_segment_may_die(liveness, row->segment, release))
	{
		case DIFS_SEGMENT_MAY_DIE:
			batch->row_count++;
			break;
		case DIFS_SEGMENT_IN_VERSION:
			break;
		case DIFS_SEGMENT_WANTED:
			item->kept++;
			break;
	}
}

/* Step 2. */
static void
delete_segments(Batch *batch)
{
	int			begin = 0;

	qsort(batch->rows, batch->row_count, sizeof(Row), compare_groups);
	for (int i = 1; i <= batch->row_count; i++)
	{
		if (i < batch->row_count && batch->rows[i].group == batch->rows[begin].group)
			continue;
		delete_run(&batch->rows[begin], i - begin);
		begin = i;
	}
}

static int
compare_groups(const void *a, const void *b)
{
	const Row  *left = a;
	const Row  *right = b;

	if (left->group != right->group)
		return left->group < right->group ? -1 : 1;
	return left->segment < right->segment ? -1 : left->segment > right->segment;
}

/* Rows of one block group. */
static void
delete_run(Row *rows, int count)
{
	uint64	   *segments = palloc(count * sizeof(uint64));
	DifsMembers members = {0};
	uint64		bytes = 0;
	bool		gone = true;

	for (int i = 0; i < count; i++)
	{
		segments[i] = rows[i].segment;
		bytes += rows[i].stored_length;
	}
	if (!difs_duty_begin())
		return;
	difs_servers_forget(rows[0].group);
	(void) difs_group_members(rows[0].group, &members);
	difs_duty_commit();

	for (int i = 0; i < members.count; i++)
		gone = difs_collect_delete(members.server[i], rows[0].group, segments, count) && gone;
	for (int i = 0; i < count; i++)
	{
		rows[i].gone = gone;
		rows[i].item->kept += !gone;
	}
	if (gone)
	{
		difs_collect_count(DIFS_COLLECTED_SEGMENTS, count);
		difs_collect_count(DIFS_COLLECTED_BYTES, (int64) bytes * (rows[0].group == 0 ? 1 : members.count));
	}
	pfree(segments);
}

/* Step 3. */
static bool
delete_rows(Batch *batch)
{
	if (batch->item_count == 0)
		return true;
	if (!difs_duty_begin())
		return false;
	if (batch->row_count > 0)
		delete_manifest_rows(batch);
	for (int i = 0; i < batch->item_count; i++)
	{
		const Doomed *item = &batch->items[i];

		if (item->ended && item->kept == 0)
			delete_item(item);
		else if (item->released && item->version == 0)
			delete_copies(item);
		difs_collect_count(item->kept == 0 ? DIFS_COLLECTED_DOOMED : DIFS_COLLECTED_WAITING, item->ended);
	}
	difs_duty_commit();
	return true;
}

/*
 * Those whose segments are gone.  Their groups are to be listed again: there may be little left in them.
 *
 * A staged segment may have been moved to chunk servers since (worker/unstage.c): its row names another segment now, and so
 * waits for the next round with its item.
 */
static void
delete_manifest_rows(Batch *batch)
{
	Oid			types[] = {INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
	Datum	   *columns[5];
	Datum		values[5];
	int			count = 0;

	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = palloc(batch->row_count * sizeof(Datum));
	for (int i = 0; i < batch->row_count; i++)
	{
		const Row  *row = &batch->rows[i];

		if (!row->gone)
			continue;
		columns[0][count] = Int64GetDatum(row->item->ino);
		columns[1][count] = Int64GetDatum(row->offset);
		columns[2][count] = Int32GetDatum(row->from_version);
		columns[3][count] = Int64GetDatum((int64) row->segment);
		columns[4][count++] = Int64GetDatum((int64) row->group);
	}
	for (int i = 0; i < lengthof(columns); i++)
		values[i] = PointerGetDatum(types[i] == INT4ARRAYOID ?
									construct_array(columns[i], count, INT4OID, sizeof(int32), true, TYPALIGN_INT) :
									construct_array(columns[i], count, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE));
	SPI_execute_with_args("DELETE FROM difs.manifest AS manifest USING ROWS FROM "
						  "(pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) "
						  "AS gone (ino, file_offset, version, segment) "
						  "WHERE manifest.ino = gone.ino AND manifest.file_offset = gone.file_offset "
						  "AND manifest.from_version = gone.version AND manifest.segment = gone.segment",
						  4, types, values, NULL, false, 0);
	if (SPI_processed < (uint64) count)
		keep_staged_items(batch);
	SPI_execute_with_args("DELETE FROM difs.staging WHERE segment = ANY ($1) "
						  "AND NOT EXISTS (SELECT FROM difs.manifest WHERE manifest.segment = staging.segment)",
						  1, &types[3], &values[3], NULL, false, 0);
	SPI_execute_with_args("DELETE FROM difs.inventory WHERE block_group = ANY ($1)",
						  1, &types[4], &values[4], NULL, false, 0);
}

/* We do not know which of them have rows left. */
static void
keep_staged_items(Batch *batch)
{
	for (int i = 0; i < batch->row_count; i++)
		batch->rows[i].item->kept += batch->rows[i].group == 0;
}

/*
 * Versions that are copies of others' need no rows of this inode, and nobody can see them: they go at once.  Or two deleted files of which
 * each has a copy of the other would keep one another for ever.
 */
static void
delete_copies(const Doomed *item)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(item->ino)};

	SPI_execute_with_args("DELETE FROM difs.version WHERE ino = $1 AND map_ino IS NOT NULL", lengthof(types), types, values, NULL, false, 0);
}

static void
delete_item(const Doomed *item)
{
	Oid			types[] = {INT8OID, INT4OID};
	char		nulls[] = "  ";
	Datum		values[] = {Int64GetDatum(item->ino), item_version(item, &nulls[1])};

	SPI_execute_with_args("DELETE FROM difs.version WHERE ino = $1 AND (version = $2 OR $2 IS NULL)",
						  lengthof(types), types, values, nulls, false, 0);
	SPI_execute_with_args("DELETE FROM difs.doomed WHERE ino = $1 AND version IS NOT DISTINCT FROM $2",
						  lengthof(types), types, values, nulls, false, 0);
}

static Datum
item_version(const Doomed *item, char *null)
{
	if (item->version == 0)
		*null = 'n';
	return Int32GetDatum(item->version);
}
