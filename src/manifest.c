/*
 * manifest.c - the map of a version: rows of difs.manifest.
 *
 * No state here.  See version.h for which rows belong to a version.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "src/row_hint.h"
#include "src/table.h"
#include "src/version.h"

/* So many rows in a row that belong to other versions, and the scan jumps. */
#define PATIENCE 16

/* Rows of one version, in order of file_offset. */
typedef struct Walk
{
	const DifsVersion *version;
	int64 end; /* rows at or beyond it are not wanted */
	DifsScan *scan;
	int64 last;	   /* file_offset of the last row of ours, or -1 */
	int strangers; /* rows of other versions since the last one of ours, or jump */
} Walk;

static void encode(int64 ino, int32 from_version, const DifsExtent *extent, Datum *values, bool *nulls);
static HeapTuple find(int64 ino, const DifsExtent *extent);
static bool find_by_hint(const DifsVersion *version, int64 offset, int64 length, DifsExtent *extent);
static bool covers(const DifsExtent *extent, int64 offset, int64 length);
static uint64 hint_key(const DifsVersion *version, int64 offset);
static void set_forward_keys(Walk *walk, ScanKey keys, int64 from);
static bool next(Walk *walk, DifsExtent *extent);
static bool belongs(const DifsVersion *version, HeapTuple tuple, TupleDesc desc);
static bool jump(Walk *walk, int64 file_offset, DifsExtent *extent);
static void decode(HeapTuple tuple, TupleDesc desc, DifsExtent *extent);
static Datum column(HeapTuple tuple, TupleDesc desc, int number);

void
difs_manifest_insert(int64 ino, int32 from_version, const DifsExtent *extent)
{
	Datum values[DIFS_MANIFEST_COLUMNS];
	bool nulls[DIFS_MANIFEST_COLUMNS] = {false};

	encode(ino, from_version, extent, values, nulls);
	difs_row_insert(DIFS_REL_MANIFEST, values, nulls);
}

void
difs_manifest_insert_rows(int count, const DifsManifestRow *rows)
{
	for (int done = 0; done < count;)
	{
		Datum values[DIFS_ROWS_AT_ONCE][DIFS_MANIFEST_COLUMNS];
		bool nulls[DIFS_ROWS_AT_ONCE][DIFS_MANIFEST_COLUMNS] = {{false}};
		int part = Min(count - done, DIFS_ROWS_AT_ONCE);

		for (int i = 0; i < part; i++, done++)
			encode(rows[done].ino, rows[done].from_version, rows[done].extent, values[i], nulls[i]);
		if (part == 1)
			difs_row_insert(DIFS_REL_MANIFEST, values[0], nulls[0]);
		else
			difs_rows_insert(DIFS_REL_MANIFEST, part, values[0], nulls[0]);
	}
}

/* nulls come as false. */
static void
encode(int64 ino, int32 from_version, const DifsExtent *extent, Datum *values, bool *nulls)
{
	values[DIFS_MANIFEST_INO - 1] = Int64GetDatum(ino);
	values[DIFS_MANIFEST_FILE_OFFSET - 1] = Int64GetDatum(extent->file_offset);
	values[DIFS_MANIFEST_LENGTH - 1] = Int32GetDatum(extent->length);
	values[DIFS_MANIFEST_FROM_VERSION - 1] = Int32GetDatum(from_version);
	nulls[DIFS_MANIFEST_TO_VERSION - 1] = true;
	values[DIFS_MANIFEST_SEGMENT - 1] = Int64GetDatum((int64) extent->stored.segment);
	values[DIFS_MANIFEST_SEGMENT_OFFSET - 1] = Int32GetDatum((int32) extent->segment_offset);
	values[DIFS_MANIFEST_BLOCK_GROUP - 1] = Int64GetDatum((int64) extent->stored.group);
	values[DIFS_MANIFEST_RAW_LENGTH - 1] = Int32GetDatum((int32) extent->stored.raw_length);
	values[DIFS_MANIFEST_STORED_LENGTH - 1] = Int32GetDatum((int32) extent->stored.stored_length);
	values[DIFS_MANIFEST_CODEC - 1] = Int16GetDatum(extent->stored.codec);
	values[DIFS_MANIFEST_CRC - 1] = Int32GetDatum((int32) extent->stored.crc);
}

