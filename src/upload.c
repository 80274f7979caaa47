/*
 * upload.c - the life of an upload (upload.h): difs_upload_begin(), _resume() and
 * _cancel().
 *
 * State: its row of difs.upload.  A rollback, of a savepoint too, takes the row
 * away, and with it the right of anybody to commit it; its segments are orphans
 * then.  A row that is not resumable and was committed all the same (nobody
 * finished the upload before COMMIT) has expired from the beginning.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "common/fault.h"
#include "src/attrs.h"
#include "src/create.h"
#include "src/ids.h"
#include "src/path.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/splice.h"
#include "src/table.h"
#include "src/upload.h"

#define TOUCH_SHARE 16 /* of difs.upload_expire: what it has to be worth to change a row */

static void insert(const DifsUpload *upload);
static void decode(HeapTuple row, DifsUpload *upload);
static HeapTuple find_row(int64 id);
static bool is_over(const DifsUpload *upload);
pg_noreturn static void report_missing(int64 id);
static TimestampTz new_expiry(void);
static Datum describe(FunctionCallInfo fcinfo, const DifsUpload *upload, bool resumed);
static Datum done_numbers(const DifsUpload *upload);
static DifsUpload *open_by_path(const text *path);

void
difs_upload_open(FunctionCallInfo fcinfo, bool locked, DifsUpload *upload)
{
	int64 id;
	HeapTuple row;

	DIFS_ARG_NOT_NULL(0, "upload");
	id = PG_GETARG_INT64(0);
	row = find_row(id);
	if (row == NULL || (locked && !difs_row_lock(DIFS_REL_UPLOAD, &row)))
		report_missing(id);
	decode(row, upload);
	if (!has_privs_of_role(GetUserId(), upload->owner))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for upload " INT64_FORMAT, id),
				errdetail("Only who has the privileges of the role that began it may go on with it."));
	if (is_over(upload))
		report_missing(id);
}

void
difs_upload_touch(DifsUpload *upload)
{
	TimestampTz expires = new_expiry();
	Datum values[DIFS_UPLOAD_COLUMNS] = {0};
	bool nulls[DIFS_UPLOAD_COLUMNS] = {false};
	bool replace[DIFS_UPLOAD_COLUMNS] = {false};

	if (!upload->resumable || expires - upload->expires < (int64) difs_upload_expire * USECS_PER_SEC / TOUCH_SHARE ||
		!difs_row_try_lock(DIFS_REL_UPLOAD, &upload->row))
		return;
	values[DIFS_UPLOAD_EXPIRES - 1] = TimestampTzGetDatum(expires);
	replace[DIFS_UPLOAD_EXPIRES - 1] = true;
	difs_row_update(DIFS_REL_UPLOAD, upload->row, values, nulls, replace);
	upload->expires = expires;
}

void
difs_upload_remove(const DifsUpload *upload)
{
	difs_receipts_remove(upload->id);
	difs_row_delete(DIFS_REL_UPLOAD, upload->row);
}

