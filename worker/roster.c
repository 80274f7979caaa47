/*
 * roster.c - which chunk servers this database has.
 *
 * The rows of difs.cluster and difs.server are the truth; servers[] of the
 * database's entry is the copy that streamer and backends look at.  The keeper
 * reads the rows every few seconds and whenever somebody sets its latch, and is
 * the only one to write the copy: addresses and policy here, health in health.c.
 * A server keeps its place in servers[] as long as it has a row.
 *
 * Rows of embedded servers are made here too, from difs_shared->local[], and
 * follow the ports on which those listen.  What users have set in such a row
 * (state, weight, zone) is theirs.
 *
 * A keeper that dies leaves a copy that is as good as it was; the next one
 * corrects it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "src/shmem.h"
#include "worker/keeper.h"
#include "worker/roster.h"

static const uint8 unknown[DIFS_UUID_SIZE];

static void announce_one(const DifsLocalServer *local);
static void read_row(int number, DifsSharedServer *server);
static void read_storage(int number, uint8 *storage);
static void note_storages(void);
static char *column(int number, const char *name);
static bool publish_one(const DifsSharedServer *row);
static bool withdraw_others(const DifsSharedServer *rows, int count);
static DifsSharedServer *find_entry(int32 id);

bool
difs_roster_identity(bool first)
{
	DifsDatabase *database = difs_keeper_database;
	pg_uuid_t *cluster;
	uint64 epoch;
	bool null;

	if (SPI_execute("SELECT uuid, epoch FROM difs.cluster", true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table difs.cluster is empty")));
	cluster = DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	epoch = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));

	if (first)
	{
		LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
		memcpy(database->cluster, cluster->data, DIFS_UUID_SIZE);
		database->epoch = epoch;
		LWLockRelease(&difs_shared->lock);
	}
	return database->epoch == epoch && memcmp(database->cluster, cluster->data, DIFS_UUID_SIZE) == 0;
}

void
difs_roster_announce(void)
{
	DifsLocalServer *local = palloc(sizeof(difs_shared->local));
	int count;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	count = difs_shared->local_count;
	memcpy(local, difs_shared->local, sizeof(difs_shared->local));
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < count; i++)
	{
		if (local[i].port != 0)
			announce_one(&local[i]);
	}
}

bool
difs_roster_publish(void)
{
	static bool published = false; /* at its start, the keeper knows of no changes */
	DifsSharedServer *rows;
	DifsSharedServer *before;
	int before_count;
	bool changed = false;
	int count;

	note_storages();
	if (SPI_execute("SELECT id, name, host, port, zone, tier, weight, state = 'active' AS accepts_groups, storage "
					"FROM difs.server WHERE state <> 'removed' ORDER BY id",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.server");
	count = Min(SPI_processed, DIFS_MAX_SERVERS);
	if (SPI_processed > DIFS_MAX_SERVERS)
		ereport(WARNING,
				(errmsg("difs: only %d of %llu chunk servers are used", count, (unsigned long long) SPI_processed)));
	rows = palloc0(Max(count, 1) * sizeof(DifsSharedServer));
	for (int i = 0; i < count; i++)
		read_row(i, &rows[i]);
	before = difs_roster_copy(&before_count);

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	changed = withdraw_others(rows, count);
	for (int i = 0; i < count; i++)
		changed = publish_one(&rows[i]) || changed;
	if (changed)
		difs_keeper_database->servers_generation++;
	LWLockRelease(&difs_shared->lock);
	if (changed)
		difs_wake(difs_keeper_database->streamer);
	if (changed && published)
		difs_roster_log(before, before_count, rows, count);
	published = true;
	return changed;
}

DifsSharedServer *
difs_roster_copy(int *count)
{
	DifsSharedServer *copy = palloc(sizeof(difs_keeper_database->servers));

	*count = 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (difs_keeper_database->servers[i].id != 0)
			copy[(*count)++] = difs_keeper_database->servers[i];
	}
	LWLockRelease(&difs_shared->lock);
	return copy;
}

/* A row for a server that listens: there is none, or it must follow the address, or it is somebody else's.  A restored
 * or copied database has rows of embedded servers whose data are elsewhere: these stay as they are. */
