/*
 * server_health.c - how the chunk servers are, as the keeper has found: the function behind the view difs.servers.
 *
 * What it tells stands in servers[] of the database's entry (shmem.h).  No state here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/shmem.h"

enum HealthColumn
{
	HEALTH_ID,
	HEALTH_ALIVE,
	HEALTH_LAST_SEEN,
	HEALTH_CAPACITY_BYTES,
	HEALTH_USED_BYTES,
	HEALTH_FREE_BYTES,
	HEALTH_PUTS,
	HEALTH_GETS,
	HEALTH_SYNCS,
	HEALTH_SYNC,
	HEALTH_PROBLEM,
	HEALTH_COLUMNS,
};

static int copy_servers(DifsSharedServer *copies);
static void put_health(ReturnSetInfo *result, const DifsSharedServer *server);

/* Copies what the keeper knows into an array of DIFS_MAX_SERVERS; returns how many there are. */
static int
copy_servers(DifsSharedServer *copies)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	int count = 0;

	if (database == NULL)
		return 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
		if (database->servers[i].id != 0)
			copies[count++] = database->servers[i];
	LWLockRelease(&difs_shared->lock);
	return count;
}

/* What was never heard of a server is null. */
static void
put_health(ReturnSetInfo *result, const DifsSharedServer *server)
{
	Datum values[HEALTH_COLUMNS] = {0};
	bool nulls[HEALTH_COLUMNS] = {false};
	bool unseen = server->last_seen == 0;

	values[HEALTH_ID] = Int32GetDatum(server->id);
	values[HEALTH_ALIVE] = BoolGetDatum(server->alive);
	values[HEALTH_LAST_SEEN] = TimestampTzGetDatum(server->last_seen);
	values[HEALTH_CAPACITY_BYTES] = Int64GetDatum((int64) server->capacity_bytes);
	values[HEALTH_USED_BYTES] = Int64GetDatum((int64) server->used_bytes);
	values[HEALTH_FREE_BYTES] = Int64GetDatum((int64) server->free_bytes);
	values[HEALTH_PUTS] = Int64GetDatum((int64) server->puts);
	values[HEALTH_GETS] = Int64GetDatum((int64) server->gets);
	values[HEALTH_SYNCS] = Int64GetDatum((int64) server->syncs);
	values[HEALTH_SYNC] = Float8GetDatum(server->sync_us / 1000.0);
	values[HEALTH_PROBLEM] = CStringGetTextDatum(server->problem);
	nulls[HEALTH_LAST_SEEN] = nulls[HEALTH_USED_BYTES] = nulls[HEALTH_FREE_BYTES] = unseen;
	nulls[HEALTH_PUTS] = nulls[HEALTH_GETS] = nulls[HEALTH_SYNCS] = nulls[HEALTH_SYNC] = unseen;
	nulls[HEALTH_CAPACITY_BYTES] = server->capacity_bytes == 0;
	nulls[HEALTH_PROBLEM] = server->problem[0] == '\0';
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(difs_server_health);

Datum
difs_server_health(PG_FUNCTION_ARGS)
{
	DifsSharedServer *servers = palloc(sizeof(DifsSharedServer) * DIFS_MAX_SERVERS);
	int count;

	InitMaterializedSRF(fcinfo, 0);
	count = copy_servers(servers);
	for (int i = 0; i < count; i++)
		put_health((ReturnSetInfo *) fcinfo->resultinfo, &servers[i]);
	pfree(servers);
	return (Datum) 0;
}