static void
insert(const DifsUpload *upload)
{
	Datum values[DIFS_UPLOAD_COLUMNS];
	bool nulls[DIFS_UPLOAD_COLUMNS] = {false};

	values[DIFS_UPLOAD_ID - 1] = Int64GetDatum(upload->id);
	values[DIFS_UPLOAD_XID - 1] = Int64GetDatum((int64) upload->xid);
	values[DIFS_UPLOAD_PATH - 1] = PointerGetDatum(upload->path);
	values[DIFS_UPLOAD_OWNER - 1] = ObjectIdGetDatum(upload->owner);
	values[DIFS_UPLOAD_SIZE - 1] = Int64GetDatum(upload->size);
	nulls[DIFS_UPLOAD_SIZE - 1] = upload->size == DIFS_SIZE_UNKNOWN;
	values[DIFS_UPLOAD_MEDIA_TYPE - 1] = PointerGetDatum(upload->media_type);
	nulls[DIFS_UPLOAD_MEDIA_TYPE - 1] = upload->media_type == NULL;
	values[DIFS_UPLOAD_IF_VERSION - 1] = Int32GetDatum(upload->if_version);
	nulls[DIFS_UPLOAD_IF_VERSION - 1] = upload->if_version == DIFS_ANY_VERSION;
	values[DIFS_UPLOAD_PARENTS - 1] = BoolGetDatum(upload->parents);
	values[DIFS_UPLOAD_RESUMABLE - 1] = BoolGetDatum(upload->resumable);
	values[DIFS_UPLOAD_REPLICAS - 1] = Int16GetDatum(upload->class.replicas);
	values[DIFS_UPLOAD_TIER - 1] = CStringGetTextDatum(upload->class.tier);
	values[DIFS_UPLOAD_SEGMENT_SIZE - 1] = Int32GetDatum(upload->segment_size);
	values[DIFS_UPLOAD_CREATED - 1] = TimestampTzGetDatum(upload->created);
	values[DIFS_UPLOAD_EXPIRES - 1] = TimestampTzGetDatum(upload->expires);
	values[DIFS_UPLOAD_PLACEMENT - 1] = Int64GetDatum(upload->class.placement);
	difs_row_insert(DIFS_REL_UPLOAD, values, nulls);
}

static void
decode(HeapTuple row, DifsUpload *upload)
{
	Relation table = difs_table_open(DIFS_REL_UPLOAD, AccessShareLock);
	Datum values[DIFS_UPLOAD_COLUMNS];
	bool nulls[DIFS_UPLOAD_COLUMNS];

	heap_deform_tuple(row, RelationGetDescr(table), values, nulls);
	table_close(table, NoLock);
	upload->row = row;
	upload->id = DatumGetInt64(values[DIFS_UPLOAD_ID - 1]);
	upload->xid = (uint64) DatumGetInt64(values[DIFS_UPLOAD_XID - 1]);
	upload->path = DatumGetTextPCopy(values[DIFS_UPLOAD_PATH - 1]);
	upload->owner = DatumGetObjectId(values[DIFS_UPLOAD_OWNER - 1]);
	upload->size = nulls[DIFS_UPLOAD_SIZE - 1] ? DIFS_SIZE_UNKNOWN : DatumGetInt64(values[DIFS_UPLOAD_SIZE - 1]);
	upload->media_type = nulls[DIFS_UPLOAD_MEDIA_TYPE - 1] ? NULL : DatumGetTextPCopy(values[DIFS_UPLOAD_MEDIA_TYPE - 1]);
	upload->if_version = nulls[DIFS_UPLOAD_IF_VERSION - 1] ? DIFS_ANY_VERSION :
															 DatumGetInt32(values[DIFS_UPLOAD_IF_VERSION - 1]);
	upload->parents = DatumGetBool(values[DIFS_UPLOAD_PARENTS - 1]);
	upload->resumable = DatumGetBool(values[DIFS_UPLOAD_RESUMABLE - 1]);
	memset(&upload->class, 0, sizeof(upload->class));
	upload->class.replicas = DatumGetInt16(values[DIFS_UPLOAD_REPLICAS - 1]);
	strlcpy(upload->class.tier, TextDatumGetCString(values[DIFS_UPLOAD_TIER - 1]), sizeof(upload->class.tier));
	upload->class.placement = DatumGetInt64(values[DIFS_UPLOAD_PLACEMENT - 1]);
	upload->segment_size = DatumGetInt32(values[DIFS_UPLOAD_SEGMENT_SIZE - 1]);
	upload->created = DatumGetTimestampTz(values[DIFS_UPLOAD_CREATED - 1]);
	upload->expires = DatumGetTimestampTz(values[DIFS_UPLOAD_EXPIRES - 1]);
}

static HeapTuple
find_row(int64 id)
{
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_UPLOAD_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	return difs_row_find(DIFS_REL_UPLOAD, DIFS_REL_UPLOAD_PKEY, 1, &key);
}