static void
announce_one(const DifsLocalServer *local)
{
	static bool reported = false;
	Oid types[] = {TEXTOID, TEXTOID, INT4OID, UUIDOID};
	Datum values[] = {
		CStringGetTextDatum(local->name),
		CStringGetTextDatum(local->host),
		Int32GetDatum(local->port),
		UUIDPGetDatum((pg_uuid_t *) local->storage),
	};

	SPI_execute_with_args("UPDATE difs.server SET host = $2, port = $3, storage = $4 "
						  "WHERE name = $1 AND embedded AND (storage IS NULL OR storage = $4) "
						  "AND (host <> $2 OR port <> $3 OR storage IS NULL)",
						  4, types, values, NULL, false, 0);
	SPI_execute_with_args("INSERT INTO difs.server "
						  "(id, name, host, port, zone, tier, weight, state, embedded, created, storage) "
						  "SELECT pg_catalog.nextval('difs.server_id'), $1, $2, $3, "
						  "'local', 'disk', 100, 'active', true, pg_catalog.now(), $4 "
						  "WHERE NOT EXISTS (SELECT FROM difs.server WHERE name = $1)",
						  4, types, values, NULL, false, 0);
	SPI_execute_with_args("SELECT FROM difs.server WHERE name = $1 AND storage IS DISTINCT FROM $4", 4, types, values,
						  NULL, false, 1);
	if (SPI_processed > 0 && !reported)
	{
		reported = true;
		ereport(WARNING,
				(errmsg("difs: embedded chunk server %s is not used in this database", local->name),
				 errdetail("Another chunk server, with other data, goes by that name.")));
	}
}

static void
read_row(int number, DifsSharedServer *server)
{
	server->id = atoi(column(number, "id"));
	strlcpy(server->name, column(number, "name"), sizeof(server->name));
	strlcpy(server->host, column(number, "host"), sizeof(server->host));
	server->port = (uint16) atoi(column(number, "port"));
	strlcpy(server->zone, column(number, "zone"), sizeof(server->zone));
	strlcpy(server->tier, column(number, "tier"), sizeof(server->tier));
	server->weight = atoi(column(number, "weight"));
	server->accepts_groups = column(number, "accepts_groups")[0] == 't';
	read_storage(number, server->storage);
}

static void
read_storage(int number, uint8 *storage)
{
	TupleDesc description = SPI_tuptable->tupdesc;
	bool null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[number], description, SPI_fnumber(description, "storage"), &null);

	if (null)
		memset(storage, 0, DIFS_UUID_SIZE);
	else
		memcpy(storage, DatumGetUUIDP(value)->data, DIFS_UUID_SIZE);
}

/* A row that has come without it, from a server that could not be asked then. */
static void
note_storages(void)
{
	int count;
	DifsSharedServer *servers = difs_roster_copy(&count);

	for (int i = 0; i < count; i++)
	{
		Oid types[] = {INT4OID, UUIDOID};
		Datum values[] = {Int32GetDatum(servers[i].id), UUIDPGetDatum((pg_uuid_t *) servers[i].seen_storage)};

		if (memcmp(servers[i].storage, unknown, DIFS_UUID_SIZE) == 0 &&
			memcmp(servers[i].seen_storage, unknown, DIFS_UUID_SIZE) != 0)
			SPI_execute_with_args("UPDATE difs.server SET storage = $2 WHERE id = $1 AND storage IS NULL",
								  2, types, values, NULL, false, 0);
	}
}

static char *
column(int number, const char *name)
{
	TupleDesc description = SPI_tuptable->tupdesc;

	return SPI_getvalue(SPI_tuptable->vals[number], description, SPI_fnumber(description, name));
}

/* Under the lock. A server whose address changes is another one until health.c has asked it. */
static bool
publish_one(const DifsSharedServer *row)
{
	DifsSharedServer *entry = find_entry(row->id);
	bool moved;
	bool changed;

	if (entry == NULL)
		entry = find_entry(0);
	moved = entry->id != row->id || entry->port != row->port || strcmp(entry->host, row->host) != 0 ||
		strcmp(entry->name, row->name) != 0 ||
		(memcmp(entry->storage, row->storage, DIFS_UUID_SIZE) != 0 &&
		 memcmp(entry->storage, unknown, DIFS_UUID_SIZE) != 0);
	changed = moved || entry->accepts_groups != row->accepts_groups || entry->weight != row->weight ||
		strcmp(entry->zone, row->zone) != 0 || strcmp(entry->tier, row->tier) != 0;
	if (moved)
	{
		*entry = *row;
		entry->down_since = GetCurrentTimestamp();
		strlcpy(entry->problem, "it has not answered yet", sizeof(entry->problem));
	}
	else if (changed)
	{
		strlcpy(entry->zone, row->zone, sizeof(entry->zone));
		strlcpy(entry->tier, row->tier, sizeof(entry->tier));
		entry->weight = row->weight;
		entry->accepts_groups = row->accepts_groups;
	}
	memcpy(entry->storage, row->storage, DIFS_UUID_SIZE);
	return changed;
}

/* Under the lock: entries without a row are free again. */
static bool
withdraw_others(const DifsSharedServer *rows, int count)
{
	bool changed = false;

	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsSharedServer *entry = &difs_keeper_database->servers[i];
		bool has_row = entry->id == 0;

		for (int j = 0; j < count && !has_row; j++)
			has_row = rows[j].id == entry->id;
		if (!has_row)
		{
			memset(entry, 0, sizeof(*entry));
			changed = true;
		}
	}
	return changed;
}

static DifsSharedServer *
find_entry(int32 id)
{
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (difs_keeper_database->servers[i].id == id)
			return &difs_keeper_database->servers[i];
	}
	return NULL;
}
