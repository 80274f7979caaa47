/*
 * collect_doomed_release.c - which rows of doomed content nobody needs any more (collect_doomed.h).
 *
 * Versions of an inode share rows, and copies share those of other inodes.  An item
 * goes when all rows that it has can: one row that must stay keeps every item that
 * has it, until a later round.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "worker/collect_doomed.h"

static int release_inode(DifsDoomedBatch *batch, int first, DifsLiveness *liveness);
static void keep_inline_copies(DifsDoomedBatch *batch, DifsDoomedItem *leader);
static void add_row(DifsDoomedBatch *batch, DifsDoomedItem *item, HeapTuple tuple, TupleDesc desc, DifsLiveness *liveness);

/* Of the items that are due, those of one inode are released together: neither may keep what both let go of. */
void
difs_doomed_release(DifsDoomedBatch *batch, DifsLiveness *liveness)
{
	batch->release_count = 0;
	MemoryContextReset(batch->context);
	for (int i = 0; i < batch->item_count;)
		i = batch->items[i].released ? release_inode(batch, i, liveness) : i + 1;
}

/* Returns the first item of the next inode. */
static int
release_inode(DifsDoomedBatch *batch, int first, DifsLiveness *liveness)
{
	DifsRelease *release = &batch->releases[batch->release_count];
	DifsDoomedItem *leader = &batch->items[first];
	int32 versions[DIFS_DOOMED_ITEMS] = {0};
	int count = 0;
	int end;
	bool released;
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
keep_inline_copies(DifsDoomedBatch *batch, DifsDoomedItem *leader)
{
	const DifsRelease *release = &batch->releases[leader->release];
	Oid types[] = {INT8OID, INT4ARRAYOID};
	int count;
	int32 *kept = difs_release_kept(release, true, &count);
	Datum values[] = {Int64GetDatum(release->ino), difs_doomed_versions(kept, count)};

	if (count == 0)
		return;
	if (SPI_execute_with_args("SELECT version FROM difs.inline WHERE ino = $1 AND version = ANY ($2)", lengthof(types), types, values,
							  NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.inline");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool null;
		int32 version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));

		if (difs_release_row_need(release, version, -1) == DIFS_ROW_IN_COPY)
			difs_doomed_keep(batch, leader, version, -1, false);
	}
}

/* A row has to stay, so the items that have it do; and if nobody needs it (free) and none has it, all of them, or it would be forgotten. */
void
difs_doomed_keep(DifsDoomedBatch *batch, DifsDoomedItem *leader, int64 from_version, int64 to_version, bool free)
{
	const DifsRelease *release = &batch->releases[leader->release];
	const DifsDoomedItem *end = batch->items + batch->item_count;
	bool forgotten = free;

	for (DifsDoomedItem *item = leader; item < end && item->ino == leader->ino; item++)
	{
		bool has = item->released &&
			(item->version == 0 || difs_release_has_row(release, item->version, from_version, to_version));

		item->kept += has;
		forgotten = forgotten && !has;
	}
	for (DifsDoomedItem *item = leader; item < end && item->ino == leader->ino && forgotten; item++)
		item->kept += item->released;
}

/* False if there are more than fit. */
bool
difs_doomed_gather_rows(DifsDoomedBatch *batch, DifsDoomedItem *item, DifsLiveness *liveness)
{
	const DifsRelease *release = &batch->releases[item->release];
	Oid types[] = {INT8OID, INT8OID, INT4OID, INT4OID, INT4OID, INT4OID};
	int limit = DIFS_DOOMED_ROWS - batch->row_count;
	Datum values[] = {
		Int64GetDatum(item->ino),
		Int64GetDatum(item->after_offset),
		Int32GetDatum(item->after_version),
		Int32GetDatum(limit),
		Int32GetDatum(release->first),
		Int32GetDatum(release->last),
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
add_row(DifsDoomedBatch *batch, DifsDoomedItem *item, HeapTuple tuple, TupleDesc desc, DifsLiveness *liveness)
{
	DifsDoomedRow *row = &batch->rows[batch->row_count];
	bool null;

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
												&(DifsRowId){item->ino, row->offset, row->from_version});
			batch->row_count++;
			break;
		case DIFS_ROW_IN_VERSION:
			break;
		case DIFS_ROW_IN_COPY:
			difs_doomed_keep(batch, item, row->from_version, row->to_version, false);
			break;
	}
}

Datum
difs_doomed_versions(const int32 *versions, int count)
{
	Datum *datums = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		datums[i] = Int32GetDatum(versions[i]);
	return PointerGetDatum(construct_array(datums, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}
