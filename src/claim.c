/*
 * claim.c - who holds the claim, and taking it (claim.h).
 *
 * Two rounds over all servers at once: the first as a reader, to learn the highest
 * epoch, the second with the new one.  A server obeys who brings an epoch first,
 * so of two that claim at the same time at most one has a majority; the other one
 * errors out.  The first round errors out too if a majority cannot be reached,
 * before anything has changed.
 *
 * State: the connections of a round, closed at its end however it ends; and
 * whether this transaction has changed difs.cluster, until it ends.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "src/claim.h"
#include "src/compat.h"
#include "src/ids.h"
#include "src/link.h"
#include "src/report.h"
#include "src/servers.h"
#include "src/settings.h"
#include "src/table.h"

#define MAX_EPOCH ((UINT64CONST(1) << (63 - DIFS_ID_EPOCH_SHIFT)) - 1)

typedef struct ClaimServer
{
	char		name[DIFS_NAME_SIZE];
	char		host[256];
	uint16		port;
	uint8		storage[DIFS_UUID_SIZE];	/* all zeros: not known yet */
	DifsConn   *conn;
	bool		answered;		/* in the last round, as it should */
	uint64		epoch;			/* that it obeys */
	char		problem[DIFS_ERROR_TEXT_SIZE];
} ClaimServer;

struct DifsClaimTry
{
	uint8		cluster[DIFS_UUID_SIZE];
	uint64		epoch;			/* of the table */
	DifsClaim	claim;			/* to be taken */
	int			count;
	ClaimServer servers[DIFS_MAX_SERVERS];
};

static const uint8 unknown[DIFS_UUID_SIZE];
static bool restart_at_commit = false;

static void read_cluster(uint8 *cluster, uint64 *epoch);
static void read_servers(DifsClaimTry *try);
static void ask_all(DifsClaimTry *try, const DifsClaim *claim);
static void connect_all(DifsClaimTry *try, const DifsClaim *claim);
static void wait_for_all(DifsClaimTry *try);
static bool is_busy(const ClaimServer *server);
static void close_all(DifsClaimTry *try);
static void take_answers(DifsClaimTry *try, const DifsClaim *claim);
static void take_answer(ClaimServer *server, const DifsClaim *claim);
static void check_majority(const DifsClaimTry *try);
static void want_restart_at_commit(void);
static void on_transaction(XactEvent event, void *arg);

void
difs_claim_require(void)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	char		problem[DIFS_ERROR_TEXT_SIZE];
	bool		claimed;

	if (database == NULL)
		return;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	claimed = database->claimed || database->state != DIFS_DATABASE_RUNNING;
	strlcpy(problem, database->claim_problem, sizeof(problem));
	LWLockRelease(&difs_shared->lock);
	if (!claimed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database does not hold the claim to its files"),
				 errdetail("%s Files can be read, but nothing can be changed.", problem),
				 errhint("If no other server is to write to these files any more, call difs_claim().")));
}

/* A server is only alive if it obeys (claim_watch.c). */
bool
difs_claim_confirmed(DifsDatabase *database)
{
	int			servers = 0;
	int			obey = 0;
	bool		claimed;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	claimed = database->claimed && database->state == DIFS_DATABASE_RUNNING;
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		servers += database->servers[i].id != 0;
		obey += database->servers[i].id != 0 && database->servers[i].alive;
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

	read_cluster(try->cluster, &try->epoch);
	read_servers(try);
	return try;
}

void
difs_claim_win(DifsClaimTry *try)
{
	DifsError	error;

	try->claim.epoch = try->epoch;
	ask_all(try, NULL);
	check_majority(try);
	for (int i = 0; i < try->count; i++)
		try->claim.epoch = Max(try->claim.epoch, try->servers[i].epoch);
	if (try->claim.epoch >= MAX_EPOCH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("all epochs of this database have been used")));
	try->claim.epoch++;
	if (!difs_random(try->claim.id, sizeof(try->claim.id), &error))
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("%s", error.text)));
	ask_all(try, &try->claim);
	check_majority(try);
}

