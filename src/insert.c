/*
 * insert.c - difs_insert(), difs_insert_cancel() and what is behind the view
 * difs.inserts (insert.h).
 *
 * State: what the end of this transaction has to tell keeper and helpers.  Should
 * that get lost (COMMIT PREPARED is another session's), the keeper looks every few
 * seconds, and a helper that has not heard of a cancellation finds it at its end.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/create.h"
#include "src/insert.h"
#include "src/owner_query.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "src/table.h"

static bool wake_keeper = false; /* at commit */
static List *cancelled = NIL;	 /* processes, as allocated int64s; in TopTransactionContext */

static void check_queue(void);
static int64 insert_row(FunctionCallInfo fcinfo, const char *path, const char *source);
static void watch(void);
static void on_transaction(XactEvent event, void *arg);
static void tell_helper(DifsDatabase *database, int64 process);

PG_FUNCTION_INFO_V1(difs_insert);
PG_FUNCTION_INFO_V1(difs_insert_cancel);
PG_FUNCTION_INFO_V1(difs_insert_progress);
PG_FUNCTION_INFO_V1(difs_insert_visible);
PG_FUNCTION_INFO_V1(difs_canonical_path);

/* difs_insert(path text, source_url text, if_version int, parents bool) returns bigint */
Datum
difs_insert(PG_FUNCTION_ARGS)
{
	DifsPath *path;
	char *source;
	int64 process;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "source_url");
	DIFS_ARG_NOT_NULL(3, "parents");
	source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	difs_insert_check_source(source);
	difs_shmem_require();

	difs_write_begin("difs_insert");
	path = difs_path_parse(PG_GETARG_TEXT_PP(0));
	difs_insert_check_target(PG_GETARG_TEXT_PP(0), difs_if_version_argument(fcinfo, 2), PG_GETARG_BOOL(3));
	check_queue();
	process = insert_row(fcinfo, difs_path_write(path, path->count), source);
	difs_write_end();
	watch();
	wake_keeper = true;
	PG_RETURN_INT64(process);
}

/* Transactions that are under way at the same time do not see each other's. */
static void
check_queue(void)
{
	int64 role = GetUserId();
	int64 count;

	(void) difs_owner_query("SELECT pg_catalog.count(*) FROM difs.insert_process WHERE role OPERATOR(pg_catalog.=) $1::pg_catalog.oid"
							" AND state IN ('accepted', 'in progress')",
							1, &role, false, 1, &count);
	if (count >= difs_insert_queue)
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("role \"%s\" has " INT64_FORMAT " processes of difs_insert() that have not ended",
					   GetUserNameFromId(GetUserId(), false), count),
				errhint("Wait for some to end, cancel some with difs_insert_cancel(), or raise difs.insert_queue."));
}

