/*
 * statement.c - operations that are one prepared statement: the table of them, and how their parameters are made.
 *
 * Parameters and results are binary. Every statement must touch or return at least one row, so an operation that hits nothing is an
 * error and not a fast success. One letter for each parameter:
 *
 *	p  path of the object          n  its name             i  its number, bigint      b  its payload
 *	q  path that it is renamed to  m  name, likewise       o  its number, oid         f  random offset, a multiple of the size
 *	d  path of the directory       P  number of the parent l  the size, as bigint     k  the size, as integer
 *	s  path of the payload file    h  f + 1, as integer
 */
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define MAX_PARAMETERS 4
#define INODE_COLUMNS "ino, kind, size, version, mode, owner, nlink, atime, mtime, ctime, btime"

static void statement_open(Client *client);
static void statement_run(Client *client, int64_t object);

/* clang-format off */
#define STATEMENT(system, name, access, sql, parameters) {system, name, access, statement_open, statement_run, sql, parameters}

const Operation statement_operations[] = {
	STATEMENT("difs", "put", ACCESS_NEW, "SELECT difs_put($1, $2)", "pb"),
	STATEMENT("difs", "import", ACCESS_NEW, "SELECT difs_import($1, $2)", "ps"),
	STATEMENT("difs", "get", ACCESS_RANDOM, "SELECT difs_get($1)", "p"),
	STATEMENT("difs", "range", ACCESS_RANDOM, "SELECT difs_get($1, NULL, $2, $3)", "pfl"),
	STATEMENT("difs", "write", ACCESS_RANDOM, "SELECT difs_write($1, $2, $3)", "pfb"),
	STATEMENT("difs", "create", ACCESS_NEW, "SELECT difs_put($1, '')", "p"),
	STATEMENT("difs", "stat", ACCESS_RANDOM, "SELECT " INODE_COLUMNS " FROM difs_stat($1)", "p"),
	STATEMENT("difs", "rename", ACCESS_ONCE, "SELECT difs_rename($1, $2)", "pq"),
	STATEMENT("difs", "list", ACCESS_RANDOM, "SELECT name, ino, kind, size, version, mode, owner, mtime FROM difs_list($1)", "d"),
	STATEMENT("difs", "delete", ACCESS_ONCE, "SELECT difs_delete($1)", "p"),

	STATEMENT("lo", "put", ACCESS_NEW, "SELECT lo_from_bytea($1, $2)", "ob"),
	STATEMENT("lo", "import_server", ACCESS_NEW, "SELECT lo_import($2, $1)", "os"),
	STATEMENT("lo", "get", ACCESS_RANDOM, "SELECT lo_get($1)", "o"),
	STATEMENT("lo", "range", ACCESS_RANDOM, "SELECT lo_get($1, $2, $3)", "ofk"),
	STATEMENT("lo", "write", ACCESS_RANDOM, "SELECT lo_put($1, $2, $3)", "ofb"),
	STATEMENT("lo", "delete", ACCESS_ONCE, "SELECT lo_unlink($1)", "o"),

	STATEMENT("bytea", "put", ACCESS_NEW, "INSERT INTO bench.value VALUES ($1, $2)", "ib"),
	STATEMENT("bytea", "get", ACCESS_RANDOM, "SELECT data FROM bench.value WHERE id = $1", "i"),
	STATEMENT("bytea", "range", ACCESS_RANDOM, "SELECT substr(data, $2, $3) FROM bench.value WHERE id = $1", "ihk"),
	STATEMENT("bytea", "delete", ACCESS_ONCE, "DELETE FROM bench.value WHERE id = $1", "i"),

	STATEMENT("rows", "create", ACCESS_NEW, "WITH made AS (INSERT INTO bench.inode VALUES ($3, 'f', 420, 10, 1, 1, 0, now(), now(), now(), now())"
			  " RETURNING ino) INSERT INTO bench.dentry SELECT $1, $2, ino FROM made", "Pni"),
	STATEMENT("rows", "stat", ACCESS_RANDOM, "SELECT " INODE_COLUMNS " FROM bench.inode WHERE ino = $1", "i"),
	STATEMENT("rows", "rename", ACCESS_ONCE, "UPDATE bench.dentry SET name = $3 WHERE parent = $1 AND name = $2", "Pnm"),
	STATEMENT("rows", "list", ACCESS_RANDOM, "SELECT name, ino, kind, size, version, mode, owner, mtime FROM bench.dentry"
			  " JOIN bench.inode USING (ino) WHERE parent = $1 ORDER BY name", "P"),
	STATEMENT("rows", "delete", ACCESS_ONCE, "WITH gone AS (DELETE FROM bench.dentry WHERE parent = $1 AND name = $2 RETURNING ino)"
			  " DELETE FROM bench.inode USING gone WHERE inode.ino = gone.ino", "Pn"),
	{0},
};
/* clang-format on */

