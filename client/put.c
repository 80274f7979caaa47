/*
 * put.c - whole files into the database: which way they go, and where they come from.
 *
 * What fits into one statement goes that way.  More goes to the chunk servers directly if the server offers that (upload.c), and
 * otherwise through it, in pieces (put_sql.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"

#define CHANGED_TRIES 3

/* A local file, which has to be the same at its end as it was at its beginning. */
typedef struct LocalFile
{
	int fd;
	struct stat before;
	int64_t total;
	bool changed;
} LocalFile;

/* Bytes in memory as a stream. */
typedef struct Memory
{
	const char *data;
	size_t left;
} Memory;

static const DifsPutOptions no_options;

static bool put_value(DifsClient *client, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t *version);
static ssize_t read_memory(void *context, void *buffer, size_t length);
static ssize_t read_fd(void *context, void *buffer, size_t length);
static ssize_t read_local(void *context, void *buffer, size_t length);
static bool has_changed(LocalFile *file);

bool
difs_put_data(DifsClient *client, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t *version)
{
	Memory memory = {data, length};

	if (!client_ready(client))
		return false;
	if (length > MAX_VALUE)
		return client_fail(client, DIFS_STATUS_ARGUMENT, "\"%s\": %zu bytes are too many for one value", path, length);
	if (length >= client->options.direct_from)
		return difs_put_stream(client, path, read_memory, &memory, (int64_t) length, options, version);
	return put_value(client, path, data, length, options != NULL ? options : &no_options, version);
}

bool
difs_put_stream(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size,
				const DifsPutOptions *options, int64_t *version)
{
	size_t room = client->options.direct_from < PIECE_SIZE ? client->options.direct_from : PIECE_SIZE;
	size_t length = 0;
	bool ended = false;
	bool done = false;
	char *begun;

	if (options == NULL)
		options = &no_options;
	if (!client_ready(client))
		return false;
	begun = malloc(room);
	if (begun == NULL)
		return client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
	while (!ended && length < room)
	{
		ssize_t got = reader(reader_context, begun + length, room - length);

		if (got < 0)
		{
			client_fail_errno(client, "could not read what is to be put to \"%s\"", path);
			free(begun);
			return false;
		}
		ended = got == 0;
		length += (size_t) got;
	}
	if (!ended && options->create_only && !client_absent(client, path))
		done = false; /* before all of it has been sent for nothing */
	else if (!ended && direct_possible(client))
		done = upload(client, path, reader, reader_context, size, options, begun, length, version);
	else if (!ended)
		done = client->failure.status == DIFS_STATUS_OK &&
			put_pieces(client, path, reader, reader_context, size, options, begun, length, version);
	else if (size >= 0 && (int64_t) length != size)
		client_fail(client, DIFS_STATUS_CHANGED, "\"%s\": %zu bytes came instead of %lld", path, length, (long long) size);
	else
		done = put_value(client, path, begun, length, options, version) &&
			client_tell(client, options->progress, options->context, (int64_t) length, (int64_t) length, true);
	free(begun);
	return done;
}

/* One statement. */
static bool
put_value(DifsClient *client, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t *version)
{
	bool attributes = options->mode != NULL || options->mtime_us != NULL || options->media_type != NULL;
	bool own = false;
	bool done;
	PGresult *result;

	if (attributes && !client_enter(client, &own))
		return false;
	result = client_query(client, true, "SELECT difs_put($1::text, $2::bytea, $3, $4::boolean)", 4,
						  (Parameter[]){TEXT(path), BYTES(data != NULL ? data : "", length),
										options->create_only ? TEXT("0") : (options->if_version != 0 ? NUMBER(options->if_version) : TEXT(NULL)),
										BOOLEAN(options->parents)});
	done = result != NULL;
	if (done && version != NULL)
		*version = binary_int8(result, 0, 0);
	PQclear(result);
	if (attributes)
	{
		done = done && put_attributes(client, path, options);
		done = client_leave(client, own, done);
	}
	return done;
}

