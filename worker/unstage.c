/*
 * unstage.c - the duty that moves staged segments to chunk servers.
 *
 * For each class that has staged segments and can be served, batch by batch:
 *
 *	choose   one transaction: which segments; a file that is being written is left for the next round
 *	send     another one: the stored form goes through the stream, as a put's does, under a new segment id and our xid
 *	rows     the same: the inodes of the files are locked, manifest rows get segment and group, the staging row is deleted
 *
 * Chunk servers are waited for without locks on rows and without a snapshot, so
 * nobody waits for us when they are silent.  If somebody has begun to write a file
 * meanwhile, its segments stay staged, and what was sent is an orphan.
 *
 * Old snapshots still see the old manifest row and the staging row, by MVCC.  If
 * this process dies, nothing has changed but that chunk servers hold segments
 * that nothing names: orphans, with the xid of an aborted transaction.
 *
 * A staging row that no manifest row names belongs to content that has been
 * collected.  Whoever still saw the manifest row would see this one too, so it can
 * simply be deleted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "common/fault.h"
#include "src/compat.h"
#include "src/report.h"
#include "src/staging.h"
#include "src/stream.h"
#include "worker/duties.h"
#include "worker/unstage.h"

#define BATCH_SEGMENTS 64
#define BATCH_BYTES (16 * 1024 * 1024) /* or one segment */

typedef struct Candidate
{
	int64 segment;
	int32 stored_length;
	bool chosen; /* to be moved in this batch */
	int slot;	 /* on its way; -1 otherwise */
} Candidate;

static int64 moved;
static int64 dropped;
static int64 total;
static Candidate batch[BATCH_SEGMENTS];
static int batch_count = 0;

static bool read_classes(DifsClass **classes, int *count);
static bool move_class(const DifsClass *class);
static bool choose_batch(const DifsClass *class, int64 after);
static bool move_batch(const DifsClass *class);
static void read_batch(const DifsClass *class, int64 after);
static void choose(Candidate *candidate);
static bool lock_files(int64 segment, bool *named);
static void queue_staged(Candidate *candidate, const DifsClass *class);
static void wait_for_batch(DifsStored *stored);
static void on_transaction(XactEvent event, void *arg);
static void update_rows(int64 segment, const DifsStored *stored);
static void delete_row(int64 segment);
static void execute(const char *statement, int count, Datum *values);

void
difs_unstage_round(void)
{
	DifsClass *classes;
	int count;
	bool going_on;

	/* what this process sends must not be staged again */
	SetConfigOption("difs.staging", "never", PGC_SUSET, PGC_S_OVERRIDE);
	RegisterXactCallback(on_transaction, NULL);
	moved = dropped = 0;
	going_on = read_classes(&classes, &count);
	for (int i = 0; i < count && going_on; i++)
	{
		if (!difs_staging_is_stuck(difs_duty_database, &classes[i]))
			going_on = move_class(&classes[i]);
	}
	if (going_on && moved + dropped > 0)
		ereport(LOG,
				(errmsg("difs: %lld staged segments moved to chunk servers, %lld no longer needed",
						(long long) moved, (long long) dropped)));
}

