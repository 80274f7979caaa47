/*
 * group_rows.c - rows of difs.block_group, by way of SPI (group_rows.h).
 *
 * No state.  A row is committed as open before any server hears of the group, so
 * there is never a group on a server that no row knows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "src/ids.h"
#include "worker/group_rows.h"
#include "worker/keeper.h"

static Datum members_datum(const DifsOpenGroup *group);
static void read_members(Datum datum, DifsOpenGroup *group);

void
difs_group_rows_insert(DifsOpenGroup *group)
{
	Oid types[] = {INT8OID, INT4OID, TEXTOID, INT4ARRAYOID, INT8OID, INT8OID, INT8OID};
	Datum values[7];

	group->id = difs_group_id_next(difs_keeper_database);
	values[0] = Int64GetDatum((int64) group->id);
	values[1] = Int32GetDatum(group->class.replicas);
	values[2] = CStringGetTextDatum(group->class.tier);
	values[3] = members_datum(group);
	values[4] = Int64GetDatum((int64) difs_keeper_database->epoch);
	values[5] = Int64GetDatum((int64) group->capacity_bytes);
	values[6] = Int64GetDatum(group->class.placement);
	SPI_execute_with_args("INSERT INTO difs.block_group (id, state, replicas, tier, members, epoch, capacity, created, placement) "
						  "VALUES ($1, 'open', $2, $3, $4, $5, $6, pg_catalog.now(), $7)",
						  lengthof(types), types, values, NULL, false, 0);
}

void
difs_group_rows_seal(uint64 group, bool sizes_known, uint64 segments, uint64 bytes)
{
	Oid types[] = {INT8OID, INT8OID, INT8OID};
	Datum values[] = {
		Int64GetDatum((int64) group),
		Int64GetDatum((int64) segments),
		Int64GetDatum((int64) bytes),
	};
	char nulls[] = {' ', sizes_known ? ' ' : 'n', sizes_known ? ' ' : 'n'};

	SPI_execute_with_args("UPDATE difs.block_group "
						  "SET state = 'sealed', segments = $2, bytes = $3, sealed = pg_catalog.now() "
						  "WHERE id = $1 AND state = 'open'",
						  lengthof(types), types, values, nulls, false, 0);
}

void
difs_group_rows_delete(uint64 group)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum((int64) group)};

	SPI_execute_with_args("DELETE FROM difs.block_group WHERE id = $1 AND state = 'open'", 1, types, values, NULL, false, 0);
}

int
difs_group_rows_open(uint64 after, DifsOpenGroup *groups, uint64 *epochs, int limit)
{
	Oid types[] = {INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum((int64) after), Int32GetDatum(limit)};
	int count;

	if (SPI_execute_with_args("SELECT id, replicas::pg_catalog.int4, tier::pg_catalog.text, members, epoch, capacity, placement "
							  "FROM difs.block_group WHERE state = 'open' AND id > $1 ORDER BY id LIMIT $2",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.block_group");
	count = (int) SPI_processed;
	for (int i = 0; i < count; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc description = SPI_tuptable->tupdesc;
		bool null;

		memset(&groups[i], 0, sizeof(groups[i]));
		groups[i].id = (uint64) DatumGetInt64(SPI_getbinval(row, description, 1, &null));
		groups[i].class.replicas = DatumGetInt32(SPI_getbinval(row, description, 2, &null));
		strlcpy(groups[i].class.tier, TextDatumGetCString(SPI_getbinval(row, description, 3, &null)),
				sizeof(groups[i].class.tier));
		read_members(SPI_getbinval(row, description, 4, &null), &groups[i]);
		epochs[i] = (uint64) DatumGetInt64(SPI_getbinval(row, description, 5, &null));
		groups[i].capacity_bytes = (uint64) DatumGetInt64(SPI_getbinval(row, description, 6, &null));
		groups[i].class.placement = DatumGetInt64(SPI_getbinval(row, description, 7, &null));
	}
	return count;
}

static Datum
members_datum(const DifsOpenGroup *group)
{
	Datum ids[DIFS_MAX_REPLICAS];

	for (int i = 0; i < group->class.replicas; i++)
		ids[i] = Int32GetDatum(group->member[i]);
	return PointerGetDatum(construct_array(ids, group->class.replicas, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* A row that somebody has changed by hand may have anything in it; a group that has not the right number of members
 * is not used again. */
static void
read_members(Datum datum, DifsOpenGroup *group)
{
	Datum *ids;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(datum), INT4OID, sizeof(int32), true, TYPALIGN_INT, &ids, &nulls, &count);
	if (group->class.replicas < 1 || group->class.replicas > DIFS_MAX_REPLICAS)
		group->class.replicas = Min(Max(count, 0), DIFS_MAX_REPLICAS);
	for (int i = 0; i < Min(count, group->class.replicas); i++)
		group->member[i] = nulls[i] ? 0 : DatumGetInt32(ids[i]);
}
