/*
 * receipt.c - receipts of an upload's segments: rows of difs.receipt (upload.h).
 *
 * What a receipt says has been signed by a chunk server with the cluster key: it
 * holds the segment, durably, in that group of that epoch.  Only members of a group
 * have a copy of it with its epoch, so receipts of as many different servers as
 * the group has members are receipts of all its members.
 *
 * A segment that was placed anew has another id, and perhaps receipts under both.
 * The first id for which all are there counts; the others are orphans.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "common/fault.h"
#include "src/report.h"
#include "src/table.h"
#include "src/token.h"
#include "src/upload.h"
#include "worker/lease.h"

struct DifsReceiptScan
{
	const DifsUpload *upload;
	DifsScan *scan;
	int64 last; /* number that was returned last, or -1 */
};

static bool add(const DifsUpload *upload, const bytea *bytes, const DifsKeyring *keyring, uint64 *group);
static void check(const DifsUpload *upload, const DifsReceipt *receipt, uint64 *group);
static uint32 lease_bytes(const DifsUpload *upload, const DifsReceipt *receipt);
pg_noreturn static void report_bad(const DifsUpload *upload, const char *format, ...) pg_attribute_printf(2, 3);
static int64 column(DifsReceiptScan *scan, HeapTuple row, int number);

int
difs_receipts_add(const DifsUpload *upload, ArrayType *receipts)
{
	const DifsKeyring *keyring = difs_cluster_keyring(true);
	Datum *values;
	bool *nulls;
	int count;
	int added = 0;
	uint64 group = 0;

	deconstruct_array(receipts, BYTEAOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			report_bad(upload, "a receipt is null");
		added += add(upload, DatumGetByteaPP(values[i]), keyring, &group);
	}
	return added;
}

/* False if it is known. group: the last one that was seen to be there. */
static bool
add(const DifsUpload *upload, const bytea *bytes, const DifsKeyring *keyring, uint64 *group)
{
	Datum values[DIFS_RECEIPT_COLUMNS];
	DifsReceipt receipt;
	DifsError error;

	if (!difs_receipt_open((const uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), keyring, &receipt, &error) &&
		!DIFS_FAULT_SKIP("backend.upload.receipt"))
		report_bad(upload, "%s", error.text);
	check(upload, &receipt, group);
	values[DIFS_RECEIPT_UPLOAD - 1] = Int64GetDatum(upload->id);
	values[DIFS_RECEIPT_NUMBER - 1] = Int64GetDatum((int64) receipt.number);
	values[DIFS_RECEIPT_SEGMENT - 1] = Int64GetDatum((int64) receipt.segment);
	values[DIFS_RECEIPT_SERVER - 1] = CStringGetTextDatum(receipt.server);
	values[DIFS_RECEIPT_BLOCK_GROUP - 1] = Int64GetDatum((int64) receipt.group);
	values[DIFS_RECEIPT_RAW_LENGTH - 1] = Int32GetDatum(receipt.raw_length);
	values[DIFS_RECEIPT_STORED_LENGTH - 1] = Int32GetDatum(receipt.stored_length);
	values[DIFS_RECEIPT_CODEC - 1] = Int16GetDatum(receipt.codec);
	values[DIFS_RECEIPT_CRC - 1] = Int64GetDatum(receipt.crc);
	if (!difs_row_insert_unless(DIFS_REL_RECEIPT, DIFS_REL_RECEIPT_PKEY, values, NULL))
		return false;
	difs_lease_return(difs_database_require(), receipt.group, lease_bytes(upload, &receipt), receipt.stored_length);
	return true;
}

/* What difs_upload_place() took for it. */
static uint32
lease_bytes(const DifsUpload *upload, const DifsReceipt *receipt)
{
	int64 left = upload->size - (int64) receipt->number * upload->segment_size;

	return upload->size != DIFS_SIZE_UNKNOWN && left < upload->segment_size ? left : upload->segment_size;
}

static void
check(const DifsUpload *upload, const DifsReceipt *receipt, uint64 *group)
{
	DifsMembers members;

	if (memcmp(receipt->cluster, difs_servers_cluster(), DIFS_UUID_SIZE) != 0)
		report_bad(upload, "the receipt is of another cluster");
	if (receipt->upload != (uint64) upload->id)
		report_bad(upload, "the receipt is of upload " UINT64_FORMAT ", not " INT64_FORMAT, receipt->upload, upload->id);
	if (receipt->xid != upload->xid)
		report_bad(upload, "the receipt is of transaction " UINT64_FORMAT ", the upload of " UINT64_FORMAT, receipt->xid, upload->xid);
	if (receipt->raw_length > (uint32) upload->segment_size || receipt->number > PG_INT32_MAX * INT64CONST(1024))
		report_bad(upload, "segment " UINT64_FORMAT " has %u bytes instead of at most %d", receipt->number, receipt->raw_length,
				   upload->segment_size);
	if (receipt->group == *group)
		return;
	*group = receipt->group;
	difs_token_members(receipt->group, &members);
	if (members.count == 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NO_FILE),
				errmsg("block group " UINT64_FORMAT " of segment " UINT64_FORMAT " of the upload to \"%s\" is not there any more",
					   receipt->group, receipt->number, text_to_cstring(upload->path)),
				errhint("Have the segment placed anew with difs_upload_place(), and send it once more."));
}

