/*
 * batch.c - many small statements on their way at once, in libpq's pipeline mode.
 *
 * What has been sent and not answered stands in a ring, in order.  Nobody waits for an answer before WINDOW_ITEMS or the window of
 * bytes are on their way; then the oldest ones are waited for.  The connection does not block, so that answers are taken while
 * statements still leave: a server that waits until its answers are read is read from.
 *
 * Changes (batch_change.c) are one transaction: after the first error the server ignores what follows, up to the end.  Gets
 * (batch_get.c) have a Sync behind each statement.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

#define WINDOW_BYTES ((size_t) 16 << 20)
#define FLUSH_EVERY 32 /* statements after which the server is asked for its answers */
#define MOVE_EVERY 16  /* changes after which answers are taken */

static bool sync_statement(DifsBatch *batch);
static void note(DifsBatch *batch, ItemKind kind, size_t bytes, int64_t tag, Gets *gets);
static bool move(DifsBatch *batch, unsigned items, size_t bytes);
static void take_result(DifsBatch *batch);
static void answer(DifsBatch *batch, Item *item, const PGresult *result);
static bool broken(DifsBatch *batch);

DifsBatch *
difs_batch_begin(DifsClient *client)
{
	DifsBatch *batch = NULL;

	if (!client_ready(client))
		return NULL;
	for (Statement statement = 0; statement < STATEMENT_GET_MANY; statement++)
		if (!client_prepare(client, statement))
			return NULL;
	batch = batch_begin(client);
	if (batch != NULL && PQtransactionStatus(client->conn) == PQTRANS_IDLE)
	{
		batch->own = true;
		if (!PQsendQueryParams(client->conn, "BEGIN", 0, NULL, NULL, NULL, NULL, 0))
			broken(batch);
		else
			note(batch, ITEM_STATEMENT, 0, -1, NULL);
	}
	return batch;
}

DifsBatch *
batch_begin(DifsClient *client)
{
	DifsBatch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
	{
		client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
		return NULL;
	}
	batch->client = client;
	batch->failed_tag = -1;
	batch->window = client->options.max_memory / 4 < WINDOW_BYTES ? client->options.max_memory / 4 : WINDOW_BYTES;
	if (PQsetnonblocking(client->conn, 1) != 0 || !PQenterPipelineMode(client->conn))
	{
		client_fail_result(client, NULL);
		free(batch);
		return NULL;
	}
	client->in_batch = true;
	return batch;
}

bool
batch_send(DifsBatch *batch, Statement statement, int count, const Parameter *parameters, size_t bytes, int64_t tag, Gets *gets)
{
	DifsClient *client = batch->client;
	const char *values[7];
	int lengths[7];
	int formats[7];

	if (atomic_load(&client->cancel_asked) && !batch->failed)
		batch_fail(batch, DIFS_STATUS_CANCELLED, "cancelled");
	/* not for each change, which would leave by itself then */
	if (!batch->failed && (gets != NULL || batch->next % MOVE_EVERY == 0 || batch->bytes + bytes > batch->window))
		move(batch, WINDOW_ITEMS - 2 * MOVE_EVERY - 4, bytes < batch->window ? batch->window - bytes : 0);
	for (int i = 0; i < count; i++)
	{
		values[i] = parameters[i].value;
		lengths[i] = parameters[i].length;
		formats[i] = parameters[i].binary;
	}
	if (!batch->failed && !PQsendQueryPrepared(client->conn, client_statement_name(statement), count, values, lengths, formats, 1))
		broken(batch);
	if (batch->failed)
	{
		batch_free_gets(gets);
		return false;
	}
	note(batch, gets != NULL ? ITEM_GETS : ITEM_STATEMENT, bytes, tag, gets);
	return gets == NULL || sync_statement(batch);
}

static bool
sync_statement(DifsBatch *batch)
{
	if (!PQpipelineSync(batch->client->conn))
		return broken(batch);
	note(batch, ITEM_SYNC, 0, -1, NULL);
	batch->unasked = 0;
	return true;
}

