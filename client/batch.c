/*
 * batch.c - many small statements on their way at once, in libpq's pipeline mode.
 *
 * What has been sent and not answered stands in a ring, in order.  Nobody waits for an answer before WINDOW_ITEMS or the window of
 * bytes are on their way; then the oldest ones are waited for.  The connection does not block, so that answers are taken while
 * statements still leave: a server that waits until its answers are read is read from.
 *
 * Changes are one transaction: after the first error the server ignores what follows, up to the end.  Gets have a Sync behind every
 * SYNC_EVERY of them, since each costs a system call; what the server ignored after an error of one is asked for again, by itself,
 * at the end.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define WINDOW_ITEMS	512			/* a power of two */
#define WINDOW_BYTES	((size_t) 16 << 20)
#define FLUSH_EVERY		32			/* statements after which the server is asked for its answers */
#define SYNC_EVERY		16			/* gets */

typedef enum ItemKind
{
	ITEM_STATEMENT,
	ITEM_GET,
	ITEM_SYNC
} ItemKind;

typedef struct Item
{
	ItemKind	kind;
	int64_t		tag;
	size_t		bytes;
	bool		answered;			/* the result is there, the NULL behind it is not */
	char	   *path;				/* of a get */
} Item;

/* A get that the server ignored. */
typedef struct Ignored
{
	struct Ignored *next;
	int64_t		tag;
	char	   *path;
} Ignored;

struct DifsBatch
{
	DifsClient *client;
	DifsGotCallback got;
	void	   *context;
	bool		own;				/* transaction */
	bool		failed;
	int64_t		failed_tag;
	size_t		window;				/* bytes that may be on their way */
	size_t		bytes;				/* that are */
	unsigned	first;				/* of the ring; both grow for ever */
	unsigned	next;
	unsigned	unasked;			/* statements since the last request for answers */
	unsigned	unsynced;			/* gets since the last Sync */
	Ignored    *ignored;
	Item		ring[WINDOW_ITEMS];
};

static DifsBatch *begin(DifsClient *client);
static bool sync_gets(DifsBatch *batch);
static void ask_again(DifsBatch *batch);
static bool send_statement(DifsBatch *batch, ItemKind kind, Statement statement, int count, const Parameter *parameters, size_t bytes, int64_t tag);
static void note(DifsBatch *batch, ItemKind kind, size_t bytes, int64_t tag);
static bool move(DifsBatch *batch, unsigned items, size_t bytes);
static void take_result(DifsBatch *batch);
static void answer(DifsBatch *batch, Item *item, const PGresult *result);
static bool broken(DifsBatch *batch);

DifsBatch *
difs_batch_begin(DifsClient *client)
{
	DifsBatch  *batch = NULL;

	if (!client_ready(client))
		return NULL;
	for (Statement statement = 0; statement < STATEMENT_GET; statement++)
		if (!client_prepare(client, statement))
			return NULL;
	batch = begin(client);
	if (batch != NULL && PQtransactionStatus(client->conn) == PQTRANS_IDLE)
	{
		batch->own = true;
		if (!PQsendQueryParams(client->conn, "BEGIN", 0, NULL, NULL, NULL, NULL, 0))
			broken(batch);
		else
			note(batch, ITEM_STATEMENT, 0, -1);
	}
	return batch;
}

DifsBatch *
difs_batch_get_begin(DifsClient *client, DifsGotCallback callback, void *context)
{
	DifsBatch  *batch;

	if (!client_ready(client) || !client_prepare(client, STATEMENT_GET))
		return NULL;
	batch = begin(client);
	if (batch != NULL)
	{
		batch->got = callback;
		batch->context = context;
	}
	return batch;
}

