/*
 * compact.c - the duty that puts together files that were written in many small parts.
 *
 * Each append or overwrite adds rows to the manifest and small segments.  Who
 * does so notes the file in difs.fragmented if its rows are, on average, less than
 * a quarter of a segment (src/splice.c).  In those of them that nobody is writing,
 * neighbouring rows are read and stored again as one segment for as many as fit
 * into one, at most PART_BYTES in a transaction.
 *
 *	rows before   |--|-|---|--|     |-|-|-|
 *	rows after    |-----------|     |-----|
 *
 * The version stays what it is; only its rows are others.  What was replaced may
 * still be needed: by versions before it, for which the row goes on to hold, up
 * to this one; and by snapshots, standbys and restores to a time before, which
 * see the version as it was.  So each replaced row is written once more, under a
 * number of its own that is doomed: it keeps the segment as long as anything that
 * is let go of is kept.  And the file's unused rows are doomed (src/doom.h), so that
 * the keeper takes away those that no version of it has any more.
 *
 * The inode's row is locked and touched, so a writer waits, or in REPEATABLE READ fails
 * with 40001, as after any other change.  If this process dies, what it has sent is orphans.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "src/content.h"
#include "src/doom.h"
#include "src/fetch.h"
#include "src/table.h"
#include "src/version.h"
#include "worker/compact.h"
#include "worker/duties.h"

#define MAX_FILES 10000 /* of a round */
#define PART_ROWS 8192
#define PART_BYTES (16 * 1024 * 1024) /* or one segment */

/* A transaction's worth of one file. */
typedef struct Part
{
	DifsVersion version;
	DifsVolume volume;
	int32 last_version; /* highest number ever given, if that is another */
	int64 remains;		/* number under which the replaced rows go on; 0: there are none yet */
	bool closed;		/* some go on for older versions, too */
	int64 rows;			/* replaced */
	int64 runs;			/* each by one */
	int64 bytes;
} Part;

static int64 results[DIFS_COMPACT_RESULTS];

static int64 *find_files(int *count);
static bool compact_file(int64 ino);
static bool lock_file(int64 ino, Part *part);
static bool is_its_own(const Part *part);
static int64 compact_part(Part *part, int64 at);
static int run_length(const DifsExtent *rows, int count, int32 max);
static void replace_run(Part *part, const DifsExtent *rows, int count);
static void replace_row(Part *part, const DifsExtent *row);
static void finish_part(Part *part, bool last);
static void execute(const char *statement, int count, Datum *values);

void
difs_compact_round(void)
{
	int count;
	int64 *files;

	/* what cannot be stored shall stay as it is */
	SetConfigOption("difs.staging", "never", PGC_SUSET, PGC_S_OVERRIDE);
	files = find_files(&count);
	for (int i = 0; i < count; i++)
	{
		difs_duty_progress(i, count);
		if (!compact_file(files[i]))
			return;
	}
	if (results[DIFS_COMPACT_FILES] > 0)
		ereport(LOG,
				(errmsg("difs: " INT64_FORMAT " files put together: " INT64_FORMAT " rows of the manifest, " INT64_FORMAT " bytes",
						results[DIFS_COMPACT_FILES], results[DIFS_COMPACT_ROWS], results[DIFS_COMPACT_BYTES])));
}

/* None if the extension is gone. */
static int64 *
find_files(int *count)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(MAX_FILES)};
	MemoryContext caller = CurrentMemoryContext;
	int64 *files;

	*count = 0;
	if (!difs_duty_begin())
		return NULL;
	SPI_execute("DELETE FROM difs.fragmented WHERE NOT EXISTS (SELECT FROM difs.inode WHERE inode.ino = fragmented.ino)", false, 0);
	if (SPI_execute_with_args("SELECT ino FROM difs.fragmented LIMIT $1", 1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.fragmented");
	*count = (int) SPI_processed;
	files = MemoryContextAlloc(caller, sizeof(int64) * (*count + 1));
	for (int i = 0; i < *count; i++)
	{
		bool null;

		files[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	}
	difs_duty_commit();
	return files;
}

/* False if the extension is gone. */
static bool
compact_file(int64 ino)
{
	int64 rows = 0;

	for (int64 at = 0; at >= 0;)
	{
		Part part = {0};

		if (!difs_duty_begin())
			return false;
		/* rows are moved: not while collection looks for those that name a segment */
		SPI_execute("LOCK TABLE difs.fragmented IN SHARE UPDATE EXCLUSIVE MODE", false, 0);
		difs_write_begin(NULL);
		if (lock_file(ino, &part))
		{
			at = is_its_own(&part) ? compact_part(&part, at) : -1;
			finish_part(&part, at == -1);
		}
		else
			at = -1;
		difs_write_end();
		difs_duty_commit();
		rows += part.rows;
		results[DIFS_COMPACT_BYTES] += part.bytes;
	}
	results[DIFS_COMPACT_ROWS] += rows;
	results[DIFS_COMPACT_FILES] += rows > 0;
	for (int i = 0; i < DIFS_COMPACT_RESULTS; i++)
		difs_duty_result(i, results[i]);
	return true;
}

/* False if somebody is writing it, or it is gone. */
static bool
lock_file(int64 ino, Part *part)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(ino)};
	bool null;
	int32 number;
	int32 volume;

	if (SPI_execute_with_args("SELECT version, volume, coalesce(last_version, 0) FROM difs.inode WHERE ino = $1 AND kind = 'f' FOR NO KEY UPDATE SKIP LOCKED",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not lock a row of difs.inode");
	if (SPI_processed == 0)
		return false;
	number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	volume = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	part->last_version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null));
	SPI_freetuptable(SPI_tuptable);
	/* what was committed before the lock */
	difs_write_end();
	difs_write_begin(NULL);
	return difs_version_find(ino, number, &part->version) && difs_volume_find_id(volume, &part->volume);
}

