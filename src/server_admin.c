/*
 * server_admin.c - chunk servers that come: difs_server_add() and difs_server_register().
 *
 * A server is only added after it has proved that it holds the cluster key and has
 * the storage name that it is said to have.  The row counts from COMMIT on, and so
 * the keeper, who publishes servers to everyone else, is woken by a transaction
 * callback; should that wake-up be lost, it looks again at its next round.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "src/compat.h"
#include "src/connect.h"
#include "src/duty.h"
#include "src/link.h"
#include "src/report.h"
#include "src/server_admin.h"
#include "src/servers.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "src/table.h"

/* The arguments of difs_server_add(). */
typedef struct NewServer
{
	char *name;
	char *host;
	int32 port;
	char *zone;
	char *tier;
	int32 weight;
	pg_uuid_t storage; /* identity of its data directory; all zeros: it has none */
} NewServer;

static bool wake_keeper = false; /* at commit */
static bool want_repair = false;

static void get_arguments(FunctionCallInfo fcinfo, NewServer *server);
static void check_length(const char *what, const char *value, Size size);
static HeapTuple find_server(const char *name, int *count);
static void check_is_new(const NewServer *server);
static const char *move_server(HeapTuple row, const NewServer *server);
static void meet(NewServer *server);
static void check_meeting(NewServer *server, const DifsConn *conn);
pg_noreturn static void report_no_meeting(const NewServer *server, const DifsConn *conn);
static int32 insert_server(const NewServer *server);
static void on_transaction(XactEvent event, void *arg);

static void
get_arguments(FunctionCallInfo fcinfo, NewServer *server)
{
	DIFS_ARG_NOT_NULL(0, "name");
	DIFS_ARG_NOT_NULL(1, "host");
	DIFS_ARG_NOT_NULL(2, "port");
	DIFS_ARG_NOT_NULL(3, "zone");
	DIFS_ARG_NOT_NULL(4, "tier");
	DIFS_ARG_NOT_NULL(5, "weight");
	server->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	server->host = text_to_cstring(PG_GETARG_TEXT_PP(1));
	server->port = PG_GETARG_INT32(2);
	server->zone = text_to_cstring(PG_GETARG_TEXT_PP(3));
	server->tier = text_to_cstring(PG_GETARG_TEXT_PP(4));
	server->weight = PG_GETARG_INT32(5);

	check_length("storage name", server->name, DIFS_NAME_SIZE);
	check_length("host", server->host, sizeof(((DifsPeer *) NULL)->host));
	check_length("zone", server->zone, DIFS_ZONE_SIZE);
	check_length("tier", server->tier, DIFS_TIER_SIZE);
	if (server->name[0] != '/' || server->name[1] == '\0')
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("a storage name must begin with a slash: \"%s\"", server->name),
				 errhint("It is what the chunk server was started with: difsd --name /storage01.")));
	if (server->host[0] == '\0' || server->tier[0] == '\0')
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("host and tier must not be empty")));
	if (server->port < 1 || server->port > 65535)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("port must be between 1 and 65535: %d", server->port)));
	if (server->weight < 1)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("weight must be greater than zero: %d", server->weight)));
}

static void
check_length(const char *what, const char *value, Size size)
{
	if (strlen(value) >= size)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NAME_TOO_LONG),
				 errmsg("%s is longer than %zu bytes", what, size - 1)));
}

/* Its row, copied; NULL if there is none. And how many servers there are. */
static HeapTuple
find_server(const char *name, int *count)
{
	DifsScan *scan = difs_scan_begin(DIFS_REL_SERVER, DIFS_REL_SERVER_PKEY, 0, NULL);
	HeapTuple tuple;
	HeapTuple found = NULL;

	*count = 0;
	while ((tuple = difs_scan_next(scan, false)) != NULL)
	{
		bool null;

		if (strcmp(TextDatumGetCString(heap_getattr(tuple, DIFS_SERVER_NAME, difs_scan_desc(scan), &null)), name) == 0)
			found = heap_copytuple(tuple);
		(*count)++;
	}
	difs_scan_end(scan);
	return found;
}

