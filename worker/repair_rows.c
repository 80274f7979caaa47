/*
 * repair_rows.c - rows of difs.block_group and difs.missing, by way of SPI (repair.h).
 *
 * No state.  Each function stands within difs_repair_begin() and difs_repair_commit().
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "worker/repair.h"

#define SELECT_GROUPS                                                                                                                  \
	"SELECT id, replicas::pg_catalog.int4, tier::pg_catalog.text, members, epoch, generation, capacity, bytes IS NOT NULL, placement " \
	"FROM difs.block_group WHERE state = 'sealed' AND "
#define MAX_WORK 100000 /* groups of one round; the next round sees the others */

static void read_row(HeapTuple row, TupleDesc description, DifsSealedGroup *group);
static Datum members_datum(const int32 *member, int count);
static void note(uint64 group, int32 server, DifsVerdict verdict);
static void execute(const char *command, int count, Oid *types, Datum *values);

int
difs_repair_rows_read(uint64 after, DifsSealedGroup *groups, int limit)
{
	Oid types[] = {INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum((int64) after), Int32GetDatum(limit)};

	SPI_execute_with_args(SELECT_GROUPS "id > $1 ORDER BY id LIMIT $2", 2, types, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		read_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &groups[i]);
	return (int) SPI_processed;
}

bool
difs_repair_rows_find(uint64 id, DifsSealedGroup *group)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum((int64) id)};

	SPI_execute_with_args(SELECT_GROUPS "id = $1", 1, types, values, NULL, true, 0);
	if (SPI_processed == 0)
		return false;
	read_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, group);
	return true;
}

int64
difs_repair_rows_count(void)
{
	bool null;

	SPI_execute("SELECT count(*) FROM difs.block_group WHERE state = 'sealed'", true, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

/* False if the row is not as it was read. */
bool
difs_repair_rows_generation(const DifsSealedGroup *group, uint64 generation)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID, INT4ARRAYOID};
	Datum values[] = {
		Int64GetDatum((int64) group->id),
		Int64GetDatum((int64) generation),
		Int64GetDatum((int64) group->generation),
		members_datum(group->member, group->members),
	};

	execute("UPDATE difs.block_group SET generation = $2 WHERE id = $1 AND generation = $3 AND members = $4 AND state = 'sealed'",
			lengthof(types), types, values);
	return SPI_processed == 1;
}

bool
difs_repair_rows_move(const DifsSealedGroup *group, int place, int32 target)
{
	Oid types[] = {INT8OID, INT8OID, INT4ARRAYOID, INT4ARRAYOID};
	int32 members[DIFS_MAX_REPLICAS];
	Datum values[4];

	memcpy(members, group->member, sizeof(members));
	members[place] = target;
	values[0] = Int64GetDatum((int64) group->id);
	values[1] = Int64GetDatum((int64) group->generation);
	values[2] = members_datum(group->member, group->members);
	values[3] = members_datum(members, group->members);
	execute("UPDATE difs.block_group SET members = $4 WHERE id = $1 AND generation = $2 AND members = $3 AND state = 'sealed'",
			lengthof(types), types, values);
	return SPI_processed == 1;
}

void
difs_repair_rows_sizes(uint64 group, uint64 segments, uint64 bytes)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum((int64) group), Int64GetDatum((int64) segments), Int64GetDatum((int64) bytes)};

	execute("UPDATE difs.block_group SET segments = $2, bytes = $3 WHERE id = $1 AND bytes IS NULL",
			lengthof(types), types, values);
}

/* What the survey has found of the groups in (after, last] replaces what was known of them. */
void
difs_missing_replace(uint64 after, uint64 last, const DifsSealedGroup *groups, const DifsJudgement *judgements, int count)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum((int64) after), Int64GetDatum((int64) last)};

	execute("UPDATE difs.missing SET reason = 'good' WHERE block_group > $1 AND block_group <= $2", 2, types, values);
	for (int i = 0; i < count; i++)
	{
		for (int j = 0; j < groups[i].members; j++)
		{
			if (judgements[i].verdict[j] != DIFS_COPY_GOOD)
				note(groups[i].id, groups[i].member[j], judgements[i].verdict[j]);
		}
	}
	execute("DELETE FROM difs.missing WHERE block_group > $1 AND block_group <= $2 AND reason = 'good'", 2, types, values);
}