/* In the transaction in which the file was put. */
bool
put_attributes(DifsClient *client, const char *path, const DifsPutOptions *options)
{
	char octal[16];

	if (options->media_type != NULL &&
		!client_command(client, "SELECT difs_setattr($1::text, pg_catalog.jsonb_build_object('media_type', $2::text))", 2,
						(Parameter[]){TEXT(path), TEXT(options->media_type)}))
		return false;
	if (options->mode != NULL)
	{
		snprintf(octal, sizeof(octal), "%04o", *options->mode & 07777);
		if (!client_command(client, "SELECT difs_chmod($1::text, $2::text)", 2, (Parameter[]){TEXT(path), TEXT(octal)}))
			return false;
	}
	return options->mtime_us == NULL ||
		client_command(client, "SELECT difs_touch($1::text, mtime => pg_catalog.to_timestamp(0) + $2::bigint * interval '1 microsecond')", 2,
					   (Parameter[]){TEXT(path), NUMBER(*options->mtime_us)});
}

bool
difs_put_fd(DifsClient *client, const char *path, int fd, const DifsPutOptions *options, int64_t *version)
{
	return difs_put_stream(client, path, read_fd, &fd, -1, options, version);
}

bool
difs_put_file(DifsClient *client, const char *path, const char *local_name, const DifsPutOptions *options, int64_t *version)
{
	LocalFile file = {.fd = -1};
	bool done = false;

	if (!client_ready(client))
		return false;
	file.fd = open(local_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file.fd < 0)
		return client_fail_errno(client, "could not open \"%s\"", local_name);
	for (int tries = 0; tries < CHANGED_TRIES; tries++)
	{
		if (fstat(file.fd, &file.before) != 0)
		{
			client_fail_errno(client, "could not look at \"%s\"", local_name);
			break;
		}
		if (!S_ISREG(file.before.st_mode))
		{
			client_fail(client, DIFS_STATUS_KIND, "\"%s\" is %s", local_name,
						S_ISDIR(file.before.st_mode) ? "a directory" : "not a regular file");
			break;
		}
		client->source_changed_us = (int64_t) file.before.st_ctim.tv_sec * 1000000 + file.before.st_ctim.tv_nsec / 1000;
		file.total = 0;
		file.changed = false;
		done = lseek(file.fd, 0, SEEK_SET) == 0 &&
			difs_put_stream(client, path, read_local, &file, file.before.st_size > 0 ? file.before.st_size : -1, options, version);
		if (done || !file.changed)
			break;
		client_clear(client);
		client_fail(client, DIFS_STATUS_CHANGED, "\"%s\" changed while it was read", local_name);
	}
	close(file.fd);
	return done;
}

static ssize_t
read_memory(void *context, void *buffer, size_t length)
{
	Memory *memory = context;
	size_t taken = length < memory->left ? length : memory->left;

	if (taken > 0)
		memcpy(buffer, memory->data, taken);
	memory->data += taken;
	memory->left -= taken;
	return (ssize_t) taken;
}

static ssize_t
read_fd(void *context, void *buffer, size_t length)
{
	ssize_t got;

	do
		got = read(*(int *) context, buffer, length);
	while (got < 0 && errno == EINTR);
	return got;
}

/* Fails with ESTALE at the end, before anything is committed, if the file is not what it was. */
static ssize_t
read_local(void *context, void *buffer, size_t length)
{
	LocalFile *file = context;
	ssize_t got = read_fd(&file->fd, buffer, length);

	if (got > 0)
		file->total += got;
	file->changed = got == 0 ? has_changed(file) : got > 0 && file->before.st_size > 0 && file->total > file->before.st_size;
	if (!file->changed)
		return got;
	errno = ESTALE;
	return -1;
}

/* Files of /proc and /sys have a size of 0 and content all the same. */
static bool
has_changed(LocalFile *file)
{
	struct stat after;

	return fstat(file->fd, &after) != 0 || after.st_size != file->before.st_size ||
		after.st_mtim.tv_sec != file->before.st_mtim.tv_sec || after.st_mtim.tv_nsec != file->before.st_mtim.tv_nsec ||
		(file->before.st_size > 0 && file->total != file->before.st_size);
}
