/*
 * duty.c - the process that runs one round of a duty (duties.h).
 *
 * It errors out or is terminated like any backend; its exit hook says that the
 * round has ended, and why not well.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"

#include "src/compat.h"
#include "worker/duties.h"
#include "worker/keeper.h"
#include "worker/served.h"

DifsDatabase *difs_duty_database = NULL;

static DifsDutyState *state = NULL;
static MemoryContext round_context;
static int64 results[DIFS_DUTY_RESULTS];
static char problem[DIFS_ERROR_TEXT_SIZE] = "it was stopped";

static void attach(int index, int kind);
static void leave(int code, Datum arg);
static void remember_problem(void);

void
difs_duty_main(Datum arg)
{
	volatile int kind = DatumGetInt32(arg) % DIFS_DUTIES;	/* must outlive a longjmp */
	Oid			database;

	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(database));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	difs_keeper_settings();
	pgstat_report_appname(psprintf("difs keeper: %s", difs_duties[kind].name));
	attach(DatumGetInt32(arg) / DIFS_DUTIES, kind);

	round_context = AllocSetContextCreate(TopMemoryContext, "difs duty", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round_context);
	PG_TRY();
	{
		difs_duties[kind].round();
		problem[0] = '\0';
	}
	PG_CATCH();
	{
		remember_problem();
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}

bool
difs_duty_begin(void)
{
	if (!difs_served_begin(difs_duty_database))
	{
		MemoryContextSwitchTo(round_context);
		return false;
	}
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

void
difs_duty_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	MemoryContextSwitchTo(round_context);
}

bool
difs_duty_asked(void)
{
	bool		asked;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	asked = state->asked;
	LWLockRelease(&difs_shared->lock);
	return asked;
}

void
difs_duty_progress(int64 done, int64 total)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state->done = done;
	state->total = total;
	LWLockRelease(&difs_shared->lock);
}

void
difs_duty_result(int index, int64 value)
{
	Assert(index >= 0 && index < DIFS_DUTY_RESULTS);
	results[index] = value;
}

static void
attach(int index, int kind)
{
	bool		mine;

	difs_duty_database = &difs_shared->databases[index];
	state = &difs_duty_database->duties[kind];
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	mine = difs_duty_database->database == MyDatabaseId && difs_duty_database->state == DIFS_DATABASE_RUNNING &&
		state->proc == -1;
	if (mine)
		state->proc = DIFS_MY_PROC_NUMBER;
	LWLockRelease(&difs_shared->lock);
	if (!mine)
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state->proc = -1;
	state->ended = GetCurrentTimestamp();
	state->ended_round = state->round;
	memcpy(state->result, results, sizeof(results));
	strlcpy(state->problem, problem, sizeof(state->problem));
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
	difs_wake(difs_duty_database->keeper);
}

static void
remember_problem(void)
{
	MemoryContext error_context = MemoryContextSwitchTo(round_context);
	ErrorData  *error = CopyErrorData();

	snprintf(problem, sizeof(problem), "%s%s%s", error->message, error->detail != NULL ? ": " : "",
			 error->detail != NULL ? error->detail : "");
	MemoryContextSwitchTo(error_context);
}
