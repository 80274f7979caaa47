/*
 * upload_place.c - difs_upload_place(): where segments of an upload go, and
 * permission to write them there.
 *
 * No row is written: what was placed is in the token, comes back in the receipt,
 * and counts only then.  So places that nobody uses cost nothing but room in open
 * groups, until the lease runs out (worker/lease.h).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/fault.h"
#include "src/claim.h"
#include "src/compat.h"
#include "src/ids.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/splice.h"
#include "src/table.h"
#include "src/token.h"
#include "src/upload.h"
#include "src/wait.h"
#include "worker/lease.h"

#define MAX_PLACES 1024 /* in one call */
#define LOOK_AGAIN_MS 10
#define FULL_TIMEOUT_MS 1000 /* waiting rarely helps against full disks */
#define AVOID_MS 2000		 /* for so long another group than the unwanted is waited for */

/* What all places of a call have in common. */
typedef struct Placing
{
	DifsDatabase *database;
	const DifsUpload *upload;
	TimestampTz leased_until;
	uint64 *avoid;
	int avoid_count;
	TimestampTz began;
} Placing;

static void take_avoided(FunctionCallInfo fcinfo, Placing *placing);
static void check_numbers(const DifsUpload *upload, int64 first, int32 count);
static void take_room(Placing *placing, int64 number, uint32 bytes, DifsOpenGroup *group);
static void wait_for_group(const Placing *placing);
static uint64 next_segment(DifsDatabase *database);

PG_FUNCTION_INFO_V1(difs_upload_place);

/* difs_upload_place(upload bigint, first bigint, count int, avoid bigint[]) */
Datum
difs_upload_place(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DifsUpload upload;
	DifsToken token;
	Placing placing = {.upload = &upload, .began = GetCurrentTimestamp()};
	int64 first;
	int32 count;
	int64 behind;

	DIFS_ARG_NOT_NULL(1, "first");
	DIFS_ARG_NOT_NULL(2, "count");
	first = PG_GETARG_INT64(1);
	count = PG_GETARG_INT32(2);
	take_avoided(fcinfo, &placing);

	difs_write_begin("difs_upload_place");
	difs_upload_open(fcinfo, false, &upload);
	check_numbers(&upload, first, count);
	behind = (first + count - 1) * upload.segment_size + 1;
	difs_upload_check(&upload, upload.size != DIFS_SIZE_UNKNOWN ? upload.size : behind);
	difs_upload_touch(&upload);

	placing.database = difs_database_require();
	difs_token_begin(&token, DIFS_OPERATION_WRITE);
	token.xid = upload.xid;
	token.upload = (uint64) upload.id;
	token.epoch = placing.database->epoch;
	memcpy(token.claim, placing.database->claim, DIFS_CLAIM_SIZE);
	placing.leased_until = TimestampTzPlusMilliseconds(placing.began, (int64) difs_token_lifetime * 1000);

	InitMaterializedSRF(fcinfo, 0);
	for (int64 number = first; number < first + count; number++)
	{
		int64 left = upload.size - number * upload.segment_size;
		DifsOpenGroup group;
		Datum values[6];
		bool nulls[6] = {false};

		token.max_bytes = upload.size != DIFS_SIZE_UNKNOWN && left < upload.segment_size ? left : upload.segment_size;
		take_room(&placing, number, token.max_bytes, &group);
		token.group = group.id;
		token.segment = next_segment(placing.database);
		token.number = (uint64) number;
		values[0] = Int64GetDatum(number);
		values[1] = Int64GetDatum((int64) token.segment);
		values[2] = Int64GetDatum((int64) group.id);
		values[3] = Int64GetDatum((int64) token.epoch);
		values[4] = difs_token_servers(group.member, group.class.replicas);
		values[5] = difs_token_make(&token);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	DIFS_FAULT("backend.upload.placed");
	difs_write_end();
	return (Datum) 0;
}

static void
take_avoided(FunctionCallInfo fcinfo, Placing *placing)
{
	Datum *values;
	bool *nulls;
	int count;

	if (PG_ARGISNULL(3))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE, &values, &nulls,
					  &count);
	placing->avoid = palloc(Max(count, 1) * sizeof(uint64));
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			placing->avoid[placing->avoid_count++] = (uint64) DatumGetInt64(values[i]);
	}
}

static void
check_numbers(const DifsUpload *upload, int64 first, int32 count)
{
	int64 most = upload->size == DIFS_SIZE_UNKNOWN ? DIFS_MAX_FILE_SIZE : upload->size;

	if (count < 1 || count > MAX_PLACES)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("count must be between 1 and %d: %d", MAX_PLACES, count));
	if (first < 0 || first > DIFS_MAX_FILE_SIZE / upload->segment_size ||
		(first + count - 1) * upload->segment_size >= most)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("the upload to \"%s\" has no segments " INT64_FORMAT " to " INT64_FORMAT, text_to_cstring(upload->path), first,
					   first + count - 1),
				errdetail("It has at most %lld bytes, in segments of %d.", (long long) most, upload->segment_size));
}

/* Waits, interruptibly, for the keeper to open a group if there is none. */
static void
take_room(Placing *placing, int64 number, uint32 bytes, DifsOpenGroup *group)
{
	for (;;)
	{
		if (TimestampDifferenceExceeds(placing->began, GetCurrentTimestamp(), AVOID_MS))
			placing->avoid_count = 0;
		switch (difs_lease_take(placing->database, &placing->upload->class, bytes, placing->leased_until, placing->avoid,
								placing->avoid_count, group))
		{
			case DIFS_CHOICE_MADE:
				return;
			case DIFS_CHOICE_NONE:
				wait_for_group(placing);
				break;
			case DIFS_CHOICE_TOO_LARGE:
				ereport(ERROR,
						errcode(DIFS_ERRCODE_ARGUMENT),
						errmsg("a segment of %u bytes does not fit into a block group", bytes),
						errhint("Raise difs.block_group_size."));
		}
	}
}

static void
wait_for_group(const Placing *placing)
{
	const DifsClass *class = &placing->upload->class;
	DifsError why = difs_class_problem(placing->database, class);
	int limit_ms = why.code == DIFS_ERROR_FULL ? Min(difs_server_timeout, FULL_TIMEOUT_MS) : difs_server_timeout;
	int64 began_us;

	difs_claim_require();
	if (TimestampDifferenceExceeds(placing->began, GetCurrentTimestamp(), limit_ms))
		ereport(ERROR,
				errcode(difs_report_sqlstate(why.code == DIFS_OK ? DIFS_ERROR_MEMORY : why.code)),
				errmsg("no block group can be had for the upload to \"%s\"", text_to_cstring(placing->upload->path)),
				errdetail("%s.", why.code == DIFS_OK ? "None could be opened in time" : why.text),
				errhint("The view difs.servers shows which chunk servers can be reached."));
	difs_class_want(placing->database, class);
	began_us = difs_wait_begin();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_AGAIN_MS, difs_wait_event(DIFS_WAIT_GROUP));
	difs_wait_end(DIFS_WAIT_GROUP, began_us);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static uint64
next_segment(DifsDatabase *database)
{
	uint64 segment;

	difs_segment_refill(database);
	while ((segment = difs_segment_next(database)) == 0)
		difs_segment_refill(database);
	return segment;
}
