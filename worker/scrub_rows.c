/*
 * scrub_rows.c - difs.scrub, difs.lost_segment, and what the scrub wants to know of others (scrub_rows.h).
 *
 * State: the two tables.  The scrub alone writes them.  Rows of copies that are no
 * more go with the first round that notices.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/settings.h"
#include "worker/copy_epoch.h"
#include "worker/duties.h"
#include "worker/scrub_rows.h"

#define FETCH_ROWS 10000

static void refresh_group(DifsScrubGroup *group);
static bool is_due(const DifsScrubGroup *group, int32 server);
static bool has_same_members(const DifsScrubGroup *group);
static void decode_group(HeapTuple row, TupleDesc desc, DifsScrubGroup *group);
static Datum ids_datum(const uint64 *ids, int count);
static void write_copy(uint64 group, const DifsScrubCopy *copy);
static void write_lost(const DifsScrubGroup *group, bool all_answered, const DifsBad *bad);

/* The oldest first; but of those that are of one age at random, so that a round that never comes to its end does not
 * always leave the same ones out. */
DifsScrubGroup *
difs_scrub_rows_due(bool all, int *count)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {TIMESTAMPTZOID, INT4OID};
	Datum values[2];
	DifsScrubGroup *groups;

	*count = 0;
	if (!difs_duty_begin())
		return NULL;
	values[0] = TimestampTzGetDatum(GetCurrentTimestamp() -
									(all ? 0 : (int64) difs_scrub_interval * (USECS_PER_SEC / 2)));
	values[1] = Int32GetDatum(DIFS_SCRUB_MAX_GROUPS);
	SPI_execute("DELETE FROM difs.scrub WHERE NOT EXISTS (SELECT FROM difs.block_group "
				"WHERE id = scrub.block_group AND scrub.server = ANY (members))",
				false, 0);
	SPI_execute("DELETE FROM difs.lost_segment WHERE NOT EXISTS (SELECT FROM difs.manifest "
				"WHERE manifest.segment = lost_segment.segment)",
				false, 0);
	SPI_execute_with_args("SELECT id, capacity, state = 'sealed', members, due FROM difs.block_group, LATERAL ("
						  "SELECT array_agg(coalesce(scrubbed, created) < $1 ORDER BY place) AS due,"
						  " min(coalesce(scrubbed, created)) AS oldest "
						  "FROM unnest(members) WITH ORDINALITY AS member (server, place) "
						  "LEFT JOIN difs.scrub ON scrub.block_group = id AND scrub.server = member.server) AS copy "
						  "WHERE true = ANY (due) AND state <> 'repairing' ORDER BY date_trunc('hour', oldest), random() LIMIT $2",
						  lengthof(types), types, values, NULL, true, 0);
	*count = (int) SPI_processed;
	groups = MemoryContextAllocZero(caller, sizeof(DifsScrubGroup) * (*count + 1));
	for (int i = 0; i < *count; i++)
		decode_group(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &groups[i]);
	difs_duty_commit();
	MemoryContextSwitchTo(caller);
	return groups;
}

DifsExpected *
difs_scrub_rows_expected(DifsScrubGroup *group, int *count)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum((int64) group->id)};
	DifsExpected *expected = MemoryContextAllocHuge(caller, sizeof(DifsExpected));
	Portal portal;

	*count = 0;
	if (!difs_duty_begin())
		return NULL;
	refresh_group(group);
	portal = SPI_cursor_open_with_args(NULL, "SELECT DISTINCT segment, stored_length, crc FROM difs.manifest "
											 "WHERE block_group = $1 ORDER BY segment",
									   lengthof(types), types, values, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		expected = repalloc_huge(expected, sizeof(DifsExpected) * ((Size) *count + SPI_processed));
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple row = SPI_tuptable->vals[i];
			TupleDesc desc = SPI_tuptable->tupdesc;
			DifsExpected *next = &expected[(*count)++];
			bool null;

			next->segment = (uint64) DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
			next->stored_length = (uint32) DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
			next->crc = (uint32) DatumGetInt32(SPI_getbinval(row, desc, 3, &null));
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	difs_duty_commit();
	MemoryContextSwitchTo(caller);
	return expected;
}

bool
difs_scrub_rows_needed(const uint64 *segments, int count, DifsBad *bad)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {INT8ARRAYOID};
	Datum values[] = {ids_datum(segments, count)};

	bad->count = count;
	bad->segment = segments;
	bad->needed = MemoryContextAllocHuge(caller, (Size) count + 1);
	if (!difs_duty_begin())
		return false;
	SPI_execute_with_args("SELECT EXISTS (SELECT FROM difs.segment_versions(ARRAY[id])) "
						  "FROM unnest($1) WITH ORDINALITY AS wanted (id, place) ORDER BY place",
						  lengthof(types), types, values, NULL, true, 0);
	if (SPI_processed != (uint64) count)
		elog(ERROR, "asked about %d segments, heard of %llu", count, (unsigned long long) SPI_processed);
	for (int i = 0; i < count; i++)
	{
		bool null;

		bad->needed[i] = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	}
	difs_duty_commit();
	MemoryContextSwitchTo(caller);
	return true;
}

