/*
 * streamer.c - the streamer's life and loop (streamer.h).
 *
 * Backends set the latch only when streamer_sleep says so (stream.h).  It says it
 * before the queue is looked at a last time, so no segment is left behind; that
 * look is the only thing between the flag and the sleep.
 *
 * While it waits for answers, segments that are not urgent wait with it; if none
 * comes for DIFS_LINGER_MS, they do not, as a server may be slow and another idle.
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
#define TICK_MS 100
#define IDLE_TICK_MS 10000

DifsDatabase *difs_streamer_database = NULL;
TimestampTz difs_streamer_now = 0;

static void attach(int index);
static void detach(int code, Datum arg);
static bool is_due(TimestampTz now);
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
		difs_dispatch_queue(is_due(difs_streamer_now));
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

/* Has the queue come to be sent? */
static bool
is_due(TimestampTz now)
{
	static TimestampTz lingers_since = 0;
	bool due = difs_stream_take_hurry(difs_streamer_database) ||
		(lingers_since != 0 && TimestampDifferenceExceeds(lingers_since, now, DIFS_PATIENCE_MS));

	if (due || difs_stream_queue_empty(difs_streamer_database))
		lingers_since = 0;
	else if (lingers_since == 0)
		lingers_since = now;
	return due;
}

static void
rest(void)
{
	static bool answered = true; /* something has come since it last waited for answers */
	DifsStreamerSleep sleep = DIFS_STREAMER_SLEEPS;
	long limit_ms;

	if (answered && difs_dispatch_awaits())
		sleep = DIFS_STREAMER_AWAITS;
	else if (!difs_stream_queue_empty(difs_streamer_database))
		sleep = DIFS_STREAMER_LINGERS;
	pg_atomic_write_u32(&difs_streamer_database->streamer_sleep, sleep);
	pg_memory_barrier();
	if (sleep == DIFS_STREAMER_AWAITS)
		limit_ms = DIFS_LINGER_MS;
	else if (sleep == DIFS_STREAMER_LINGERS || !difs_stream_queue_empty(difs_streamer_database))
		limit_ms = DIFS_PATIENCE_MS;
	else
		limit_ms = difs_dispatch_idle() ? IDLE_TICK_MS : TICK_MS;
	if (pg_atomic_read_u32(&difs_streamer_database->queue_hurries) == 0 && !difs_dispatch_hurries())
		answered = difs_outlets_wait(limit_ms);
	pg_atomic_write_u32(&difs_streamer_database->streamer_sleep, DIFS_STREAMER_AWAKE);
}
