/*
 * names.c - making, moving, removing and describing names: one statement each.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define EPOCH_2000_US INT64_C(946684800000000) /* a binary timestamptz counts from there */

/* What difs_list() and difs_stat() have in common, in this order. */
#define ENTRY_COLUMNS "ino, kind, size, version, mode, owner::text, mtime"

enum
{
	COLUMN_INO,
	COLUMN_KIND,
	COLUMN_SIZE,
	COLUMN_VERSION,
	COLUMN_MODE,
	COLUMN_OWNER,
	COLUMN_MTIME,
	COLUMN_NAME, /* of a list */
	COLUMN_NLINK = COLUMN_NAME,
	COLUMN_ATIME,
	COLUMN_CTIME,
	COLUMN_BTIME,
	COLUMN_VOLUME, /* of stat */
};

static void read_entry(const PGresult *result, DifsEntry *entry);
static int64_t read_time(const PGresult *result, int column);
static bool call(DifsClient *client, const char *sql, int count, const Parameter *parameters);

bool
difs_stat(DifsClient *client, const char *path, int64_t version, bool follow, DifsEntry *entry)
{
	PGresult *result;
	const char *owner;
	const char *volume;
	size_t path_size = strlen(path) + 1;

	if (!client_ready(client))
		return false;
	result = client_query(client, true, "SELECT " ENTRY_COLUMNS ", nlink, atime, ctime, btime, volume FROM difs_stat($1::text, $2, $3::boolean)", 3,
						  (Parameter[]){TEXT(path), version == 0 ? TEXT(NULL) : NUMBER(version), BOOLEAN(follow)});
	if (result == NULL)
		return false;
	memset(entry, 0, sizeof(*entry));
	read_entry(result, entry);
	entry->nlink = binary_int8(result, 0, COLUMN_NLINK);
	entry->atime_us = read_time(result, COLUMN_ATIME);
	entry->ctime_us = read_time(result, COLUMN_CTIME);
	entry->btime_us = read_time(result, COLUMN_BTIME);
	owner = PQgetvalue(result, 0, COLUMN_OWNER);
	volume = PQgetvalue(result, 0, COLUMN_VOLUME);

	/* the strings, in one piece */
	free(client->strings);
	client->strings = malloc(path_size + strlen(owner) + strlen(volume) + 2);
	if (client->strings == NULL)
	{
		PQclear(result);
		return client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
	}
	entry->name = memcpy(client->strings, path, path_size);
	entry->owner = strcpy(client->strings + path_size, owner);
	entry->volume = strcpy(client->strings + path_size + strlen(owner) + 1, volume);
	PQclear(result);
	return true;
}

bool
difs_list(DifsClient *client, const char *path, bool recursive, const char *after, DifsEntryCallback callback, void *context)
{
	PGresult *row;
	bool go_on = true;

	if (!client_ready(client))
		return false;
	if (!client_send(client, true, "SELECT " ENTRY_COLUMNS ", name FROM difs_list($1::text, recursive => $2::boolean, after => $3::text)", 3,
					 (Parameter[]){TEXT(path), BOOLEAN(recursive), TEXT(after)}))
		return false;
	while (go_on && (row = client_row(client)) != NULL)
	{
		DifsEntry entry = {0};

		read_entry(row, &entry);
		entry.name = PQgetvalue(row, 0, COLUMN_NAME);
		go_on = callback(context, &entry) && !atomic_load(&client->cancel_asked);
		PQclear(row);
	}
	if (!go_on)
	{
		client_drain(client, true);
		atomic_store(&client->cancel_asked, false);
		client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
	}
	return client->failure.status == DIFS_STATUS_OK;
}

