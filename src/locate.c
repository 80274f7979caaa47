/*
 * locate.c - difs_locate(): where the bytes of a file are, and permission to
 * fetch them from there.
 *
 * What is visible under the snapshot of the call can be read for as long as the
 * token lasts: its segments are live, and whoever lets go of them meanwhile is
 * followed by the collection only behind this snapshot; a file that is deleted
 * and collected before the client has come makes it hear "no segment", and ask
 * again.
 *
 * A token is for a whole segment.  A row that names only a part of one comes with
 * its bytes instead, since the other parts may be of files, or versions, that the
 * reader may not see.  Tiny and staged files have no segment to fetch, either.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "src/fetch.h"
#include "src/get.h"
#include "src/report.h"
#include "src/table.h"
#include "src/token.h"
#include "src/version.h"

#define BATCH 1024

enum LocateColumn
{
	LOCATE_FILE_OFFSET,
	LOCATE_LENGTH,
	LOCATE_SEGMENT,
	LOCATE_SEGMENT_OFFSET,
	LOCATE_BLOCK_GROUP,
	LOCATE_EPOCH,
	LOCATE_STORED_LENGTH,
	LOCATE_RAW_LENGTH,
	LOCATE_CODEC,
	LOCATE_CRC,
	LOCATE_SERVERS,
	LOCATE_TOKEN,
	LOCATE_DATA,
	LOCATE_COLUMNS,
};

typedef struct Locating
{
	ReturnSetInfo *result;
	const char *path;
	const DifsVersion *version;
	DifsToken token;
	DifsMembers members; /* of the token's group */
} Locating;

static void range_argument(FunctionCallInfo fcinfo, int64 size, int64 *from, int64 *to);
static void locate_rows(Locating *locating, int64 from, int64 to);
static void add_data(Locating *locating, int64 from, int64 to);
static void add_place(Locating *locating, const DifsExtent *extent, int64 from, int64 to);

PG_FUNCTION_INFO_V1(difs_locate);

/* difs_locate(path text, "offset" bigint, length bigint, version int) */
Datum
difs_locate(PG_FUNCTION_ARGS)
{
	Locating locating = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	DifsVersion version;
	char *path;
	int64 from;
	int64 to;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "offset");
	InitMaterializedSRF(fcinfo, 0);
	difs_read_begin();
	difs_get_open(fcinfo, 0, 3, &path, &version);
	locating.path = path;
	locating.version = &version;
	range_argument(fcinfo, version.size, &from, &to);
	difs_token_begin(&locating.token, DIFS_OPERATION_READ);
	if (difs_version_is_inline(&version) && from < to)
		add_data(&locating, from, to);
	else if (from < to)
		locate_rows(&locating, from, to);
	difs_read_end();
	return (Datum) 0;
}

static void
range_argument(FunctionCallInfo fcinfo, int64 size, int64 *from, int64 *to)
{
	int64 length = PG_ARGISNULL(2) ? size : PG_GETARG_INT64(2);

	*from = PG_GETARG_INT64(1);
	if (*from < 0 || length < 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("%s must not be negative: %lld", *from < 0 ? "offset" : "length", (long long) (*from < 0 ? *from : length)));
	*from = Min(*from, size);
	*to = *from + Min(length, size - *from);
}

static void
locate_rows(Locating *locating, int64 from, int64 to)
{
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "difs_locate", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(batch);
	int count;

	do
	{
		DifsExtent *extents = difs_manifest_range(locating->version, from, to - from, BATCH, &count);

		for (int i = 0; i < count; i++)
		{
			const DifsExtent *extent = &extents[i];
			int64 begin = Max(from, extent->file_offset);
			int64 end = Min(to, extent->file_offset + extent->length);
			bool whole = extent->segment_offset == 0 && (uint32) extent->length == extent->stored.raw_length;

			CHECK_FOR_INTERRUPTS();
			if (extent->stored.group == 0 || !whole)
				add_data(locating, begin, end);
			else
				add_place(locating, extent, begin, end);
		}
		if (count > 0)
			from = Min(to, extents[count - 1].file_offset + extents[count - 1].length);
		MemoryContextReset(batch);
	} while (count == BATCH && from < to);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(batch);
}

static void
add_data(Locating *locating, int64 from, int64 to)
{
	bytea *bytes = palloc(VARHDRSZ + (to - from));
	Datum values[LOCATE_COLUMNS] = {0};
	bool nulls[LOCATE_COLUMNS];

	SET_VARSIZE(bytes, VARHDRSZ + (to - from));
	difs_fetch_range(locating->path, locating->version, from, to - from, difs_cache_for(to - from), VARDATA(bytes));
	memset(nulls, true, sizeof(nulls));
	nulls[LOCATE_FILE_OFFSET] = nulls[LOCATE_LENGTH] = nulls[LOCATE_DATA] = false;
	values[LOCATE_FILE_OFFSET] = Int64GetDatum(from);
	values[LOCATE_LENGTH] = Int64GetDatum(to - from);
	values[LOCATE_DATA] = PointerGetDatum(bytes);
	tuplestore_putvalues(locating->result->setResult, locating->result->setDesc, values, nulls);
	pfree(bytes);
}

static void
add_place(Locating *locating, const DifsExtent *extent, int64 from, int64 to)
{
	const DifsStored *stored = &extent->stored;
	Datum values[LOCATE_COLUMNS] = {0};
	bool nulls[LOCATE_COLUMNS] = {false};

	if (locating->token.group != stored->group)
		difs_token_members(stored->group, &locating->members);
	if (locating->members.count == 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_CORRUPT),
				errmsg("block group " UINT64_FORMAT " of file \"%s\" does not exist", stored->group, locating->path));
	locating->token.group = stored->group;
	locating->token.segment = stored->segment;
	values[LOCATE_FILE_OFFSET] = Int64GetDatum(from);
	values[LOCATE_LENGTH] = Int64GetDatum(to - from);
	values[LOCATE_SEGMENT] = Int64GetDatum((int64) stored->segment);
	values[LOCATE_SEGMENT_OFFSET] = Int32GetDatum((int32) (extent->segment_offset + (from - extent->file_offset)));
	values[LOCATE_BLOCK_GROUP] = Int64GetDatum((int64) stored->group);
	values[LOCATE_EPOCH] = Int64GetDatum((int64) locating->members.epoch);
	values[LOCATE_STORED_LENGTH] = Int32GetDatum((int32) stored->stored_length);
	values[LOCATE_RAW_LENGTH] = Int32GetDatum((int32) stored->raw_length);
	values[LOCATE_CODEC] = Int32GetDatum(stored->codec);
	values[LOCATE_CRC] = Int64GetDatum(stored->crc);
	values[LOCATE_SERVERS] = difs_token_servers(locating->members.server, locating->members.count);
	values[LOCATE_TOKEN] = difs_token_make(&locating->token);
	nulls[LOCATE_DATA] = true;
	tuplestore_putvalues(locating->result->setResult, locating->result->setDesc, values, nulls);
}