static void
check_is_new(const NewServer *server)
{
	int count;

	if (find_server(server->name, &count) != NULL)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_EXISTS),
				 errmsg("chunk server \"%s\" exists already", server->name)));
	if (count >= DIFS_MAX_SERVERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a database cannot have more than %d chunk servers", DIFS_MAX_SERVERS)));
}

/* What the administrator has set in the row (zone, weight, state) is his. */
static const char *
move_server(HeapTuple row, const NewServer *server)
{
	Relation table = difs_table_open(DIFS_REL_SERVER, RowExclusiveLock);
	Datum values[DIFS_SERVER_COLUMNS];
	bool nulls[DIFS_SERVER_COLUMNS];
	bool replace[DIFS_SERVER_COLUMNS] = {false};

	if (!difs_row_lock(DIFS_REL_SERVER, &row))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CHANGED),
				 errmsg("chunk server \"%s\" has just been removed", server->name)));
	heap_deform_tuple(row, RelationGetDescr(table), values, nulls);
	table_close(table, NoLock);
	if (DatumGetBool(values[DIFS_SERVER_EMBEDDED - 1]) ||
		strcmp(TextDatumGetCString(values[DIFS_SERVER_STATE - 1]), "removed") == 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_EXISTS),
				 errmsg("there is an embedded chunk server \"%s\", or one that is being removed", server->name)));
	if (!nulls[DIFS_SERVER_STORAGE - 1] &&
		memcmp(DatumGetUUIDP(values[DIFS_SERVER_STORAGE - 1])->data, server->storage.data, DIFS_UUID_SIZE) != 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_EXISTS),
				 errmsg("chunk server \"%s\" at %s:%d does not have the data directory that is known by that name",
						server->name, server->host, server->port),
				 errhint("Give it another --name, or start it with the directory that it had.")));
	if (strcmp(TextDatumGetCString(values[DIFS_SERVER_HOST - 1]), server->host) == 0 &&
		DatumGetInt32(values[DIFS_SERVER_PORT - 1]) == server->port)
		return "known";
	values[DIFS_SERVER_HOST - 1] = CStringGetTextDatum(server->host);
	values[DIFS_SERVER_PORT - 1] = Int32GetDatum(server->port);
	replace[DIFS_SERVER_HOST - 1] = replace[DIFS_SERVER_PORT - 1] = true;
	difs_row_update(DIFS_REL_SERVER, row, values, nulls, replace);
	return "moved";
}

/* Connects, so that only what answers as it should is added. */
static void
meet(NewServer *server)
{
	DifsPeer peer = {0};
	DifsError error;
	DifsConn *conn;

	strlcpy(peer.host, server->host, sizeof(peer.host));
	peer.port = (uint16) server->port;
	difs_servers_identity(&peer);
	conn = difs_connect(&peer, &error);
	if (conn == NULL)
		ereport(ERROR,
				(errcode(difs_report_sqlstate(error.code)),
				 errmsg("could not connect to chunk server at %s:%d", server->host, server->port),
				 errdetail_internal("%s", error.text)));
	PG_TRY();
	{
		difs_link_wait_ready(conn, difs_server_timeout);
		check_meeting(server, conn);
	}
	PG_FINALLY();
	{
		difs_conn_destroy(conn);
	}
	PG_END_TRY();
}

static void
check_meeting(NewServer *server, const DifsConn *conn)
{
	static const char *const tiers[] = {"disk", "memory"};
	int tier;

	if (difs_conn_state(conn) != DIFS_CONN_READY)
		report_no_meeting(server, conn);
	if (strcmp(difs_conn_name(conn), server->name) != 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("chunk server at %s:%d is \"%s\", not \"%s\"",
						server->host, server->port, difs_conn_name(conn), server->name)));
	memcpy(server->storage.data, difs_conn_status(conn)->storage, DIFS_UUID_SIZE);
	tier = difs_conn_status(conn)->tier;
	if (tier < lengthof(tiers) && (strcmp(server->tier, "memory") == 0) != (tier == 1))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("chunk server \"%s\" keeps its data on tier \"%s\", not \"%s\"",
						server->name, tiers[tier], server->tier)));
}

