/*
 * stat.c - asking what is at a path.
 *
 * difs_stat() and difs_exists() are hot: no SPI, and the row type of difs_stat()
 * is made once for each process, since PostgreSQL would look it up in its
 * catalogs for each call.
 *
 * A directory's mtime and ctime tell when it was made: its row does not change
 * when entries come and go, because unrelated creations would meet there.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "src/dentry.h"
#include "src/marker.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/stat.h"
#include "src/table.h"

/* Columns of difs.file_status, as the SQL script declares them. */
enum StatColumn
{
	STAT_INO,
	STAT_KIND,
	STAT_SIZE,
	STAT_VERSION,
	STAT_MODE,
	STAT_OWNER,
	STAT_NLINK,
	STAT_ATIME,
	STAT_MTIME,
	STAT_CTIME,
	STAT_BTIME,
	STAT_VOLUME,
	STAT_COLUMNS,
};

static TupleDesc stat_row_type(FunctionCallInfo fcinfo);
static HeapTuple stat_row(FunctionCallInfo fcinfo, const DifsWalk *walk);
static void list_versions(const text *path, ReturnSetInfo *result);

const char *
difs_kind_name(DifsKind kind)
{
	switch (kind)
	{
		case DIFS_KIND_FILE:
			return "file";
		case DIFS_KIND_DIRECTORY:
			return "directory";
		case DIFS_KIND_SYMLINK:
			return "symlink";
	}
	elog(ERROR, "unknown kind of inode: %d", (int) kind);
}

void
difs_stat_version(const DifsWalk *file, int32 number, DifsVersion *version)
{
	if (!difs_version_find(file->inode.ino, number, version))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file \"%s\" has no version %d", file->path->text, number),
				 errhint("difs_versions() lists those that there are.")));
}

/* Of type difs.file_status, which is another one after the extension has been created anew. */
static TupleDesc
stat_row_type(FunctionCallInfo fcinfo)
{
	static TupleDesc kept = NULL;
	Oid type = get_fn_expr_rettype(fcinfo->flinfo);
	MemoryContext old;

	if (!OidIsValid(type))
		type = get_func_rettype(fcinfo->flinfo->fn_oid);
	if (kept != NULL && kept->tdtypeid == type)
		return kept;

	old = MemoryContextSwitchTo(TopMemoryContext);
	if (kept != NULL)
		FreeTupleDesc(kept);
	kept = NULL;
	kept = lookup_rowtype_tupdesc_copy(type, -1);
	MemoryContextSwitchTo(old);
	if (kept->natts != STAT_COLUMNS)
		elog(ERROR, "difs.file_status has %d columns, not %d", kept->natts, STAT_COLUMNS);
	return kept;
}

static HeapTuple
stat_row(FunctionCallInfo fcinfo, const DifsWalk *walk)
{
	const DifsInode *inode = &walk->inode;
	Datum values[STAT_COLUMNS];
	bool nulls[STAT_COLUMNS] = {0};

	values[STAT_INO] = Int64GetDatum(inode->ino);
	values[STAT_KIND] = CStringGetTextDatum(difs_kind_name(inode->kind));
	values[STAT_SIZE] = Int64GetDatum(inode->size);
	values[STAT_VERSION] = Int32GetDatum(inode->version);
	nulls[STAT_VERSION] = inode->kind != DIFS_KIND_FILE;
	values[STAT_MODE] = Int32GetDatum(inode->mode);
	values[STAT_OWNER] = ObjectIdGetDatum(inode->owner);
	values[STAT_NLINK] = Int32GetDatum(inode->nlink);
	values[STAT_ATIME] = TimestampTzGetDatum(inode->atime);
	values[STAT_MTIME] = TimestampTzGetDatum(inode->mtime);
	values[STAT_CTIME] = TimestampTzGetDatum(inode->ctime);
	values[STAT_BTIME] = TimestampTzGetDatum(inode->btime);
	values[STAT_VOLUME] = CStringGetTextDatum(walk->volume.name);
	return heap_form_tuple(stat_row_type(fcinfo), values, nulls);
}

/* Newest first. */
static void
list_versions(const text *path, ReturnSetInfo *result)
{
	DifsWalk walk;
	ScanKeyData keys[2];
	DifsScan *scan;
	HeapTuple row;

	difs_marker_path_find(path, &walk);
	difs_perm_require(&walk.inode, DIFS_MAY_READ, walk.path->text);
	DIFS_KEY(&keys[0], DIFS_VERSION_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(walk.inode.ino));
	DIFS_KEY(&keys[1], DIFS_VERSION_VERSION, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(0));
	scan = difs_scan_begin(DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, 2, keys);
	while ((row = difs_scan_next(scan, true)) != NULL)
	{
		DifsVersion version;
		Datum values[7];
		bool nulls[7] = {0};
		bytea *digest;

		difs_version_decode(row, difs_scan_desc(scan), &version);
		digest = palloc(VARHDRSZ + version.digest_length);
		SET_VARSIZE(digest, VARHDRSZ + version.digest_length);
		memcpy(VARDATA(digest), version.digest, version.digest_length);

		values[0] = Int32GetDatum(version.version);
		values[1] = Int64GetDatum(version.size);
		values[2] = TimestampTzGetDatum(version.mtime);
		values[3] = PointerGetDatum(digest);
		nulls[3] = version.digest_length == 0;
		values[4] = BoolGetDatum(version.deleted);
		values[5] = Int32GetDatum(version.segments);
		values[6] = ObjectIdGetDatum(version.author);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		pfree(digest);
	}
	difs_scan_end(scan);
}

PG_FUNCTION_INFO_V1(difs_stat);
PG_FUNCTION_INFO_V1(difs_exists);
PG_FUNCTION_INFO_V1(difs_versions);

Datum
difs_stat(PG_FUNCTION_ARGS)
{
	DifsWalk walk;
	HeapTuple row;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(2, "follow");

	difs_read_begin();
	if (PG_GETARG_BOOL(2) && !PG_ARGISNULL(1))
		difs_marker_path_find(PG_GETARG_TEXT_PP(0), &walk);
	else if (PG_GETARG_BOOL(2))
		difs_path_find(PG_GETARG_TEXT_PP(0), &walk);
	else
		difs_path_find_entry(PG_GETARG_TEXT_PP(0), &walk);
	if (!PG_ARGISNULL(1))
	{
		DifsVersion version;

		difs_path_expect_file(&walk);
		difs_stat_version(&walk, PG_GETARG_INT32(1), &version);
		walk.inode.version = version.version;
		walk.inode.size = version.size;
		walk.inode.mtime = version.mtime;
	}
	row = stat_row(fcinfo, &walk);
	difs_read_end();
	PG_RETURN_DATUM(HeapTupleGetDatum(row));
}

Datum
difs_exists(PG_FUNCTION_ARGS)
{
	DifsWalk walk;
	bool found;

	DIFS_ARG_NOT_NULL(0, "path");

	difs_read_begin();
	found = difs_path_look(PG_GETARG_TEXT_PP(0), &walk);
	difs_read_end();
	PG_RETURN_BOOL(found);
}

Datum
difs_versions(PG_FUNCTION_ARGS)
{
	DIFS_ARG_NOT_NULL(0, "path");

	InitMaterializedSRF(fcinfo, 0);
	difs_read_begin();
	list_versions(PG_GETARG_TEXT_PP(0), (ReturnSetInfo *) fcinfo->resultinfo);
	difs_read_end();
	return (Datum) 0;
}
