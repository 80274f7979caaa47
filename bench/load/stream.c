/*
 * stream.c - large objects and large files in pieces of 1 MiB, as a client does that cannot or will not hold them whole.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <libpq/libpq-fs.h>

#include "load.h"

static void stream_open(Client *client);
static void run_lo_import(Client *client, int64_t object);
static void run_lo_read(Client *client, int64_t object);
static void run_difs_read(Client *client, int64_t object);

const Operation stream_operations[] = {
	{"lo", "import", ACCESS_NEW, stream_open, run_lo_import, NULL, NULL},
	{"lo", "read", ACCESS_RANDOM, stream_open, run_lo_read, NULL, NULL},
	{"difs", "read", ACCESS_RANDOM, stream_open, run_difs_read, NULL, NULL},
	{0},
};

static void
stream_open(Client *client)
{
	client->conn = PQconnectdb("");
	if (PQstatus(client->conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(client->conn));
	client->buffer = malloc(PIECE_BYTES);
	if (client->buffer == NULL)
		fail("out of memory");
}

static void
run_lo_import(Client *client, int64_t object)
{
	const Options *options = client->options;
	const char *payload = payload_of(options, object);
	int descriptor;

	statement_command(client->conn, "BEGIN");
	if (lo_create(client->conn, (Oid) object) != (Oid) object)
		fail("lo_create: %s", PQerrorMessage(client->conn));
	descriptor = lo_open(client->conn, (Oid) object, INV_WRITE);
	if (descriptor < 0)
		fail("lo_open: %s", PQerrorMessage(client->conn));
	for (int64_t offset = 0; offset < options->size_bytes; offset += PIECE_BYTES)
	{
		int64_t left = options->size_bytes - offset;
		int length = (int) (left < PIECE_BYTES ? left : PIECE_BYTES);

		if (lo_write(client->conn, descriptor, payload + offset, (size_t) length) != length)
			fail("lo_write: %s", PQerrorMessage(client->conn));
	}
	lo_close(client->conn, descriptor);
	statement_command(client->conn, "COMMIT");
}

static void
run_lo_read(Client *client, int64_t object)
{
	const Options *options = client->options;
	int64_t offset = 0;
	int descriptor;
	int length;

	statement_command(client->conn, "BEGIN");
	descriptor = lo_open(client->conn, (Oid) object, INV_READ);
	if (descriptor < 0)
		fail("lo_open: %s", PQerrorMessage(client->conn));
	while ((length = lo_read(client->conn, descriptor, client->buffer, PIECE_BYTES)) > 0)
	{
		check_bytes(options, object, offset, client->buffer, length);
		offset += length;
	}
	if (length < 0 || offset != options->size_bytes)
		fail("object %" PRId64 ": %" PRId64 " bytes: %s", object, offset, PQerrorMessage(client->conn));
	lo_close(client->conn, descriptor);
	statement_command(client->conn, "COMMIT");
}

/* In the select list, so that rows are sent as they are made, and not collected first. */
static void
run_difs_read(Client *client, int64_t object)
{
	const Options *options = client->options;
	const char *sql = "SELECT (difs_read($1, piece_size => 1048576)).data";
	char path[PATH_BYTES];
	const char *values[1] = {path};
	PGresult *result;
	int64_t offset = 0;

	snprintf(path, sizeof(path), "%s/%016" PRId64, options->place, object);
	if (!PQsendQueryParams(client->conn, sql, 1, NULL, values, NULL, NULL, 1) || !PQsetSingleRowMode(client->conn))
		fail("%s", PQerrorMessage(client->conn));
	while ((result = PQgetResult(client->conn)) != NULL)
	{
		if (PQresultStatus(result) == PGRES_SINGLE_TUPLE)
		{
			check_bytes(options, object, offset, PQgetvalue(result, 0, 0), PQgetlength(result, 0, 0));
			offset += PQgetlength(result, 0, 0);
		}
		else if (PQresultStatus(result) != PGRES_TUPLES_OK)
			fail("%s", PQresultErrorMessage(result));
		PQclear(result);
	}
	if (offset != options->size_bytes)
		fail("%s has %" PRId64 " bytes", path, offset);
}
