/*
 * keeper.c - the background worker for slow duties, one in each database that
 * has the extension.
 *
 * The launcher starts it in any database to find out whether the extension is
 * there.  If not, it sets the entry's state to STOPPING and exits.  If so, it
 * publishes what streamer and backends need, sets RUNNING and goes on in turns:
 *
 *	roster.c   rows of chunk servers -> shared memory
 *	health.c   are they alive?
 *	groups.c   block groups opened and sealed
 *	duties.c   slow duties, each in a process of its own
 *	inserts.c   helpers for difs_insert(), each in a process of its own
 *	claim_watch.c   the right to do all this: without it only roster.c and health.c have their turn
 *
 * It exits when the extension is gone, or is another one than it was when the
 * keeper began, or when the state is STOPPING.  The launcher empties the entry.
 *
 * Transactions are short: what is learnt over the network is written after it
 * has come, and a snapshot is never held while waiting.  Each takes a share lock
 * on the extension first, so DROP EXTENSION and the keeper never meet half-way.
 *
 * State: nothing that matters.  A keeper that dies is started again by the
 * launcher and reads everything anew; until then writes go on in the groups that
 * are open.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "src/compat.h"
#include "src/extension.h"
#include "src/ids.h"
#include "src/wait.h"
#include "worker/claim_watch.h"
#include "worker/duties.h"
#include "worker/groups.h"
#include "worker/health.h"
#include "worker/inserts.h"
#include "worker/keeper.h"
#include "worker/legacy.h"
#include "worker/process.h"
#include "worker/roster.h"
#include "worker/sample.h"

#define ROSTER_MS 5000		   /* between two looks at the rows */
#define ROSTER_WOKEN_MS 100	   /* the same while others set our latch */
#define LISTEN_TIMEOUT_MS 5000 /* for embedded servers, at start */
#define LISTEN_POLL_MS 1000
#define IDLE_TURN_MS 60000

DifsDatabase *difs_keeper_database = NULL;

static MemoryContext turn_context;
static Oid extension = InvalidOid;		/* the one that this keeper serves */
static char database_name[NAMEDATALEN]; /* at start, for messages */

PGDLLEXPORT void difs_keeper_main(Datum arg);

static bool enter(int index, Oid database);
static void leave(int code, Datum arg);
static bool begin_service(void);
static void wait_for_embedded(void);
static bool embedded_are_starting(void);
static bool read_roster(void);
static bool begin_running(void);
static bool give_way(void);
static void run(void);
static bool refill_ids(void);
static void wait_for_events(TimestampTz next);
static bool is_gone(void);
pg_noreturn static void end_service(void);

void
difs_keeper_main(Datum arg)
{
	Oid database;

	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(database));
	difs_process_begin();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname("difs keeper");
	if (!enter(DatumGetInt32(arg), database))
		proc_exit(0);
	difs_keeper_settings();
	turn_context = AllocSetContextCreate(TopMemoryContext, "difs keeper turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	if (begin_service() && begin_running())
		run();
	if (is_gone())
		difs_legacy_judge(NULL);
	end_service();
}

bool
difs_keeper_begin(void)
{
	Oid found;

	pgstat_report_activity(STATE_RUNNING, "updating tables of difs");
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	found = difs_extension_hold();
	if (extension == InvalidOid)
		extension = found;
	if (!OidIsValid(found) || found != extension)
	{
		AbortCurrentTransaction();
		MemoryContextSwitchTo(turn_context);
		return false;
	}
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

void
difs_keeper_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(turn_context);
}

void
difs_keeper_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", ""},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"synchronous_commit", "local"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"row_security", "off"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Makes this process the keeper of the entry; false if the entry is another database's by now, has one, or is to be
 * emptied. */
static bool
enter(int index, Oid database)
{
	DifsDatabase *entry = &difs_shared->databases[index];
	bool mine;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	mine = entry->database == database && entry->keeper == -1 &&
		(entry->state == DIFS_DATABASE_PROBING || entry->state == DIFS_DATABASE_RUNNING);
	if (mine)
		entry->keeper = DIFS_MY_PROC_NUMBER;
	LWLockRelease(&difs_shared->lock);
	if (mine)
	{
		difs_keeper_database = entry;
		before_shmem_exit(leave, (Datum) 0);
	}
	return mine;
}

static void
leave(int code, Datum arg)
{
	int launcher;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_keeper_database->keeper = -1;
	launcher = difs_shared->launcher;
	LWLockRelease(&difs_shared->lock);
	difs_wake(launcher);
}

/* Is the extension there? Then publishes who we are and which servers there are. */
static bool
begin_service(void)
{
	if (!difs_keeper_begin())
		return false;
	strlcpy(database_name, get_database_name(MyDatabaseId), sizeof(database_name));
	if (difs_roster_identity(difs_keeper_database->state == DIFS_DATABASE_PROBING))
		difs_claim_watch_begin();
	difs_keeper_commit();
	difs_legacy_judge(difs_keeper_database->cluster);
	wait_for_embedded();
	return read_roster() && (!difs_keeper_database->claimed || refill_ids());
}

/* So that whoever waits for RUNNING finds servers that listen; but not for long, since others may be there. */
static void
wait_for_embedded(void)
{
	TimestampTz deadline = difs_process_in(LISTEN_TIMEOUT_MS);

	while (embedded_are_starting() && GetCurrentTimestamp() < deadline &&
		   difs_keeper_database->state != DIFS_DATABASE_STOPPING && !difs_process_asked_to_stop())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LISTEN_POLL_MS, difs_wait_event(DIFS_WAIT_KEEPER_MAIN));
		ResetLatch(MyLatch);
	}
}