static void
report_bad(const DifsUpload *upload, const char *format, ...)
{
	char text[DIFS_ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			errmsg("a receipt is not good for the upload to \"%s\"", text_to_cstring(upload->path)),
			errdetail_internal("%s.", text));
}

DifsReceiptScan *
difs_receipts_begin(const DifsUpload *upload)
{
	DifsReceiptScan *scan = palloc(sizeof(DifsReceiptScan));
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_RECEIPT_UPLOAD, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(upload->id));
	scan->upload = upload;
	scan->last = -1;
	scan->scan = difs_scan_begin(DIFS_REL_RECEIPT, DIFS_REL_RECEIPT_PKEY, 1, &key);
	return scan;
}

/* Rows come in order of number and segment, and each server has at most one for a segment. */
bool
difs_receipts_next(DifsReceiptScan *scan, int64 *number, DifsStored *stored)
{
	int servers = 0;
	HeapTuple row;

	memset(stored, 0, sizeof(*stored));
	*number = -1;
	while ((row = difs_scan_next(scan->scan, false)) != NULL)
	{
		int64 row_number = column(scan, row, DIFS_RECEIPT_NUMBER);
		DifsStored found = {
			.segment = (uint64) column(scan, row, DIFS_RECEIPT_SEGMENT),
			.group = (uint64) column(scan, row, DIFS_RECEIPT_BLOCK_GROUP),
			.raw_length = (uint32) column(scan, row, DIFS_RECEIPT_RAW_LENGTH),
			.stored_length = (uint32) column(scan, row, DIFS_RECEIPT_STORED_LENGTH),
			.crc = (uint32) column(scan, row, DIFS_RECEIPT_CRC),
			.codec = (uint8) column(scan, row, DIFS_RECEIPT_CODEC),
		};

		if (row_number == scan->last)
			continue;
		/* a client that sends one id with different bytes to two servers has not stored it */
		if (row_number == *number && found.segment == stored->segment && found.crc == stored->crc &&
			found.raw_length == stored->raw_length && found.stored_length == stored->stored_length &&
			found.codec == stored->codec)
			servers++;
		else
			servers = 1;
		*number = row_number;
		*stored = found;
		if (servers == scan->upload->class.replicas)
		{
			scan->last = row_number;
			return true;
		}
	}
	return false;
}

void
difs_receipts_end(DifsReceiptScan *scan)
{
	difs_scan_end(scan->scan);
	pfree(scan);
}

void
difs_receipts_remove(int64 upload)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	DIFS_KEY(&key, DIFS_RECEIPT_UPLOAD, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(upload));
	scan = difs_scan_begin(DIFS_REL_RECEIPT, DIFS_REL_RECEIPT_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
		difs_row_delete(DIFS_REL_RECEIPT, row);
	difs_scan_end(scan);
}

static int64
column(DifsReceiptScan *scan, HeapTuple row, int number)
{
	bool null;
	TupleDesc desc = difs_scan_desc(scan->scan);
	Datum value = heap_getattr(row, number, desc, &null);

	switch (TupleDescAttr(desc, number - 1)->attlen)
	{
		case sizeof(int64):
			return DatumGetInt64(value);
		case sizeof(int32):
			return DatumGetInt32(value);
		default:
			return DatumGetInt16(value);
	}
}

PG_FUNCTION_INFO_V1(difs_upload_receipts);

/* difs_upload_receipts(upload bigint, receipts bytea[]) */
Datum
difs_upload_receipts(PG_FUNCTION_ARGS)
{
	DifsUpload upload;
	int added;

	DIFS_ARG_NOT_NULL(1, "receipts");
	difs_write_begin("difs_upload_receipts");
	difs_upload_open(fcinfo, false, &upload);
	added = difs_receipts_add(&upload, PG_GETARG_ARRAYTYPE_P(1));
	difs_upload_touch(&upload);
	DIFS_FAULT("backend.upload.receipts");
	difs_write_end();
	PG_RETURN_INT32(added);
}
