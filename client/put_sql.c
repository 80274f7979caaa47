/*
 * put_sql.c - large files through the database server, where the direct way is closed.
 *
 * The pieces are appended to a file with a name of its own, of which one copy then becomes the new version: so the target gets one
 * version and not one for each piece, and a copy moves no bytes.  All of it is one transaction, so nobody sees that name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client.h"

static bool send_pieces(DifsClient *client, const char *path, const char *part, char *piece, DifsReader reader, void *reader_context, int64_t size,
						const DifsPutOptions *options, size_t length);
static bool publish(DifsClient *client, const char *path, const char *part, const DifsPutOptions *options, int64_t *version);
static char *part_name(const char *path);

bool
put_pieces(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size, const DifsPutOptions *options,
		   const void *begun, size_t begun_length, int64_t *version)
{
	char *part = part_name(path);
	char *piece = malloc(PIECE_SIZE);
	bool own;
	bool done;

	if (part == NULL || piece == NULL)
	{
		free(part);
		free(piece);
		return client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
	}
	if (begun_length > 0)
		memcpy(piece, begun, begun_length);
	if (client_enter(client, &own))
	{
		done = send_pieces(client, path, part, piece, reader, reader_context, size, options, begun_length) &&
			publish(client, path, part, options, version) &&
			put_attributes(client, path, options);
		done = client_leave(client, own, done);
	}
	else
		done = false;
	free(part);
	free(piece);
	return done;
}

/* length: bytes that stand in piece already. */
static bool
send_pieces(DifsClient *client, const char *path, const char *part, char *piece, DifsReader reader, void *reader_context, int64_t size,
			const DifsPutOptions *options, size_t length)
{
	int64_t total = 0;
	bool ended = false;

	while (!ended)
	{
		while (!ended && length < PIECE_SIZE)
		{
			ssize_t got = reader(reader_context, piece + length, PIECE_SIZE - length);

			if (got < 0)
				return client_fail_errno(client, "could not read what is to be put to \"%s\"", path);
			ended = got == 0;
			length += (size_t) got;
		}
		if (atomic_exchange(&client->cancel_asked, false))
			return client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
		if (length > 0 &&
			!client_command(client, "SELECT difs_append($1::text, $2::bytea, parents => $3::boolean)", 3,
							(Parameter[]){TEXT(part), BYTES(piece, length), BOOLEAN(options->parents)}))
			return false;
		total += (int64_t) length;
		length = 0;
		if (!client_tell(client, options->progress, options->context, total, size, ended))
			return false;
	}
	if (size >= 0 && total != size)
		return client_fail(client, DIFS_STATUS_CHANGED, "\"%s\": %lld bytes came instead of %lld", path, (long long) total, (long long) size);
	return true;
}

static bool
publish(DifsClient *client, const char *path, const char *part, const DifsPutOptions *options, int64_t *version)
{
	PGresult *result = client_query(client, true, "SELECT difs_copy($1::text, $2::text, if_version => $3)", 3,
									(Parameter[]){TEXT(part), TEXT(path),
												  options->create_only ? TEXT("0") : (options->if_version != 0 ? NUMBER(options->if_version) : TEXT(NULL))});

	if (result == NULL)
		return false;
	if (version != NULL)
		*version = binary_int8(result, 0, 0);
	PQclear(result);
	return client_command(client, "SELECT difs_delete($1::text)", 1, (Parameter[]){TEXT(part)});
}

/* In the same directory, where the caller may make files if he may make this one. */
static char *
part_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	int directory = slash == NULL ? 0 : (int) (slash - path + 1);
	uint64_t number = 0;
	char *name = malloc((size_t) directory + 40);

	if (name == NULL || getrandom(&number, sizeof(number), 0) != sizeof(number))
	{
		free(name);
		return NULL;
	}
	sprintf(name, "%.*s.difs-put-%016llx", directory, path, (unsigned long long) number);
	return name;
}
