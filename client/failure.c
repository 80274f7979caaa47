/*
 * failure.c - why a call failed.
 *
 * The first failure of a call is the one that is told: what fails afterwards, while things are tidied up, does not replace it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

static DifsStatus status_of(const char *sqlstate);
static void copy_line(char *to, size_t size, const char *from);

const DifsFailure *
difs_failure(const DifsClient *client)
{
	return &client->failure;
}

void
client_clear(DifsClient *client)
{
	memset(&client->failure, 0, sizeof(client->failure));
}

bool
client_fail(DifsClient *client, DifsStatus status, const char *format, ...)
{
	va_list arguments;

	if (client->failure.status != DIFS_STATUS_OK)
		return false;
	client->failure.status = status;
	va_start(arguments, format);
	vsnprintf(client->failure.message, sizeof(client->failure.message), format, arguments);
	va_end(arguments);
	return false;
}

/* format names what was tried on what: "could not open \"x\"". */
bool
client_fail_errno(DifsClient *client, const char *format, ...)
{
	int saved_errno = errno;
	va_list arguments;
	char what[512];

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	if (client->failure.status != DIFS_STATUS_OK)
		return false;
	client->failure.system_errno = saved_errno;
	return client_fail(client, saved_errno == ENOMEM ? DIFS_STATUS_MEMORY : DIFS_STATUS_LOCAL, "%s: %s", what, strerror(saved_errno));
}

bool
client_fail_result(DifsClient *client, const PGresult *result)
{
	DifsFailure *failure = &client->failure;

	if (failure->status != DIFS_STATUS_OK)
		return false;
	client_read_failure(client, result, failure);
	return false;
}

void
client_read_failure(const DifsClient *client, const PGresult *result, DifsFailure *failure)
{
	const char *sqlstate = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *message = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;

	memset(failure, 0, sizeof(*failure));
	if (sqlstate == NULL || message == NULL)
	{
		failure->status = PQstatus(client->conn) == CONNECTION_OK ? DIFS_STATUS_SERVER : DIFS_STATUS_CONNECTION;
		copy_line(failure->message, sizeof(failure->message), PQerrorMessage(client->conn));
		if (failure->message[0] == '\0')
			copy_line(failure->message, sizeof(failure->message), "the connection to the database was lost");
		return;
	}
	failure->status = status_of(sqlstate);
	if (PQstatus(client->conn) != CONNECTION_OK)
		failure->status = DIFS_STATUS_CONNECTION;
	copy_line(failure->sqlstate, sizeof(failure->sqlstate), sqlstate);
	copy_line(failure->message, sizeof(failure->message), message);
	copy_line(failure->detail, sizeof(failure->detail), PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
	copy_line(failure->hint, sizeof(failure->hint), PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
}

/* The states that difs uses (src/report.h), and those of PostgreSQL that mean the same. */
static DifsStatus
status_of(const char *sqlstate)
{
	static const struct
	{
		const char *prefix;
		DifsStatus status;
	} states[] = {
		{"58P01", DIFS_STATUS_NOT_FOUND},
		{"42704", DIFS_STATUS_NOT_FOUND},
		{"58P02", DIFS_STATUS_EXISTS},
		{"42710", DIFS_STATUS_EXISTS},
		{"42809", DIFS_STATUS_KIND},
		{"2BP01", DIFS_STATUS_KIND},
		{"42501", DIFS_STATUS_PERMISSION},
		{"28", DIFS_STATUS_PERMISSION},
		{"40001", DIFS_STATUS_CHANGED},
		{"53400", DIFS_STATUS_NO_SPACE},
		{"53100", DIFS_STATUS_NO_SPACE},
		{"XX001", DIFS_STATUS_CORRUPT},
		{"57014", DIFS_STATUS_CANCELLED},
		{"53200", DIFS_STATUS_MEMORY},
		{"42883", DIFS_STATUS_UNSUPPORTED},
		{"42P01", DIFS_STATUS_UNSUPPORTED},
		{"57P", DIFS_STATUS_CONNECTION},
		{"08", DIFS_STATUS_CONNECTION},
		{"22", DIFS_STATUS_ARGUMENT},
		{"42622", DIFS_STATUS_ARGUMENT},
		{"54", DIFS_STATUS_ARGUMENT},
	};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strncmp(sqlstate, states[i].prefix, strlen(states[i].prefix)) == 0)
			return states[i].status;
	return DIFS_STATUS_SERVER;
}

/* Without the newlines at the end that libpq's own messages have. */
static void
copy_line(char *to, size_t size, const char *from)
{
	size_t length = from == NULL ? 0 : strlen(from);

	while (length > 0 && from[length - 1] == '\n')
		length--;
	if (length >= size)
		length = size - 1;
	if (length > 0)
		memcpy(to, from, length);
	to[length] = '\0';
}
