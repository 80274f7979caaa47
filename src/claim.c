/*
 * claim.c - who holds the claim, and what difs_claim() does in the database
 * (claim.h); what it does on the servers is in claim_round.c.
 *
 * State: whether this transaction has changed difs.cluster, until it ends.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/fault.h"
#include "src/claim_round.h"
#include "src/compat.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/table.h"

static bool restart_at_commit = false;

static bool read_claim(char *problem);
static void refuse_copy(void);
static void read_servers(DifsClaimTry *try);
static void want_restart_at_commit(void);
static void on_transaction(XactEvent event, void *arg);

DifsClaimState
difs_claim_read(const uint8 *cluster, uint64 epoch, DifsClaim *claim, const char **why)
{
	DifsClaimState state = difs_claim_file_read(cluster, claim, why);

	if (state != DIFS_CLAIM_HELD || claim->epoch == epoch)
		return state;
	*why = psprintf("The claim in this data directory is of epoch " UINT64_FORMAT ", the tables are of epoch " UINT64_FORMAT ".",
					claim->epoch, epoch);
	return DIFS_CLAIM_VOID;
}

bool
difs_claim_held(void)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	bool held = false;

	if (database != NULL)
	{
		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		held = database->state == DIFS_DATABASE_RUNNING && database->claimed;
		LWLockRelease(&difs_shared->lock);
	}
	return held;
}

void
difs_claim_require(void)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	char problem[DIFS_ERROR_TEXT_SIZE];
	bool running = false;
	bool claimed = false;

	if (database != NULL)
	{
		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		running = database->state == DIFS_DATABASE_RUNNING;
		claimed = database->claimed;
		strlcpy(problem, database->claim_problem, sizeof(problem));
		LWLockRelease(&difs_shared->lock);
	}
	if (!running)
	{
		claimed = read_claim(problem);
		if (difs_shared != NULL)
			difs_database_hint(MyDatabaseId);
	}
	if (!claimed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database does not hold the claim to its files"),
				 errdetail("%s Files can be read, but nothing can be changed.", problem),
				 errhint("If no other server is to write to these files any more, call difs_claim().")));
}

/* What the keeper will find when it begins; the launcher is asked to start it. */
static bool
read_claim(char *problem)
{
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 epoch;
	DifsClaim claim;
	const char *why = "";
	bool held;

	difs_cluster_read(cluster, &epoch);
	held = difs_claim_read(cluster, epoch, &claim, &why) == DIFS_CLAIM_HELD;
	strlcpy(problem, held ? "" : why, DIFS_ERROR_TEXT_SIZE);
	return held;
}

/* A server is only alive if it obeys (claim_watch.c), and what it said counts for as long as a keeper that runs may take to ask again. */
bool
difs_claim_confirmed(DifsDatabase *database)
{
	int servers = 0;
	int obey = 0;
	bool claimed;
	TimestampTz now = GetCurrentTimestamp();
	int valid_ms = difs_server_timeout + 2 * difs_health_interval;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	claimed = database->claimed && database->state == DIFS_DATABASE_RUNNING;
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		const DifsSharedServer *server = &database->servers[i];

		servers += server->id != 0;
		obey += server->id != 0 && server->alive && !TimestampDifferenceExceeds(server->last_seen, now, valid_ms);
	}
	LWLockRelease(&difs_shared->lock);
	return claimed && 2 * obey > servers;
}

void
difs_claim_introduce(DifsDatabase *database, DifsPeer *peer)
{
	peer->epoch = 0;
	memset(peer->claim, 0, sizeof(peer->claim));
	if (database == NULL)
		return;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	if (database->claimed)
	{
		peer->epoch = database->epoch;
		memcpy(peer->claim, database->claim, sizeof(peer->claim));
	}
	LWLockRelease(&difs_shared->lock);
}

DifsClaimTry *
difs_claim_prepare(MemoryContext context)
{
	DifsClaimTry *try = MemoryContextAllocZero(context, sizeof(DifsClaimTry));

	difs_cluster_read(try->cluster, &try->epoch);
	read_servers(try);
	return try;
}

uint64
difs_claim_record(DifsClaimTry *try)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum((int64) try->claim.epoch)};
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 epoch;

	LockRelationOid(difs_relation(DIFS_REL_CLUSTER), ShareRowExclusiveLock);
	difs_cluster_read(cluster, &epoch);
	if (epoch != try->epoch || memcmp(cluster, try->cluster, DIFS_UUID_SIZE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("difs.cluster has changed while the chunk servers were being asked"),
				 errhint("Call difs_claim() again.")));
	difs_claim_file_write(try->cluster, &try->claim, DIFS_CLAIM_HELD);
	DIFS_FAULT("backend.claim.file");
	SPI_connect();
	if (SPI_execute_with_args("UPDATE difs.cluster SET epoch = $1", 1, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update difs.cluster");
	DIFS_FAULT("backend.claim.row");
	SPI_finish();
	want_restart_at_commit();
	return try->claim.epoch;
}

/* Without SPI, because who writes to files may not read the table. */
void
difs_cluster_read(uint8 *uuid, uint64 *epoch)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;
	bool null;

	PushActiveSnapshot(GetLatestSnapshot());
	DIFS_KEY(&key, DIFS_CLUSTER_SINGLETON, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(true));
	scan = difs_scan_begin(DIFS_REL_CLUSTER, DIFS_REL_CLUSTER_PKEY, 1, &key);
	row = difs_scan_next(scan, false);
	if (row == NULL)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("table difs.cluster is empty")));
	memcpy(uuid, DatumGetUUIDP(heap_getattr(row, DIFS_CLUSTER_UUID, difs_scan_desc(scan), &null))->data, DIFS_UUID_SIZE);
	*epoch = (uint64) DatumGetInt64(heap_getattr(row, DIFS_CLUSTER_EPOCH, difs_scan_desc(scan), &null));
	difs_scan_end(scan);
	PopActiveSnapshot();
}

