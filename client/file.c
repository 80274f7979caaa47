/*
 * file.c - open files: reading a version in parts, and writing parts.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define MAX_READ ((size_t) 64 << 20) /* of one statement */

struct DifsFile
{
	DifsClient *client;
	char *path;
	int flags;
	int64_t version; /* as it was opened or last written */
	int64_t size;
};

static bool make(DifsFile *file);
static bool look(DifsFile *file);
static ssize_t change(DifsFile *file, const char *sql, int count, const Parameter *parameters, size_t length);

DifsFile *
difs_open(DifsClient *client, const char *path, int flags)
{
	DifsFile *file;

	if (!client_ready(client))
		return NULL;
	if ((flags & (DIFS_OPEN_CREATE | DIFS_OPEN_TRUNCATE)) != 0 && (flags & DIFS_OPEN_WRITE) == 0)
	{
		client_fail(client, DIFS_STATUS_ARGUMENT, "\"%s\": only a file that is open for writing can be made or emptied", path);
		return NULL;
	}
	file = calloc(1, sizeof(*file));
	if (file == NULL || (file->path = strdup(path)) == NULL)
	{
		free(file);
		client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
		return NULL;
	}
	file->client = client;
	file->flags = flags;
	if (!make(file))
	{
		difs_close(file);
		return NULL;
	}
	return file;
}

/* The file as its flags want it. */
static bool
make(DifsFile *file)
{
	DifsClient *client = file->client;

	if ((file->flags & DIFS_OPEN_EXCLUSIVE) != 0)
		return client_command(client, "SELECT difs_put($1::text, '', 0)", 1, (Parameter[]){TEXT(file->path)}) && look(file);
	if ((file->flags & DIFS_OPEN_TRUNCATE) != 0 && (file->flags & DIFS_OPEN_CREATE) != 0)
		return client_command(client, "SELECT difs_put($1::text, '')", 1, (Parameter[]){TEXT(file->path)}) && look(file);
	/* appending nothing makes a file that is not there and changes nothing of one that is */
	if ((file->flags & DIFS_OPEN_CREATE) != 0)
		return client_command(client, "SELECT difs_append($1::text, '')", 1, (Parameter[]){TEXT(file->path)}) && look(file);
	if ((file->flags & DIFS_OPEN_TRUNCATE) != 0)
		return client_command(client, "SELECT difs_truncate($1::text, 0)", 1, (Parameter[]){TEXT(file->path)}) && look(file);
	return look(file);
}

static bool
look(DifsFile *file)
{
	DifsEntry entry;

	if (!difs_stat(file->client, file->path, 0, true, &entry))
		return false;
	if (entry.kind == DIFS_KIND_DIRECTORY)
		return client_fail(file->client, DIFS_STATUS_KIND, "\"%s\" is a directory", file->path);
	file->size = entry.size;
	file->version = entry.version;
	return true;
}

int64_t
difs_size(const DifsFile *file)
{
	return file->size;
}

int64_t
difs_version(const DifsFile *file)
{
	return file->version;
}

ssize_t
difs_pread(DifsFile *file, void *buffer, size_t length, int64_t offset)
{
	DifsClient *client = file->client;
	PGresult *result;
	size_t got;

	if (!client_ready(client))
		return -1;
	if (length > MAX_READ)
		length = MAX_READ;
	if (length == 0 || offset >= file->size)
		return 0;
	/* who writes sees what he wrote; who reads sees the version that he opened */
	result = client_query(client, true, "SELECT difs_get($1::text, $2, $3::bigint, $4::bigint)", 4,
						  (Parameter[]){TEXT(file->path), (file->flags & DIFS_OPEN_WRITE) != 0 ? TEXT(NULL) : NUMBER(file->version),
										NUMBER(offset), NUMBER((int64_t) length)});
	if (result == NULL)
		return -1;
	got = (size_t) PQgetlength(result, 0, 0);
	if (got > length)
		got = length;
	memcpy(buffer, PQgetvalue(result, 0, 0), got);
	PQclear(result);
	return (ssize_t) got;
}

ssize_t
difs_pwrite(DifsFile *file, const void *buffer, size_t length, int64_t offset)
{
	return change(file, "SELECT difs_write($1::text, $3::bigint, $2::bytea)", 3,
				  (Parameter[]){TEXT(file->path), BYTES(buffer, length), NUMBER(offset)}, length);
}

ssize_t
difs_append(DifsFile *file, const void *buffer, size_t length)
{
	return change(file, "SELECT difs_append($1::text, $2::bytea)", 2, (Parameter[]){TEXT(file->path), BYTES(buffer, length)}, length);
}

static ssize_t
change(DifsFile *file, const char *sql, int count, const Parameter *parameters, size_t length)
{
	DifsClient *client = file->client;

	if (!client_ready(client))
		return -1;
	if ((file->flags & DIFS_OPEN_WRITE) == 0 || length > MAX_VALUE)
	{
		client_fail(client, DIFS_STATUS_ARGUMENT, length > MAX_VALUE ? "\"%s\": too many bytes for one write" : "\"%s\" is open only for reading",
					file->path);
		return -1;
	}
	if (length == 0)
		return 0;
	return client_command(client, sql, count, parameters) && look(file) ? (ssize_t) length : -1;
}

void
difs_close(DifsFile *file)
{
	if (file == NULL)
		return;
	free(file->path);
	free(file);
}