uint64
difs_claim_record(DifsClaimTry *try)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum((int64) try->claim.epoch)};
	uint8		cluster[DIFS_UUID_SIZE];
	uint64		epoch;

	LockRelationOid(difs_relation(DIFS_REL_CLUSTER), ShareRowExclusiveLock);
	read_cluster(cluster, &epoch);
	if (epoch != try->epoch || memcmp(cluster, try->cluster, DIFS_UUID_SIZE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("difs.cluster has changed while the chunk servers were being asked"),
				 errhint("Call difs_claim() again.")));
	difs_claim_file_write(try->cluster, &try->claim, DIFS_CLAIM_HELD);
	SPI_connect();
	if (SPI_execute_with_args("UPDATE difs.cluster SET epoch = $1", 1, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update difs.cluster");
	SPI_finish();
	want_restart_at_commit();
	return try->claim.epoch;
}

static void
read_cluster(uint8 *cluster, uint64 *epoch)
{
	bool		null;

	SPI_connect();
	if (SPI_execute("SELECT uuid, epoch FROM difs.cluster", false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("table difs.cluster is empty")));
	memcpy(cluster, DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null))->data,
		   DIFS_UUID_SIZE);
	*epoch = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	SPI_finish();
}

static void
read_servers(DifsClaimTry *try)
{
	SPI_connect();
	if (SPI_execute("SELECT name, host, port, storage FROM difs.server "
					"WHERE state OPERATOR(pg_catalog.<>) 'removed' ORDER BY id", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.server");
	if (SPI_processed > DIFS_MAX_SERVERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a database cannot have more than %d chunk servers", DIFS_MAX_SERVERS)));
	try->count = SPI_processed;
	for (int i = 0; i < try->count; i++)
	{
		ClaimServer *server = &try->servers[i];
		TupleDesc	description = SPI_tuptable->tupdesc;
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		null;
		Datum		storage = SPI_getbinval(row, description, 4, &null);

		if (!null)
			memcpy(server->storage, DatumGetUUIDP(storage)->data, DIFS_UUID_SIZE);
		strlcpy(server->name, SPI_getvalue(row, description, 1), sizeof(server->name));
		strlcpy(server->host, SPI_getvalue(row, description, 2), sizeof(server->host));
		server->port = (uint16) DatumGetInt32(SPI_getbinval(row, description, 3, &null));
	}
	SPI_finish();
}

/* Connects to all, without a claim only to hear, and notes what each says. */
static void
ask_all(DifsClaimTry *try, const DifsClaim *claim)
{
	PG_TRY();
	{
		connect_all(try, claim);
		wait_for_all(try);
		take_answers(try, claim);
	}
	PG_CATCH();
	{
		close_all(try);
		PG_RE_THROW();
	}
	PG_END_TRY();
	close_all(try);
}

static void
close_all(DifsClaimTry *try)
{
	for (int i = 0; i < try->count; i++)
	{
		difs_conn_destroy(try->servers[i].conn);
		try->servers[i].conn = NULL;
	}
}

static void
connect_all(DifsClaimTry *try, const DifsClaim *claim)
{
	DifsPeer	peer = {0};

	memcpy(peer.cluster, try->cluster, DIFS_UUID_SIZE);
	memcpy(peer.key, difs_cluster_key(), DIFS_KEY_SIZE);
	if (claim != NULL)
	{
		peer.epoch = claim->epoch;
		memcpy(peer.claim, claim->id, DIFS_CLAIM_SIZE);
	}
	for (int i = 0; i < try->count; i++)
	{
		ClaimServer *server = &try->servers[i];

		if (claim != NULL && !server->answered)
			continue;			/* nor has it in the first round */
		strlcpy(peer.name, server->name, sizeof(peer.name));
		strlcpy(peer.host, server->host, sizeof(peer.host));
		peer.port = server->port;
		server->conn = difs_conn_create(&peer);
		if (server->conn == NULL)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	explicit_bzero(peer.key, sizeof(peer.key));
}

/* Until all have answered or failed, but for no longer than half of difs.server_timeout. */
static void
wait_for_all(DifsClaimTry *try)
{
	int64		deadline_ms = difs_link_clock_ms() + difs_server_timeout / 2;

	for (;;)
	{
		int64		left_ms = deadline_ms - difs_link_clock_ms();
		bool		busy = false;
		WaitEventSet *set;
		WaitEvent	event;
		DifsFrame	frame;

		for (int i = 0; i < try->count; i++)
		{
			if (is_busy(&try->servers[i]))
				(void) difs_conn_advance(try->servers[i].conn, &frame);
			busy = busy || is_busy(&try->servers[i]);
		}
		if (!busy || left_ms <= 0)
			return;
		set = DIFS_CREATE_WAIT_SET(DIFS_MAX_SERVERS + 2);
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		for (int i = 0; i < try->count; i++)
		{
			DifsConn   *conn = try->servers[i].conn;

			if (is_busy(&try->servers[i]) && difs_conn_fd(conn) >= 0)
				AddWaitEventToSet(set, WL_SOCKET_READABLE | (difs_conn_wants_write(conn) ? WL_SOCKET_WRITEABLE : 0),
								  difs_conn_fd(conn), NULL, NULL);
		}
		(void) WaitEventSetWait(set, left_ms, &event, 1, PG_WAIT_EXTENSION);
		FreeWaitEventSet(set);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static bool
is_busy(const ClaimServer *server)
{
	return server->conn != NULL && (difs_conn_state(server->conn) == DIFS_CONN_CONNECTING ||
									difs_conn_state(server->conn) == DIFS_CONN_GREETING);
}

static void
take_answers(DifsClaimTry *try, const DifsClaim *claim)
{
	for (int i = 0; i < try->count; i++)
		take_answer(&try->servers[i], claim);
}

static void
take_answer(ClaimServer *server, const DifsClaim *claim)
{
	const DifsServerStatus *status;

	server->answered = false;
	if (server->conn == NULL)
		return;
	if (difs_conn_state(server->conn) == DIFS_CONN_BROKEN)
	{
		strlcpy(server->problem, difs_conn_error(server->conn)->text, sizeof(server->problem));
		return;
	}
	if (is_busy(server))
	{
		snprintf(server->problem, sizeof(server->problem), "%s: no answer within %d ms", difs_conn_label(server->conn),
				 difs_server_timeout / 2);
		return;
	}
	status = difs_conn_status(server->conn);
	server->epoch = status->epoch;
	if (memcmp(server->storage, unknown, DIFS_UUID_SIZE) != 0 &&
		memcmp(server->storage, status->storage, DIFS_UUID_SIZE) != 0)
		snprintf(server->problem, sizeof(server->problem), "%s: it is another storage than the one in difs.server",
				 difs_conn_label(server->conn));
	else if (claim != NULL &&
			 (status->epoch != claim->epoch || memcmp(status->claim, claim->id, DIFS_CLAIM_SIZE) != 0))
		snprintf(server->problem, sizeof(server->problem), "%s: somebody else has just claimed epoch " UINT64_FORMAT,
				 difs_conn_label(server->conn), status->epoch);
	else
		server->answered = true;
}

static void
check_majority(const DifsClaimTry *try)
{
	StringInfoData problems;
	int			answered = 0;

	initStringInfo(&problems);
	for (int i = 0; i < try->count; i++)
	{
		answered += try->servers[i].answered;
		if (!try->servers[i].answered)
			appendStringInfo(&problems, "%s%s", problems.len > 0 ? "\n" : "", try->servers[i].problem);
	}
	if (try->count == 0 || 2 * answered > try->count)
		return;
	ereport(ERROR,
			(errcode(DIFS_ERRCODE_IO),
			 errmsg("could not claim the files of this database: %d of %d chunk servers obey, a majority must",
					answered, try->count),
			 errdetail_internal("%s", problems.data),
			 errhint("Start these chunk servers, or see that this server reaches them and has their key.")));
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
	uint64		epoch;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to claim the files of a database")));
	difs_shmem_require();
	PreventInTransactionBlock(true, "difs_claim()");
	difs_admin_begin("difs_claim");
	try = difs_claim_prepare(CurrentMemoryContext);
	difs_claim_win(try);
	epoch = difs_claim_record(try);
	difs_write_end();
	PG_RETURN_INT64((int64) epoch);
}

/* CREATE EXTENSION, whose uuid nobody else has. */
Datum
difs_claim_first(PG_FUNCTION_ARGS)
{
	uint8		cluster[DIFS_UUID_SIZE];
	DifsClaim	claim;
	DifsError	error;

	if (!creating_extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the first claim is made by CREATE EXTENSION"),
				 errhint("Call difs_claim().")));
	read_cluster(cluster, &claim.epoch);
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
	TupleDesc	description;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	char		problem[DIFS_ERROR_TEXT_SIZE];

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

/* A restored dump has replaced the identity that CREATE EXTENSION made: nothing may go to the servers under the old one. */
Datum
difs_cluster_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "difs_cluster_changed() is a trigger function");
	want_restart_at_commit();
	PG_RETURN_POINTER(NULL);
}
