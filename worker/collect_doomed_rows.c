/*
 * collect_doomed_rows.c - the rows of doomed content go, after its segments (collect_doomed.h).
 *
 * The manifest rows of segments that are gone everywhere, and what is staged of
 * them; and when an item has none left, its version rows and the row of difs.doomed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"

#include "common/fault.h"
#include "worker/collect.h"
#include "worker/collect_doomed.h"
#include "worker/duties.h"

static void delete_manifest_rows(DifsDoomedBatch *batch);
static void keep_staged_items(DifsDoomedBatch *batch);
static void delete_copies(const DifsDoomedItem *item);
static void delete_inline(const DifsDoomedBatch *batch, const DifsDoomedItem *item);
static void delete_item(const DifsDoomedItem *item);

bool
difs_doomed_delete_rows(DifsDoomedBatch *batch)
{
	if (batch->item_count == 0)
		return true;
	if (!difs_duty_begin())
		return false;
	if (batch->row_count > 0)
		delete_manifest_rows(batch);
	for (int i = 0; i < batch->item_count; i++)
	{
		DifsDoomedItem *item = &batch->items[i];

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
delete_manifest_rows(DifsDoomedBatch *batch)
{
	Oid types[] = {INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
	Datum *columns[5];
	Datum values[5];
	int count = 0;

	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = palloc(batch->row_count * sizeof(Datum));
	for (int i = 0; i < batch->row_count; i++)
	{
		const DifsDoomedRow *row = &batch->rows[i];

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
	SPI_execute("LOCK TABLE difs.staging IN SHARE UPDATE EXCLUSIVE MODE", false, 0); /* unstaging changes rows of several segments, too */
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
keep_staged_items(DifsDoomedBatch *batch)
{
	for (int i = 0; i < batch->row_count; i++)
	{
		const DifsDoomedRow *row = &batch->rows[i];

		if (row->group == 0)
			difs_doomed_keep(batch, row->item, row->from_version, row->to_version, true);
	}
}

/*
 * Versions that are copies of others' need no rows of this inode, and nobody can see them: they go at once.  Or two deleted files of which
 * each has a copy of the other would keep one another for ever.
 */
static void
delete_copies(const DifsDoomedItem *item)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(item->ino)};

	SPI_execute_with_args("DELETE FROM difs.version WHERE ino = $1 AND map_ino <> ino", lengthof(types), types, values, NULL, false, 0);
}

/* The bytes of tiny versions: its own, and those that it shares with one that has gone before it. */
static void
delete_inline(const DifsDoomedBatch *batch, const DifsDoomedItem *item)
{
	Oid types[] = {INT8OID, INT4OID, INT4ARRAYOID};
	char nulls[] = "   ";
	int count;
	int32 *kept = difs_release_kept(&batch->releases[batch->items[item->leader].release], false, &count);
	Datum values[] = {Int64GetDatum(item->ino), difs_doomed_item_version(item, &nulls[1]), difs_doomed_versions(kept, count)};

	SPI_execute_with_args("DELETE FROM difs.inline WHERE ino = $1 AND ($2 IS NULL OR version <> ALL ($3) AND version IN ("
						  "SELECT coalesce(map_version, version.version) FROM difs.version"
						  " WHERE ino = $1 AND version = $2 AND coalesce(map_ino, ino) = $1))",
						  lengthof(types), types, values, nulls, false, 0);
}

static void
delete_item(const DifsDoomedItem *item)
{
	Oid types[] = {INT8OID, INT4OID};
	char nulls[] = "  ";
	Datum values[] = {Int64GetDatum(item->ino), difs_doomed_item_version(item, &nulls[1])};

	SPI_execute_with_args("DELETE FROM difs.version WHERE ino = $1 AND (version = $2 OR $2 IS NULL)",
						  lengthof(types), types, values, nulls, false, 0);
	SPI_execute_with_args("DELETE FROM difs.doomed WHERE ino = $1 AND version IS NOT DISTINCT FROM $2",
						  lengthof(types), types, values, nulls, false, 0);
}

Datum
difs_doomed_item_version(const DifsDoomedItem *item, char *null)
{
	if (item->version == 0)
		*null = 'n';
	return Int32GetDatum(item->version);
}
