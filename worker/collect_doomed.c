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
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "common/fault.h"
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
	int64		kept;			/* rows of it that had to stay, in this round */
	bool		released;		/* no snapshot can see it */
	int			leader;			/* index of the first item of its inode that is due: rows are read for all of these at once, as that one's */
	int32		release;		/* of a leader: index into releases */
	int64		after_offset;	/* where to go on reading rows */
	int32		after_version;
} Doomed;

/* A row of the manifest that nobody needs. */
typedef struct Row
{
	Doomed	   *item;			/* the leader */
	int64		offset;
	int32		from_version;
	int32		to_version;		/* -1: null */
	uint64		segment;
	uint64		group;
	uint32		stored_length;
	bool		shared;			/* other rows name the segment: this one goes without it */
	bool		gone;			/* from all servers */
} Row;

typedef struct Batch
{
	DifsHorizon horizon;
	Doomed		items[MAX_ITEMS];
	int			item_count;
	Doomed		unfinished[MAX_ITEMS];	/* the last inode's items of the batch before, if its rows have not been read to the end */
	int			unfinished_count;
	DifsRelease releases[MAX_ITEMS];	/* in order of their inodes */
	int			release_count;
	MemoryContext context;		/* of the releases: they outlast the transaction that made them */
	Row			rows[MAX_ROWS];
	int			row_count;
	bool		last;
} Batch;

static bool gather(Batch *batch, const Doomed *after);
static void read_items(Batch *batch, const Doomed *after);
static void resume(const Batch *batch, const Doomed *after, Doomed *item);
static void break_off(Batch *batch, int leader);
static bool is_due(Batch *batch, Doomed *item, uint64 *settle_xid);
static void settle(Batch *batch, uint64 xid);
static void release_items(Batch *batch, DifsLiveness *liveness);
static int	release_inode(Batch *batch, int first, DifsLiveness *liveness);
static void keep_inline_copies(Batch *batch, Doomed *leader);
static void keep_items(Batch *batch, Doomed *leader, int64 from_version, int64 to_version, bool free);
static bool gather_rows(Batch *batch, Doomed *item, DifsLiveness *liveness);
static void add_row(Batch *batch, Doomed *item, HeapTuple tuple, TupleDesc desc, DifsLiveness *liveness);
static void delete_segments(Batch *batch);
static int	compare_groups(const void *a, const void *b);
static void delete_run(Batch *batch, Row *rows, int count);
static bool delete_rows(Batch *batch);
static void delete_manifest_rows(Batch *batch);
static void keep_staged_items(Batch *batch);
static void delete_copies(const Doomed *item);
static void delete_inline(const Batch *batch, const Doomed *item);
static void delete_item(const Doomed *item);
static Datum item_version(const Doomed *item, char *null);
static Datum versions_datum(const int32 *versions, int count);

