/*
 * inserts.c - when the keeper begins helpers for difs_insert() (inserts.h).
 *
 * It looks at the rows when somebody has committed one, when a helper has ended,
 * and every few seconds besides: for what COMMIT PREPARED made, and what a crash
 * has left in progress.  A helper takes what it finds until there is nothing, so
 * the keeper only sees to it that there are as many as there is work for.
 *
 * State: handles of what this keeper has begun.  Helpers of a former one are counted
 * by their entries in shared memory; each refuses to be one too many itself.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"

#include "src/compat.h"
#include "src/settings.h"
#include "worker/inserts.h"
#include "worker/keeper.h"
#include "worker/process.h"

#define LOOK_MS 5000	 /* between two looks at the rows */
#define AGAIN_MS 1000	 /* from the end of a helper to the next look */
#define CLEAR_MS 10000	 /* between two looks for those that can go */
#define CLEAR_ROWS 10000 /* at a time */

static BackgroundWorkerHandle *handles[DIFS_MAX_INSERTS];
static TimestampTz look_at = 0;
static TimestampTz clear_at = 0;
static TimestampTz lack_reported_at = 0;

static void notice_ends(void);
static bool take_wish(void);
static int count_helpers(int *busy);
static int count_open(void);
static void clear_old(void);
static bool start(void);

bool
difs_inserts_turn(TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	int open;
	int busy;
	int helpers;

	notice_ends();
	if (!take_wish() && now < look_at)
	{
		difs_process_by(next, look_at);
		return true;
	}
	if (!difs_keeper_begin())
		return false;
	open = count_open();
	if (now >= clear_at)
		clear_old();
	difs_keeper_commit();

	/* those that are not busy will take what is left, or are about to end */
	helpers = count_helpers(&busy);
	for (int wanted = open - busy; wanted > 0 && helpers < difs_max_inserts && start(); wanted--)
		helpers++;
	look_at = difs_process_in(LOOK_MS);
	difs_process_by(next, look_at);
	return true;
}

void
difs_inserts_stop(void)
{
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		if (handles[i] == NULL)
			continue;
		TerminateBackgroundWorker(handles[i]);
		(void) WaitForBackgroundWorkerShutdown(handles[i]);
		handles[i] = NULL;
	}
}

/* What one leaves that died is taken up a little later, since the next one may die of the same. */
static void
notice_ends(void)
{
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		pid_t pid;

		if (handles[i] == NULL || GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED)
			continue;
		pfree(handles[i]);
		handles[i] = NULL;
		look_at = Min(look_at, difs_process_in(AGAIN_MS));
	}
}

static bool
take_wish(void)
{
	bool wanted;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	wanted = difs_keeper_database->inserts_wanted;
	difs_keeper_database->inserts_wanted = false;
	LWLockRelease(&difs_shared->lock);
	return wanted;
}

/* How many there are, those included that are just being started; and how many of them have something to do. */
static int
count_helpers(int *busy)
{
	int begun = 0;
	int entered = 0;

	*busy = 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		begun += handles[i] != NULL;
		entered += difs_keeper_database->inserts[i].pid != 0;
		*busy += difs_keeper_database->inserts[i].process != 0;
	}
	LWLockRelease(&difs_shared->lock);
	return Max(begun, entered);
}

static int
count_open(void)
{
	if (SPI_execute("SELECT 1 FROM difs.insert_process WHERE state IN ('accepted', 'in progress')", true,
					2 * DIFS_MAX_INSERTS) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.insert_process");
	return (int) SPI_processed;
}

static void
clear_old(void)
{
	Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(difs_insert_keep), Int32GetDatum(CLEAR_ROWS)};

	if (SPI_execute_with_args("DELETE FROM difs.insert_process WHERE id = ANY (ARRAY("
							  "SELECT id FROM difs.insert_process"
							  " WHERE ended < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) LIMIT $2))",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clear difs.insert_process");
	clear_at = difs_process_in(SPI_processed == CLEAR_ROWS ? 0 : Min(CLEAR_MS, Max(difs_insert_keep, 1) * 1000L));
}

static bool
start(void)
{
	BackgroundWorker request = {0};
	MemoryContext before;
	int place = 0;
	bool started;

	while (place < DIFS_MAX_INSERTS && handles[place] != NULL)
		place++;
	if (place == DIFS_MAX_INSERTS)
		return false;
	snprintf(request.bgw_name, sizeof(request.bgw_name), "difs insert for database %u", MyDatabaseId);
	strlcpy(request.bgw_type, "difs insert", sizeof(request.bgw_type));
	strlcpy(request.bgw_library_name, "difs", sizeof(request.bgw_library_name));
	strlcpy(request.bgw_function_name, "difs_insert_main", sizeof(request.bgw_function_name));
	request.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	request.bgw_start_time = BgWorkerStart_RecoveryFinished;
	request.bgw_restart_time = BGW_NEVER_RESTART;
	request.bgw_main_arg = Int32GetDatum((int32) (difs_keeper_database - difs_shared->databases));
	memcpy(request.bgw_extra, &MyDatabaseId, sizeof(MyDatabaseId));
	request.bgw_notify_pid = MyProcPid;

	before = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&request, &handles[place]);
	MemoryContextSwitchTo(before);
	if (started)
		return true;
	handles[place] = NULL;
	if (GetCurrentTimestamp() >= lack_reported_at)
	{
		ereport(WARNING,
				(errmsg("difs keeper: could not start a helper for difs_insert(): all slots for background workers are in use"),
				 errhint("Raise max_worker_processes, or lower difs.max_inserts.")));
		lack_reported_at = difs_process_in(CLEAR_MS);
	}
	return false;
}
