/*
 * duty.c - the keeper's duties: what they are called, when they are due, and how one is asked for (duty.h).
 *
 * State: DifsDutyState in shared memory, under difs_shared->lock.  "wanted" is raised
 * here; the rest is the keeper's (worker/duties.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"

#include "src/claim.h"
#include "src/duty.h"
#include "src/extension.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/wait.h"

#define FAILED_PAUSE_MS 10000 /* after a round that failed, or could not be started */

static const int only_when_wanted = 0;

const DifsDuty difs_duties[DIFS_DUTIES] = {
	[DIFS_DUTY_CLAIM] = {"claim", &only_when_wanted},
	[DIFS_DUTY_REPAIR] = {"repair", &difs_repair_interval},
	[DIFS_DUTY_SCRUB] = {"scrub", &difs_scrub_pause_ms},
	[DIFS_DUTY_COLLECT] = {"collect", &difs_collect_interval},
	[DIFS_DUTY_UNSTAGE] = {"unstage", &difs_unstage_interval},
	[DIFS_DUTY_COMPACT] = {"compact", &difs_compact_interval},
	[DIFS_DUTY_PLACE] = {"place", &only_when_wanted},
	[DIFS_DUTY_SAMPLE] = {"sample", &difs_sample_interval},
};

void
difs_duty_want(DifsDatabase *database, DifsDutyKind kind)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	database->duties[kind].wanted = true;
	LWLockRelease(&difs_shared->lock);
	difs_wake(database->keeper);
}

void
difs_duty_run(DifsDutyKind kind, DifsDutyState *state)
{
	DifsDatabase *database = difs_database_require();
	uint64 awaited;
	bool stopped = false;

	difs_extension_check(); /* a keeper that refuses the version runs no round */
	difs_claim_require();
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	awaited = database->duties[kind].round + 1;
	LWLockRelease(&difs_shared->lock);
	difs_duty_want(database, kind);

	ConditionVariablePrepareToSleep(&difs_shared->changed);
	for (;;)
	{
		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		*state = database->duties[kind];
		stopped = database->state != DIFS_DATABASE_RUNNING || database->database != MyDatabaseId;
		LWLockRelease(&difs_shared->lock);
		if (stopped || state->ended_round >= awaited)
			break;
		ConditionVariableSleep(&difs_shared->changed, difs_wait_event(DIFS_WAIT_DUTY));
	}
	ConditionVariableCancelSleep();
	if (stopped || state->problem[0] != '\0')
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_IO),
				 errmsg("a round of \"%s\" has failed", difs_duties[kind].name),
				 errdetail("%s", stopped ? "The workers of this database have stopped." : state->problem)));
}

TimestampTz
difs_duty_due(DifsDutyKind kind, const DifsDutyState *state)
{
	int interval_ms = *difs_duties[kind].interval_ms;
	TimestampTz due = DT_NOEND;

	if (state->wanted)
		due = state->ended;
	else if (interval_ms > 0)
		due = TimestampTzPlusMilliseconds(state->ended, state->again_ms > 0 ? Min(state->again_ms, interval_ms) : interval_ms);
	if (state->problem[0] != '\0')
		due = Max(due, TimestampTzPlusMilliseconds(state->ended, FAILED_PAUSE_MS));
	return due;
}
