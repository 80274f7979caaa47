/*
 * connect.c - the life of a client: connecting, transactions, cancelling, the end.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

static void fill_in(DifsOptions *options);

DifsClient *
difs_connect(const char *conninfo, const DifsOptions *options)
{
	DifsClient *client = calloc(1, sizeof(*client));
	const char *keywords[10];
	const char *values[10];
	int count = 0;
	PGresult *result;

	if (client == NULL)
		return NULL;
	if (options != NULL)
		client->options = *options;

/* clang-format off */
#define ADD(keyword, value) do { if ((value) != NULL) { keywords[count] = (keyword); values[count++] = (value); } } while (0)
	/* clang-format on */
	/* the first, so that it may be a string, and the others win over what stands in it */
	ADD("dbname", conninfo != NULL ? conninfo : "");
	ADD("host", client->options.host);
	ADD("port", client->options.port);
	ADD("user", client->options.user);
	ADD("password", client->options.password);
	ADD("client_encoding", "UTF8");
	if (client->options.application_name != NULL)
		ADD("fallback_application_name", client->options.application_name);
	else
		ADD("fallback_application_name", "libdifs");
#undef ADD
	keywords[count] = values[count] = NULL;

	client->conn = PQconnectdbParams(keywords, values, 1);
	fill_in(&client->options);
	if (client->conn == NULL)
	{
		client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
		return client;
	}
	if (PQstatus(client->conn) != CONNECTION_OK)
	{
		client_fail_result(client, NULL);
		client->failure.status = DIFS_STATUS_CONNECTION;
		return client;
	}
	client->cancel = PQgetCancel(client->conn);

	/* whether difs is there is best said at once, and not as a missing function later */
	result = client_query(client, false, "SELECT 1 FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'difs'", 0, NULL);
	if (result != NULL && PQntuples(result) == 0)
		client_fail(client, DIFS_STATUS_UNSUPPORTED, "database \"%s\" does not have the extension difs (CREATE EXTENSION difs)", PQdb(client->conn));
	PQclear(result);
	return client;
}

static void
fill_in(DifsOptions *options)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	options->host = options->port = options->user = options->password = options->application_name = NULL;
	if (options->max_memory == 0)
		options->max_memory = DEFAULT_MEMORY;
	if (options->max_memory < MIN_MEMORY)
		options->max_memory = MIN_MEMORY;
	if (options->threads <= 0)
		options->threads = processors < 1 ? 1 : (processors > 4 ? 4 : (int) processors);
	if (options->direct_from == 0)
		options->direct_from = DEFAULT_DIRECT_FROM;
}

void
difs_disconnect(DifsClient *client)
{
	if (client == NULL)
		return;
	direct_free(client);
	PQfreeCancel(client->cancel);
	PQfinish(client->conn);
	free(client->strings);
	free(client);
}

bool
difs_needs_password(const DifsClient *client)
{
	return client->conn != NULL && PQconnectionNeedsPassword(client->conn);
}

void *
difs_connection(DifsClient *client)
{
	return client->conn;
}

/* PQcancel() uses only what is safe in a signal handler. */
void
difs_cancel(DifsClient *client)
{
	char message[256];

	atomic_store(&client->cancel_asked, true);
	if (client->cancel != NULL)
		PQcancel(client->cancel, message, sizeof(message));
}

bool
difs_begin(DifsClient *client)
{
	if (!client_ready(client))
		return false;
	if (difs_in_transaction(client))
		return client_fail(client, DIFS_STATUS_ARGUMENT, "there is a transaction already");
	return client_command(client, "BEGIN", 0, NULL);
}

/* COMMIT of a transaction that has failed succeeds as a ROLLBACK; that is no success. */
bool
difs_commit(DifsClient *client)
{
	PGresult *result;
	bool committed;

	if (!client_ready(client))
		return false;
	if (!difs_in_transaction(client))
		return client_fail(client, DIFS_STATUS_ARGUMENT, "there is no transaction");
	result = client_query(client, false, "COMMIT", 0, NULL);
	if (result == NULL)
		return false;
	committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
	PQclear(result);
	return committed || client_fail(client, DIFS_STATUS_SERVER, "the transaction had failed before and was rolled back");
}

bool
difs_rollback(DifsClient *client)
{
	if (!client_ready(client))
		return false;
	return !difs_in_transaction(client) || client_command(client, "ROLLBACK", 0, NULL);
}

bool
difs_in_transaction(const DifsClient *client)
{
	return PQtransactionStatus(client->conn) == PQTRANS_INTRANS || PQtransactionStatus(client->conn) == PQTRANS_INERROR;
}

bool
client_enter(DifsClient *client, bool *own)
{
	*own = false;
	if (!client_ready(client))
		return false;
	if (difs_in_transaction(client))
		return true;
	*own = true;
	return client_command(client, "BEGIN", 0, NULL);
}

bool
client_leave(DifsClient *client, bool own, bool success)
{
	DifsFailure failure;
	PGresult *result;

	if (!own)
		return success;
	if (success)
	{
		success = difs_commit(client);
		if (success)
			return true;
	}
	failure = client->failure;
	if (difs_in_transaction(client))
	{
		result = PQexec(client->conn, "ROLLBACK");
		PQclear(result);
	}
	client->failure = failure;
	return false;
}

bool
client_tell(DifsClient *client, DifsProgress progress, void *context, int64_t done, int64_t total, bool always)
{
	struct timespec now;

	if (progress == NULL)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!always && (now.tv_sec - client->told.tv_sec) * 1000 + (now.tv_nsec - client->told.tv_nsec) / 1000000 < 50)
		return true;
	client->told = now;
	return progress(context, done, total) || client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
}
