/*
 * duty_report.c - the keeper's duties as SQL sees them: the function behind difs.stat_keeper and the views of progress.
 *
 * What it tells stands in DifsDutyState (shmem.h), which keeper and duties write.  No state here.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/duty.h"
#include "src/shmem.h"

enum KeeperColumn
{
	KEEPER_DUTY,
	KEEPER_RUNNING,
	KEEPER_PHASE,
	KEEPER_WANTED,
	KEEPER_ROUNDS,
	KEEPER_STARTED,
	KEEPER_ENDED,
	KEEPER_TOOK,
	KEEPER_OUTCOME,
	KEEPER_PROBLEM,
	KEEPER_DONE,
	KEEPER_TOTAL,
	KEEPER_NEXT,
	KEEPER_RESULTS,
	KEEPER_COLUMNS,
};

static Datum results_of(const DifsDutyState *state);
static void put_duty(ReturnSetInfo *result, DifsDutyKind kind, const DifsDutyState *state, TimestampTz now);

PG_FUNCTION_INFO_V1(difs_keeper_state);

Datum
difs_keeper_state(PG_FUNCTION_ARGS)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	DifsDutyState states[DIFS_DUTIES];
	TimestampTz now = GetCurrentTimestamp();

	InitMaterializedSRF(fcinfo, 0);
	if (database == NULL)
		return (Datum) 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	memcpy(states, database->duties, sizeof(states));
	LWLockRelease(&difs_shared->lock);
	for (int kind = 0; kind < DIFS_DUTIES; kind++)
		put_duty((ReturnSetInfo *) fcinfo->resultinfo, kind, &states[kind], now);
	return (Datum) 0;
}

static void
put_duty(ReturnSetInfo *result, DifsDutyKind kind, const DifsDutyState *state, TimestampTz now)
{
	bool running = state->ended_round != state->round;
	TimestampTz next = difs_duty_due(kind, state);
	Datum values[KEEPER_COLUMNS];
	bool nulls[KEEPER_COLUMNS] = {false};

	values[KEEPER_DUTY] = CStringGetTextDatum(difs_duties[kind].name);
	values[KEEPER_RUNNING] = BoolGetDatum(running);
	values[KEEPER_PHASE] = CStringGetTextDatum(state->phase);
	nulls[KEEPER_PHASE] = state->phase[0] == '\0';
	values[KEEPER_WANTED] = BoolGetDatum(state->wanted);
	values[KEEPER_ROUNDS] = Int64GetDatum((int64) state->round);
	values[KEEPER_STARTED] = TimestampTzGetDatum(state->started);
	values[KEEPER_ENDED] = TimestampTzGetDatum(state->ended);
	values[KEEPER_TOOK] = Float8GetDatum(((running ? now : state->ended) - state->started) / 1000.0);
	values[KEEPER_OUTCOME] = CStringGetTextDatum(state->problem[0] == '\0' ? "done" : "failed");
	values[KEEPER_PROBLEM] = CStringGetTextDatum(state->problem);
	values[KEEPER_DONE] = Int64GetDatum(state->done);
	values[KEEPER_TOTAL] = Int64GetDatum(state->total);
	values[KEEPER_NEXT] = TimestampTzGetDatum(Max(next, now));
	nulls[KEEPER_STARTED] = nulls[KEEPER_TOOK] = nulls[KEEPER_DONE] = nulls[KEEPER_TOTAL] = state->round == 0;
	nulls[KEEPER_ENDED] = nulls[KEEPER_OUTCOME] = state->ended_round == 0;
	nulls[KEEPER_PROBLEM] = state->problem[0] == '\0';
	nulls[KEEPER_NEXT] = running || next == DT_NOEND;
	values[KEEPER_RESULTS] = results_of(state);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static Datum
results_of(const DifsDutyState *state)
{
	Datum elements[DIFS_DUTY_RESULTS];

	for (int i = 0; i < DIFS_DUTY_RESULTS; i++)
		elements[i] = Int64GetDatum(state->so_far[i]);
	return PointerGetDatum(construct_array(elements, DIFS_DUTY_RESULTS, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
