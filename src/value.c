/*
 * value.c - what difs_get() returns: bytes, or for large files a promise of them (value.h).
 */
#include "postgres.h"

#include "utils/expandeddatum.h"
#include "utils/memutils.h"

#include "src/compat.h"
#include "src/get.h"
#include "src/servers.h"
#include "src/slow.h"
#include "src/value.h"

#define VALUE_LARGE DIFS_BLOCK_SIZE /* what is smaller is copied sooner than promised */
#define VALUE_HUGE (32 * 1024 * 1024)
#define MOST_ROWS 4096 /* of the map, that an object keeps */

typedef struct Value
{
	ExpandedObjectHeader header;
	DifsFetchRange range; /* what it is read by, but for the place */
	DifsVersion version;
} Value;

static bool can_wait(const DifsFetchRange *range);
static bool is_cached(const DifsFetchRange *range);
static void count_uses(const DifsFetchRange *range);
static void wanted_of(const DifsFetchRange *range, const DifsExtent *row, uint32 *offset, uint32 *length);
static Datum promise(const DifsFetchRange *range);
static Size flat_size(ExpandedObjectHeader *header);
static void flatten_into(ExpandedObjectHeader *header, void *result, Size allocated_size);

static const ExpandedObjectMethods methods = {flat_size, flatten_into};

Datum
difs_value_get(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching)
{
	DifsFetchRange range = {path, version, offset, length, caching, NULL, NULL, 0};
	bytea *bytes;

	if (length >= VALUE_LARGE && length <= (int64) (MaxAllocSize - VARHDRSZ) && !difs_version_is_inline(version))
	{
		range.rows = difs_manifest_range(version, offset, length, MOST_ROWS, &range.row_count);
		if (!can_wait(&range))
			range.rows = NULL;
		else if (is_cached(&range))
		{
			count_uses(&range);
			range.caching = DIFS_CACHING_AGAIN;
			return promise(&range);
		}
		else if (length > VALUE_HUGE)
			return promise(&range);
	}
	bytes = difs_get_room(path, length);
	range.out = VARDATA(bytes);
	if (length > 0)
		difs_fetch_ranges(&range, 1);
	return PointerGetDatum(bytes);
}

/* Rows that are too many or that the plan will not like are left to it, and so are those that would have to be looked for in a table later. */
static bool
can_wait(const DifsFetchRange *range)
{
	if (range->row_count == MOST_ROWS)
		return false;
	for (int i = 0; i < range->row_count; i++)
		if (!difs_plan_fits(&range->rows[i]) || range->rows[i].stored.group == 0)
			return false;
	return true;
}

static bool
is_cached(const DifsFetchRange *range)
{
	if (range->caching == DIFS_CACHING_NONE)
		return false;
	for (int i = 0; i < range->row_count; i++)
	{
		uint32 offset;
		uint32 length;

		wanted_of(range, &range->rows[i], &offset, &length);
		if (!difs_cache_has(difs_servers_cluster(), &range->rows[i].stored, offset, length))
			return false;
	}
	return true;
}

/* Of the cache, now: however often the value will be copied. */
static void
count_uses(const DifsFetchRange *range)
{
	for (int i = 0; i < range->row_count; i++)
	{
		uint32 offset;
		uint32 length;

		wanted_of(range, &range->rows[i], &offset, &length);
		(void) difs_cache_read(difs_servers_cluster(), &range->rows[i].stored, offset, length, range->caching, NULL);
	}
	difs_slow_read_bytes += range->length;
}

/* The part of a row's segment that is wanted. */
static void
wanted_of(const DifsFetchRange *range, const DifsExtent *row, uint32 *offset, uint32 *length)
{
	int64 from = Max(row->file_offset, range->offset);
	int64 to = Min(row->file_offset + row->length, range->offset + range->length);

	*offset = row->segment_offset + (uint32) (from - row->file_offset);
	*length = (uint32) (to - from);
}

static Datum
promise(const DifsFetchRange *range)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "difs value", ALLOCSET_SMALL_SIZES);
	Value *value = MemoryContextAlloc(context, sizeof(Value));
	Size size = sizeof(DifsExtent) * range->row_count;
	DifsExtent *rows = MemoryContextAlloc(context, Max(size, 1));

	EOH_init_header(&value->header, &methods, context);
	memcpy(rows, range->rows, size);
	value->version = *range->version;
	value->range = *range;
	value->range.version = &value->version;
	value->range.path = MemoryContextStrdup(context, range->path);
	value->range.rows = rows;
	return EOHPGetRODatum(&value->header);
}

static Size
flat_size(ExpandedObjectHeader *header)
{
	return VARHDRSZ + ((Value *) header)->range.length;
}

/* result may begin anywhere in a row. */
static void
flatten_into(ExpandedObjectHeader *header, void *result, Size allocated_size)
{
	DifsFetchRange range = ((Value *) header)->range;
	DifsSlowMark mark;

	Assert(allocated_size == VARHDRSZ + range.length);
	SET_VARSIZE(result, allocated_size);
	range.out = VARDATA(result);
	difs_slow_mark(&mark);
	difs_fetch_ranges(&range, 1);
	if (range.caching != DIFS_CACHING_AGAIN)
		difs_slow_report(&mark, "read of a value", range.path);
}
