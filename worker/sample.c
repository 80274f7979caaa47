/*
 * sample.c - see sample.h. What is counted, and how, says difs.take_sample() in SQL.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "src/settings.h"
#include "worker/duties.h"
#include "worker/keeper.h"
#include "worker/sample.h"

#define FIRST_MS 3000 /* after the keeper's start */

static const char *const columns[DIFS_SAMPLED_COUNTS] = {
	[DIFS_SAMPLED_GROUPS_OPEN] = "groups_open",
	[DIFS_SAMPLED_GROUPS_SEALED] = "groups_sealed",
	[DIFS_SAMPLED_GROUPS_REPAIRING] = "groups_repairing",
	[DIFS_SAMPLED_COPIES_MISSING] = "copies_missing",
	[DIFS_SAMPLED_COPIES_TO_MOVE] = "copies_to_move",
	[DIFS_SAMPLED_FILES_TO_REPAIR] = "files_to_repair",
	[DIFS_SAMPLED_LOST_SEGMENTS] = "lost_segments",
	[DIFS_SAMPLED_BAD_COPIES] = "bad_copies",
	[DIFS_SAMPLED_MENDED_COPIES] = "mended_copies",
	[DIFS_SAMPLED_DOOMED] = "doomed",
};

static void read_row(HeapTuple row, TupleDesc desc, DifsSample *sample);

void
difs_sample_begin(void)
{
	DifsDutyState *state = &difs_keeper_database->duties[DIFS_DUTY_SAMPLE];

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (state->round == 0)
		state->ended = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FIRST_MS - difs_sample_interval);
	LWLockRelease(&difs_shared->lock);
}

void
difs_sample_round(void)
{
	Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(difs_sample_keep), Int32GetDatum(difs_retain)};
	DifsSample sample = {0};

	if (!difs_duty_begin())
		return;
	if (SPI_execute_with_args("SELECT * FROM difs.take_sample(pg_catalog.make_interval(secs => $1), pg_catalog.make_interval(secs => $2))",
							  lengthof(types), types, values, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not take a sample");
	read_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &sample);
	difs_duty_commit();

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_duty_database->sample = sample;
	LWLockRelease(&difs_shared->lock);
}

static void
read_row(HeapTuple row, TupleDesc desc, DifsSample *sample)
{
	bool null;
	Datum since = SPI_getbinval(row, desc, SPI_fnumber(desc, "doomed_since"), &null);

	sample->doomed_since = null ? 0 : DatumGetTimestampTz(since);
	sample->taken = DatumGetTimestampTz(SPI_getbinval(row, desc, SPI_fnumber(desc, "taken"), &null));
	for (int i = 0; i < DIFS_SAMPLED_COUNTS; i++)
		sample->count[i] = DatumGetInt64(SPI_getbinval(row, desc, SPI_fnumber(desc, columns[i]), &null));
}
