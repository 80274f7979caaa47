/*
 * scrub_path.c - difs_scrub(path), difs_scrub_all() and the scrub's state.
 *
 * No state.  difs_scrub() does what the scrub's duty does, in the backend and for
 * the segments of some files: one segment after the other, each of its copies read on its server's
 * disk, and a bad one mended from a good one.  Interruptible at each request.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/duty.h"
#include "src/marker.h"
#include "src/path.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/staging.h"
#include "src/table.h"
#include "worker/mend.h"

#define FETCH_ROWS 1000

/* Columns of the query, and of difs_scrub() up to outcome. */
enum
{
	ROW_PATH = 1,
	ROW_VERSION,
	ROW_SEGMENT,
	ROW_GROUP,
	ROW_STORED_LENGTH,
	ROW_CRC,
	ROW_MEMBERS,
	ROW_NAMES,
};

#define SCRUB_COLUMNS 5

/* A segment that several versions or files share is looked at once, for the first of them. Deleted files with a history (marker.h) count. */
static const char *const query =
	"WITH RECURSIVE tree (ino, path) AS ("
	" SELECT $1::bigint, $2::text COLLATE \"C\""
	" UNION ALL"
	" SELECT dentry.ino, rtrim(tree.path, '/') || '/' || split_part(dentry.name, '/', 1)"
	" FROM tree" DIFS_JOIN_ENTRIES("tree") " WHERE $3) "
										   "SELECT found.path, found.version, found.segment, found.block_group, found.stored_length, found.crc, g.members,"
										   " ARRAY(SELECT coalesce(server.name, member.id::text) FROM unnest(g.members) WITH ORDINALITY AS member (id, place)"
										   "  LEFT JOIN difs.server ON server.id = member.id ORDER BY member.place) "
										   "FROM (SELECT DISTINCT ON (m.segment) tree.path, v.version, m.segment, m.block_group, m.stored_length, m.crc"
										   " FROM tree JOIN difs.version v ON v.ino = tree.ino AND v.version > 0 JOIN difs.manifest m ON m.ino = coalesce(v.map_ino, v.ino)"
										   "  AND m.from_version BETWEEN v.base AND coalesce(v.map_version, v.version)"
										   "  AND (m.to_version IS NULL OR m.to_version > coalesce(v.map_version, v.version))"
										   " ORDER BY m.segment, tree.path COLLATE \"C\", v.version) AS found "
										   "LEFT JOIN difs.block_group g ON g.id = found.block_group "
										   "ORDER BY found.path COLLATE \"C\", found.version, found.segment";

static void scrub_rows(ReturnSetInfo *result, const DifsWalk *walk, const char *path, bool recursive);
static void scrub_row(ReturnSetInfo *result, HeapTuple row, TupleDesc desc);
static void scrub_staged(ReturnSetInfo *result, HeapTuple row, TupleDesc desc, const DifsMend *mend);
static void set_members(DifsMend *mend, HeapTuple row, TupleDesc desc, Datum **names);