/* With its transaction, or its time. */
static bool
is_over(const DifsUpload *upload)
{
	if (upload->resumable)
		return upload->expires <= GetCurrentTimestamp();
	return upload->xid != U64FromFullTransactionId(GetTopFullTransactionId());
}

static void
report_missing(int64 id)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_NO_FILE),
			errmsg("upload " INT64_FORMAT " does not exist", id),
			errdetail("It has been committed or cancelled, has expired, or was not resumable and its transaction is over."),
			errhint("Begin another with difs_upload_begin()."));
}

static TimestampTz
new_expiry(void)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) difs_upload_expire * 1000);
}

/* The row that begin and resume return, and how the client shall cut and compress what it sends. */
static Datum
describe(FunctionCallInfo fcinfo, const DifsUpload *upload, bool resumed)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DifsVolume volume;
	Datum values[9];
	bool nulls[9] = {false};
	int n = 0;

	difs_volume_find(difs_path_parse(upload->path)->volume, &volume);
	values[n++] = Int64GetDatum(upload->id);
	if (resumed)
	{
		values[n++] = PointerGetDatum(upload->path);
		nulls[n] = upload->size == DIFS_SIZE_UNKNOWN;
		values[n++] = Int64GetDatum(upload->size);
	}
	values[n++] = Int32GetDatum(upload->segment_size);
	values[n++] = CStringGetTextDatum(volume.compression_level > 0 ? "zstd" : "none");
	values[n++] = Int32GetDatum(volume.compression_level);
	values[n++] = Int32GetDatum(upload->class.replicas);
	nulls[n] = !upload->resumable;
	values[n++] = TimestampTzGetDatum(upload->expires);
	if (resumed)
		values[n++] = done_numbers(upload);
	InitMaterializedSRF(fcinfo, 0);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

/* As an int8multirange. */
static Datum
done_numbers(const DifsUpload *upload)
{
	DifsReceiptScan *scan = difs_receipts_begin(upload);
	StringInfoData text;
	int64 from = 0;
	int64 behind = -1; /* of the range at hand; -1: none */
	int64 number;
	DifsStored stored;
	Datum ranges;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	while (difs_receipts_next(scan, &number, &stored))
	{
		if (number != behind)
		{
			if (behind >= 0)
				appendStringInfo(&text, "[" INT64_FORMAT "," INT64_FORMAT "),", from, behind);
			from = number;
		}
		behind = number + 1;
	}
	difs_receipts_end(scan);
	if (behind >= 0)
		appendStringInfo(&text, "[" INT64_FORMAT "," INT64_FORMAT ")", from, behind);
	appendStringInfoChar(&text, '}');
	ranges = OidInputFunctionCall(F_MULTIRANGE_IN, text.data, INT8MULTIRANGEOID, -1);
	pfree(text.data);
	return ranges;
}

/* The newest of one's own to that path. */
static DifsUpload *
open_by_path(const text *path)
{
	char *written;
	DifsPath *parsed = difs_path_parse(path);
	DifsUpload *newest = NULL;
	DifsScan *scan;
	HeapTuple row;

	written = difs_path_write(parsed, parsed->count);
	scan = difs_scan_begin(DIFS_REL_UPLOAD, DIFS_REL_UPLOAD_PKEY, 0, NULL);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsUpload *upload = palloc(sizeof(DifsUpload));

		decode(heap_copytuple(row), upload);
		if (upload->resumable && upload->owner == GetUserId() && !is_over(upload) &&
			strcmp(text_to_cstring(upload->path), written) == 0)
			newest = upload;
	}
	difs_scan_end(scan);
	if (newest == NULL)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NO_FILE),
				errmsg("there is no upload to \"%s\" to resume", parsed->text),
				errhint("The view difs.uploads lists those that there are."));
	return newest;
}

