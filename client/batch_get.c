/*
 * batch_get.c - batches of gets: many files by one statement, many statements on their way.
 *
 * Files are gathered until they are GETS_FILES or GETS_BYTES, and then asked for together.  Each statement has a Sync behind it,
 * so that an error of one is none of the others.  The files of a statement that failed are asked for again, one by one, at the end: that
 * tells which of them it was.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

#define GETS_BYTES ((size_t) 1 << 20)
#define TEXT_OID 25

static bool deliver(DifsBatch *batch, int64_t tag, const PGresult *result, int row, const DifsFailure *failure);
static char *path_array(const Gets *gets, size_t *length);
static char *add_int(char *to, size_t number);

DifsBatch *
difs_batch_get_begin(DifsClient *client, DifsGotCallback callback, void *context)
{
	DifsBatch *batch;

	if (!client_ready(client) || !client_prepare(client, STATEMENT_GET_MANY))
		return NULL;
	batch = batch_begin(client);
	if (batch != NULL)
	{
		batch->got = callback;
		batch->context = context;
	}
	return batch;
}

bool
difs_batch_get(DifsBatch *batch, const char *path, int64_t size, int64_t tag)
{
	Gets *gets = batch->gathering;
	char *copy = strdup(path);

	if (gets == NULL)
		gets = batch->gathering = calloc(1, sizeof(*gets));
	if (gets == NULL || copy == NULL)
	{
		free(copy);
		return batch_fail(batch, DIFS_STATUS_MEMORY, "out of memory");
	}
	gets->tags[gets->count] = tag;
	gets->paths[gets->count++] = copy;
	gets->bytes += size > 0 ? (size_t) size : 0;
	gets->path_bytes += strlen(copy);
	if (gets->count == GETS_FILES || gets->bytes >= GETS_BYTES)
		batch_send_gathered(batch);
	return !batch->failed;
}

void
batch_send_gathered(DifsBatch *batch)
{
	Gets *gets = batch->gathering;
	size_t length;
	char *array;

	if (gets == NULL || batch->failed)
		return;
	array = path_array(gets, &length);
	if (array == NULL)
	{
		batch_fail(batch, DIFS_STATUS_MEMORY, "out of memory");
		return;
	}
	batch->gathering = NULL;
	batch_send(batch, STATEMENT_GET_MANY, 1, (Parameter[]){BYTES(array, length)}, gets->bytes, gets->tags[0], gets);
	free(array);
}

/* A text[], as PostgreSQL sends and receives it. */
static char *
path_array(const Gets *gets, size_t *length)
{
	char *array = malloc(20 + 4 * (size_t) gets->count + gets->path_bytes);
	char *to = array;

	if (array == NULL)
		return NULL;
	to = add_int(to, 1); /* dimension */
	to = add_int(to, 0); /* no nulls */
	to = add_int(to, TEXT_OID);
	to = add_int(to, (size_t) gets->count);
	to = add_int(to, 1); /* the first index */
	for (int i = 0; i < gets->count; i++)
	{
		size_t path_length = strlen(gets->paths[i]);

		to = add_int(to, path_length);
		memcpy(to, gets->paths[i], path_length);
		to += path_length;
	}
	*length = (size_t) (to - array);
	return array;
}

static char *
add_int(char *to, size_t number)
{
	uint32_t ordered = htobe32((uint32_t) number);

	memcpy(to, &ordered, sizeof(ordered));
	return to + sizeof(ordered);
}

void
batch_got(DifsBatch *batch, Item *item, const PGresult *result)
{
	Gets *gets = item->gets;
	bool good = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == gets->count;
	DifsFailure failure = {0};

	if (batch->failed || PQstatus(batch->client->conn) != CONNECTION_OK)
		return;
	if (!good)
	{
		client_read_failure(batch->client, result, &failure);
		if (gets->count > 1 && failure.status != DIFS_STATUS_CANCELLED)
		{
			gets->next = batch->again;
			batch->again = gets;
			item->gets = NULL;
			return;
		}
	}
	for (int i = 0; i < gets->count && deliver(batch, gets->tags[i], good ? result : NULL, i, &failure); i++)
		;
}

/* result NULL: none. False ends the batch. */
static bool
deliver(DifsBatch *batch, int64_t tag, const PGresult *result, int row, const DifsFailure *failure)
{
	if (batch->got(batch->context, tag, result != NULL ? PQgetvalue(result, row, 0) : NULL,
				   result != NULL ? (size_t) PQgetlength(result, row, 0) : 0, result != NULL ? NULL : failure))
		return true;
	return batch_fail(batch, DIFS_STATUS_CANCELLED, "cancelled");
}

void
batch_ask_again(DifsBatch *batch)
{
	DifsClient *client = batch->client;
	Gets *gets;

	while ((gets = batch->again) != NULL)
	{
		for (int i = 0; i < gets->count && !batch->failed; i++)
		{
			PGresult *result = client_query(client, true, "SELECT difs_get($1::text)", 1, (Parameter[]){TEXT(gets->paths[i])});
			DifsFailure failure = client->failure;

			client_clear(client);
			if (failure.status == DIFS_STATUS_CONNECTION || failure.status == DIFS_STATUS_CANCELLED)
			{
				client->failure = failure;
				batch->failed = true;
			}
			else
				deliver(batch, gets->tags[i], result, 0, &failure);
			PQclear(result);
		}
		batch->again = gets->next;
		batch_free_gets(gets);
	}
}

void
batch_free_gets(Gets *gets)
{
	for (int i = 0; gets != NULL && i < gets->count; i++)
		free(gets->paths[i]);
	free(gets);
}
