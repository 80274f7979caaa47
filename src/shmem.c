/*
 * shmem.c - the area that backends and workers share (shmem.h).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "src/cache.h"
#include "src/compat.h"
#include "src/counters.h"
#include "src/pool.h"
#include "src/row_hint.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "src/stream.h"
#include "src/wait.h"

DifsShared *difs_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request(void);
static void startup(void);
static void initialise(DifsShared *shared);
static Size shared_size(void);
pg_noreturn static void report_no_workers(void);

void
difs_shmem_install(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

void
difs_shmem_require(void)
{
	if (difs_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("difs is not loaded at server start"),
				 errhint("Add difs to shared_preload_libraries in postgresql.conf and restart the server.")));
}

DifsDatabase *
difs_database_find(Oid database)
{
	DifsDatabase *found = NULL;

	if (difs_shared == NULL)
		return NULL;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < difs_shared->database_count && found == NULL; i++)
	{
		DifsDatabase *candidate = &difs_shared->databases[i];

		if (candidate->state == DIFS_DATABASE_RUNNING && candidate->database == database)
			found = candidate;
	}
	LWLockRelease(&difs_shared->lock);
	return found;
}

DifsDatabase *
difs_database_require(void)
{
	DifsDatabase *database;
	TimestampTz deadline;

	difs_shmem_require();
	database = difs_database_find(MyDatabaseId);
	if (likely(database != NULL))
		return database;

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), difs_server_timeout);
	difs_database_hint(MyDatabaseId);
	ConditionVariablePrepareToSleep(&difs_shared->changed);
	while ((database = difs_database_find(MyDatabaseId)) == NULL)
	{
		long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		int64 began_us;

		if (left_ms <= 0)
			break;
		began_us = difs_wait_begin();
		ConditionVariableTimedSleep(&difs_shared->changed, left_ms, difs_wait_event(DIFS_WAIT_WORKERS));
		difs_wait_end(DIFS_WAIT_WORKERS, began_us);
	}
	ConditionVariableCancelSleep();
	if (database == NULL)
		report_no_workers();
	return database;
}

void
difs_database_hint(Oid database)
{
	int launcher;
	bool known = false;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < difs_shared->hint_count; i++)
		known = known || difs_shared->hint[i] == database;
	if (!known && difs_shared->hint_count < DIFS_MAX_HINTS)
		difs_shared->hint[difs_shared->hint_count++] = database;
	else if (!known)
		difs_shared->rescan = true;
	launcher = difs_shared->launcher;
	LWLockRelease(&difs_shared->lock);
	difs_wake(launcher);
}

void
difs_database_restart(DifsDatabase *database)
{
	Oid oid = InvalidOid;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (database->state == DIFS_DATABASE_RUNNING)
	{
		oid = database->database;
		database->state = DIFS_DATABASE_STOPPING;
		difs_wake(database->keeper);
		difs_wake(database->streamer);
	}
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
	if (OidIsValid(oid))
		difs_database_hint(oid);
}

void
difs_wake(int proc_number)
{
	if (proc_number >= 0)
		SetLatch(&DIFS_PROC_BY_NUMBER(proc_number)->procLatch);
}

bool
difs_server_lookup(DifsDatabase *database, int32 server, DifsSharedServer *copy)
{
	bool found = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_SERVERS && !found; i++)
	{
		if (database->servers[i].id != server)
			continue;
		*copy = database->servers[i];
		found = true;
	}
	LWLockRelease(&difs_shared->lock);
	return found;
}

uint64
difs_segment_next(DifsDatabase *database)
{
	uint64 id = 0;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (database->next_segment < database->limit_segment)
		id = database->next_segment++;
	LWLockRelease(&difs_shared->lock);
	return id;
}

static void
request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(add_size(shared_size(), add_size(difs_stream_shmem_size(), difs_pool_shmem_size())));
	RequestAddinShmemSpace(difs_cache_shmem_size());
	RequestAddinShmemSpace(difs_counters_shmem_size());
	RequestAddinShmemSpace(difs_row_hint_shmem_size());
}

static void
startup(void)
{
	bool found;
	void *area;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	difs_shared = ShmemInitStruct("difs", shared_size(), &found);
	if (!found)
		initialise(difs_shared);
	LWLockRegisterTranche(difs_shared->tranche, "difs");
	area = ShmemInitStruct("difs stream", difs_stream_shmem_size(), &found);
	difs_stream_shmem_init(area, found);
	area = ShmemInitStruct("difs pool", difs_pool_shmem_size(), &found);
	difs_pool_shmem_init(area, found);
	area = ShmemInitStruct("difs counters", difs_counters_shmem_size(), &found);
	difs_counters_shmem_init(area, found);
	area = ShmemInitStruct("difs row hints", difs_row_hint_shmem_size(), &found);
	difs_row_hint_shmem_init(area, found);
	if (difs_cache_shmem_size() > 0)
	{
		area = ShmemInitStruct("difs cache", difs_cache_shmem_size(), &found);
		difs_cache_shmem_init(area, found);
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
initialise(DifsShared *shared)
{
	memset(shared, 0, shared_size());
	shared->tranche = LWLockNewTrancheId();
	LWLockInitialize(&shared->lock, shared->tranche);
	ConditionVariableInit(&shared->changed);
	shared->launcher = -1;
	shared->blocked_by = -1;
	shared->database_count = difs_max_databases;
	for (int i = 0; i < shared->database_count; i++)
	{
		DifsDatabase *database = &shared->databases[i];

		database->keeper = -1;
		database->streamer = -1;
		for (int j = 0; j < DIFS_DUTIES; j++)
			database->duties[j].proc = -1;
		database->queue_head = database->queue_tail = -1;
		SpinLockInit(&database->queue_lock);
		pg_atomic_init_u32(&database->queue_hurries, 0);
		pg_atomic_init_u32(&database->streamer_sleep, DIFS_STREAMER_SLEEPS);
		pg_atomic_init_u64(&database->staged_bytes, 0);
		for (int j = 0; j < DIFS_MAX_SERVERS; j++)
			pg_atomic_init_u64(&database->paces[j], 0);
	}
}

static Size
shared_size(void)
{
	return add_size(offsetof(DifsShared, databases), mul_size(difs_max_databases, sizeof(DifsDatabase)));
}

/* The extension may have been created by this very transaction, or workers cannot start: say which. */
static void
report_no_workers(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the workers of difs are not running in this database"),
			 errdetail("They are started once CREATE EXTENSION difs has been committed, and never on a standby."),
			 errhint("If the server log says that they could not be started, raise max_worker_processes or difs.max_databases.")));
}