void
difs_missing_settle(uint64 group, int32 server)
{
	Oid types[] = {INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum((int64) group), Int32GetDatum(server)};

	execute("DELETE FROM difs.missing WHERE block_group = $1 AND server = $2", 2, types, values);
}

void
difs_missing_explain(uint64 group, int32 server, const char *why)
{
	Oid types[] = {INT8OID, INT4OID, TEXTOID};
	Datum values[] = {Int64GetDatum((int64) group), Int32GetDatum(server), CStringGetTextDatum(why)};

	execute("UPDATE difs.missing SET problem = $3 WHERE block_group = $1 AND server = $2 AND problem IS DISTINCT FROM $3",
			3, types, values);
}

uint64 *
difs_missing_work(int *count)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 *groups;
	bool null;

	difs_repair_begin();
	SPI_execute("SELECT block_group FROM difs.missing WHERE reason <> 'away' GROUP BY block_group "
				"ORDER BY count(*) FILTER (WHERE reason <> 'draining') DESC, block_group",
				true, MAX_WORK);
	*count = (int) SPI_processed;
	groups = MemoryContextAlloc(context, sizeof(uint64) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
		groups[i] = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	difs_repair_commit();
	return groups;
}

/* A row that somebody has changed by hand may have anything in it. */
static void
read_row(HeapTuple row, TupleDesc description, DifsSealedGroup *group)
{
	Datum *ids;
	bool *nulls;
	bool null;
	int count;

	memset(group, 0, sizeof(*group));
	group->id = (uint64) DatumGetInt64(SPI_getbinval(row, description, 1, &null));
	strlcpy(group->class.tier, TextDatumGetCString(SPI_getbinval(row, description, 3, &null)), sizeof(group->class.tier));
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, description, 4, &null)), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &ids, &nulls, &count);
	group->members = Min(count, DIFS_MAX_REPLICAS);
	group->class.replicas = group->members;
	for (int i = 0; i < group->members; i++)
		group->member[i] = nulls[i] ? 0 : DatumGetInt32(ids[i]);
	group->epoch = (uint64) DatumGetInt64(SPI_getbinval(row, description, 5, &null));
	group->generation = (uint64) DatumGetInt64(SPI_getbinval(row, description, 6, &null));
	group->capacity_bytes = (uint64) DatumGetInt64(SPI_getbinval(row, description, 7, &null));
	group->sizes_known = DatumGetBool(SPI_getbinval(row, description, 8, &null));
	group->class.placement = DatumGetInt64(SPI_getbinval(row, description, 9, &null));
}

static Datum
members_datum(const int32 *member, int count)
{
	Datum ids[DIFS_MAX_REPLICAS];

	for (int i = 0; i < count; i++)
		ids[i] = Int32GetDatum(member[i]);
	return PointerGetDatum(construct_array(ids, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static void
note(uint64 group, int32 server, DifsVerdict verdict)
{
	Oid types[] = {INT8OID, INT4OID, TEXTOID};
	Datum values[] = {
		Int64GetDatum((int64) group),
		Int32GetDatum(server),
		CStringGetTextDatum(difs_verdict_name(verdict)),
	};

	execute("INSERT INTO difs.missing (block_group, server, reason, found) VALUES ($1, $2, $3, pg_catalog.now()) "
			"ON CONFLICT (block_group, server) DO UPDATE SET reason = excluded.reason",
			3, types, values);
}

static void
execute(const char *command, int count, Oid *types, Datum *values)
{
	if (SPI_execute_with_args(command, count, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not execute: %s", command);
}
