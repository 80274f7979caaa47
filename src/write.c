/*
 * write.c - changing a part of a file: difs_append(), difs_write(), difs_truncate().
 *
 * As in POSIX, append and write make a file that does not exist (O_CREAT), also
 * far behind its end, truncate does not; and zero bytes, or a size that is the
 * size already, change nothing of a file that exists.  Each other call makes a
 * version, also several of one transaction, as each put does.
 */
#include "postgres.h"

#include "fmgr.h"

#include "src/create.h"
#include "src/dentry.h"
#include "src/report.h"
#include "src/splice.h"
#include "src/table.h"

#define END_OF_FILE (-1)

static int32 write_bytes(const text *path, int64 at, const bytea *data, int32 if_version, bool parents);
static int32 truncate_to(const text *path, int64 size, int32 if_version);
static void check_end(const DifsWalk *walk, int64 at, int64 length);
static void check_not_negative(const char *argument, int64 value);

/* Returns the file's current version. */
static int32
write_bytes(const text *path, int64 at, const bytea *data, int32 if_version, bool parents)
{
	int64 length = VARSIZE_ANY_EXHDR(data);
	DifsWalk walk;
	DifsInode inode;
	DifsSplice splice;
	bool created;

	difs_file_open_for_write(path, parents, if_version, &walk, &inode, &created);
	if (length == 0 && !created)
		return inode.version;
	if (at == END_OF_FILE)
		at = inode.size;
	check_end(&walk, at, length);
	difs_names_again();
	difs_splice_begin(&splice, &walk, &inode, at, at + length);
	if (length > 0)
		difs_splice_put(&splice, at, VARDATA_ANY(data), length);
	return difs_splice_end(&splice);
}

static int32
truncate_to(const text *path, int64 size, int32 if_version)
{
	DifsWalk walk;
	DifsInode inode;
	DifsSplice splice;
	bool created;

	difs_path_find_file(path, &walk);
	difs_file_open_for_write(path, false, if_version, &walk, &inode, &created);
	if (created)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file \"%s\" does not exist", walk.path->text)));
	check_end(&walk, size, 0);
	if (size == inode.size)
		return inode.version;
	difs_names_again();
	difs_splice_begin(&splice, &walk, &inode, size, PG_INT64_MAX);
	difs_splice_resize(&splice, size);
	return difs_splice_end(&splice);
}

static void
check_end(const DifsWalk *walk, int64 at, int64 length)
{
	if (at > DIFS_MAX_FILE_SIZE - length)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("file \"%s\" would be too long", walk->path->text),
				 errdetail("A file has at most %lld bytes.", (long long) DIFS_MAX_FILE_SIZE)));
}

static void
check_not_negative(const char *argument, int64 value)
{
	if (value < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("%s must not be negative: %lld", argument, (long long) value)));
}

PG_FUNCTION_INFO_V1(difs_append);
PG_FUNCTION_INFO_V1(difs_write);
PG_FUNCTION_INFO_V1(difs_truncate);

/* difs_append(path text, data bytea, if_version int, parents bool) returns int */
Datum
difs_append(PG_FUNCTION_ARGS)
{
	int32 version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "data");
	DIFS_ARG_NOT_NULL(3, "parents");
	difs_write_begin("difs_append");
	version = write_bytes(PG_GETARG_TEXT_PP(0), END_OF_FILE, PG_GETARG_BYTEA_PP(1), difs_if_version_argument(fcinfo, 2),
						  PG_GETARG_BOOL(3));
	difs_write_end();
	PG_RETURN_INT32(version);
}

/* difs_write(path text, "offset" bigint, data bytea, if_version int, parents bool) returns int */
Datum
difs_write(PG_FUNCTION_ARGS)
{
	int32 version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "offset");
	DIFS_ARG_NOT_NULL(2, "data");
	DIFS_ARG_NOT_NULL(4, "parents");
	check_not_negative("offset", PG_GETARG_INT64(1));
	difs_write_begin("difs_write");
	version = write_bytes(PG_GETARG_TEXT_PP(0), PG_GETARG_INT64(1), PG_GETARG_BYTEA_PP(2),
						  difs_if_version_argument(fcinfo, 3), PG_GETARG_BOOL(4));
	difs_write_end();
	PG_RETURN_INT32(version);
}

/* difs_truncate(path text, size bigint, if_version int) returns int */
Datum
difs_truncate(PG_FUNCTION_ARGS)
{
	int32 version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "size");
	check_not_negative("size", PG_GETARG_INT64(1));
	difs_write_begin("difs_truncate");
	version = truncate_to(PG_GETARG_TEXT_PP(0), PG_GETARG_INT64(1), difs_if_version_argument(fcinfo, 2));
	difs_write_end();
	PG_RETURN_INT32(version);
}