static void
report_no_meeting(const NewServer *server, const DifsConn *conn)
{
	const DifsError *error = difs_conn_error(conn);

	if (difs_conn_state(conn) != DIFS_CONN_BROKEN)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_IO),
				 errmsg("chunk server at %s:%d does not answer within %d ms",
						server->host, server->port, difs_server_timeout),
				 errhint("See that difsd runs there and that this machine can reach it.")));
	ereport(ERROR,
			(errcode(difs_report_sqlstate(error->code)),
			 errmsg("could not connect to chunk server at %s:%d", server->host, server->port),
			 errdetail_internal("%s", error->text),
			 error->code == DIFS_ERROR_REFUSED ?
				 errhint("The chunk server must be started with the cluster key: "
						 "the same file as difs.key_file here, \"%s\". If it uses TLS, difs.tls must fit to that.",
						 difs_settings_key_file()) :
				 errhint("See that difsd runs there and that this machine can reach it.")));
}

static int32
insert_server(const NewServer *server)
{
	int32 id = (int32) difs_sequence_next(DIFS_REL_SEQ_SERVER);
	static const pg_uuid_t no_storage;
	Datum values[DIFS_SERVER_COLUMNS];
	bool nulls[DIFS_SERVER_COLUMNS] = {false};

	values[DIFS_SERVER_ID - 1] = Int32GetDatum(id);
	values[DIFS_SERVER_NAME - 1] = CStringGetTextDatum(server->name);
	values[DIFS_SERVER_HOST - 1] = CStringGetTextDatum(server->host);
	values[DIFS_SERVER_PORT - 1] = Int32GetDatum(server->port);
	values[DIFS_SERVER_ZONE - 1] = CStringGetTextDatum(server->zone);
	values[DIFS_SERVER_TIER - 1] = CStringGetTextDatum(server->tier);
	values[DIFS_SERVER_WEIGHT - 1] = Int32GetDatum(server->weight);
	values[DIFS_SERVER_STATE - 1] = CStringGetTextDatum("active");
	values[DIFS_SERVER_EMBEDDED - 1] = BoolGetDatum(false);
	values[DIFS_SERVER_CREATED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[DIFS_SERVER_STORAGE - 1] = UUIDPGetDatum(&server->storage);
	nulls[DIFS_SERVER_STORAGE - 1] = memcmp(server->storage.data, no_storage.data, DIFS_UUID_SIZE) == 0;
	difs_row_insert(DIFS_REL_SERVER, values, nulls);
	return id;
}

void
difs_wake_keeper_at_commit(bool repair)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(on_transaction, NULL);
	registered = true;
	wake_keeper = true;
	want_repair = want_repair || repair;
}

static void
on_transaction(XactEvent event, void *arg)
{
	DifsDatabase *database;

	if (!wake_keeper || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	if (event == XACT_EVENT_COMMIT && (database = difs_database_find(MyDatabaseId)) != NULL)
	{
		difs_wake(database->keeper);
		if (want_repair)
			difs_duty_want(database, DIFS_DUTY_REPAIR);
	}
	wake_keeper = want_repair = false;
}

PG_FUNCTION_INFO_V1(difs_server_add);
PG_FUNCTION_INFO_V1(difs_server_register);

Datum
difs_server_add(PG_FUNCTION_ARGS)
{
	NewServer server;
	int32 id;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to add a chunk server")));
	difs_shmem_require();
	get_arguments(fcinfo, &server);
	difs_admin_begin("difs_server_add");
	check_is_new(&server);
	meet(&server);
	id = insert_server(&server);
	difs_write_end();
	difs_wake_keeper_at_commit(false);
	PG_RETURN_INT32(id);
}

/* No superuser: who may call it can add what has the cluster key, and move what has its data; nothing else. */
Datum
difs_server_register(PG_FUNCTION_ARGS)
{
	NewServer server;
	HeapTuple row;
	int count;
	const char *outcome = "added";

	difs_shmem_require();
	get_arguments(fcinfo, &server);
	difs_admin_begin("difs_server_register");
	meet(&server); /* first, as it may wait, and no row is to be locked then */
	row = find_server(server.name, &count);
	if (row != NULL)
		outcome = move_server(row, &server);
	else
	{
		check_is_new(&server);
		(void) insert_server(&server);
	}
	difs_write_end();
	difs_wake_keeper_at_commit(false);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}