bool
difs_collect_doomed(void)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	Doomed		last = {0};
	int64		done = 0;
	bool		alive = true;

	batch->context = AllocSetContextCreate(CurrentMemoryContext, "difs releases", ALLOCSET_DEFAULT_SIZES);
	while (alive && !batch->last)
	{
		alive = gather(batch, &last);
		if (!alive)
			break;
		DIFS_FAULT("keeper.collect.gathered");
		delete_segments(batch);
		DIFS_FAULT("keeper.collect.deleted");
		alive = delete_rows(batch);
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
gather(Batch *batch, const Doomed *after)
{
	DifsLiveness *liveness;
	uint64		settle_xid = 0;

	if (!difs_collect_begin())
		return false;
	difs_horizon_read(&batch->horizon);
	batch->row_count = 0;
	read_items(batch, after);
	for (int i = 0; i < batch->item_count; i++)
		batch->items[i].released = is_due(batch, &batch->items[i], &settle_xid);
	SPI_execute("LOCK TABLE difs.fragmented IN SHARE UPDATE EXCLUSIVE MODE", false, 0);	/* compaction moves rows: not while we look */
	liveness = difs_liveness_begin(true);
	release_items(batch, liveness);
	for (int i = 0; i < batch->item_count; i++)
	{
		Doomed	   *item = &batch->items[i];

		item->ended = true;
		if (!item->released)
			item->kept = 1;
		else if (item->leader == i && !gather_rows(batch, item, liveness))
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
resume(const Batch *batch, const Doomed *after, Doomed *item)
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
break_off(Batch *batch, int leader)
{
	int			end = leader;

	for (; end < batch->item_count && batch->items[end].ino == batch->items[leader].ino; end++)
	{
		Doomed	   *item = &batch->items[end];

		item->ended = false;
		if (!item->released)
			item->kept = 1;
	}
	batch->item_count = end;
	batch->last = false;
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

/* Of the items that are due, those of one inode are released together: neither may keep what both let go of. */
static void
release_items(Batch *batch, DifsLiveness *liveness)
{
	batch->release_count = 0;
	MemoryContextReset(batch->context);
	for (int i = 0; i < batch->item_count;)
		i = batch->items[i].released ? release_inode(batch, i, liveness) : i + 1;
}

/* Returns the first item of the next inode. */
static int
release_inode(Batch *batch, int first, DifsLiveness *liveness)
{
	DifsRelease *release = &batch->releases[batch->release_count];
	Doomed	   *leader = &batch->items[first];
	int32		versions[MAX_ITEMS] = {0};
	int			count = 0;
	int			end;
	bool		released;
	MemoryContext caller;

	for (end = first; end < batch->item_count && batch->items[end].ino == leader->ino; end++)
	{
		if (batch->items[end].released)
			versions[count++] = batch->items[end].version;
	}
	caller = MemoryContextSwitchTo(batch->context);
	released = difs_liveness_release(liveness, leader->ino, versions, count, release);
	MemoryContextSwitchTo(caller);
	leader->release = batch->release_count;
	batch->release_count += released;
	for (int i = first; i < end; i++)
	{
		batch->items[i].released = batch->items[i].released && released;
		batch->items[i].leader = first;
	}
	if (released)
		keep_inline_copies(batch, leader);
	return end;
}

/* Tiny content has no rows that could tell: its bytes wait for copies, unless another version of the inode has them, too. */
static void
keep_inline_copies(Batch *batch, Doomed *leader)
{
	const DifsRelease *release = &batch->releases[leader->release];
	Oid			types[] = {INT8OID, INT4ARRAYOID};
	int			count;
	int32	   *kept = difs_release_kept(release, true, &count);
	Datum		values[] = {Int64GetDatum(release->ino), versions_datum(kept, count)};

	if (count == 0)
		return;
	if (SPI_execute_with_args("SELECT version FROM difs.inline WHERE ino = $1 AND version = ANY ($2)", lengthof(types), types, values,
							  NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.inline");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		null;
		int32		version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));

		if (difs_release_row_need(release, version, -1) == DIFS_ROW_IN_COPY)
			keep_items(batch, leader, version, -1, false);
	}
}

/* A row has to stay, so the items that have it do; and if nobody needs it (free) and none has it, all of them, or it would be forgotten. */
static void
keep_items(Batch *batch, Doomed *leader, int64 from_version, int64 to_version, bool free)
{
	const DifsRelease *release = &batch->releases[leader->release];
	const Doomed *end = batch->items + batch->item_count;
	bool		forgotten = free;

	for (Doomed *item = leader; item < end && item->ino == leader->ino; item++)
	{
		bool		has = item->released &&
			(item->version == 0 || difs_release_has_row(release, item->version, from_version, to_version));

		item->kept += has;
		forgotten = forgotten && !has;
	}
	for (Doomed *item = leader; item < end && item->ino == leader->ino && forgotten; item++)
		item->kept += item->released;
}

/* False if there are more than fit. */
static bool
gather_rows(Batch *batch, Doomed *item, DifsLiveness *liveness)
{
	const DifsRelease *release = &batch->releases[item->release];
	Oid			types[] = {INT8OID, INT8OID, INT4OID, INT4OID, INT4OID, INT4OID};
	int			limit = MAX_ROWS - batch->row_count;
	Datum		values[] = {
		Int64GetDatum(item->ino), Int64GetDatum(item->after_offset), Int32GetDatum(item->after_version),
		Int32GetDatum(limit), Int32GetDatum(release->first), Int32GetDatum(release->last)
	};

	if (release->first > release->last)
		return true;
	if (SPI_execute_with_args("SELECT file_offset, from_version, segment, block_group, stored_length, to_version FROM difs.manifest "
							  "WHERE ino = $1 AND (file_offset, from_version) > ($2, $3) AND from_version BETWEEN $5 AND $6 "
							  "ORDER BY file_offset, from_version LIMIT $4",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.manifest");
	for (uint64 i = 0; i < SPI_processed; i++)
		add_row(batch, item, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, liveness);
	return SPI_processed < limit;
}

static void
add_row(Batch *batch, Doomed *item, HeapTuple tuple, TupleDesc desc, DifsLiveness *liveness)
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
	row->to_version = DatumGetInt32(SPI_getbinval(tuple, desc, 6, &null));
	if (null)
		row->to_version = -1;
	switch (difs_release_row_need(&batch->releases[item->release], row->from_version, row->to_version))
	{
		case DIFS_ROW_FREE:
			row->shared = !difs_segment_may_die(liveness, row->segment, batch->releases, batch->release_count,
												&(DifsRowId) {item->ino, row->offset, row->from_version});
			batch->row_count++;
			break;
		case DIFS_ROW_IN_VERSION:
			break;
		case DIFS_ROW_IN_COPY:
			keep_items(batch, item, row->from_version, row->to_version, false);
			break;
	}
}

/* Step 2. */
static void
delete_segments(Batch *batch)
{
	int			begin = 0;

	qsort(batch->rows, batch->row_count, sizeof(Row), compare_groups);
	while (begin < batch->row_count && batch->rows[begin].shared)
		batch->rows[begin++].gone = true;
	for (int i = begin + 1; i <= batch->row_count; i++)
	{
		if (i < batch->row_count && batch->rows[i].group == batch->rows[begin].group)
			continue;
		delete_run(batch, &batch->rows[begin], i - begin);
		begin = i;
	}
}

static int
compare_groups(const void *a, const void *b)
{
	const Row  *left = a;
	const Row  *right = b;

	if (left->shared != right->shared)
		return left->shared ? -1 : 1;
	if (left->group != right->group)
		return left->group < right->group ? -1 : 1;
	return left->segment < right->segment ? -1 : left->segment > right->segment;
}

/* Rows of one block group. */
static void
delete_run(Batch *batch, Row *rows, int count)
{
	uint64	   *segments = palloc(count * sizeof(uint64));
	DifsMembers members = {0};
	uint64		bytes = 0;
	bool		gone = true;
	int			segment_count = 0;

	for (int i = 0; i < count; i++)
	{
		if (i > 0 && rows[i].segment == rows[i - 1].segment)
			continue;			/* several rows name it */
		segments[segment_count++] = rows[i].segment;
		bytes += rows[i].stored_length;
	}
	if (!difs_duty_begin())
		return;
	difs_servers_forget(rows[0].group);
	(void) difs_group_members(rows[0].group, &members);
	difs_duty_commit();

	for (int i = 0; i < members.count; i++)
	{
		gone = difs_collect_delete(members.server[i], rows[0].group, segments, segment_count) && gone;
		DIFS_FAULT("keeper.collect.member");
	}
	for (int i = 0; i < count; i++)
	{
		rows[i].gone = gone;
		if (!gone)
			keep_items(batch, rows[i].item, rows[i].from_version, rows[i].to_version, true);
	}
	if (gone)
	{
		difs_collect_count(DIFS_COLLECTED_SEGMENTS, segment_count);
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
		Doomed	   *item = &batch->items[i];

		if (item->ended && item->kept == 0)
		{
			delete_inline(batch, item);
			delete_item(item);
		}
		else if (item->released && item->version == 0)
			delete_copies(item);
		difs_collect_count(item->kept == 0 ? DIFS_COLLECTED_DOOMED : DIFS_COLLECTED_WAITING, item->ended);
	}
	batch->unfinished_count = 0;
	for (int i = 0; i < batch->item_count; i++)
	{
		if (!batch->items[i].ended)
			batch->unfinished[batch->unfinished_count++] = batch->items[i];
	}
	DIFS_FAULT("keeper.collect.rows");
	difs_duty_commit();
	DIFS_FAULT("keeper.collect.committed");
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
	SPI_execute("LOCK TABLE difs.staging IN SHARE UPDATE EXCLUSIVE MODE", false, 0);	/* unstaging changes rows of several segments, too */
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
	{
		const Row  *row = &batch->rows[i];

		if (row->group == 0)
			keep_items(batch, row->item, row->from_version, row->to_version, true);
	}
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

	SPI_execute_with_args("DELETE FROM difs.version WHERE ino = $1 AND map_ino <> ino", lengthof(types), types, values, NULL, false, 0);
}

/* The bytes of tiny versions: its own, and those that it shares with one that has gone before it. */
static void
delete_inline(const Batch *batch, const Doomed *item)
{
	Oid			types[] = {INT8OID, INT4OID, INT4ARRAYOID};
	char		nulls[] = "   ";
	int			count;
	int32	   *kept = difs_release_kept(&batch->releases[batch->items[item->leader].release], false, &count);
	Datum		values[] = {Int64GetDatum(item->ino), item_version(item, &nulls[1]), versions_datum(kept, count)};

	SPI_execute_with_args("DELETE FROM difs.inline WHERE ino = $1 AND ($2 IS NULL OR version <> ALL ($3) AND version IN ("
						  "SELECT coalesce(map_version, version.version) FROM difs.version"
						  " WHERE ino = $1 AND version = $2 AND coalesce(map_ino, ino) = $1))",
						  lengthof(types), types, values, nulls, false, 0);
}

static Datum
versions_datum(const int32 *versions, int count)
{
	Datum	   *datums = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		datums[i] = Int32GetDatum(versions[i]);
	return PointerGetDatum(construct_array(datums, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
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