bool
difs_scrub_rows_done(const DifsScrubGroup *group, const DifsScrubCopy *copies, const DifsBad *bad)
{
	MemoryContext caller = CurrentMemoryContext;
	bool all_answered = true;
	bool same_members;

	if (!difs_duty_begin())
		return false;
	same_members = has_same_members(group);
	for (int i = 0; i < group->count && same_members; i++)
	{
		if (copies[i].outcome == DIFS_SCRUB_NO_ANSWER)
			all_answered = false;
		else if (copies[i].due)
			write_copy(group->id, &copies[i]);
	}
	if (same_members)
		write_lost(group, all_answered, bad);
	difs_duty_commit();
	MemoryContextSwitchTo(caller);
	return true;
}

bool
difs_scrub_rows_raise(const DifsScrubGroup *group, uint64 *epoch)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum((int64) group->id), 0};
	bool null;

	*epoch = 0;
	if (!difs_duty_begin())
		return false;
	SPI_execute_with_args("SELECT epoch + generation FROM difs.block_group WHERE id = $1 AND state = 'sealed' FOR UPDATE",
						  1, types, values, NULL, false, 0);
	if (SPI_processed == 1)
		*epoch = difs_copy_epoch_next(difs_duty_database->epoch,
									  (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)));
	values[1] = Int64GetDatum((int64) *epoch);
	if (*epoch != 0)
		SPI_execute_with_args("UPDATE difs.block_group SET generation = $2 - epoch WHERE id = $1", 2, types, values, NULL, false, 0);
	difs_duty_commit();
	return true;
}

static void
refresh_group(DifsScrubGroup *group)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum((int64) group->id)};
	DifsScrubGroup now = {0};

	SPI_execute_with_args("SELECT id, capacity, state = 'sealed', members, array_fill(false, ARRAY[cardinality(members)]) "
						  "FROM difs.block_group WHERE id = $1 AND state <> 'repairing' AND cardinality(members) > 0",
						  lengthof(types), types, values, NULL, true, 0);
	if (SPI_processed == 1)
		decode_group(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &now);
	now.id = group->id;
	for (int i = 0; i < now.count; i++)
		now.due[i] = is_due(group, now.server[i]);
	*group = now;
}

/* A new member has just been written, and read for that. */
static bool
is_due(const DifsScrubGroup *group, int32 server)
{
	for (int i = 0; i < group->count; i++)
	{
		if (group->server[i] == server)
			return group->due[i];
	}
	return false;
}

static bool
has_same_members(const DifsScrubGroup *group)
{
	DifsScrubGroup now = *group;

	refresh_group(&now);
	return now.count == group->count && memcmp(now.server, group->server, sizeof(int32) * group->count) == 0;
}

static void
decode_group(HeapTuple row, TupleDesc desc, DifsScrubGroup *group)
{
	bool null;
	Datum *members;
	Datum *due;
	bool *member_nulls;
	bool *due_nulls;
	int due_count;

	group->id = (uint64) DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
	group->capacity_bytes = (uint64) DatumGetInt64(SPI_getbinval(row, desc, 2, &null));
	group->sealed = DatumGetBool(SPI_getbinval(row, desc, 3, &null));
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, 4, &null)), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &members, &member_nulls, &group->count);
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, 5, &null)), BOOLOID, sizeof(bool), true,
					  TYPALIGN_CHAR, &due, &due_nulls, &due_count);
	group->count = Min(Min(group->count, due_count), DIFS_MAX_REPLICAS);
	for (int i = 0; i < group->count; i++)
	{
		group->server[i] = member_nulls[i] ? 0 : DatumGetInt32(members[i]);
		group->due[i] = DatumGetBool(due[i]);
	}
}

static Datum
ids_datum(const uint64 *ids, int count)
{
	Datum *datums = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * ((Size) count + 1));

	for (int i = 0; i < count; i++)
		datums[i] = Int64GetDatum((int64) ids[i]);
	return PointerGetDatum(construct_array(datums, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
write_copy(uint64 group, const DifsScrubCopy *copy)
{
	Oid types[] = {INT8OID, INT4OID, INT8OID, INT4OID, INT4OID};
	Datum values[] = {
		Int64GetDatum((int64) group),
		Int32GetDatum(copy->server),
		Int64GetDatum(copy->bytes),
		Int32GetDatum(copy->bad),
		Int32GetDatum(copy->mended),
	};

	SPI_execute_with_args("INSERT INTO difs.scrub AS old (block_group, server, scrubbed, bytes, bad, mended) "
						  "VALUES ($1, $2, clock_timestamp(), $3, $4, $5) "
						  "ON CONFLICT (block_group, server) DO UPDATE SET scrubbed = excluded.scrubbed, "
						  "bytes = excluded.bytes, bad = excluded.bad, mended = excluded.mended",
						  lengthof(types), types, values, NULL, false, 0);
}

/* Only who has heard of every copy knows that a segment is lost, or that it is not any more. */
static void
write_lost(const DifsScrubGroup *group, bool all_answered, const DifsBad *bad)
{
	Oid types[] = {INT8OID, INT8ARRAYOID};
	Datum values[] = {Int64GetDatum((int64) group->id), ids_datum(bad->lost, bad->lost_count)};

	if (!all_answered)
		return;
	SPI_execute_with_args("DELETE FROM difs.lost_segment WHERE block_group = $1 AND segment <> ALL ($2)",
						  lengthof(types), types, values, NULL, false, 0);
	SPI_execute_with_args("INSERT INTO difs.lost_segment (segment, block_group, found) "
						  "SELECT id, $1, clock_timestamp() FROM unnest($2) AS id ON CONFLICT DO NOTHING",
						  lengthof(types), types, values, NULL, false, 0);
}