/* Rows of another file or version are left to that; and after versions that were deleted, rows for this one would count for those, too. */
static bool
is_its_own(const Part *part)
{
	const DifsVersion *version = &part->version;

	return version->map_ino == version->ino && version->map_version == version->version && !version->deleted &&
		part->last_version <= version->version;
}

/* Works from an offset on; returns where the next part begins, or -1 at the end. */
static int64
compact_part(Part *part, int64 at)
{
	const DifsVersion *version = &part->version;
	int32 max = Min(part->volume.segment_size, version->extent);
	int count;
	DifsExtent *rows = difs_manifest_range(version, at, version->size - at, PART_ROWS, &count);
	int done = 0;

	while (done < count && part->bytes < PART_BYTES)
	{
		int run = run_length(rows + done, count - done, max);

		/* a run that the end of the batch may have cut is left for the next part */
		if (count == PART_ROWS && done + run == count && done > 0)
			break;
		if (run > 1)
			replace_run(part, rows + done, run);
		done += run;
	}
	return done == 0 || (done == count && count < PART_ROWS) ? -1 : rows[done - 1].file_offset + rows[done - 1].length;
}

/* How many of the first rows lie side by side and fit into one segment together: 1 at least. */
static int
run_length(const DifsExtent *rows, int count, int32 max)
{
	int64 bytes = rows[0].length;
	int run = 1;

	while (run < count && rows[run].file_offset == rows[0].file_offset + bytes && bytes + rows[run].length <= max)
		bytes += rows[run++].length;
	return run;
}

static void
replace_run(Part *part, const DifsExtent *rows, int count)
{
	DifsVolume volume = part->volume;
	int64 begin = rows[0].file_offset;
	int64 length = rows[count - 1].file_offset + rows[count - 1].length - begin;
	char *bytes = MemoryContextAllocHuge(CurrentMemoryContext, length);
	DifsContent *content;

	difs_fetch_range(psprintf("inode " INT64_FORMAT, part->version.ino), &part->version, begin, length, DIFS_CACHING_LOOK, bytes);
	for (int i = 0; i < count; i++)
		replace_row(part, &rows[i]);

	volume.inline_limit = 0;
	volume.digest = DIFS_DIGEST_NONE;
	content = difs_content_begin(&volume, part->version.ino, part->version.version);
	difs_content_at(content, begin);
	difs_content_add(content, bytes, (uint32) length);
	pfree(bytes);
	part->rows += count;
	part->runs++;
	part->bytes += length;
}

static void
replace_row(Part *part, const DifsExtent *row)
{
	const DifsVersion *version = &part->version;

	if (part->remains == 0)
		part->remains = difs_sequence_next(DIFS_REL_SEQ_INO);
	difs_manifest_insert(part->remains, row->from_version, row);
	if (row->from_version < version->version)
	{
		difs_manifest_close(version->ino, row, version->version);
		part->closed = true;
	}
	else
		difs_manifest_delete(version->ino, row);
}

static void
finish_part(Part *part, bool last)
{
	const DifsVersion *version = &part->version;
	Datum values[] = {
		Int64GetDatum(version->ino),
		Int32GetDatum(version->version),
		Int32GetDatum((int32) (part->rows - part->runs)),
	};

	if (last)
		SPI_execute_with_args("DELETE FROM difs.fragmented WHERE ino = $1", 1, &(Oid){INT8OID}, values, NULL, false, 0);
	if (part->rows == 0)
		return;
	execute("UPDATE difs.version SET segments = segments - $3 WHERE ino = $1 AND version = $2", 3, values);
	execute("UPDATE difs.inode SET ctime = ctime WHERE ino = $1", 1, values);
	difs_doom_inode(part->remains);
	if (part->closed)
		difs_doom_version(version->ino, DIFS_DOOM_UNUSED_ROWS);
}

static void
execute(const char *statement, int count, Datum *values)
{
	Oid types[] = {INT8OID, INT4OID, INT4OID};

	if (SPI_execute_with_args(statement, count, types, values, NULL, false, 0) != SPI_OK_UPDATE || SPI_processed != 1)
		elog(ERROR, "could not execute \"%s\"", statement);
}

PG_FUNCTION_INFO_V1(difs_compact);

Datum
difs_compact(PG_FUNCTION_ARGS)
{
	DifsDutyState state;

	PreventCommandIfReadOnly("difs_compact()");
	difs_duty_run(DIFS_DUTY_COMPACT, &state);
	PG_RETURN_INT64(state.result[DIFS_COMPACT_FILES]);
}
