/*
 * value.c - what difs_get() returns: bytes, or for large files a promise of them (value.h).
 */
#include "postgres.h"

#include <sys/mman.h>

#include "utils/expandeddatum.h"
#include "utils/memutils.h"

#include "src/compat.h"
#include "src/get.h"
#include "src/servers.h"
#include "src/slow.h"
#include "src/value.h"

#define VALUE_LARGE		DIFS_BLOCK_SIZE		/* what is smaller is copied sooner than promised */
#define VALUE_HUGE		(32 * 1024 * 1024 + 1)	/* malloc() has a mapping of its own for it, whatever its threshold has grown to */
#define HUGE_PAGE		(2 * 1024 * 1024)

typedef struct Value
{
	ExpandedObjectHeader header;
	int64		length;
	const char *bytes;			/* or NULL: */
	DifsFetchRange range;		/* what they are read by */
	DifsVersion version;
} Value;

static bool is_cached(const DifsFetchRange *range);
static void wanted_of(const DifsFetchRange *range, const DifsExtent *row, uint32 *offset, uint32 *length);
static Datum promise(const DifsFetchRange *range);
static Datum read_huge(DifsFetchRange *range);
static Value *new_value(int64 length);
static void read_into(DifsFetchRange *range, char *out);
static void ask_for_huge_pages(char *memory, Size length);
static Size flat_size(ExpandedObjectHeader *header);
static void flatten_into(ExpandedObjectHeader *header, void *result, Size allocated_size);

static const ExpandedObjectMethods methods = {flat_size, flatten_into};

Datum
difs_value_get(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching)
{
	DifsFetchRange range = {path, version, offset, length, caching, NULL, NULL, 0};
	bytea	   *bytes;

	if (length >= VALUE_LARGE && length <= (int64) (MaxAllocSize - VARHDRSZ) && !difs_version_is_inline(version))
	{
		range.rows = difs_manifest_range(version, offset, length, DIFS_PLAN_BATCH, &range.row_count);
		if (is_cached(&range))
			return promise(&range);
		if (length >= VALUE_HUGE)
			return read_huge(&range);
	}
	bytes = difs_get_room(path, length);
	read_into(&range, VARDATA(bytes));
	return PointerGetDatum(bytes);
}

/* Rows that the plan will not like are left to it, and so are those that would have to be looked for in a table later. */
static bool
is_cached(const DifsFetchRange *range)
{
	if (range->caching == DIFS_CACHING_NONE || range->row_count == DIFS_PLAN_BATCH)
		return false;
	for (int i = 0; i < range->row_count; i++)
	{
		const DifsExtent *row = &range->rows[i];
		uint32		offset;
		uint32		length;

		if (!difs_plan_fits(row) || row->stored.group == 0)
			return false;
		wanted_of(range, row, &offset, &length);
		if (!difs_cache_has(difs_servers_cluster(), &row->stored, offset, length))
			return false;
	}
	return true;
}

/* The part of a row's segment that is wanted. */
static void
wanted_of(const DifsFetchRange *range, const DifsExtent *row, uint32 *offset, uint32 *length)
{
	int64		from = Max(row->file_offset, range->offset);
	int64		to = Min(row->file_offset + row->length, range->offset + range->length);

	*offset = row->segment_offset + (uint32) (from - row->file_offset);
	*length = (uint32) (to - from);
}

/* The uses of the cache count now, however often it will be copied. */
static Datum
promise(const DifsFetchRange *range)
{
	Value	   *value = new_value(range->length);
	Size		size = sizeof(DifsExtent) * range->row_count;
	DifsExtent *rows = MemoryContextAlloc(value->header.eoh_context, Max(size, 1));

	memcpy(rows, range->rows, size);
	for (int i = 0; i < range->row_count; i++)
	{
		uint32		offset;
		uint32		length;

		wanted_of(range, &rows[i], &offset, &length);
		(void) difs_cache_read(difs_servers_cluster(), &rows[i].stored, offset, length, range->caching, NULL);
	}
	difs_slow_read_bytes += range->length;
	value->version = *range->version;
	value->range = *range;
	value->range.version = &value->version;
	value->range.path = MemoryContextStrdup(value->header.eoh_context, range->path);
	value->range.rows = rows;
	value->range.caching = DIFS_CACHING_AGAIN;
	return EOHPGetRODatum(&value->header);
}

static Datum
read_huge(DifsFetchRange *range)
{
	Value	   *value = new_value(range->length);
	char	   *bytes = MemoryContextAlloc(value->header.eoh_context, range->length);

	ask_for_huge_pages(bytes, range->length);
	read_into(range, bytes);
	value->bytes = bytes;
	return EOHPGetRODatum(&value->header);
}

static Value *
new_value(int64 length)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "difs value", ALLOCSET_SMALL_SIZES);
	Value	   *value = MemoryContextAlloc(context, sizeof(Value));

	EOH_init_header(&value->header, &methods, context);
	value->length = length;
	value->bytes = NULL;
	return value;
}

static void
read_into(DifsFetchRange *range, char *out)
{
	range->out = out;
	if (range->length > 0)
		difs_fetch_ranges(range, 1);
}

/*
 * A page that is touched for the first time costs more than what is copied to it, and a value of 256 MiB has 65,536 small ones.
 * Advice: where the system has no huge pages, nothing changes.
 */
static void
ask_for_huge_pages(char *memory, Size length)
{
#ifdef MADV_HUGEPAGE
	char	   *from = (char *) TYPEALIGN(HUGE_PAGE, memory);
	char	   *to = (char *) TYPEALIGN_DOWN(HUGE_PAGE, memory + length);

	if (from < to)
		(void) madvise(from, to - from, MADV_HUGEPAGE);
#endif
}

static Size
flat_size(ExpandedObjectHeader *header)
{
	return VARHDRSZ + ((Value *) header)->length;
}

/* result may begin anywhere in a row. */
static void
flatten_into(ExpandedObjectHeader *header, void *result, Size allocated_size)
{
	Value	   *value = (Value *) header;
	DifsFetchRange range = value->range;
	char	   *bytes = VARDATA(result);

	Assert(allocated_size == VARHDRSZ + value->length);
	SET_VARSIZE(result, allocated_size);
	if (value->length >= VALUE_HUGE)
		ask_for_huge_pages(bytes, value->length);
	if (value->bytes != NULL)
		memcpy(bytes, value->bytes, value->length);
	else
		read_into(&range, bytes);
}
