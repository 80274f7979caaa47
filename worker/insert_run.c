/*
 * insert_run.c - a helper works at a process of difs_insert() (inserts.h).
 *
 * A try is one transaction, as the role that asked: it opens the file, which nobody
 * else can write then, takes the content in, looks once more whether the role may,
 * and makes version and state known together.  A try that failed has left nothing
 * but orphans.  What may pass is tried again from the beginning, after a pause.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/fault.h"
#include "src/compat.h"
#include "src/insert.h"
#include "src/put.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/table.h"
#include "src/wait.h"
#include "worker/inserts.h"
#include "worker/process.h"
#include "worker/source.h"

#define MOST_BEGINNINGS 10 /* of a process that never ends, but takes its helper along */
#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 60000

/* Of a process. Static, so that the reader's memory is found after an error. */
static int64 segments;
static int64 bytes;
static int64 total_bytes;

static bool is_open(int64 id);
static bool attempt(const DifsInsert *insert, int tries, ErrorData **problem);
static void pause_before(int tries);
static void transfer(const DifsInsert *insert);
static void become(Oid role);
static void open_source(const char *source);
static void take_in(const DifsInsert *insert, DifsWrite *write);
static void check_size(const DifsWrite *write);
static void record_done(const DifsInsert *insert, int32 version);
static void record_failure(const DifsInsert *insert, const char *text);
static void close_source(void);
static bool may_pass(int sqlstate);
static char *describe(const ErrorData *problem);

void
difs_insert_run(const DifsInsert *insert)
{
	ErrorData *problem = NULL;

	segments = bytes = 0;
	total_bytes = -1;
	if (insert->begun > MOST_BEGINNINGS)
	{
		record_failure(insert, psprintf("it was begun %d times, and its helper never came to an end", MOST_BEGINNINGS));
		return;
	}
	for (int tries = 0; !attempt(insert, tries, &problem); tries++)
	{
		if (!may_pass(problem->sqlerrcode) || tries >= difs_insert_retries)
		{
			record_failure(insert, describe(problem));
			return;
		}
	}
}

/* Is it still to be done? In a transaction. */
static bool
is_open(int64 id)
{
	return difs_insert_execute("SELECT 1 FROM difs.insert_process WHERE id = $1 AND state = 'in progress'",
							   1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(id)}, NULL) > 0;
}

/* True if there is nothing more to do: it is done, or somebody has cancelled it. */
static bool
attempt(const DifsInsert *insert, int tries, ErrorData **problem)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ended = false;

	PG_TRY();
	{
		if (tries > 0)
			pause_before(tries);
		if (!difs_insert_begin())
			ended = true; /* no extension, no process */
		else if (!is_open(insert->id))
		{
			AbortCurrentTransaction();
			ended = true;
		}
		else
		{
			transfer(insert);
			CommitTransactionCommand();
			DIFS_FAULT("keeper.insert.committed");
			ended = true;
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*problem = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		QueryCancelPending = false;
	}
	PG_END_TRY();
	close_source();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return ended;
}

static void
pause_before(int tries)
{
	TimestampTz until = difs_process_in(Min(FIRST_PAUSE_MS << Min(tries - 1, 10), LONGEST_PAUSE_MS));

	while (GetCurrentTimestamp() < until)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, FIRST_PAUSE_MS / 2, difs_wait_event(DIFS_WAIT_SOURCE));
		ResetLatch(MyLatch);
		difs_insert_interrupts();
	}
}

static void
transfer(const DifsInsert *insert)
{
	static DifsWrite write;
	int32 version;
	Oid superuser_id;
	int context;

	GetUserIdAndSecContext(&superuser_id, &context);
	pgstat_report_activity(STATE_RUNNING, psprintf("difs_insert(), process " INT64_FORMAT, insert->id));
	segments = bytes = 0;
	total_bytes = -1;
	difs_insert_show(0, 0, -1);
	become(insert->role);
	open_source(insert->source);

	difs_write_begin("difs_insert");
	difs_write_open(cstring_to_text(insert->path), insert->parents, insert->if_version, DIFS_NEXT_VERSION, &write);
	difs_write_end();
	take_in(insert, &write);
	DIFS_FAULT("keeper.insert.fetched");

	difs_write_begin("difs_insert");
	difs_insert_check_still(&write.walk, &write.inode, write.created);
	version = difs_write_finish(&write);
	difs_write_end();
	SetUserIdAndSecContext(superuser_id, context);
	if (!DIFS_FAULT_SKIP("keeper.insert.once"))
		record_done(insert, version);
	DIFS_FAULT("keeper.insert.done");
}

