/*
 * export.c - difs_export(): a file of difs to a file of the server's machine.
 *
 * The bytes go to a new file beside the target, which takes the target's name, by
 * rename, once they are all there and synced.  So the target is the old file or
 * the whole new one at any moment.  After an error the new file is removed; if the
 * process dies half-way, it stays, and its name (target.difs.pid) says whose it was.
 * Files of the machine know nothing of transactions: a rollback leaves the export.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "src/fetch.h"
#include "src/get.h"
#include "src/report.h"
#include "src/table.h"
#include "src/wait.h"

#define BUFFER_BYTES (16 * 1024 * 1024)

static void check_target(const char *target);
static void export_version(const char *path, const DifsVersion *version, const char *target);
static int create_file(const char *name);
static void write_version(const char *path, const DifsVersion *version, int file, const char *name);
static int64 piece_bytes(const DifsVersion *version);
static void write_all(int file, const char *name, const char *bytes, int64 length);

static void
check_target(const char *target)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write files of the server"),
				 errhint("Roles with the privileges of pg_write_server_files may; "
						 "others read with difs_get() or difs_read().")));
	if (!is_absolute_path(target))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("a relative name is not allowed for an exported file: \"%s\"", target)));
}

static void
export_version(const char *path, const DifsVersion *version, const char *target)
{
	char *name = psprintf("%s.difs.%d", target, MyProcPid);
	int file = create_file(name);

	PG_TRY();
	{
		write_version(path, version, file, name);
		if (CloseTransientFile(file) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not close file \"%s\": %m", name)));
		durable_rename(name, target, ERROR);
	}
	PG_CATCH();
	{
		unlink(name);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* With the permissions that COPY gives its files. */
static int
create_file(const char *name)
{
	int file = OpenTransientFile(name, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY);

	if (file < 0 || fchmod(file, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", name)));
	return file;
}

static void
write_version(const char *path, const DifsVersion *version, int file, const char *name)
{
	int64 piece = piece_bytes(version);
	char *buffer = palloc(Max(Min(piece, version->size), 1));

	for (int64 at = 0; at < version->size; at += piece)
	{
		int64 length = Min(piece, version->size - at);

		difs_fetch_range(path, version, at, length, difs_cache_for(version->size), buffer);
		write_all(file, name, buffer, length);
	}
	pfree(buffer);
}

/* A multiple of the segments' size if possible, so that no segment is fetched twice. */
static int64
piece_bytes(const DifsVersion *version)
{
	if (version->extent <= 0 || version->extent > BUFFER_BYTES)
		return BUFFER_BYTES;
	return BUFFER_BYTES - BUFFER_BYTES % version->extent;
}

static void
write_all(int file, const char *name, const char *bytes, int64 length)
{
	while (length > 0)
	{
		ssize_t written;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		pgstat_report_wait_start(difs_wait_event(DIFS_WAIT_EXPORT));
		written = write(file, bytes, length);
		pgstat_report_wait_end();
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			errno = errno != 0 ? errno : ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write file \"%s\": %m", name)));
		}
		bytes += written;
		length -= written;
	}
}

PG_FUNCTION_INFO_V1(difs_export);

Datum
difs_export(PG_FUNCTION_ARGS)
{
	char *target;
	char *path;
	DifsVersion version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "file");
	target = text_to_cstring(PG_GETARG_TEXT_PP(1));
	check_target(target);

	difs_read_begin();
	difs_get_open(fcinfo, 0, 2, &path, &version);
	export_version(path, &version, target);
	difs_read_end();
	PG_RETURN_INT64(version.size);
}
