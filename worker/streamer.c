/*
 * streamer.c - the streamer's life and loop (streamer.h).
 *
 * Backends set the latch only when streamer_sleeps says that it sleeps.  The flag
 * is raised before the queue is looked at a last time, so no segment is left
 * behind; that look is the only thing between the flag and the sleep.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/counters.h"
#include "worker/streamer.h"

/* How often time-outs are looked at while something is on its way or waits. */
#define TICK_MS			100
#define IDLE_TICK_MS	10000

DifsDatabase *difs_streamer_database = NULL;
TimestampTz difs_streamer_now = 0;

static void attach(int index);
static void detach(int code, Datum arg);
static void rest(void);

void
difs_streamer_main(Datum arg)
{
	MemoryContext context;
	TimestampTz next_tick = 0;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	attach(DatumGetInt32(arg));
	context = AllocSetContextCreate(TopMemoryContext, "difs streamer turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	difs_dispatch_begin();

	while (!ShutdownRequestPending && difs_streamer_database->state == DIFS_DATABASE_RUNNING)
	{
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		difs_streamer_now = GetCurrentTimestamp();
		difs_outlets_advance();
		difs_dispatch_queue();
		difs_outlets_flush();
		if (difs_streamer_now >= next_tick)
		{
			difs_outlets_tick(difs_streamer_now);
			difs_dispatch_tick(difs_streamer_now);
			difs_stream_revoke_kept(difs_streamer_database);
			next_tick = TimestampTzPlusMilliseconds(difs_streamer_now, TICK_MS);
		}
		rest();
		MemoryContextReset(context);
	}
	proc_exit(0);
}

/* Publishes that this process is the streamer of the database. */
static void
attach(int index)
{
	if (difs_shared == NULL)
		elog(ERROR, "the difs streamer has no shared memory");
	difs_streamer_database = &difs_shared->databases[index];
	on_shmem_exit(detach, 0);
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_streamer_database->streamer = DIFS_MY_PROC_NUMBER;
	LWLockRelease(&difs_shared->lock);
	difs_counters_begin(difs_streamer_database->database, difs_streamer_database->cluster);
	ereport(DEBUG1, (errmsg_internal("difs streamer of database %u started", difs_streamer_database->database)));
}

static void
detach(int code, Datum arg)
{
	difs_outlets_close();
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (difs_streamer_database->streamer == DIFS_MY_PROC_NUMBER)
		difs_streamer_database->streamer = -1;
	LWLockRelease(&difs_shared->lock);
}

static void
rest(void)
{
	pg_atomic_write_u32(&difs_streamer_database->streamer_sleeps, 1);
	pg_memory_barrier();
	if (difs_stream_queue_empty(difs_streamer_database) && !difs_dispatch_hurries())
		difs_outlets_wait(difs_dispatch_idle() ? IDLE_TICK_MS : TICK_MS);
	pg_atomic_write_u32(&difs_streamer_database->streamer_sleeps, 0);
}
