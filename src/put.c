/*
 * put.c - whole contents into files: difs_put() from a value, difs_import() from
 * a file of the server.
 *
 * Both make a new version that replaces the content, as the helpers of difs_insert()
 * do (put.h).  The rows of inode and version are written here; the manifest rows
 * follow when the segments are stored (pending.c).
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "src/compat.h"
#include "src/create.h"
#include "src/dentry.h"
#include "src/hook.h"
#include "src/put.h"
#include "src/report.h"
#include "src/table.h"
#include "src/version.h"

static int open_source(const char *file);
static uint32 read_piece(int fd, const char *file, char *room, uint32 size);

PG_FUNCTION_INFO_V1(difs_put);
PG_FUNCTION_INFO_V1(difs_import);

void
difs_write_open(const text *path, bool parents, int32 if_version, int32 number, DifsWrite *write)
{
	difs_file_open_for_write(path, parents, if_version, &write->walk, &write->inode, &write->created);
	if (number != DIFS_NEXT_VERSION)
		difs_names_again(); /* shows what there is now that the file is locked */
	difs_number_choose(&write->walk, &write->inode, number, &write->number);
	write->content = difs_content_begin(&write->walk.volume, write->inode.ino, write->number.content);
}

int32
difs_write_finish(DifsWrite *write)
{
	DifsVersion version = {0};

	difs_content_end(write->content, &version);
	difs_file_store(&write->walk.volume, &write->number, &write->inode, &version);
	difs_hook_before_put(&write->inode, version.version, version.size);
	return version.version;
}

static int
open_source(const char *file)
{
	struct stat status;
	int fd;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read file \"%s\" of the server", file),
				 errhint("Only roles with the privileges of pg_read_server_files may.")));
	if (!is_absolute_path(file))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("file name \"%s\" is not absolute", file)));
	fd = OpenTransientFile(file, O_RDONLY | PG_BINARY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" of the server: %m", file)));
	if (!S_ISREG(status.st_mode))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_WRONG_KIND),
				 errmsg("\"%s\" is not a regular file", file)));
	return fd;
}

/* Reads until size bytes are there or the file ends. */
static uint32
read_piece(int fd, const char *file, char *room, uint32 size)
{
	uint32 filled = 0;

	while (filled < size)
	{
		ssize_t got = read(fd, room + filled, size - filled);

		CHECK_FOR_INTERRUPTS();
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\" of the server: %m", file)));
		if (got == 0)
			break;
		filled += got;
	}
	return filled;
}

/* difs_put(path text, data bytea, if_version int, parents bool, version bigint) returns int */
Datum
difs_put(PG_FUNCTION_ARGS)
{
	DifsWrite write;
	bytea *data;
	int32 if_version;
	int32 number;
	int32 version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "data");
	DIFS_ARG_NOT_NULL(3, "parents");
	if_version = difs_if_version_argument(fcinfo, 2);
	number = difs_version_argument(fcinfo, 4);
	data = PG_GETARG_BYTEA_PP(1);

	difs_write_begin("difs_put");
	difs_write_open(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(3), if_version, number, &write);
	for (Size done = 0; done < VARSIZE_ANY_EXHDR(data); done += write.walk.volume.segment_size)
		difs_content_add(write.content, VARDATA_ANY(data) + done,
						 Min(VARSIZE_ANY_EXHDR(data) - done, write.walk.volume.segment_size));
	version = difs_write_finish(&write);
	difs_write_end();
	PG_RETURN_INT32(version);
}

/* difs_import(path text, file text, if_version int, parents bool) returns int */
Datum
difs_import(PG_FUNCTION_ARGS)
{
	DifsWrite write;
	char *file;
	int fd;
	uint32 size;
	uint32 filled;
	int32 if_version;
	int32 version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "file");
	DIFS_ARG_NOT_NULL(3, "parents");
	if_version = difs_if_version_argument(fcinfo, 2);
	file = text_to_cstring(PG_GETARG_TEXT_PP(1));

	difs_write_begin("difs_import");
	fd = open_source(file);
	difs_write_open(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(3), if_version, DIFS_NEXT_VERSION, &write);
	size = write.walk.volume.segment_size;
	do
	{
		filled = read_piece(fd, file, difs_content_room(write.content), size);
		difs_content_filled(write.content, filled);
	} while (filled == size);
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\" of the server: %m", file)));
	version = difs_write_finish(&write);
	difs_write_end();
	PG_RETURN_INT32(version);
}