static DifsBatch *
begin(DifsClient *client)
{
	DifsBatch  *batch = calloc(1, sizeof(*batch));

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
difs_batch_put(DifsBatch *batch, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t tag)
{
	static const DifsPutOptions none;
	const DifsPutOptions *with = options != NULL ? options : &none;
	char		octal[16];
	Parameter	parameters[7] = {
		TEXT(path), BYTES(data != NULL ? data : "", length),
		with->create_only ? TEXT("0") : with->if_version != 0 ? NUMBER(with->if_version) : TEXT(NULL),
		BOOLEAN(with->parents),
		TEXT(with->media_type), TEXT(NULL), with->mtime_us != NULL ? NUMBER(*with->mtime_us) : TEXT(NULL)
	};
	bool		attributes = with->media_type != NULL || with->mode != NULL || with->mtime_us != NULL;

	if (length > MAX_VALUE)
		return client_fail(batch->client, DIFS_STATUS_ARGUMENT, "\"%s\" is too large for a batch", path);
	if (with->mode != NULL)
	{
		snprintf(octal, sizeof(octal), "%04o", *with->mode & 07777);
		parameters[5] = TEXT(octal);
	}
	return send_statement(batch, ITEM_STATEMENT, attributes ? STATEMENT_PUT_ATTRIBUTES : STATEMENT_PUT, attributes ? 7 : 4, parameters,
						  length + strlen(path), tag);
}

bool
difs_batch_mkdir(DifsBatch *batch, const char *path, bool parents, const uint32_t *mode, int64_t tag)
{
	char		octal[16];

	if (mode == NULL)
		return send_statement(batch, ITEM_STATEMENT, STATEMENT_MKDIR, 2, (Parameter[]) {TEXT(path), BOOLEAN(parents)}, strlen(path), tag);
	snprintf(octal, sizeof(octal), "%04o", *mode & 07777);
	return send_statement(batch, ITEM_STATEMENT, STATEMENT_MKDIR_MODE, 3, (Parameter[]) {TEXT(path), BOOLEAN(parents), TEXT(octal)},
						  strlen(path), tag);
}

bool
difs_batch_symlink(DifsBatch *batch, const char *target, const char *path, int64_t tag)
{
	return send_statement(batch, ITEM_STATEMENT, STATEMENT_SYMLINK, 2, (Parameter[]) {TEXT(target), TEXT(path)}, strlen(path), tag);
}

bool
difs_batch_chmod(DifsBatch *batch, const char *path, uint32_t mode, int64_t tag)
{
	char		octal[16];

	snprintf(octal, sizeof(octal), "%04o", mode & 07777);
	return send_statement(batch, ITEM_STATEMENT, STATEMENT_CHMOD, 2, (Parameter[]) {TEXT(path), TEXT(octal)}, strlen(path), tag);
}

bool
difs_batch_touch(DifsBatch *batch, const char *path, const int64_t *mtime_us, int64_t tag)
{
	return send_statement(batch, ITEM_STATEMENT, STATEMENT_TOUCH, 2, (Parameter[]) {TEXT(path), NUMBER(*mtime_us)}, strlen(path), tag);
}

bool
difs_batch_copy(DifsBatch *batch, const char *from_path, const char *to_path, int64_t tag)
{
	return send_statement(batch, ITEM_STATEMENT, STATEMENT_COPY, 2, (Parameter[]) {TEXT(from_path), TEXT(to_path)}, strlen(from_path), tag);
}

bool
difs_batch_get(DifsBatch *batch, const char *path, int64_t size, int64_t tag)
{
	if (!send_statement(batch, ITEM_GET, STATEMENT_GET, 1, (Parameter[]) {TEXT(path)}, (size_t) size, tag))
		return false;
	batch->ring[(batch->next - 1) % WINDOW_ITEMS].path = strdup(path);
	return ++batch->unsynced < SYNC_EVERY || sync_gets(batch);
}

static bool
sync_gets(DifsBatch *batch)
{
	if (!PQpipelineSync(batch->client->conn))
		return broken(batch);
	note(batch, ITEM_SYNC, 0, -1);
	batch->unsynced = 0;
	return true;
}

/* Waits until there is room, sends, and takes what answers there are. */
static bool
send_statement(DifsBatch *batch, ItemKind kind, Statement statement, int count, const Parameter *parameters, size_t bytes, int64_t tag)
{
	DifsClient *client = batch->client;
	const char *values[7];
	int			lengths[7];
	int			formats[7];

	if (atomic_load(&client->cancel_asked) && !batch->failed)
	{
		batch->failed = true;
		client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
	}
	/* not for each statement, which would leave by itself then */
	if (!batch->failed && (batch->next % SYNC_EVERY == 0 || batch->bytes + bytes > batch->window) &&
		!move(batch, WINDOW_ITEMS - 2 * SYNC_EVERY - 4, bytes < batch->window ? batch->window - bytes : 0))
		return false;
	if (batch->failed)
		return false;
	for (int i = 0; i < count; i++)
	{
		values[i] = parameters[i].value;
		lengths[i] = parameters[i].length;
		formats[i] = parameters[i].binary;
	}
	if (!PQsendQueryPrepared(client->conn, client_statement_name(statement), count, values, lengths, formats, 1))
		return broken(batch);
	note(batch, kind, bytes, tag);
	return true;
}

static void
note(DifsBatch *batch, ItemKind kind, size_t bytes, int64_t tag)
{
	batch->ring[batch->next++ % WINDOW_ITEMS] = (Item) {kind, tag, bytes, false, NULL};
	batch->bytes += bytes;
	if (++batch->unasked >= FLUSH_EVERY && kind == ITEM_STATEMENT && PQsendFlushRequest(batch->client->conn))
		batch->unasked = 0;
}

/* Sends and receives until at most so many items and bytes are on their way. False: failed. */
static bool
move(DifsBatch *batch, unsigned items, size_t bytes)
{
	PGconn	   *conn = batch->client->conn;

	for (;;)
	{
		int			unsent = PQflush(conn);
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
		if (batch->unsynced > 0)
		{
			if (!sync_gets(batch))
				return false;
			continue;
		}
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
	Item	   *item = &batch->ring[batch->first % WINDOW_ITEMS];
	PGresult   *result = PQgetResult(batch->client->conn);

	if (result == NULL)
	{
		/* the end of an answer; with a broken connection also in place of one */
		if (!item->answered)
			broken(batch);
		free(item->path);
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
	bool		good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
	DifsFailure failure;

	if (item->kind == ITEM_GET && status == PGRES_PIPELINE_ABORTED)
	{
		Ignored    *ignored = malloc(sizeof(*ignored));

		if (ignored == NULL)
		{
			batch->failed = true;
			client_fail(batch->client, DIFS_STATUS_MEMORY, "out of memory");
			return;
		}
		*ignored = (Ignored) {batch->ignored, item->tag, item->path};
		item->path = NULL;
		batch->ignored = ignored;
		return;
	}
	if (item->kind == ITEM_GET && PQstatus(batch->client->conn) == CONNECTION_OK)
	{
		if (!good)
			client_read_failure(batch->client, result, &failure);
		if (!batch->failed &&
			!batch->got(batch->context, item->tag, good ? PQgetvalue(result, 0, 0) : NULL, good ? (size_t) PQgetlength(result, 0, 0) : 0,
						good ? NULL : &failure))
		{
			batch->failed = true;
			client_fail(batch->client, DIFS_STATUS_CANCELLED, "cancelled");
		}
		return;
	}
	if (good || batch->failed || status == PGRES_PIPELINE_ABORTED)
		return;
	batch->failed = true;
	batch->failed_tag = item->tag;
	client_fail_result(batch->client, result);
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
	PGconn	   *conn = client->conn;
	bool		failed;
	DifsFailure failure;

	if (batch->own && !batch->failed && move(batch, WINDOW_ITEMS - 4, batch->window))
	{
		if (PQsendQueryParams(conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 0))
			note(batch, ITEM_STATEMENT, 0, -1);
		else
			broken(batch);
	}
	if (PQstatus(conn) == CONNECTION_OK && PQpipelineSync(conn))
	{
		note(batch, ITEM_SYNC, 0, -1);
		batch->unasked = 0;
		move(batch, 0, 0);
	}
	for (; batch->first != batch->next; batch->first++)
		free(batch->ring[batch->first % WINDOW_ITEMS].path);	/* of a connection that is lost */
	client->in_batch = false;
	PQexitPipelineMode(conn);
	PQsetnonblocking(conn, 0);
	ask_again(batch);
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

/* One by one, what the server ignored. */
static void
ask_again(DifsBatch *batch)
{
	DifsClient *client = batch->client;

	while (batch->ignored != NULL)
	{
		Ignored    *ignored = batch->ignored;
		PGresult   *result = NULL;
		DifsFailure failure = {0};

		if (!batch->failed && ignored->path != NULL)
		{
			result = client_query(client, true, "SELECT difs_get($1::text)", 1, (Parameter[]) {TEXT(ignored->path)});
			failure = client->failure;
			client_clear(client);
			if (failure.status == DIFS_STATUS_CONNECTION || failure.status == DIFS_STATUS_CANCELLED)
			{
				client->failure = failure;
				batch->failed = true;
			}
			else if (!batch->got(batch->context, ignored->tag, result != NULL ? PQgetvalue(result, 0, 0) : NULL,
								 result != NULL ? (size_t) PQgetlength(result, 0, 0) : 0, result != NULL ? NULL : &failure))
			{
				batch->failed = true;
				client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
			}
		}
		PQclear(result);
		batch->ignored = ignored->next;
		free(ignored->path);
		free(ignored);
	}
}
