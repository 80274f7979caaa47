/*
 * query.c - statements on the client's connection, one after the other.
 */
#include <inttypes.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define MAX_PARAMETERS 12

typedef struct Arguments
{
	const char *values[MAX_PARAMETERS];
	int lengths[MAX_PARAMETERS];
	int formats[MAX_PARAMETERS];
} Arguments;

/* The functions may be called without a schema: difs is in the search path, or its functions are nobody's to call.  What is put
 * gets its attributes in the same statement, since each statement of a batch costs as much as a small put. */
static const struct
{
	const char *name;
	const char *sql;
} statements[STATEMENTS] = {
	[STATEMENT_PUT] = {"difs_put", "SELECT difs_put($1::text, $2::bytea, $3::integer, $4::boolean)"},
	[STATEMENT_PUT_ATTRIBUTES] = {"difs_put_attributes",
								  "SELECT difs_put($1::text, $2::bytea, $3::integer, $4::boolean),"
								  " CASE WHEN $5::text IS NOT NULL THEN difs_setattr($1, pg_catalog.jsonb_build_object('media_type', $5::text)) END,"
								  " CASE WHEN $6::text IS NOT NULL THEN difs_chmod($1, $6::text) END,"
								  " CASE WHEN $7::bigint IS NOT NULL THEN difs_touch($1, mtime => pg_catalog.to_timestamp(0) + $7::bigint * interval '1 microsecond') END"},
	[STATEMENT_MKDIR] = {"difs_mkdir", "SELECT difs_mkdir($1::text, $2::boolean)"},
	[STATEMENT_MKDIR_MODE] = {"difs_mkdir_mode", "SELECT difs_mkdir($1::text, $2::boolean), difs_chmod($1, $3::text)"},
	[STATEMENT_SYMLINK] = {"difs_symlink", "SELECT difs_symlink($1::text, $2::text)"},
	[STATEMENT_CHMOD] = {"difs_chmod", "SELECT difs_chmod($1::text, $2::text)"},
	[STATEMENT_TOUCH] = {"difs_touch", "SELECT difs_touch($1::text, mtime => pg_catalog.to_timestamp(0) + $2::bigint * interval '1 microsecond')"},
	[STATEMENT_COPY] = {"difs_copy", "SELECT difs_copy($1::text, $2::text)"},
	[STATEMENT_GET_MANY] = {"difs_get_many", "SELECT (file).data FROM (SELECT difs_get_many($1::text[]) AS file) AS files"},
};

static void fill(Arguments *arguments, int count, const Parameter *parameters);
static void end_query(DifsClient *client);

bool
client_ready(DifsClient *client)
{
	client_clear(client);
	if (client->conn == NULL || PQstatus(client->conn) != CONNECTION_OK)
		return client_fail(client, DIFS_STATUS_CONNECTION, "there is no connection to the database");
	if (client->in_batch)
		return client_fail(client, DIFS_STATUS_ARGUMENT, "a batch is open");
	if (atomic_exchange(&client->cancel_asked, false))
		return client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
	return true;
}

PGresult *
client_query(DifsClient *client, bool binary, const char *sql, int count, const Parameter *parameters)
{
	Arguments arguments;
	PGresult *result;
	ExecStatusType status;

	fill(&arguments, count, parameters);
	result = PQexecParams(client->conn, sql, count, NULL, arguments.values, arguments.lengths, arguments.formats, binary);
	status = PQresultStatus(result);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return result;
	client_fail_result(client, result);
	if (client->failure.status == DIFS_STATUS_CANCELLED)
		atomic_store(&client->cancel_asked, false);
	PQclear(result);
	return NULL;
}

bool
client_command(DifsClient *client, const char *sql, int count, const Parameter *parameters)
{
	PGresult *result = client_query(client, false, sql, count, parameters);

	PQclear(result);
	return result != NULL;
}

bool
client_prepare(DifsClient *client, Statement statement)
{
	PGresult *result;
	bool prepared;

	if (client->prepared[statement])
		return true;
	result = PQprepare(client->conn, statements[statement].name, statements[statement].sql, 0, NULL);
	prepared = PQresultStatus(result) == PGRES_COMMAND_OK;
	if (!prepared)
		client_fail_result(client, result);
	PQclear(result);
	client->prepared[statement] = prepared;
	return prepared;
}

const char *
client_statement_name(Statement statement)
{
	return statements[statement].name;
}

static void
fill(Arguments *arguments, int count, const Parameter *parameters)
{
	for (int i = 0; i < count; i++)
	{
		arguments->values[i] = parameters[i].value;
		arguments->lengths[i] = parameters[i].length;
		arguments->formats[i] = parameters[i].binary;
	}
}

bool
client_send(DifsClient *client, bool binary, const char *sql, int count, const Parameter *parameters)
{
	Arguments arguments;

	fill(&arguments, count, parameters);
	if (!PQsendQueryParams(client->conn, sql, count, NULL, arguments.values, arguments.lengths, arguments.formats, binary) ||
		!PQsetSingleRowMode(client->conn))
		return client_fail_result(client, NULL);
	return true;
}

PGresult *
client_row(DifsClient *client)
{
	PGresult *result = PQgetResult(client->conn);

	if (result == NULL || PQresultStatus(result) == PGRES_SINGLE_TUPLE)
		return result;
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		client_fail_result(client, result);
		if (client->failure.status == DIFS_STATUS_CANCELLED)
			atomic_store(&client->cancel_asked, false);
	}
	PQclear(result);
	end_query(client);
	return NULL;
}

void
client_drain(DifsClient *client, bool cancel)
{
	char message[256];

	if (cancel && client->cancel != NULL && PQtransactionStatus(client->conn) == PQTRANS_ACTIVE)
		PQcancel(client->cancel, message, sizeof(message));
	end_query(client);
}

static void
end_query(DifsClient *client)
{
	PGresult *result;

	while ((result = PQgetResult(client->conn)) != NULL)
		PQclear(result);
}

const char *
number_text(char buffer[24], int64_t number)
{
	snprintf(buffer, 24, "%" PRId64, number);
	return buffer;
}

/* Whatever its width: a column that is an integer in one release may be a bigint in the next. */
int64_t
binary_int8(const PGresult *result, int row, int column)
{
	const char *value = PQgetvalue(result, row, column);
	uint16_t two;
	uint32_t four;
	uint64_t eight;

	switch (PQgetlength(result, row, column))
	{
		case 2:
			memcpy(&two, value, 2);
			return (int16_t) be16toh(two);
		case 4:
			memcpy(&four, value, 4);
			return (int32_t) be32toh(four);
		case 8:
			memcpy(&eight, value, 8);
			return (int64_t) be64toh(eight);
		default:
			return 0;
	}
}
