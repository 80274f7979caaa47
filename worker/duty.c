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
static const char *name = NULL; /* of the duty */
static MemoryContext round_context;
static char problem[DIFS_ERROR_TEXT_SIZE] = "it was stopped";

static void attach(int index, int kind);
static void leave(int code, Datum arg);
static void remember_problem(void);

void
difs_duty_main(Datum arg)
{
	volatile int kind = DatumGetInt32(arg) % DIFS_DUTIES; /* must outlive a longjmp */
	Oid database;

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
		difs_duty_rounds[kind]();
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
	bool asked;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	asked = state->asked;
	LWLockRelease(&difs_shared->lock);
	return asked;
}

void
difs_duty_phase(const char *phase)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	strlcpy(state->phase, phase, sizeof(state->phase));
	state->done = state->total = 0;
	LWLockRelease(&difs_shared->lock);
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
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state->so_far[index] = value;
	LWLockRelease(&difs_shared->lock);
}

void
difs_duty_again(int again_ms)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state->again_ms = again_ms;
	LWLockRelease(&difs_shared->lock);
}

static void
attach(int index, int kind)
{
	bool mine;

	difs_duty_database = &difs_shared->databases[index];
	state = &difs_duty_database->duties[kind];
	name = difs_duties[kind].name;
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
	bool failed_before;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state->proc = -1;
	state->ended = GetCurrentTimestamp();
	state->ended_round = state->round;
	failed_before = state->problem[0] != '\0';
	state->phase[0] = '\0';
	memcpy(state->result, state->so_far, sizeof(state->result));
	strlcpy(state->problem, problem, sizeof(state->problem));
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
	difs_wake(difs_duty_database->keeper);
	if (failed_before && problem[0] == '\0')
		ereport(LOG,
				(errmsg("difs keeper: a round of \"%s\" has ended well again", name)));
	else if (!failed_before && problem[0] != '\0')
		ereport(LOG,
				(errmsg("difs keeper: a round of \"%s\" has failed: %s", name, problem)));
}

static void
remember_problem(void)
{
	MemoryContext error_context = MemoryContextSwitchTo(round_context);
	ErrorData *error = CopyErrorData();

	snprintf(problem, sizeof(problem), "%s%s%s", error->message, error->detail != NULL ? ": " : "",
			 error->detail != NULL ? error->detail : "");
	MemoryContextSwitchTo(error_context);
}
