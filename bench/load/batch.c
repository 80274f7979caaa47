/*
 * batch.c - many operations in one transaction: call by call, or in libpq's pipeline mode.
 *
 * The pipeline holds at most WINDOW operations that have not been answered, so neither side's buffers grow with the batch.
 */
#include <poll.h>
#include <stddef.h>

#include "load.h"

#define WINDOW 128

static int64_t
next_object(Client *client)
{
	int64_t object = client_next_object(client);

	if (object < 0)
		fail("there are not enough objects for a batch");
	return object;
}

static void
wait_for_server(PGconn *conn)
{
	struct pollfd wait = {.fd = PQsocket(conn), .events = POLLIN};

	if (PQflush(conn) == 1)
		wait.events |= POLLOUT;
	if (poll(&wait, 1, -1) < 0)
		fail("poll failed");
	if (!PQconsumeInput(conn) || PQflush(conn) < 0)
		fail("%s", PQerrorMessage(conn));
}

/* The next result, and the NULL that ends it. */
static PGresult *
take_result(PGconn *conn)
{
	PGresult *result;

	while (PQisBusy(conn))
		wait_for_server(conn);
	result = PQgetResult(conn);
	if (result == NULL)
		fail("a result is missing: %s", PQerrorMessage(conn));
	if (PQresultStatus(result) != PGRES_PIPELINE_SYNC)
	{
		while (PQisBusy(conn))
			wait_for_server(conn);
		if (PQgetResult(conn) != NULL)
			fail("there is one result too many");
	}
	return result;
}

static void
send_command(PGconn *conn, const char *sql)
{
	if (!PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0))
		fail("%s", PQerrorMessage(conn));
}

static void
take_command(PGconn *conn)
{
	PGresult *result = take_result(conn);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQresultErrorMessage(result));
	PQclear(result);
}

static void
run_pipeline(Client *client)
{
	PGconn *conn = client->conn;
	int batch = client->options->batch;
	int taken = 0;

	if (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn))
		fail("%s", PQerrorMessage(conn));
	send_command(conn, "BEGIN");
	for (int sent = 0; sent < batch; sent++)
	{
		statement_send(client, next_object(client));
		if ((sent + 1) % (WINDOW / 2) != 0)
			continue;
		PQsendFlushRequest(conn);
		if (sent + 1 == WINDOW / 2)
			take_command(conn);
		for (; taken < sent + 1 - WINDOW / 2; taken++)
			statement_take(client, 0, take_result(conn));
	}
	send_command(conn, "COMMIT");
	PQpipelineSync(conn);
	if (batch < WINDOW / 2)
		take_command(conn);
	for (; taken < batch; taken++)
		statement_take(client, 0, take_result(conn));
	take_command(conn);
	PQclear(take_result(conn));
	if (!PQexitPipelineMode(conn) || PQsetnonblocking(conn, 0) != 0)
		fail("%s", PQerrorMessage(conn));
}

void
batch_run(Client *client)
{
	if (client->operation->sql == NULL || client->operation->access == ACCESS_RANDOM)
		fail("this operation cannot be batched");
	if (client->options->mode == MODE_PIPELINE)
	{
		run_pipeline(client);
		return;
	}
	statement_command(client->conn, "BEGIN");
	for (int i = 0; i < client->options->batch; i++)
		client->operation->run(client, next_object(client));
	statement_command(client->conn, "COMMIT");
}