static void
read_entry(const PGresult *result, DifsEntry *entry)
{
	entry->ino = binary_int8(result, 0, COLUMN_INO);
	entry->kind = PQgetvalue(result, 0, COLUMN_KIND)[0] == 's' ? DIFS_KIND_SYMLINK : (DifsKind) PQgetvalue(result, 0, COLUMN_KIND)[0];
	entry->size = binary_int8(result, 0, COLUMN_SIZE);
	entry->version = binary_int8(result, 0, COLUMN_VERSION);
	entry->mode = (uint32_t) binary_int8(result, 0, COLUMN_MODE);
	entry->owner = PQgetvalue(result, 0, COLUMN_OWNER);
	entry->mtime_us = read_time(result, COLUMN_MTIME);
}

static int64_t
read_time(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? 0 : binary_int8(result, 0, column) + EPOCH_2000_US;
}

static bool
call(DifsClient *client, const char *sql, int count, const Parameter *parameters)
{
	return client_ready(client) && client_command(client, sql, count, parameters);
}

bool
client_absent(DifsClient *client, const char *path)
{
	PGresult *result = client_query(client, false, "SELECT difs_exists($1::text)", 1, (Parameter[]){TEXT(path)});
	bool exists;

	if (result == NULL)
		return false;
	exists = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return !exists || client_fail(client, DIFS_STATUS_EXISTS, "file \"%s\" already exists", path);
}

bool
difs_mkdir(DifsClient *client, const char *path, bool parents)
{
	return call(client, "SELECT difs_mkdir($1::text, $2::boolean)", 2, (Parameter[]){TEXT(path), BOOLEAN(parents)});
}

bool
difs_remove(DifsClient *client, const char *path, bool recursive, int64_t *count)
{
	PGresult *result;

	if (!client_ready(client))
		return false;
	result = client_query(client, true, "SELECT difs_delete($1::text, $2::boolean)", 2, (Parameter[]){TEXT(path), BOOLEAN(recursive)});
	if (result == NULL)
		return false;
	if (count != NULL)
		*count = binary_int8(result, 0, 0);
	PQclear(result);
	return true;
}

bool
difs_rename(DifsClient *client, const char *from_path, const char *to_path, bool no_replace)
{
	return call(client, "SELECT difs_rename($1::text, $2::text, $3::boolean)", 3,
				(Parameter[]){TEXT(from_path), TEXT(to_path), BOOLEAN(no_replace)});
}

bool
difs_copy(DifsClient *client, const char *from_path, int64_t version, const char *to_path)
{
	return call(client, "SELECT difs_copy($1::text, $2::text, $3)", 3,
				(Parameter[]){TEXT(from_path), TEXT(to_path), version == 0 ? TEXT(NULL) : NUMBER(version)});
}

bool
difs_symlink(DifsClient *client, const char *target, const char *path)
{
	return call(client, "SELECT difs_symlink($1::text, $2::text)", 2, (Parameter[]){TEXT(target), TEXT(path)});
}

bool
difs_readlink(DifsClient *client, const char *path, char **target)
{
	PGresult *result;

	if (!client_ready(client))
		return false;
	result = client_query(client, false, "SELECT difs_readlink($1::text)", 1, (Parameter[]){TEXT(path)});
	if (result == NULL)
		return false;
	*target = strdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return *target != NULL || client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
}

bool
difs_chmod(DifsClient *client, const char *path, uint32_t mode)
{
	char octal[16];

	snprintf(octal, sizeof(octal), "%04o", mode & 07777);
	return call(client, "SELECT difs_chmod($1::text, $2::text)", 2, (Parameter[]){TEXT(path), TEXT(octal)});
}

bool
difs_touch(DifsClient *client, const char *path, const int64_t *atime_us, const int64_t *mtime_us)
{
	return call(client,
				"SELECT difs_touch($1::text, atime => pg_catalog.to_timestamp(0) + $2::bigint * interval '1 microsecond',"
				" mtime => pg_catalog.to_timestamp(0) + $3::bigint * interval '1 microsecond')",
				3,
				(Parameter[]){TEXT(path), atime_us == NULL ? TEXT(NULL) : NUMBER(*atime_us), mtime_us == NULL ? TEXT(NULL) : NUMBER(*mtime_us)});
}