/* The classes of staged segments. Puts the number of staged bytes right, too. False if the extension is gone. */
static bool
read_classes(DifsClass **classes, int *count)
{
	DifsClass *found;

	*count = 0;
	if (!difs_duty_begin())
		return false;
	difs_staging_count(difs_duty_database);
	if (SPI_execute("SELECT replicas::int4, tier, pg_catalog.count(*), placement FROM difs.staging GROUP BY 1, 2, 4", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.staging");
	found = MemoryContextAllocZero(TopMemoryContext, sizeof(DifsClass) * Max(SPI_processed, 1));
	total = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;

		found[i].replicas = atoi(SPI_getvalue(row, desc, 1));
		strlcpy(found[i].tier, SPI_getvalue(row, desc, 2), sizeof(found[i].tier));
		total += atoll(SPI_getvalue(row, desc, 3));
		found[i].placement = atoll(SPI_getvalue(row, desc, 4));
	}
	*count = (int) SPI_processed;
	*classes = found;
	difs_duty_commit();
	return true;
}

/* False if the extension is gone. */
static bool
move_class(const DifsClass *class)
{
	int64 after = PG_INT64_MIN;

	do
	{
		if (!choose_batch(class, after) || !move_batch(class))
			return false;
		if (batch_count > 0)
			after = batch[batch_count - 1].segment;
		difs_duty_progress(moved + dropped, total);
		difs_duty_result(DIFS_UNSTAGE_MOVED, moved);
		difs_duty_result(DIFS_UNSTAGE_DROPPED, dropped);
	} while (batch_count > 0);
	return true;
}

static bool
choose_batch(const DifsClass *class, int64 after)
{
	batch_count = 0;
	if (!difs_duty_begin())
		return false;
	read_batch(class, after);
	for (int i = 0; i < batch_count; i++)
		choose(&batch[i]);
	if (batch_count == 0)
		difs_staging_count(difs_duty_database);
	difs_duty_commit();
	return true;
}

static bool
move_batch(const DifsClass *class)
{
	static DifsStored stored[BATCH_SEGMENTS];
	bool named;

	if (!difs_duty_begin())
		return false;
	for (int i = 0; i < batch_count; i++)
		if (batch[i].chosen)
			queue_staged(&batch[i], class);
	wait_for_batch(stored);
	DIFS_FAULT("keeper.unstage.stored");
	/* collection removes rows of several segments, too, and in another order */
	SPI_execute("LOCK TABLE difs.staging IN SHARE UPDATE EXCLUSIVE MODE", false, 0);
	for (int i = 0; i < batch_count; i++)
	{
		if (stored[i].segment == 0 || !lock_files(batch[i].segment, &named) || !named)
			continue;
		update_rows(batch[i].segment, &stored[i]);
		delete_row(batch[i].segment);
		moved++;
		DIFS_FAULT("keeper.unstage.rows");
	}
	difs_duty_commit();
	DIFS_FAULT("keeper.unstage.committed");
	return true;
}

/* The next segments in order of their ids. */
static void
read_batch(const DifsClass *class, int64 after)
{
	Oid types[] = {INT4OID, TEXTOID, INT8OID, INT4OID, INT8OID};
	Datum values[] = {
		Int32GetDatum(class->replicas),
		CStringGetTextDatum(class->tier),
		Int64GetDatum(after),
		Int32GetDatum(BATCH_SEGMENTS),
		Int64GetDatum(class->placement),
	};
	int64 bytes = 0;

	if (SPI_execute_with_args("SELECT segment, stored_length FROM difs.staging "
							  "WHERE replicas = $1 AND tier = $2 AND placement = $5 AND segment > $3 ORDER BY segment LIMIT $4",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.staging");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool null;

		batch[i].segment = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
		batch[i].stored_length = DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
		batch[i].slot = -1;
		bytes += batch[i].stored_length;
		if (i > 0 && bytes > BATCH_BYTES)
			break;
		batch_count++;
	}
}

/* What nothing names is deleted here and now. */
static void
choose(Candidate *candidate)
{
	bool named;

	candidate->chosen = lock_files(candidate->segment, &named) && named;
	if (!named)
	{
		delete_row(candidate->segment);
		dropped++;
	}
}

/* Locks the inodes of the files that name a segment; they may be gone, if only old snapshots see them. False if somebody writes one of them. */
static bool
lock_files(int64 segment, bool *named)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(segment)};
	uint64 inodes;

	if (SPI_execute_with_args("SELECT FROM difs.manifest WHERE segment = $1 LIMIT 1", 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.manifest");
	*named = SPI_processed > 0;
	if (!*named)
		return true;
	if (SPI_execute_with_args("SELECT FROM difs.inode WHERE ino IN (SELECT ino FROM difs.manifest WHERE segment = $1)",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.inode");
	inodes = SPI_processed;
	if (SPI_execute_with_args("SELECT FROM difs.inode WHERE ino IN (SELECT ino FROM difs.manifest WHERE segment = $1) "
							  "FOR NO KEY UPDATE OF inode SKIP LOCKED",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not lock rows of difs.inode");
	return SPI_processed == inodes;
}

/* Bytes that do not match their checksums stay where they are: readers report them, too. */
static void
queue_staged(Candidate *candidate, const DifsClass *class)
{
	DifsStaged *staged = difs_staging_find((uint64) candidate->segment);
	DifsSegment header;
	DifsError error;
	bytea *bytes;
	void *room;
	int slot;

	if (staged == NULL)
		return;
	bytes = difs_staging_verified(staged, &header, &error);
	if (bytes == NULL)
	{
		ereport(WARNING,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("segment " INT64_FORMAT " in difs.staging is damaged: %s", candidate->segment, error.text)));
		return;
	}
	slot = difs_stream_begin(class, header.stored_length, &room);
	memcpy(room, VARDATA_ANY(bytes), header.stored_length);
	difs_stream_finish(slot, header.raw_length, header.stored_length, header.codec);
	candidate->slot = slot;
	pfree(bytes);
}

/* No snapshot is held meanwhile. */
static void
wait_for_batch(DifsStored *stored)
{
	PopActiveSnapshot();
	memset(stored, 0, sizeof(DifsStored) * BATCH_SEGMENTS);
	for (int i = batch_count - 1; i >= 0; i--)
	{
		if (batch[i].slot == -1)
			continue;
		if (!difs_stream_reap(batch[i].slot, &stored[i]))
			elog(ERROR, "a staged segment was to be staged again");
		batch[i].slot = -1;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* An error, or the end of this process: nobody wants any more what is on its way. */
static void
on_transaction(XactEvent event, void *arg)
{
	for (int i = 0; event == XACT_EVENT_ABORT && i < batch_count; i++)
	{
		if (batch[i].slot != -1)
			difs_stream_abandon(batch[i].slot);
		batch[i].slot = -1;
	}
}

static void
update_rows(int64 segment, const DifsStored *stored)
{
	Datum values[] = {
		Int64GetDatum(segment),
		Int64GetDatum((int64) stored->segment),
		Int64GetDatum((int64) stored->group),
	};

	execute("UPDATE difs.manifest SET segment = $2, block_group = $3 WHERE segment = $1", 3, values);
}

static void
delete_row(int64 segment)
{
	Datum values[] = {Int64GetDatum(segment)};

	execute("DELETE FROM difs.staging WHERE segment = $1", 1, values);
}

static void
execute(const char *statement, int count, Datum *values)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID};

	if (SPI_execute_with_args(statement, count, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", statement);
}

PG_FUNCTION_INFO_V1(difs_unstage);

Datum
difs_unstage(PG_FUNCTION_ARGS)
{
	DifsDutyState state;

	PreventCommandIfReadOnly("difs_unstage()");
	difs_duty_run(DIFS_DUTY_UNSTAGE, &state);
	PG_RETURN_INT64(state.result[DIFS_UNSTAGE_MOVED]);
}