static void
note(DifsBatch *batch, ItemKind kind, size_t bytes, int64_t tag, Gets *gets)
{
	batch->ring[batch->next++ % WINDOW_ITEMS] = (Item){kind, tag, bytes, false, gets};
	batch->bytes += bytes;
	if (++batch->unasked >= FLUSH_EVERY && kind == ITEM_STATEMENT && PQsendFlushRequest(batch->client->conn))
		batch->unasked = 0;
}

/* Sends and receives until at most so many items and bytes are on their way. False: failed. */
static bool
move(DifsBatch *batch, unsigned items, size_t bytes)
{
	PGconn *conn = batch->client->conn;

	for (;;)
	{
		int unsent = PQflush(conn);
		struct pollfd socket = {.fd = PQsocket(conn), .events = POLLIN | (unsent > 0 ? POLLOUT : 0)};

		if (unsent < 0 || !PQconsumeInput(conn))
			return broken(batch);
		while (batch->first != batch->next && !PQisBusy(conn))
			take_result(batch);
		if (batch->next - batch->first <= items && (batch->bytes <= bytes || batch->first == batch->next))
			return !batch->failed;
		if (PQstatus(conn) != CONNECTION_OK)
			return broken(batch);
		/* what nobody has asked the answers of yet may be all that there is */
		if (batch->unasked > 0 && batch->got == NULL && PQsendFlushRequest(conn))
		{
			batch->unasked = 0;
			continue;
		}
		if (poll(&socket, 1, -1) < 0 && errno != EINTR)
			return broken(batch);
	}
}

static void
take_result(DifsBatch *batch)
{
	Item *item = &batch->ring[batch->first % WINDOW_ITEMS];
	PGresult *result = PQgetResult(batch->client->conn);

	if (result == NULL)
	{
		/* the end of an answer; with a broken connection also in place of one */
		if (!item->answered)
			broken(batch);
		batch_free_gets(item->gets);
		batch->bytes -= item->bytes;
		batch->first++;
		return;
	}
	if (item->kind == ITEM_SYNC)
	{
		batch->bytes -= item->bytes;
		batch->first++;
	}
	else
	{
		item->answered = true;
		answer(batch, item, result);
	}
	PQclear(result);
}

static void
answer(DifsBatch *batch, Item *item, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;

	if (item->kind == ITEM_GETS)
	{
		batch_got(batch, item, result);
		return;
	}
	if (good || batch->failed || status == PGRES_PIPELINE_ABORTED)
		return;
	batch->failed = true;
	batch->failed_tag = item->tag;
	client_fail_result(batch->client, result);
}

bool
batch_fail(DifsBatch *batch, DifsStatus status, const char *message)
{
	batch->failed = true;
	return client_fail(batch->client, status, "%s", message);
}

static bool
broken(DifsBatch *batch)
{
	batch->failed = true;
	return client_fail_result(batch->client, NULL);
}

bool
difs_batch_end(DifsBatch *batch, int64_t *failed_tag)
{
	DifsClient *client = batch->client;
	PGconn *conn = client->conn;
	bool failed;
	DifsFailure failure;

	batch_send_gathered(batch);
	if (batch->own && !batch->failed && move(batch, WINDOW_ITEMS - 4, batch->window))
	{
		if (PQsendQueryParams(conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 0))
			note(batch, ITEM_STATEMENT, 0, -1, NULL);
		else
			broken(batch);
	}
	if (PQstatus(conn) == CONNECTION_OK && sync_statement(batch))
		move(batch, 0, 0);
	for (; batch->first != batch->next; batch->first++)
		batch_free_gets(batch->ring[batch->first % WINDOW_ITEMS].gets); /* of a connection that is lost */
	batch_free_gets(batch->gathering);
	client->in_batch = false;
	PQexitPipelineMode(conn);
	PQsetnonblocking(conn, 0);
	batch_ask_again(batch);
	failed = batch->failed;
	if (batch->own && difs_in_transaction(client))
	{
		failure = client->failure;
		PQclear(PQexec(conn, "ROLLBACK"));
		client->failure = failure;
	}
	if (failed && client->failure.status == DIFS_STATUS_CANCELLED)
		atomic_store(&client->cancel_asked, false);
	if (failed_tag != NULL)
		*failed_tag = batch->failed_tag;
	free(batch);
	return !failed;
}
