/*
 * launcher.c - starts keepers, streamers and embedded chunk servers, and starts
 * them again when they die.
 *
 * There is one launcher, from the end of recovery on (so never on a standby).  It
 * reads pg_database (connectable.c) and is connected to no database itself.  Whether
 * a database has the extension only a worker inside it can tell, so the launcher
 * takes an entry of difs_shared->databases[] and starts a keeper there:
 *
 *	UNUSED -> PROBING -> RUNNING -> STOPPING -> UNUSED
 *
 * PROBING ends when the keeper says RUNNING, or says STOPPING because there is no
 * extension.  Databases are probed one after the other, so that this takes one
 * worker slot however many there are.  The launcher alone takes entries and
 * empties them (entries.c), the latter when keeper and streamer are both gone.
 *
 * State: workers[] (what it has started, beside each entry) and todo (databases
 * to be probed), in its own memory.  A launcher that dies leaves keepers and
 * streamers alone: the next one finds them by their proc numbers in the entries,
 * and needs no more than that.  Embedded chunk servers (embedded.c) do end with it.
 *
 * A database named in blocked_database is being dropped, renamed or copied
 * (src/ddl.c): nothing is started in it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "src/compat.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "src/wait.h"
#include "worker/connectable.h"
#include "worker/embedded.h"
#include "worker/entries.h"
#include "worker/launcher.h"
#include "worker/metrics.h"
#include "worker/process.h"
#include "worker/remover.h"

#define RESTART_S 5 /* of the launcher itself, by the postmaster */
#define IDLE_TURN_MS 10000
#define AGAIN_MS 60000	 /* after a lack of worker slots or entries, or a probe that failed */
#define PATIENCE_MS 3000 /* with workers that have been told to exit */

typedef struct DifsWorker
{
	BackgroundWorkerHandle *handle; /* NULL: not started by us */
	DifsPause pause;
} DifsWorker;

typedef struct DifsWorkers /* of one entry of databases[] */
{
	DifsWorker keeper;
	DifsWorker streamer;
	TimestampTz terminate_at; /* STOPPING: when patience ends; 0 = not STOPPING */
} DifsWorkers;

static DifsWorkers *workers;
static List *todo = NIL;
static TimestampTz todo_not_before = 0;
static bool lack_reported = false;

PGDLLEXPORT void difs_launcher_main(Datum arg);

static void enter(void);
static void leave(int code, Datum arg);
static void collect_hints(void);
static void add_todo(Oid database);
static void tend_entry(int index, TimestampTz *next);
static void tend_running(int index, bool keeper_runs, bool streamer_runs, TimestampTz *next);
static void tend_stopping(int index, TimestampTz *next);
static void probe_next(TimestampTz *next);
static void empty_entry(int index);
static bool worker_runs(DifsWorker *worker, const int *proc_number);
static bool start_keeper(int index);
static bool start_streamer(int index);
static bool start_worker(DifsWorker *worker, int index, const char *type, const char *function);
static void report_lack(const char *what, const char *setting);
static void wait_for_events(TimestampTz next);

void
difs_launcher_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "difs launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "difs launcher", sizeof(worker.bgw_type));
	strlcpy(worker.bgw_library_name, "difs", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "difs_launcher_main", sizeof(worker.bgw_function_name));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_S;
	RegisterBackgroundWorker(&worker);
}

void
difs_launcher_main(Datum arg)
{
	MemoryContext turn_context;

	difs_process_begin();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	enter();
	turn_context = AllocSetContextCreate(TopMemoryContext, "difs launcher turn", ALLOCSET_DEFAULT_SIZES);

	while (!difs_process_asked_to_stop())
	{
		TimestampTz next = difs_process_in(IDLE_TURN_MS);

		MemoryContextReset(turn_context);
		MemoryContextSwitchTo(turn_context);
		difs_connectable_forget();
		collect_hints();
		difs_embedded_turn(&next);
		for (int i = 0; i < difs_shared->database_count; i++)
			tend_entry(i, &next);
		difs_remover_turn(&next);
		probe_next(&next);
		difs_metrics_turn(&next);
		wait_for_events(next);
	}
	proc_exit(1); /* with 0 the postmaster would never start us again */
}