/* As the role that asked, if there still is one, and if it still may. */
static void
become(Oid role)
{
	if (difs_insert_execute("SELECT 1 FROM pg_catalog.pg_roles r, pg_catalog.pg_proc p, pg_catalog.pg_depend d, pg_catalog.pg_extension e"
							" WHERE r.oid = $1 AND p.proname = 'difs_insert' AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass"
							" AND d.objid = p.oid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
							" AND d.refobjid = e.oid AND d.deptype = 'e' AND e.extname = 'difs'"
							" AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE')",
							1, (Oid[]){OIDOID}, (Datum[]){ObjectIdGetDatum(role)}, NULL) == 0)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("the role that asked for it may not call difs_insert() any more"));
	SetUserIdAndSecContext(role, SECURITY_LOCAL_USERID_CHANGE);
}

static void
open_source(const char *source)
{
	const char *file = difs_insert_source_file(source);

	if (file != NULL)
		difs_source_file_open(file);
	else
		difs_source_http_open(source);
}

/* No snapshot is held while we wait for the source. */
static void
take_in(const DifsInsert *insert, DifsWrite *write)
{
	bool from_file = difs_insert_source_file(insert->source) != NULL;
	uint32 size = write->walk.volume.segment_size;
	char *room = MemoryContextAllocHuge(CurrentMemoryContext, size);
	uint32 length;

	do
	{
		bool knew = total_bytes >= 0;

		length = from_file ? difs_source_file_read(room, size) : difs_source_http_read(room, size);
		bytes += length;
		segments += length > 0;
		total_bytes = from_file ? difs_source_file_total() : difs_source_http_total();
		check_size(write);
		difs_write_begin("difs_insert");
		if (!knew && total_bytes >= 0)
			difs_insert_check_quota(&write->walk, total_bytes);
		difs_content_add(write->content, room, length);
		difs_write_end();
		difs_insert_show(segments, bytes, total_bytes);
		DIFS_FAULT("keeper.insert.segment");
	} while (length == size);
	pfree(room);
}

static void
check_size(const DifsWrite *write)
{
	int64 limit = (int64) difs_insert_max_size * 1024 * 1024;

	if (limit > 0 && Max(bytes, total_bytes) > limit)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("the source has more than " INT64_FORMAT " bytes", limit),
				errhint("difs.insert_max_size allows no more."));
}

/* With the same transaction as the version. If somebody has cancelled it, neither comes to be. */
static void
record_done(const DifsInsert *insert, int32 version)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum(insert->id), Int64GetDatum(segments), Int64GetDatum(bytes), Int32GetDatum(version)};

	if (difs_insert_execute("UPDATE difs.insert_process SET state = 'done', segments = $2, bytes = $3, total_bytes = $3, version = $4,"
							" ended = pg_catalog.clock_timestamp() WHERE id = $1 AND state = 'in progress'",
							lengthof(types), types, values, NULL) == 0)
		ereport(ERROR,
				errcode(ERRCODE_QUERY_CANCELED),
				errmsg("process " INT64_FORMAT " of difs_insert() has been cancelled", insert->id));
}

static void
record_failure(const DifsInsert *insert, const char *text)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(insert->id), Int64GetDatum(segments), Int64GetDatum(bytes), Int64GetDatum(total_bytes),
					  CStringGetTextDatum(text)};

	if (!difs_insert_begin())
		return;
	if (difs_insert_execute("UPDATE difs.insert_process SET state = 'failed', segments = $2, bytes = $3,"
							" total_bytes = nullif($4, -1), error = $5, ended = pg_catalog.clock_timestamp()"
							" WHERE id = $1 AND state = 'in progress'",
							lengthof(types), types, values, NULL) > 0)
		ereport(LOG,
				(errmsg("difs: process " INT64_FORMAT " of difs_insert() for \"%s\" failed: %s", insert->id, insert->path, text)));
	CommitTransactionCommand();
}

static void
close_source(void)
{
	difs_source_file_close();
	difs_source_http_close();
}

/* Connections, deadlocks, and cancellations that turn out not to have been committed. */
static bool
may_pass(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_CONNECTION_EXCEPTION ||
		sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED || sqlstate == ERRCODE_QUERY_CANCELED;
}

static char *
describe(const ErrorData *problem)
{
	if (problem->detail == NULL)
		return problem->message;
	return psprintf("%s: %s", problem->message, problem->detail);
}
