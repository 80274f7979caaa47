/*
 * direct.c - what uploads and downloads share: whether they are possible, the engine, and its tasks with their buffers.
 *
 * All buffers together take at most three quarters of max_memory, unless one segment alone is larger than that.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "engine.h"

#define MAX_TASKS 48

static DifsTlsContext *tls_context(DifsClient *client, bool *good);
static void free_tasks(DifsClient *client);

bool
direct_possible(DifsClient *client)
{
	PGresult *result;

	if (client->options.no_direct)
		return false;
	if (client->direct != DIRECT_UNKNOWN)
		return client->direct != DIRECT_NO;
	result = client_query(client, false, "SELECT count(*) FROM pg_catalog.pg_proc WHERE proname OPERATOR(pg_catalog.=) ANY ('{difs_upload_begin,difs_locate}')"
										 " AND pg_catalog.has_function_privilege(oid, 'EXECUTE')",
						  0, NULL);
	if (result == NULL)
		return false;
	client->direct = atoi(PQgetvalue(result, 0, 0)) == 2 ? DIRECT_MAYBE : DIRECT_NO;
	PQclear(result);
	return client->direct != DIRECT_NO;
}

bool
direct_prepare(DifsClient *client, size_t segment_size, bool stored)
{
	size_t each = segment_size * (stored ? 2 : 1);
	size_t count = client->options.max_memory / 4 * 3 / each;
	DifsError error;

	if (client->engine == NULL)
	{
		bool good = true;
		DifsTlsContext *tls = tls_context(client, &good);

		if (!good)
			return false;
		client->engine = engine_create(client->options.threads, tls, &error);
		if (client->engine == NULL)
			return client_fail(client, DIFS_STATUS_MEMORY, "%s", error.text);
	}
	if (client->tasks != NULL && client->task_room >= segment_size && client->task_room <= 2 * segment_size && client->task_stored >= stored)
		return true;
	free_tasks(client);
	count = count < 1 ? 1 : (count > MAX_TASKS ? MAX_TASKS : count);
	client->tasks = calloc(count, sizeof(Task));
	if (client->tasks == NULL)
		return client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
	client->task_count = (int) count;
	client->task_room = segment_size;
	client->task_stored = stored;
	for (int i = 0; i < client->task_count; i++)
	{
		Task *task = &client->tasks[i];

		task->raw = malloc(segment_size);
		task->stored = stored ? malloc(segment_size) : NULL;
		task->block_crc = malloc(4 * difs_segment_blocks((uint32_t) segment_size));
		task->packed = malloc(difs_segment_packed_size((uint32_t) segment_size));
		if (task->raw == NULL || (stored && task->stored == NULL) || task->block_crc == NULL || task->packed == NULL)
		{
			free_tasks(client);
			return client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
		}
	}
	return true;
}

/* The token binds the connection, whatever the certificate: a server that does not know it cannot prove itself. */
static DifsTlsContext *
tls_context(DifsClient *client, bool *good)
{
	PGresult *result = client_query(client, false, "SELECT pg_catalog.current_setting('difs.tls', true)", 0, NULL);
	DifsTlsContext *context = NULL;
	DifsTlsFiles files = {0};
	DifsError error;

	*good = result != NULL;
	if (*good && PQgetvalue(result, 0, 0)[0] != '\0' && strcmp(PQgetvalue(result, 0, 0), "off") != 0)
	{
		context = difs_tls_client_context(DIFS_TLS_REQUIRE, &files, &error);
		*good = context != NULL || client_fail(client, DIFS_STATUS_LOCAL, "%s", error.text);
	}
	PQclear(result);
	return context;
}

void
direct_stop(DifsClient *client)
{
	if (client->engine == NULL)
		return;
	engine_stop_tasks(client->engine);
	while (engine_wait(client->engine, -1) != NULL)
		;
}

void
direct_free(DifsClient *client)
{
	engine_destroy(client->engine);
	client->engine = NULL;
	free_tasks(client);
}

static void
free_tasks(DifsClient *client)
{
	for (int i = 0; client->tasks != NULL && i < client->task_count; i++)
	{
		free(client->tasks[i].raw);
		free(client->tasks[i].stored);
		free(client->tasks[i].block_crc);
		free(client->tasks[i].packed);
	}
	free(client->tasks);
	client->tasks = NULL;
	client->task_count = 0;
}

/* servers: one a line; an empty one is a member that is gone. False: nobody is left, or the token is none. */
bool
direct_place(Task *task, const char *servers, const void *token, size_t token_length, uint64_t segment, uint64_t group)
{
	DifsToken read;
	DifsError error;

	if (token_length != DIFS_TOKEN_SIZE || !difs_token_read(token, token_length, &read, &error))
		return false;
	memcpy(task->token, token, DIFS_TOKEN_SIZE);
	task->segment = segment;
	task->group = group;
	task->xid = read.xid;
	task->server_count = 0;
	while (*servers != '\0' && task->server_count < ENGINE_MAX_MEMBERS)
	{
		size_t length = strcspn(servers, "\n");

		if (length > 0 && length < ENGINE_SERVER_SIZE)
		{
			memcpy(task->servers[task->server_count], servers, length);
			task->servers[task->server_count++][length] = '\0';
		}
		servers += length + (servers[length] == '\n');
	}
	return task->server_count > 0;
}

bool
direct_fail(DifsClient *client, const Task *task, const char *path)
{
	DifsStatus status = DIFS_STATUS_SERVER;

	switch (task->error.code)
	{
		case DIFS_ERROR_FULL: status = DIFS_STATUS_NO_SPACE; break;
		case DIFS_ERROR_CORRUPT: status = DIFS_STATUS_CORRUPT; break;
		case DIFS_ERROR_MEMORY: status = DIFS_STATUS_MEMORY; break;
		default: break;
	}
	return client_fail(client, status, "\"%s\": %s", path, task->error.text);
}