static void
read_servers(DifsClaimTry *try)
{
	SPI_connect();
	if (SPI_execute("SELECT name, host, port, storage FROM difs.server "
					"WHERE state OPERATOR(pg_catalog.<>) 'removed' ORDER BY id",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.server");
	if (SPI_processed > DIFS_MAX_SERVERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a database cannot have more than %d chunk servers", DIFS_MAX_SERVERS)));
	try->count = SPI_processed;
	for (int i = 0; i < try->count; i++)
	{
		DifsClaimServer *server = &try->servers[i];
		TupleDesc description = SPI_tuptable->tupdesc;
		HeapTuple row = SPI_tuptable->vals[i];
		bool null;
		Datum storage = SPI_getbinval(row, description, 4, &null);

		if (!null)
			memcpy(server->storage, DatumGetUUIDP(storage)->data, DIFS_UUID_SIZE);
		strlcpy(server->name, SPI_getvalue(row, description, 1), sizeof(server->name));
		strlcpy(server->host, SPI_getvalue(row, description, 2), sizeof(server->host));
		server->port = (uint16) DatumGetInt32(SPI_getbinval(row, description, 3, &null));
	}
	SPI_finish();
}

static void
want_restart_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(on_transaction, NULL);
	registered = true;
	restart_at_commit = true;
}

static void
on_transaction(XactEvent event, void *arg)
{
	DifsDatabase *database;

	if (!restart_at_commit || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	restart_at_commit = false;
	if (event == XACT_EVENT_COMMIT && (database = difs_database_find(MyDatabaseId)) != NULL)
		difs_database_restart(database);
}

PG_FUNCTION_INFO_V1(difs_claim);
PG_FUNCTION_INFO_V1(difs_claim_first);
PG_FUNCTION_INFO_V1(difs_claim_state);
PG_FUNCTION_INFO_V1(difs_cluster_changed);

/* difs_claim() returns bigint */
Datum
difs_claim(PG_FUNCTION_ARGS)
{
	DifsClaimTry *try;
	uint64 epoch;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to claim the files of a database")));
	difs_shmem_require();
	PreventInTransactionBlock(true, "difs_claim()");
	difs_admin_begin("difs_claim");
	refuse_copy();
	try = difs_claim_prepare(CurrentMemoryContext);
	difs_claim_win(try);
	epoch = difs_claim_record(try);
	difs_write_end();
	PG_RETURN_INT64((int64) epoch);
}

/* A database of this server that has our identity and is served, as one of which we are a copy is (keeper.c), would lose the claim by ours, and we would
 * not be served all the same: then nobody could write. */
static void
refuse_copy(void)
{
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 epoch;
	Oid other = InvalidOid;

	difs_cluster_read(cluster, &epoch);
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < difs_shared->database_count; i++)
	{
		const DifsDatabase *database = &difs_shared->databases[i];

		if (database->state == DIFS_DATABASE_RUNNING && database->database != MyDatabaseId &&
			memcmp(database->cluster, cluster, DIFS_UUID_SIZE) == 0)
			other = database->database;
	}
	LWLockRelease(&difs_shared->lock);
	if (OidIsValid(other))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("database \"%s\" of this server has the same files, and is in use", get_database_name(other)),
				 errdetail("One of the two is a copy of the other one, by a dump or a template, and only one can write."),
				 errhint("Drop that one first, if this one is to take its place.")));
}

/* CREATE EXTENSION, whose uuid nobody else has. */
Datum
difs_claim_first(PG_FUNCTION_ARGS)
{
	uint8 cluster[DIFS_UUID_SIZE];
	DifsClaim claim;
	DifsError error;

	if (!creating_extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the first claim is made by CREATE EXTENSION"),
				 errhint("Call difs_claim().")));
	difs_cluster_read(cluster, &claim.epoch);
	if (!difs_random(claim.id, sizeof(claim.id), &error))
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("%s", error.text)));
	difs_claim_file_write(cluster, &claim, DIFS_CLAIM_HELD);
	PG_RETURN_VOID();
}

/* What the view difs.claim says of the holder; nulls where no keeper runs. */
Datum
difs_claim_state(PG_FUNCTION_ARGS)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	TupleDesc description;
	Datum values[2] = {0};
	bool nulls[2] = {true, true};
	char problem[DIFS_ERROR_TEXT_SIZE];

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (database != NULL)
	{
		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		values[0] = BoolGetDatum(database->claimed);
		nulls[0] = false;
		strlcpy(problem, database->claim_problem, sizeof(problem));
		LWLockRelease(&difs_shared->lock);
		nulls[1] = problem[0] == '\0';
		if (!nulls[1])
			values[1] = CStringGetTextDatum(problem);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values, nulls)));
}

/* A restored dump has replaced the identity that CREATE EXTENSION made: nothing may go to the servers under the old
 * one. */
Datum
difs_cluster_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "difs_cluster_changed() is a trigger function");
	want_restart_at_commit();
	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation)); /* for difs_servers_cluster() */
	PG_RETURN_POINTER(NULL);
}
