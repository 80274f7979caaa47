/*
 * get.c - reading files: difs_get() in one piece, difs_read() piece by piece.
 *
 * difs_read() keeps the snapshot of its first call, registered with the resource
 * owner of the query (or cursor) that calls it, and reads every piece under it: the
 * whole file is read as it was at the beginning, whatever is committed meanwhile.
 * The snapshot is let go after the last piece, or by a callback when the query ends
 * early; after an error, the resource owner does that.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "src/atime.h"
#include "src/fetch.h"
#include "src/get.h"
#include "src/marker.h"
#include "src/path.h"
#include "src/pending.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/slow.h"
#include "src/table.h"
#include "src/value.h"

#define MIN_PIECE 4096
#define MAX_PIECE (64 * 1024 * 1024)

/* A call of difs_read() on its way through a file. */
typedef struct Reading
{
	char *path;
	DifsVersion version;
	int64 at;
	int64 end;
	int32 piece_size;
	DifsCaching caching;
	MemoryContext piece_context;
	Snapshot snapshot;
	ResourceOwner owner;
	ExprContext *expression;
} Reading;

static void open_version(DifsWalk *walk, int32 number, char **path, DifsVersion *version);
static void clip_range(FunctionCallInfo fcinfo, int64 size, int64 *offset, int64 *length);
static bytea *fetch_bytes(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching);
static Reading *begin_reading(FunctionCallInfo fcinfo);
static void end_reading(Reading *reading);
static void query_ends(Datum reading);
static Datum next_piece(Reading *reading, TupleDesc desc);

void
difs_get_open(FunctionCallInfo fcinfo, int path_argument, int version_argument, char **path, DifsVersion *version)
{
	text *path_text = PG_GETARG_TEXT_PP(path_argument);

	if (PG_ARGISNULL(version_argument))
		difs_get_current(path_text, path, version);
	else
		difs_get_numbered(path_text, PG_GETARG_INT32(version_argument), path, version);
}

void
difs_get_current(text *path_text, char **path, DifsVersion *version)
{
	DifsWalk walk;

	difs_path_find_file(path_text, &walk);
	open_version(&walk, walk.inode.version, path, version);
}

void
difs_get_numbered(text *path_text, int32 number, char **path, DifsVersion *version)
{
	DifsWalk walk;

	difs_marker_path_find(path_text, &walk);
	open_version(&walk, number, path, version);
}

static void
open_version(DifsWalk *walk, int32 number, char **path, DifsVersion *version)
{
	bool found;

	difs_perm_require(&walk->inode, DIFS_MAY_READ, walk->path->text);
	found = number == walk->inode.version ? difs_version_of_inode(&walk->inode, version) : difs_version_find(walk->inode.ino, number, version);
	if (!found || version->deleted)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("version %d of file \"%s\" does not exist", number, walk->path->text),
				 errhint("difs_versions() lists the versions of a file.")));
	difs_pending_settle(version->map_ino);
	difs_atime_note(&walk->inode);
	*path = pstrdup(walk->path->text);
}

/* Arguments 2 and 3 are offset and length (null: to the end); what lies behind the end of the file is cut off. */
static void
clip_range(FunctionCallInfo fcinfo, int64 size, int64 *offset, int64 *length)
{
	*offset = PG_GETARG_INT64(2);
	*length = PG_ARGISNULL(3) ? size : PG_GETARG_INT64(3);
	if (*offset < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("offset must not be negative: %lld", (long long) *offset)));
	if (*length < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("length must not be negative: %lld", (long long) *length)));
	*offset = Min(*offset, size);
	*length = Min(*length, size - *offset);
}

bytea *
difs_get_room(const char *path, int64 length)
{
	bytea *bytes;

	if (length > (int64) (MaxAllocSize - VARHDRSZ))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%lld bytes of file \"%s\" do not fit into one value", (long long) length, path),
				 errhint("Use difs_read() or difs_export(), or ask for a shorter range with \"offset\" and length.")));
	bytes = palloc(VARHDRSZ + length);
	SET_VARSIZE(bytes, VARHDRSZ + length);
	return bytes;
}

