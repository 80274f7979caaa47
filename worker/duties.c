/*
 * duties.c - the table of rounds, and the processes that run them (duties.h).
 *
 * State: DifsDutyState in shared memory, under difs_shared->lock.  The keeper
 * raises "round" and starts a process; the process says how it went and raises
 * "ended_round" in its exit hook, so a round that dies has ended too.  Without the
 * claim (src/claim.h) no duty runs but the one that takes it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "utils/memutils.h"

#include "worker/claim_watch.h"
#include "worker/collect.h"
#include "worker/compact.h"
#include "worker/duties.h"
#include "worker/keeper.h"
#include "worker/place.h"
#include "worker/process.h"
#include "worker/repair.h"
#include "worker/sample.h"
#include "worker/scrub.h"
#include "worker/unstage.h"

#define MAX_UNASKED 2 /* processes at which no other is started that nobody has asked for: a server has few slots for workers */

void (*const difs_duty_rounds[DIFS_DUTIES])(void) = {
	[DIFS_DUTY_CLAIM] = difs_claim_round,
	[DIFS_DUTY_REPAIR] = difs_repair_round,
	[DIFS_DUTY_SCRUB] = difs_scrub_round,
	[DIFS_DUTY_COLLECT] = difs_collect_round,
	[DIFS_DUTY_UNSTAGE] = difs_unstage_round,
	[DIFS_DUTY_COMPACT] = difs_compact_round,
	[DIFS_DUTY_PLACE] = difs_place_round,
	[DIFS_DUTY_SAMPLE] = difs_sample_round,
};

static BackgroundWorkerHandle *handles[DIFS_DUTIES];

static bool is_due(DifsDutyKind kind, TimestampTz *next);
static void start(DifsDutyKind kind);
static bool has_ended(DifsDutyKind kind);

void
difs_duties_turn(TimestampTz *next)
{
	int running = 0;

	for (int kind = 0; kind < DIFS_DUTIES; kind++)
	{
		if (handles[kind] != NULL && !has_ended(kind))
			running++; /* its end sets our latch */
	}
	for (int kind = 0; kind < DIFS_DUTIES; kind++)
	{
		if (difs_duty_rounds[kind] == NULL || (kind != DIFS_DUTY_CLAIM && !difs_keeper_database->claimed) || handles[kind] != NULL ||
			!is_due(kind, next) || (running >= MAX_UNASKED && !difs_keeper_database->duties[kind].wanted))
			continue;
		start(kind);
		running++;
	}
}

void
difs_duties_stop(void)
{
	for (int kind = 0; kind < DIFS_DUTIES; kind++)
	{
		if (handles[kind] == NULL)
			continue;
		TerminateBackgroundWorker(handles[kind]);
		(void) WaitForBackgroundWorkerShutdown(handles[kind]);
		handles[kind] = NULL;
	}
}

static bool
is_due(DifsDutyKind kind, TimestampTz *next)
{
	DifsDutyState *state = &difs_keeper_database->duties[kind];
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	due = difs_duty_due(kind, state);
	LWLockRelease(&difs_shared->lock);
	difs_process_by(next, due);
	return due <= now;
}

static void
start(DifsDutyKind kind)
{
	DifsDutyState *state = &difs_keeper_database->duties[kind];
	BackgroundWorker request = {0};
	MemoryContext before;
	int index = difs_keeper_database - difs_shared->databases;

	snprintf(request.bgw_name, sizeof(request.bgw_name), "difs keeper for database %u: %s", MyDatabaseId,
			 difs_duties[kind].name);
	strlcpy(request.bgw_type, "difs keeper", sizeof(request.bgw_type));
	strlcpy(request.bgw_library_name, "difs", sizeof(request.bgw_library_name));
	strlcpy(request.bgw_function_name, "difs_duty_main", sizeof(request.bgw_function_name));
	request.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	request.bgw_start_time = BgWorkerStart_RecoveryFinished;
	request.bgw_restart_time = BGW_NEVER_RESTART;
	request.bgw_main_arg = Int32GetDatum(index * DIFS_DUTIES + (int) kind);
	memcpy(request.bgw_extra, &MyDatabaseId, sizeof(MyDatabaseId));
	request.bgw_notify_pid = MyProcPid;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state->asked = state->wanted;
	state->wanted = false;
	state->round++;
	state->started = GetCurrentTimestamp();
	state->done = state->total = 0;
	state->again_ms = 0;
	memset(state->so_far, 0, sizeof(state->so_far));
	LWLockRelease(&difs_shared->lock);

	before = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&request, &handles[kind]))
		handles[kind] = NULL;
	MemoryContextSwitchTo(before);
	if (handles[kind] != NULL)
		return;
	ereport(WARNING,
			(errmsg("difs keeper: could not start a round of \"%s\": all slots for background workers are in use",
					difs_duties[kind].name),
			 errhint("Raise max_worker_processes.")));
	has_ended(kind);
}

/* Notices the end of a round's process, also of one that could never begin. */
static bool
has_ended(DifsDutyKind kind)
{
	DifsDutyState *state = &difs_keeper_database->duties[kind];
	pid_t pid;

	if (handles[kind] != NULL && GetBackgroundWorkerPid(handles[kind], &pid) != BGWH_STOPPED)
		return false;
	if (handles[kind] != NULL)
		pfree(handles[kind]);
	handles[kind] = NULL;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (state->ended_round != state->round)
	{
		state->ended_round = state->round;
		state->ended = GetCurrentTimestamp();
		state->phase[0] = '\0';
		strlcpy(state->problem, "its process could not be started, or died", sizeof(state->problem));
	}
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
	return true;
}