static void
scrub_rows(ReturnSetInfo *result, const DifsWalk *walk, const char *path, bool recursive)
{
	Oid types[] = {INT8OID, TEXTOID, BOOLOID};
	Datum values[] = {Int64GetDatum(walk->inode.ino), CStringGetTextDatum(path), BoolGetDatum(recursive)};
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "difs_scrub row", ALLOCSET_DEFAULT_SIZES);
	Portal portal;

	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, query, lengthof(types), types, values, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext caller = MemoryContextSwitchTo(row_context);

			scrub_row(result, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(row_context);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

/* One row of the result for each copy. */
static void
scrub_row(ReturnSetInfo *result, HeapTuple row, TupleDesc desc)
{
	DifsMend mend = {.expected = true};
	Datum *names;
	bool null;

	mend.segment = (uint64) DatumGetInt64(SPI_getbinval(row, desc, ROW_SEGMENT, &null));
	mend.group = (uint64) DatumGetInt64(SPI_getbinval(row, desc, ROW_GROUP, &null));
	mend.stored_length = (uint32) DatumGetInt32(SPI_getbinval(row, desc, ROW_STORED_LENGTH, &null));
	mend.crc = (uint32) DatumGetInt32(SPI_getbinval(row, desc, ROW_CRC, &null));
	if (mend.group == 0)
		return scrub_staged(result, row, desc, &mend);
	set_members(&mend, row, desc, &names);
	for (int i = 0; i < mend.count; i++)
		mend.copy[i] = difs_mend_look(mend.server[i], mend.group, mend.segment, &mend.error);
	difs_mend_segment(&mend);
	for (int i = 0; i < Max(mend.count, 1); i++)
	{
		Datum values[SCRUB_COLUMNS];
		bool nulls[SCRUB_COLUMNS] = {false};

		values[0] = SPI_getbinval(row, desc, ROW_PATH, &null);
		values[1] = SPI_getbinval(row, desc, ROW_VERSION, &null);
		values[2] = SPI_getbinval(row, desc, ROW_SEGMENT, &null);
		nulls[3] = mend.count == 0;
		values[3] = mend.count == 0 ? (Datum) 0 : names[i];
		values[4] = CStringGetTextDatum(difs_mend_is_lost(&mend) ? "lost" : difs_copy_state_name(mend.copy[i]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* What is staged has one copy, in difs.staging; no server is named for it. */
static void
scrub_staged(ReturnSetInfo *result, HeapTuple row, TupleDesc desc, const DifsMend *mend)
{
	DifsStaged *staged = difs_staging_find(mend->segment);
	DifsSegment header;
	DifsError error;
	bool good;
	bool null;
	Datum values[SCRUB_COLUMNS] = {
		SPI_getbinval(row, desc, ROW_PATH, &null),
		SPI_getbinval(row, desc, ROW_VERSION, &null),
		SPI_getbinval(row, desc, ROW_SEGMENT, &null),
	};
	bool nulls[SCRUB_COLUMNS] = {[3] = true};

	good = staged != NULL && difs_staging_verified(staged, &header, &error) != NULL &&
		header.stored_length == mend->stored_length && header.crc == mend->crc;
	values[4] = CStringGetTextDatum(good ? difs_copy_state_name(DIFS_COPY_GOOD) : "lost");
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* None if there is no such group. */
static void
set_members(DifsMend *mend, HeapTuple row, TupleDesc desc, Datum **names)
{
	bool null;
	Datum members = SPI_getbinval(row, desc, ROW_MEMBERS, &null);
	Datum *ids;
	bool *id_nulls;
	int name_count;

	*names = NULL;
	if (null)
		return;
	deconstruct_array(DatumGetArrayTypeP(members), INT4OID, sizeof(int32), true, TYPALIGN_INT, &ids, &id_nulls,
					  &mend->count);
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, ROW_NAMES, &null)), TEXTOID, -1, false, TYPALIGN_INT,
					  names, NULL, &name_count);
	mend->count = Min(Min(mend->count, name_count), DIFS_MAX_REPLICAS);
	for (int i = 0; i < mend->count; i++)
		mend->server[i] = id_nulls[i] ? 0 : DatumGetInt32(ids[i]);
}

PG_FUNCTION_INFO_V1(difs_scrub);
PG_FUNCTION_INFO_V1(difs_scrub_all);
PG_FUNCTION_INFO_V1(difs_scrub_state);

Datum
difs_scrub(PG_FUNCTION_ARGS)
{
	DifsWalk walk;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "recursive");
	InitMaterializedSRF(fcinfo, 0);
	difs_write_begin("difs_scrub");
	difs_path_find(PG_GETARG_TEXT_PP(0), &walk); /* with the rights of the function's owner: who may execute it may scrub all */
	scrub_rows((ReturnSetInfo *) fcinfo->resultinfo, &walk, text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	difs_write_end();
	return (Datum) 0;
}

Datum
difs_scrub_all(PG_FUNCTION_ARGS)
{
	DifsDutyState state;
	Datum values[DIFS_SCRUB_RESULTS];
	bool nulls[DIFS_SCRUB_RESULTS] = {false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "difs_scrub_all must return a row");
	difs_duty_run(DIFS_DUTY_SCRUB, &state);
	for (int i = 0; i < DIFS_SCRUB_RESULTS; i++)
		values[i] = Int64GetDatum(state.result[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Nulls where no keeper runs. */
Datum
difs_scrub_state(PG_FUNCTION_ARGS)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	DifsDutyState state = {.proc = -1};
	Interval *within = palloc0(sizeof(Interval));
	Datum values[8];
	bool nulls[8] = {false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "difs.scrub_state must return a row");
	if (database != NULL)
	{
		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		state = database->duties[DIFS_DUTY_SCRUB];
		LWLockRelease(&difs_shared->lock);
	}
	within->time = (TimeOffset) difs_scrub_interval * USECS_PER_SEC;
	values[0] = BoolGetDatum(state.proc != -1);
	values[1] = TimestampTzGetDatum(state.started);
	values[2] = TimestampTzGetDatum(state.ended);
	values[3] = Int64GetDatum(state.done);
	values[4] = Int64GetDatum(state.total);
	values[5] = CStringGetTextDatum(state.problem);
	values[6] = Int64GetDatum((int64) difs_scrub_rate * 1024);
	values[7] = IntervalPGetDatum(within);
	nulls[0] = database == NULL;
	nulls[1] = state.started == 0;
	nulls[2] = state.ended == 0;
	nulls[3] = nulls[4] = state.round == 0;
	nulls[5] = state.problem[0] == '\0';
	nulls[6] = difs_scrub_rate == 0;
	nulls[7] = difs_scrub_interval == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