static void
enter(void)
{
	workers = MemoryContextAllocZero(TopMemoryContext, difs_shared->database_count * sizeof(DifsWorkers));
	before_shmem_exit(leave, (Datum) 0);
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_shared->launcher = DIFS_MY_PROC_NUMBER;
	difs_shared->rescan = true;
	LWLockRelease(&difs_shared->lock);
	difs_embedded_begin();
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_shared->launcher = -1;
	LWLockRelease(&difs_shared->lock);
	difs_embedded_stop();
}

static void
collect_hints(void)
{
	Oid hints[DIFS_MAX_HINTS];
	int count;
	bool rescan;
	ListCell *cell;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	count = difs_shared->hint_count;
	memcpy(hints, difs_shared->hint, count * sizeof(Oid));
	rescan = difs_shared->rescan;
	difs_shared->hint_count = 0;
	difs_shared->rescan = false;
	LWLockRelease(&difs_shared->lock);

	if (count > 0 || rescan)
		todo_not_before = 0;
	for (int i = 0; i < count; i++)
		add_todo(hints[i]);
	if (rescan)
	{
		foreach (cell, difs_connectable_read())
			add_todo(lfirst_oid(cell));
	}
}

static void
add_todo(Oid database)
{
	MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

	todo = list_append_unique_oid(todo, database);
	MemoryContextSwitchTo(before);
}

/* Looks at one entry: is there somebody to start, or something to clear away? */
static void
tend_entry(int index, TimestampTz *next)
{
	DifsDatabase *database = &difs_shared->databases[index];
	DifsDatabaseState state;
	bool keeper_runs = worker_runs(&workers[index].keeper, &database->keeper);
	bool streamer_runs = worker_runs(&workers[index].streamer, &database->streamer);

	/* read after that: a worker that has gone cannot change the state any more */
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	state = database->state;
	LWLockRelease(&difs_shared->lock);

	if (state == DIFS_DATABASE_RUNNING)
		tend_running(index, keeper_runs, streamer_runs, next);
	else if (state == DIFS_DATABASE_STOPPING && (keeper_runs || streamer_runs))
		tend_stopping(index, next);
	else if (state == DIFS_DATABASE_STOPPING)
		empty_entry(index);
	else if (state == DIFS_DATABASE_PROBING && !keeper_runs)
	{
		/* it died of something, which is in the log: another try, but not at once */
		add_todo(database->database);
		todo_not_before = difs_process_in(AGAIN_MS);
		empty_entry(index);
	}
}

static void
tend_running(int index, bool keeper_runs, bool streamer_runs, TimestampTz *next)
{
	DifsWorkers *pair = &workers[index];
	Oid database = difs_shared->databases[index].database;
	TimestampTz now = GetCurrentTimestamp();

	if ((!keeper_runs || !streamer_runs) && !difs_connectable(database))
	{
		difs_entry_stop(index);
		difs_process_by(next, now);
		return;
	}
	if (!keeper_runs && now >= pair->keeper.pause.retry_at && start_keeper(index))
		keeper_runs = true;
	if (!streamer_runs && now >= pair->streamer.pause.retry_at && start_streamer(index))
		streamer_runs = true;
	if (!keeper_runs)
		difs_process_by(next, Max(pair->keeper.pause.retry_at, now + USECS_PER_SEC));
	if (!streamer_runs)
		difs_process_by(next, Max(pair->streamer.pause.retry_at, now + USECS_PER_SEC));
}

/* Its workers have been told to exit; one that does not hear, since it waits for a lock say, is terminated after a
 * while. */
static void
tend_stopping(int index, TimestampTz *next)
{
	DifsDatabase *database = &difs_shared->databases[index];
	DifsWorkers *pair = &workers[index];

	if (pair->terminate_at == 0)
	{
		pair->terminate_at = difs_process_in(PATIENCE_MS);
		difs_wake(database->keeper);
		difs_wake(database->streamer);
	}
	else if (GetCurrentTimestamp() >= pair->terminate_at)
	{
		pair->terminate_at = difs_process_in(PATIENCE_MS);
		if (pair->keeper.handle != NULL)
			TerminateBackgroundWorker(pair->keeper.handle);
		if (pair->streamer.handle != NULL)
			TerminateBackgroundWorker(pair->streamer.handle);
	}
	difs_process_by(next, pair->terminate_at);
}