static bytea *
fetch_bytes(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching)
{
	bytea *bytes = difs_get_room(path, length);

	if (length > 0)
		difs_fetch_range(path, version, offset, length, caching, VARDATA(bytes));
	return bytes;
}

/* The first call of difs_read(); the current memory context is the one that lasts until the last. */
static Reading *
begin_reading(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Reading *reading = palloc0(sizeof(Reading));
	int64 length;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(2, "offset");
	DIFS_ARG_NOT_NULL(4, "piece_size");
	reading->piece_size = PG_GETARG_INT32(4);
	if (reading->piece_size < MIN_PIECE || reading->piece_size > MAX_PIECE)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("piece_size must be between %d and %d: %d", MIN_PIECE, MAX_PIECE, reading->piece_size)));

	difs_read_begin();
	difs_get_open(fcinfo, 0, 1, &reading->path, &reading->version);
	clip_range(fcinfo, reading->version.size, &reading->at, &length);
	reading->end = reading->at + length;
	reading->caching = difs_cache_for(length);
	reading->piece_context = AllocSetContextCreate(CurrentMemoryContext, "difs_read piece", ALLOCSET_DEFAULT_SIZES);
	reading->owner = CurrentResourceOwner;
	reading->snapshot = RegisterSnapshotOnOwner(GetActiveSnapshot(), reading->owner);
	reading->expression = result->econtext;
	RegisterExprContextCallback(reading->expression, query_ends, PointerGetDatum(reading));
	difs_read_end();
	return reading;
}

static void
end_reading(Reading *reading)
{
	UnregisterExprContextCallback(reading->expression, query_ends, PointerGetDatum(reading));
	UnregisterSnapshotFromOwner(reading->snapshot, reading->owner);
}

/* The query or cursor ends before the file does. */
static void
query_ends(Datum datum)
{
	Reading *reading = (Reading *) DatumGetPointer(datum);

	UnregisterSnapshotFromOwner(reading->snapshot, reading->owner);
}

/* The row ("offset", data) that begins at reading->at. */
static Datum
next_piece(Reading *reading, TupleDesc desc)
{
	int64 length = Min(reading->piece_size, reading->end - reading->at);
	MemoryContext caller = MemoryContextSwitchTo(reading->piece_context);
	Datum values[2];
	bool nulls[2] = {false, false};
	DifsSlowMark mark;
	HeapTuple tuple;

	difs_slow_mark(&mark);
	PushActiveSnapshot(reading->snapshot);
	values[0] = Int64GetDatum(reading->at);
	values[1] = PointerGetDatum(fetch_bytes(reading->path, &reading->version, reading->at, length, reading->caching));
	PopActiveSnapshot();
	difs_slow_report(&mark, "read of a piece", reading->path);
	reading->at += length;

	MemoryContextSwitchTo(caller);
	tuple = heap_form_tuple(desc, values, nulls);
	MemoryContextReset(reading->piece_context);
	return HeapTupleGetDatum(tuple);
}

PG_FUNCTION_INFO_V1(difs_get);
PG_FUNCTION_INFO_V1(difs_read);

Datum
difs_get(PG_FUNCTION_ARGS)
{
	char *path;
	DifsVersion version;
	int64 offset;
	int64 length;
	Datum value;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(2, "offset");

	difs_read_begin();
	difs_get_open(fcinfo, 0, 1, &path, &version);
	clip_range(fcinfo, version.size, &offset, &length);
	value = difs_value_get(path, &version, offset, length, difs_cache_for(length));
	difs_read_end();
	PG_RETURN_DATUM(value);
}

Datum
difs_read(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Reading *reading;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext caller;

		call = SRF_FIRSTCALL_INIT();
		caller = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &call->tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "difs_read must return rows");
		call->tuple_desc = BlessTupleDesc(call->tuple_desc);
		call->user_fctx = begin_reading(fcinfo);
		MemoryContextSwitchTo(caller);
	}

	call = SRF_PERCALL_SETUP();
	reading = call->user_fctx;
	if (reading->at < reading->end)
		SRF_RETURN_NEXT(call, next_piece(reading, call->tuple_desc));
	end_reading(reading);
	SRF_RETURN_DONE(call);
}