void
difs_manifest_close(int64 ino, const DifsExtent *extent, int32 to_version)
{
	Datum values[DIFS_MANIFEST_COLUMNS] = {0};
	bool nulls[DIFS_MANIFEST_COLUMNS] = {false};
	bool replace[DIFS_MANIFEST_COLUMNS] = {false};
	HeapTuple row = find(ino, extent);

	values[DIFS_MANIFEST_TO_VERSION - 1] = Int32GetDatum(to_version);
	replace[DIFS_MANIFEST_TO_VERSION - 1] = true;
	difs_row_update(DIFS_REL_MANIFEST, row, values, nulls, replace);
	heap_freetuple(row);
}

void
difs_manifest_delete(int64 ino, const DifsExtent *extent)
{
	HeapTuple row = find(ino, extent);

	difs_row_delete(DIFS_REL_MANIFEST, row);
	heap_freetuple(row);
}

static HeapTuple
find(int64 ino, const DifsExtent *extent)
{
	ScanKeyData keys[3];
	HeapTuple row;

	DIFS_KEY(&keys[0], DIFS_MANIFEST_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	DIFS_KEY(&keys[1], DIFS_MANIFEST_FILE_OFFSET, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(extent->file_offset));
	DIFS_KEY(&keys[2], DIFS_MANIFEST_FROM_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(extent->from_version));
	row = difs_row_find(DIFS_REL_MANIFEST, DIFS_REL_MANIFEST_PKEY, lengthof(keys), keys);
	if (row == NULL)
		elog(ERROR, "manifest row of inode " INT64_FORMAT " at " INT64_FORMAT " is gone", ino, extent->file_offset);
	return row;
}

DifsExtent *
difs_manifest_range(const DifsVersion *version, int64 offset, int64 length, int limit, int *count)
{
	Walk walk = {.version = version, .last = -1};
	int room = Min(limit, 16);
	DifsExtent *extents = palloc(sizeof(DifsExtent) * Max(room, 1));
	DifsExtent extent;
	ScanKeyData keys[3];

	*count = 0;
	if (length > 0 && limit > 0 && find_by_hint(version, offset, length, extents))
	{
		*count = 1;
		return extents;
	}
	walk.end = offset > PG_INT64_MAX - length ? PG_INT64_MAX : offset + length;
	set_forward_keys(&walk, keys, offset - version->extent + 1);
	walk.scan = difs_scan_begin(DIFS_REL_MANIFEST, DIFS_REL_MANIFEST_PKEY, lengthof(keys), keys);

	while (*count < limit && next(&walk, &extent))
	{
		if (extent.file_offset + extent.length <= offset)
			continue;
		if (*count == room)
		{
			room = Min(limit, room * 2);
			extents = repalloc_huge(extents, sizeof(DifsExtent) * (Size) room);
		}
		extents[(*count)++] = extent;
		if (covers(&extent, offset, length))
			difs_scan_note(walk.scan, hint_key(version, offset));
	}
	difs_scan_end(walk.scan);

	return extents;
}

/* The rows of a version do not overlap, so one that covers all of the range is the only one. */
static bool
find_by_hint(const DifsVersion *version, int64 offset, int64 length, DifsExtent *extent)
{
	Relation table = difs_table_open(DIFS_REL_MANIFEST, AccessShareLock);
	TupleDesc desc = RelationGetDescr(table);
	DifsHintedRow row;
	bool found = false;

	if (difs_row_hint_find(table, hint_key(version, offset), &row))
	{
		found = DatumGetInt64(column(&row.tuple, desc, DIFS_MANIFEST_INO)) == version->map_ino &&
			belongs(version, &row.tuple, desc);
		if (found)
			decode(&row.tuple, desc, extent);
		difs_row_hint_release(&row);
	}
	table_close(table, NoLock);
	return found && covers(extent, offset, length);
}

static bool
covers(const DifsExtent *extent, int64 offset, int64 length)
{
	return extent->file_offset <= offset && length <= extent->file_offset + extent->length - offset;
}

/* The same for all places in a segment of a file that was written in one piece. */
static uint64
hint_key(const DifsVersion *version, int64 offset)
{
	return difs_row_hint_number(DIFS_REL_MANIFEST, version->map_ino, offset / Max(version->extent, 1));
}

/* Keys for a scan of all rows of the inode in [from, end). */
static void
set_forward_keys(Walk *walk, ScanKey keys, int64 from)
{
	DIFS_KEY(&keys[0], DIFS_MANIFEST_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(walk->version->map_ino));
	DIFS_KEY(&keys[1], DIFS_MANIFEST_FILE_OFFSET, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	DIFS_KEY(&keys[2], DIFS_MANIFEST_FILE_OFFSET, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(walk->end));
}

/* The next row of the version; false at the end. */
static bool
next(Walk *walk, DifsExtent *extent)
{
	TupleDesc desc = difs_scan_desc(walk->scan);
	HeapTuple tuple;

	while ((tuple = difs_scan_next(walk->scan, false)) != NULL)
	{
		bool found = belongs(walk->version, tuple, desc);

		if (found)
			decode(tuple, desc, extent);
		else if (++walk->strangers > PATIENCE)
			found = jump(walk, DatumGetInt64(column(tuple, desc, DIFS_MANIFEST_FILE_OFFSET)), extent);

		if (found)
		{
			walk->strangers = 0;
			walk->last = extent->file_offset;
			return true;
		}
	}
	return false;
}

static bool
belongs(const DifsVersion *version, HeapTuple tuple, TupleDesc desc)
{
	int32 from = DatumGetInt32(column(tuple, desc, DIFS_MANIFEST_FROM_VERSION));
	bool open;
	Datum to;

	if (from < version->base || from > version->map_version)
		return false;

	to = heap_getattr(tuple, DIFS_MANIFEST_TO_VERSION, desc, &open);
	return open || DatumGetInt32(to) > version->map_version;
}

/*
 * Among thousands of rows of other versions, step by step is too slow, but one
 * probe of the index decides about all rows that begin at one file_offset.  The
 * rows of a version do not overlap, so at most one of those is ours; and since a
 * newer row there ends an older one, that can only be the one with the greatest
 * from_version that is not above the version.  So: look from there backward for
 * one row, unless ours has been seen already, and go on behind that file_offset.
 */
static bool
jump(Walk *walk, int64 file_offset, DifsExtent *extent)
{
	const DifsVersion *version = walk->version;
	TupleDesc desc = difs_scan_desc(walk->scan);
	ScanKeyData keys[3];
	bool found = false;

	walk->strangers = 0;
	if (file_offset != walk->last)
	{
		HeapTuple tuple;

		DIFS_KEY(&keys[0], DIFS_MANIFEST_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(version->map_ino));
		DIFS_KEY(&keys[1], DIFS_MANIFEST_FILE_OFFSET, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(file_offset));
		DIFS_KEY(&keys[2], DIFS_MANIFEST_FROM_VERSION, BTLessEqualStrategyNumber, F_INT4LE,
				 Int32GetDatum(version->map_version));
		difs_scan_again(walk->scan, keys);
		tuple = difs_scan_next(walk->scan, true);
		found = tuple != NULL && belongs(version, tuple, desc);
		if (found)
			decode(tuple, desc, extent);
	}

	set_forward_keys(walk, keys, file_offset + 1);
	difs_scan_again(walk->scan, keys);

	return found;
}

static void
decode(HeapTuple tuple, TupleDesc desc, DifsExtent *extent)
{
	Datum values[DIFS_MANIFEST_COLUMNS];
	bool nulls[DIFS_MANIFEST_COLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);

	extent->file_offset = DatumGetInt64(values[DIFS_MANIFEST_FILE_OFFSET - 1]);
	extent->length = DatumGetInt32(values[DIFS_MANIFEST_LENGTH - 1]);
	extent->segment_offset = (uint32) DatumGetInt32(values[DIFS_MANIFEST_SEGMENT_OFFSET - 1]);
	extent->from_version = DatumGetInt32(values[DIFS_MANIFEST_FROM_VERSION - 1]);
	extent->stored.segment = (uint64) DatumGetInt64(values[DIFS_MANIFEST_SEGMENT - 1]);
	extent->stored.group = (uint64) DatumGetInt64(values[DIFS_MANIFEST_BLOCK_GROUP - 1]);
	extent->stored.raw_length = (uint32) DatumGetInt32(values[DIFS_MANIFEST_RAW_LENGTH - 1]);
	extent->stored.stored_length = (uint32) DatumGetInt32(values[DIFS_MANIFEST_STORED_LENGTH - 1]);
	extent->stored.crc = (uint32) DatumGetInt32(values[DIFS_MANIFEST_CRC - 1]);
	extent->stored.codec = (uint8) DatumGetInt16(values[DIFS_MANIFEST_CODEC - 1]);
}

/* A column that is never null. */
static Datum
column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool null;

	return heap_getattr(tuple, number, desc, &null);
}