typedef struct Parameters
{
	const char *values[MAX_PARAMETERS];
	int lengths[MAX_PARAMETERS];
	int formats[MAX_PARAMETERS];
	char space[MAX_PARAMETERS][PATH_BYTES];
	int64_t offset; /* that 'f' chose */
} Parameters;

static __thread Parameters parameters;

static int
put_integer(char *space, int64_t value, int width)
{
	uint64_t big = htobe64((uint64_t) value);
	uint32_t small = htobe32((uint32_t) value);

	if (width == 8)
		memcpy(space, &big, 8);
	else
		memcpy(space, &small, 4);
	return width;
}

static int64_t
choose_offset(Client *client)
{
	const Options *options = client->options;

	if (options->span_bytes <= 0)
		fail("--span is missing");
	return parameters.offset = client_random(client, options->span_bytes / options->size_bytes) * options->size_bytes;
}

static void
make_parameter(Client *client, int64_t object, int index, char letter)
{
	const Options *options = client->options;
	char *space = parameters.space[index];
	int length;

	parameters.values[index] = space;
	parameters.formats[index] = 1;
	switch (letter)
	{
		case 'p': length = snprintf(space, PATH_BYTES, "%s/%016" PRId64, options->place, object); break;
		case 'q': length = snprintf(space, PATH_BYTES, "%s/r%015" PRId64, options->place, object); break;
		case 'd': length = snprintf(space, PATH_BYTES, "%s", options->place); break;
		case 'n': length = snprintf(space, PATH_BYTES, "%016" PRId64, object); break;
		case 'm': length = snprintf(space, PATH_BYTES, "r%015" PRId64, object); break;
		case 's': length = snprintf(space, PATH_BYTES, "%s", options->data_file); break;
		case 'i': length = put_integer(space, object, 8); break;
		case 'o': length = put_integer(space, object, 4); break;
		case 'P': length = put_integer(space, atoll(options->place), 8); break;
		case 'f': length = put_integer(space, choose_offset(client), 8); break;
		case 'h': length = put_integer(space, choose_offset(client) + 1, 4); break;
		case 'l': length = put_integer(space, options->size_bytes, 8); break;
		case 'k': length = put_integer(space, options->size_bytes, 4); break;
		case 'b':
			parameters.values[index] = payload_of(options, object);
			length = (int) options->size_bytes;
			break;
		default: fail("there is no parameter '%c'", letter);
	}
	parameters.lengths[index] = length;
}

static int
make_parameters(Client *client, int64_t object)
{
	int count = (int) strlen(client->operation->parameters);

	for (int index = 0; index < count; index++)
		make_parameter(client, object, index, client->operation->parameters[index]);
	return count;
}

void
statement_command(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
}

/* Sends without waiting, for pipelines. */
void
statement_send(Client *client, int64_t object)
{
	int count = make_parameters(client, object);

	if (!PQsendQueryPrepared(client->conn, "operation", count, parameters.values, parameters.lengths, parameters.formats, 1))
		fail("%s", PQerrorMessage(client->conn));
}

/* Looks at a result and clears it. */
void
statement_take(Client *client, int64_t object, PGresult *result)
{
	const Options *options = client->options;
	const char *operation = client->operation->name;

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("%s", PQresultErrorMessage(result));
	if (atoi(PQcmdTuples(result)) < 1)
		fail("object %" PRId64 " is missing", object);
	if (strcmp(operation, "get") == 0 || strcmp(operation, "range") == 0)
	{
		if (PQgetlength(result, 0, 0) != options->size_bytes)
			fail("object %" PRId64 " has %d bytes", object, PQgetlength(result, 0, 0));
		check_bytes(options, object, strcmp(operation, "range") == 0 ? parameters.offset : 0, PQgetvalue(result, 0, 0), options->size_bytes);
	}
	PQclear(result);
}

static void
statement_open(Client *client)
{
	PGresult *result;

	client->conn = PQconnectdb("");
	if (PQstatus(client->conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(client->conn));
	result = PQprepare(client->conn, "operation", client->operation->sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQerrorMessage(client->conn));
	PQclear(result);
}

static void
statement_run(Client *client, int64_t object)
{
	int count = make_parameters(client, object);

	statement_take(client, object, PQexecPrepared(client->conn, "operation", count, parameters.values, parameters.lengths, parameters.formats, 1));
}
