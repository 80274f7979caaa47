/*
 * repair_report.c - repair as SQL sees it: a round now, rebalancing, and how far it is.
 *
 * What is to be done stands in the table difs.missing, which the rounds write; see
 * worker/repair.h.  No state here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/duty.h"
#include "src/report.h"
#include "src/shmem.h"

enum StateColumn
{
	STATE_RUNNING,
	STATE_STARTED,
	STATE_ENDED,
	STATE_DONE,
	STATE_TOTAL,
	STATE_COPIED,
	STATE_DROPPED,
	STATE_PROBLEM,
	STATE_COLUMNS,
};

static void require_superuser(void);
static void put_state(ReturnSetInfo *result, const DifsDutyState *state);

static void
require_superuser(void)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to repair or rebalance block groups")));
	difs_shmem_require();
}

static void
put_state(ReturnSetInfo *result, const DifsDutyState *state)
{
	Datum values[STATE_COLUMNS];
	bool nulls[STATE_COLUMNS] = {false};

	values[STATE_RUNNING] = BoolGetDatum(state->proc != -1);
	values[STATE_STARTED] = TimestampTzGetDatum(state->started);
	values[STATE_ENDED] = TimestampTzGetDatum(state->ended);
	values[STATE_DONE] = Int64GetDatum(state->done);
	values[STATE_TOTAL] = Int64GetDatum(state->total);
	values[STATE_COPIED] = Int64GetDatum(state->so_far[DIFS_REPAIR_COPIED]);
	values[STATE_DROPPED] = Int64GetDatum(state->so_far[DIFS_REPAIR_DROPPED]);
	values[STATE_PROBLEM] = CStringGetTextDatum(state->problem);
	nulls[STATE_STARTED] = state->round == 0;
	nulls[STATE_ENDED] = state->ended_round == 0;
	nulls[STATE_PROBLEM] = state->problem[0] == '\0';
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(difs_repair);
PG_FUNCTION_INFO_V1(difs_rebalance);
PG_FUNCTION_INFO_V1(difs_repair_state);

Datum
difs_repair(PG_FUNCTION_ARGS)
{
	DifsDutyState state;

	require_superuser();
	difs_duty_run(DIFS_DUTY_REPAIR, &state);
	PG_RETURN_INT64(state.result[DIFS_REPAIR_COPIED]);
}

Datum
difs_rebalance(PG_FUNCTION_ARGS)
{
	DifsDatabase *database;
	DifsDutyState state;
	uint64 before;
	uint64 after;

	require_superuser();
	database = difs_database_require();
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	database->rebalance_wanted = true;
	before = database->rebalanced;
	LWLockRelease(&difs_shared->lock);
	difs_duty_run(DIFS_DUTY_REPAIR, &state);
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	after = database->rebalanced;
	LWLockRelease(&difs_shared->lock);
	PG_RETURN_INT64((int64) (after - before));
}

Datum
difs_repair_state(PG_FUNCTION_ARGS)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	DifsDutyState state;

	InitMaterializedSRF(fcinfo, 0);
	if (database == NULL)
		return (Datum) 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	state = database->duties[DIFS_DUTY_REPAIR];
	LWLockRelease(&difs_shared->lock);
	put_state((ReturnSetInfo *) fcinfo->resultinfo, &state);
	return (Datum) 0;
}