static bool
embedded_are_starting(void)
{
	bool starting = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < difs_shared->local_count; i++)
		starting = starting || (difs_shared->local[i].pid != 0 && difs_shared->local[i].port == 0);
	LWLockRelease(&difs_shared->lock);
	return starting;
}

/* Brings shared memory up to date with the tables; false if the extension is gone, or is another one. */
static bool
read_roster(void)
{
	bool same;

	if (!difs_keeper_begin())
		return false;
	same = difs_roster_identity(false);
	if (same)
	{
		difs_roster_announce();
		(void) difs_roster_publish();
	}
	difs_keeper_commit();
	if (!same) /* to be served under its new identity */
		difs_database_hint(MyDatabaseId);
	return same;
}

static bool
begin_running(void)
{
	bool running = false;
	bool copied;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	copied = give_way();
	if (!copied && difs_keeper_database->state != DIFS_DATABASE_STOPPING)
	{
		strlcpy(difs_keeper_database->name, database_name, NAMEDATALEN);
		difs_keeper_database->state = DIFS_DATABASE_RUNNING;
		running = true;
	}
	LWLockRelease(&difs_shared->lock);
	if (copied)
		ereport(WARNING,
				(errmsg("difs: database \"%s\" is a copy of another one, and is not served", database_name),
				 errdetail("Both have the same identity towards chunk servers, and only one may write. "
						   "Files can be read in this database.")));
	if (!running)
		return false;
	ConditionVariableBroadcast(&difs_shared->changed);
	difs_wake(difs_shared->launcher); /* to start the streamer */
	ereport(LOG,
			(errmsg("difs: started in database \"%s\"", database_name)));
	return true;
}

/* Under the lock. Is another database served under our identity (CREATE DATABASE … TEMPLATE has copied one to the
 * other)? Two keepers would each take the other's segments for orphans. The lower OID, which is most likely the
 * older one, goes on: we give way, or the other does. */
static bool
give_way(void)
{
	for (int i = 0; i < difs_shared->database_count; i++)
	{
		DifsDatabase *other = &difs_shared->databases[i];

		if (other == difs_keeper_database || other->state != DIFS_DATABASE_RUNNING ||
			memcmp(other->cluster, difs_keeper_database->cluster, DIFS_UUID_SIZE) != 0)
			continue;
		if (other->database < MyDatabaseId)
			return true;
		other->state = DIFS_DATABASE_STOPPING;
		difs_wake(other->keeper);
		difs_wake(other->streamer);
	}
	return false;
}

/* Returns when the extension is gone; exits when asked to. */
static void
run(void)
{
	TimestampTz roster_read_at = GetCurrentTimestamp();
	bool woken = false;

	difs_groups_begin();
	difs_sample_begin();
	while (difs_keeper_database->state == DIFS_DATABASE_RUNNING)
	{
		TimestampTz next = difs_process_in(IDLE_TURN_MS);
		TimestampTz roster_at;

		if (difs_process_asked_to_stop())
			proc_exit(0);
		MemoryContextReset(turn_context);
		MemoryContextSwitchTo(turn_context);

		roster_at = TimestampTzPlusMilliseconds(roster_read_at, woken ? ROSTER_WOKEN_MS : ROSTER_MS);
		if (GetCurrentTimestamp() >= roster_at)
		{
			if (!read_roster())
				return;
			roster_read_at = GetCurrentTimestamp();
			roster_at = TimestampTzPlusMilliseconds(roster_read_at, ROSTER_MS);
			woken = false;
		}
		difs_process_by(&next, roster_at);
		difs_health_turn(&next);
		if (difs_keeper_database->claimed && (!refill_ids() || !difs_groups_turn(&next) || !difs_inserts_turn(&next)))
			return;
		difs_claim_watch_turn();
		difs_duties_turn(&next);
		wait_for_events(next);
		woken = woken || MyLatch->is_set;
		ResetLatch(MyLatch);
	}
}

/* Backends do this too, but one that finds some never has to. */
static bool
refill_ids(void)
{
	bool low;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	low = difs_keeper_database->limit_segment - difs_keeper_database->next_segment < DIFS_SEGMENT_ID_BATCH / 2;
	LWLockRelease(&difs_shared->lock);
	if (!low)
		return true;
	if (!difs_keeper_begin())
		return false;
	difs_segment_refill(difs_keeper_database);
	difs_keeper_commit();
	return true;
}

static void
wait_for_events(TimestampTz next)
{
	WaitEvent event;
	WaitEventSet *set = DIFS_CREATE_WAIT_SET(2 + DIFS_MAX_SERVERS);
	long timeout_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	difs_health_wait_for(set);
	WaitEventSetWait(set, timeout_ms, &event, 1, difs_wait_event(DIFS_WAIT_KEEPER_MAIN));
	FreeWaitEventSet(set);
}

/* Is there no extension at all? (One that has been made anew is judged by its own keeper.) */
static bool
is_gone(void)
{
	bool gone;

	StartTransactionCommand();
	gone = !OidIsValid(get_extension_oid("difs", true));
	CommitTransactionCommand();
	MemoryContextSwitchTo(turn_context);
	return gone;
}

/* There is nothing to keep here any more, or there is something new: the launcher empties the entry and then looks
 * again. */
static void
end_service(void)
{
	bool was_running;

	difs_duties_stop();
	difs_inserts_stop();
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	was_running = difs_keeper_database->state == DIFS_DATABASE_RUNNING;
	difs_keeper_database->state = DIFS_DATABASE_STOPPING;
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
	difs_wake(difs_keeper_database->streamer);
	if (was_running)
	{
		difs_database_hint(MyDatabaseId);
		ereport(LOG,
				(errmsg("difs: stopped in database \"%s\"", database_name)));
	}
	proc_exit(0);
}