static int64
insert_row(FunctionCallInfo fcinfo, const char *path, const char *source)
{
	int64 process = difs_sequence_next(DIFS_REL_SEQ_INSERT);
	Datum values[DIFS_INSERT_COLUMNS] = {0};
	bool nulls[DIFS_INSERT_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	for (int column = DIFS_INSERT_ID; column <= DIFS_INSERT_BEGUN; column++)
		nulls[column - 1] = false;
	nulls[DIFS_INSERT_IF_VERSION - 1] = PG_ARGISNULL(2);
	nulls[DIFS_INSERT_REQUESTED - 1] = false;
	values[DIFS_INSERT_ID - 1] = Int64GetDatum(process);
	values[DIFS_INSERT_PATH - 1] = CStringGetTextDatum(path);
	values[DIFS_INSERT_SOURCE - 1] = CStringGetTextDatum(source);
	values[DIFS_INSERT_ROLE - 1] = ObjectIdGetDatum(GetUserId());
	values[DIFS_INSERT_IF_VERSION - 1] = PG_ARGISNULL(2) ? (Datum) 0 : Int32GetDatum(PG_GETARG_INT32(2));
	values[DIFS_INSERT_PARENTS - 1] = BoolGetDatum(PG_GETARG_BOOL(3));
	values[DIFS_INSERT_STATE - 1] = CStringGetTextDatum("accepted");
	values[DIFS_INSERT_BEGUN - 1] = Int32GetDatum(0);
	values[DIFS_INSERT_REQUESTED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	difs_row_insert(DIFS_REL_INSERT, values, nulls);
	return process;
}

/* difs_insert_cancel(process bigint) returns boolean */
Datum
difs_insert_cancel(PG_FUNCTION_ARGS)
{
	int64 process;
	int64 role = 0;
	bool open;

	DIFS_ARG_NOT_NULL(0, "process");
	process = PG_GETARG_INT64(0);

	difs_write_begin("difs_insert_cancel");
	if (!difs_owner_query("SELECT role::pg_catalog.int8 FROM difs.insert_process WHERE id OPERATOR(pg_catalog.=) $1",
						  1, &process, false, 1, &role) ||
		!has_privs_of_role(GetUserId(), (Oid) role))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("there is no process " INT64_FORMAT " of difs_insert()", process),
				errdetail("Or it is another role's, or it has ended and been cleared since."));
	open = difs_owner_query("UPDATE difs.insert_process SET state = 'cancelled', ended = pg_catalog.clock_timestamp()"
							" WHERE id OPERATOR(pg_catalog.=) $1 AND state IN ('accepted', 'in progress')"
							" RETURNING id",
							1, &process, false, 1, &process);
	difs_write_end();
	if (open)
	{
		MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
		int64 *number = palloc(sizeof(int64));

		*number = process;
		watch();
		cancelled = lappend(cancelled, number);
		MemoryContextSwitchTo(before);
	}
	PG_RETURN_BOOL(open);
}

static void
watch(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(on_transaction, NULL);
	registered = true;
}

static void
on_transaction(XactEvent event, void *arg)
{
	DifsDatabase *database;
	ListCell *cell;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && (wake_keeper || cancelled != NIL) &&
		(database = difs_database_find(MyDatabaseId)) != NULL)
	{
		foreach (cell, cancelled)
			tell_helper(database, *(int64 *) lfirst(cell));
		if (wake_keeper)
		{
			LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
			database->inserts_wanted = true;
			LWLockRelease(&difs_shared->lock);
			difs_wake(database->keeper);
		}
	}
	wake_keeper = false;
	cancelled = NIL;
}

/* Under the lock, and so the helper that gets the signal is the one that works at this process: it needs the lock to go on to another. If it was
 * a savepoint that was rolled back, the helper finds that out and begins again. */
static void
tell_helper(DifsDatabase *database, int64 process)
{
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		if (database->inserts[i].pid != 0 && database->inserts[i].process == process)
			(void) kill(database->inserts[i].pid, SIGINT);
	}
	LWLockRelease(&difs_shared->lock);
}

/* difs.insert_progress() */
Datum
difs_insert_progress(PG_FUNCTION_ARGS)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DifsInsertHelper helpers[DIFS_MAX_INSERTS] = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (database == NULL)
		return (Datum) 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	memcpy(helpers, database->inserts, sizeof(helpers));
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		Datum values[] = {Int64GetDatum(helpers[i].process), Int64GetDatum(helpers[i].segments),
						  Int64GetDatum(helpers[i].bytes), Int64GetDatum(helpers[i].total_bytes)};
		bool nulls[] = {false, false, false, helpers[i].total_bytes < 0};

		if (helpers[i].pid != 0 && helpers[i].process != 0)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* difs.insert_visible(role oid) */
Datum
difs_insert_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_privs_of_role(GetUserId(), PG_GETARG_OID(0)) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR));
}

/* difs.canonical_path(path text) */
Datum
difs_canonical_path(PG_FUNCTION_ARGS)
{
	DifsPath *path = difs_path_parse(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(difs_path_write(path, path->count)));
}
