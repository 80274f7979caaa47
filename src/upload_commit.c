/*
 * upload_commit.c - difs_upload_commit(): an upload becomes a version of its file.
 *
 * From here on it is a put: the file is opened, locked and checked by the same
 * code, so two that commit to one name, or one and a difs_put(), take turns as two
 * puts do.  The rows of the upload go in the same transaction as those of the
 * manifest come, so at every moment a snapshot that could see neither could see no
 * version either.  Crash points: before the commit record all of it is as if it had
 * never been called, and a resumable upload can be committed again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/fault.h"
#include "src/attrs.h"
#include "src/create.h"
#include "src/hook.h"
#include "src/path.h"
#include "src/report.h"
#include "src/table.h"
#include "src/upload.h"

static void settle_size(FunctionCallInfo fcinfo, const DifsUpload *upload, int64 *size);
static void insert_rows(const DifsUpload *upload, int64 size, DifsVersion *version);
static void check_segment(const DifsUpload *upload, int64 number, const DifsStored *stored, const DifsVersion *version,
						  int64 size);
pg_noreturn static void report_incomplete(const DifsUpload *upload, int64 number);

PG_FUNCTION_INFO_V1(difs_upload_commit);

/* difs_upload_commit(upload bigint, receipts bytea[], size bigint) returns int */
Datum
difs_upload_commit(PG_FUNCTION_ARGS)
{
	DifsUpload upload;
	DifsWalk walk;
	DifsInode inode;
	DifsVersion version = {0};
	DifsNumber number;
	int64 size;
	bool created;

	difs_write_begin("difs_upload_commit");
	difs_upload_open(fcinfo, true, &upload);
	if (!PG_ARGISNULL(1))
		(void) difs_receipts_add(&upload, PG_GETARG_ARRAYTYPE_P(1));
	settle_size(fcinfo, &upload, &size);

	difs_file_open_for_write(upload.path, upload.parents, upload.if_version, &walk, &inode, &created);
	difs_number_choose(&walk, &inode, DIFS_NEXT_VERSION, &number);
	version.ino = version.map_ino = inode.ino;
	version.version = version.map_version = version.base = number.content;
	insert_rows(&upload, size, &version);
	DIFS_FAULT("backend.upload.mapped");
	difs_file_store(&walk.volume, &number, &inode, &version);
	if (upload.media_type != NULL)
		difs_media_type_set(upload.path, upload.media_type);
	difs_upload_remove(&upload);
	difs_hook_before_put(&inode, version.version, version.size);
	DIFS_FAULT("backend.upload.committed");
	difs_write_end();
	PG_RETURN_INT32(version.version);
}

/* What was said at the beginning and what is said now must not differ; DIFS_SIZE_UNKNOWN if nothing was. */
static void
settle_size(FunctionCallInfo fcinfo, const DifsUpload *upload, int64 *size)
{
	*size = PG_ARGISNULL(2) ? upload->size : PG_GETARG_INT64(2);
	if (upload->size != DIFS_SIZE_UNKNOWN && *size != upload->size)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("the upload to \"%s\" was begun with a size of " INT64_FORMAT " bytes, not " INT64_FORMAT,
					   text_to_cstring(upload->path), upload->size, *size));
	if (*size < 0 && !PG_ARGISNULL(2))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("size must not be negative: " INT64_FORMAT, *size));
}

static void
insert_rows(const DifsUpload *upload, int64 size, DifsVersion *version)
{
	DifsReceiptScan *scan = difs_receipts_begin(upload);
	DifsExtent extent = {0};
	int64 number;

	while (difs_receipts_next(scan, &number, &extent.stored))
	{
		CHECK_FOR_INTERRUPTS();
		check_segment(upload, number, &extent.stored, version, size);
		extent.file_offset = version->size;
		extent.length = extent.stored.raw_length;
		difs_manifest_insert(version->ino, version->version, &extent);
		version->size += extent.length;
		version->segments++;
	}
	difs_receipts_end(scan);
	if (number != -1 || (size != DIFS_SIZE_UNKNOWN && version->size < size))
		report_incomplete(upload, version->segments);
	version->extent = Min(version->size, upload->segment_size);
}

/* It is the next, and those before it are whole. */
static void
check_segment(const DifsUpload *upload, int64 number, const DifsStored *stored, const DifsVersion *version, int64 size)
{
	int64 end = version->size + stored->raw_length;

	if (number != version->segments)
		report_incomplete(upload, version->segments);
	if (number > 0 && version->size != number * upload->segment_size)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("segment " INT64_FORMAT " of the upload to \"%s\" is too short", number - 1,
					   text_to_cstring(upload->path)),
				errdetail("All segments but the last must have %d bytes.", upload->segment_size));
	if (size != DIFS_SIZE_UNKNOWN && end > size)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("the upload to \"%s\" has more than " INT64_FORMAT " bytes", text_to_cstring(upload->path), size),
				errdetail("Segment " INT64_FORMAT " ends at " INT64_FORMAT ".", number, end));
	if (number == PG_INT32_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("the upload to \"%s\" has too many segments", text_to_cstring(upload->path)));
}

static void
report_incomplete(const DifsUpload *upload, int64 number)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			errmsg("the upload to \"%s\" is not complete: segment " INT64_FORMAT " lacks receipts",
				   text_to_cstring(upload->path), number),
			errdetail("Receipts of %d different servers are needed for each segment.", upload->class.replicas),
			errhint("Send it to all servers that difs_upload_place() names, and hand over their receipts."));
}