PG_FUNCTION_INFO_V1(difs_upload_begin);
PG_FUNCTION_INFO_V1(difs_upload_resume);
PG_FUNCTION_INFO_V1(difs_upload_resume_path);
PG_FUNCTION_INFO_V1(difs_upload_cancel);

/* difs_upload_begin(path text, size bigint, media_type text, create_only bool, if_version int, resumable bool, parents bool) */
Datum
difs_upload_begin(PG_FUNCTION_ARGS)
{
	DifsUpload upload = {0};
	DifsVolume volume;
	DifsPath *path;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(3, "create_only");
	DIFS_ARG_NOT_NULL(5, "resumable");
	DIFS_ARG_NOT_NULL(6, "parents");
	upload.size = PG_ARGISNULL(1) ? DIFS_SIZE_UNKNOWN : PG_GETARG_INT64(1);
	if (!PG_ARGISNULL(1) && (upload.size < 0 || upload.size > DIFS_MAX_FILE_SIZE))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("size must be between 0 and %lld: %lld", (long long) DIFS_MAX_FILE_SIZE, (long long) upload.size));
	upload.if_version = difs_if_version_argument(fcinfo, 4);
	if (PG_GETARG_BOOL(3))
	{
		if (upload.if_version > 0)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_ARGUMENT),
					errmsg("create_only and if_version %d contradict each other", upload.if_version));
		upload.if_version = 0;
	}
	if (!PG_ARGISNULL(2))
		upload.media_type = PG_GETARG_TEXT_PP(2);
	upload.resumable = PG_GETARG_BOOL(5);
	upload.parents = PG_GETARG_BOOL(6);

	difs_write_begin("difs_upload_begin");
	path = difs_path_parse(PG_GETARG_TEXT_PP(0));
	upload.path = PG_GETARG_TEXT_PP(0); /* as given, for messages */
	upload.owner = GetUserId();
	difs_upload_check(&upload, upload.size);
	upload.path = cstring_to_text(psprintf("%s%s", difs_path_write(path, path->count),
										   path->directory && path->count > 0 ? "/" : ""));
	if (upload.media_type != NULL)
		difs_media_type_check(path->text, upload.media_type);
	difs_volume_find(path->volume, &volume);
	upload.class = volume.class;
	upload.segment_size = volume.segment_size;
	upload.id = (int64) difs_upload_id_next(difs_database_require());
	upload.xid = U64FromFullTransactionId(GetTopFullTransactionId());
	upload.created = GetCurrentTimestamp();
	upload.expires = upload.resumable ? new_expiry() : upload.created;
	insert(&upload);
	DIFS_FAULT("backend.upload.begun");
	describe(fcinfo, &upload, false);
	difs_write_end();
	return (Datum) 0;
}

/* difs_upload_resume(upload bigint) */
Datum
difs_upload_resume(PG_FUNCTION_ARGS)
{
	DifsUpload upload;

	difs_write_begin("difs_upload_resume");
	difs_upload_open(fcinfo, false, &upload);
	difs_upload_touch(&upload);
	describe(fcinfo, &upload, true);
	difs_write_end();
	return (Datum) 0;
}

/* difs_upload_resume(path text) */
Datum
difs_upload_resume_path(PG_FUNCTION_ARGS)
{
	DifsUpload *upload;

	DIFS_ARG_NOT_NULL(0, "path");
	difs_write_begin("difs_upload_resume");
	upload = open_by_path(PG_GETARG_TEXT_PP(0));
	difs_upload_touch(upload);
	describe(fcinfo, upload, true);
	difs_write_end();
	return (Datum) 0;
}

/* difs_upload_cancel(upload bigint) */
Datum
difs_upload_cancel(PG_FUNCTION_ARGS)
{
	DifsUpload upload;

	difs_write_begin("difs_upload_cancel");
	difs_upload_open(fcinfo, true, &upload);
	difs_upload_remove(&upload);
	difs_write_end();
	PG_RETURN_VOID();
}