/* Starts a keeper in the next database on the list, unless one is already at it. */
static void
probe_next(TimestampTz *next)
{
	ListCell *cell;
	int index;

	for (int i = 0; i < difs_shared->database_count; i++)
	{
		if (difs_shared->databases[i].state == DIFS_DATABASE_PROBING)
			return;
	}
	if (GetCurrentTimestamp() < todo_not_before)
	{
		difs_process_by(next, todo_not_before);
		return;
	}
	foreach (cell, todo)
	{
		Oid database = lfirst_oid(cell);
		DifsTake take = difs_connectable(database) ? difs_entry_take(database, &index) : DIFS_TAKE_NOT_NEEDED;

		if (take == DIFS_TAKE_LATER)
			continue;
		if (take == DIFS_TAKE_NONE_FREE)
		{
			report_lack("all entries for databases are in use", "difs.max_databases");
			return;
		}
		todo = foreach_delete_current(todo, cell);
		if (take == DIFS_TAKE_NOT_NEEDED)
			continue;
		if (!start_keeper(index))
		{
			add_todo(database);
			empty_entry(index);
		}
		return;
	}
}

static void
empty_entry(int index)
{
	difs_entry_empty(index);
	memset(&workers[index], 0, sizeof(workers[index]));
}

/* Does a worker run, or is it about to? Notes the end of one that has gone. */
static bool
worker_runs(DifsWorker *worker, const int *proc_number)
{
	pid_t pid;
	BgwHandleStatus status;

	if (worker->handle == NULL)
	{
		int number;

		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		number = *proc_number;
		LWLockRelease(&difs_shared->lock);
		return number != -1;
	}
	status = GetBackgroundWorkerPid(worker->handle, &pid);
	if (status != BGWH_STOPPED)
		return true;
	pfree(worker->handle);
	worker->handle = NULL;
	difs_pause_ended(&worker->pause);
	return false;
}

static bool
start_keeper(int index)
{
	return start_worker(&workers[index].keeper, index, "difs keeper", "difs_keeper_main");
}

static bool
start_streamer(int index)
{
	return start_worker(&workers[index].streamer, index, "difs streamer", "difs_streamer_main");
}

/* Has the postmaster start a worker for an entry; false, reported, if it has no room for one. */
static bool
start_worker(DifsWorker *worker, int index, const char *type, const char *function)
{
	Oid database = difs_shared->databases[index].database;
	BackgroundWorker request = {0};
	MemoryContext before;
	bool started;

	snprintf(request.bgw_name, sizeof(request.bgw_name), "%s for database %u", type, database);
	strlcpy(request.bgw_type, type, sizeof(request.bgw_type));
	strlcpy(request.bgw_library_name, "difs", sizeof(request.bgw_library_name));
	strlcpy(request.bgw_function_name, function, sizeof(request.bgw_function_name));
	request.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	request.bgw_start_time = BgWorkerStart_RecoveryFinished;
	request.bgw_restart_time = BGW_NEVER_RESTART;
	request.bgw_main_arg = Int32GetDatum(index);
	memcpy(request.bgw_extra, &database, sizeof(database));
	request.bgw_notify_pid = MyProcPid;

	before = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&request, &worker->handle);
	MemoryContextSwitchTo(before);
	if (!started)
	{
		worker->handle = NULL;
		report_lack("all slots for background workers are in use", "max_worker_processes");
		return false;
	}
	lack_reported = false;
	difs_pause_started(&worker->pause);
	return true;
}

static void
report_lack(const char *what, const char *setting)
{
	todo_not_before = difs_process_in(AGAIN_MS);
	if (lack_reported)
		return;
	lack_reported = true;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("difs launcher: could not start a worker: %s", what),
			 errhint("Raise %s and restart the server; until then some databases may be without difs.", setting)));
}

static void
wait_for_events(TimestampTz next)
{
	WaitEvent event;
	WaitEventSet *set = DIFS_CREATE_WAIT_SET(3 + DIFS_MAX_LOCAL_SERVERS);
	long timeout_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	difs_embedded_wait_for(set);
	difs_metrics_wait_for(set);
	WaitEventSetWait(set, timeout_ms, &event, 1, difs_wait_event(DIFS_WAIT_LAUNCHER_MAIN));
	FreeWaitEventSet(set);
	ResetLatch(MyLatch);
}
