/*
 * get_sql.c - files through the database server: one statement, whose rows are pieces and are taken one by one.
 */
#include "client.h"

#define GET_PIECE "1048576"

bool
get_pieces(DifsClient *client, const char *path, DifsWriter writer, void *writer_context, const DifsGetOptions *options, int64_t *bytes)
{
	PGresult *row;
	DifsEntry entry;
	int64_t total = -1;
	bool stopped = false;

	*bytes = 0;
	if (options->progress != NULL)
	{
		if (!difs_stat(client, path, options->version, true, &entry))
			return false;
		total = entry.size > options->offset ? entry.size - options->offset : 0;
		if (options->length > 0 && options->length < total)
			total = options->length;
	}
	if (!client_send(client, true,
					 "SELECT (piece).data FROM (SELECT difs_read($1::text, $2, $3::bigint, $4::bigint, " GET_PIECE ") AS piece) AS pieces", 4,
					 (Parameter[]){TEXT(path), options->version == 0 ? TEXT(NULL) : NUMBER(options->version), NUMBER(options->offset),
								   options->length == 0 ? TEXT(NULL) : NUMBER(options->length)}))
		return false;
	while (!stopped && (row = client_row(client)) != NULL)
	{
		size_t length = (size_t) PQgetlength(row, 0, 0);

		if (writer(writer_context, PQgetvalue(row, 0, 0), length))
		{
			*bytes += (int64_t) length;
			stopped = !client_tell(client, options->progress, options->context, *bytes, total, *bytes == total);
		}
		else
			stopped = !client_fail_errno(client, "could not write what was read of \"%s\"", path);
		PQclear(row);
	}
	if (stopped)
		client_drain(client, true);
	return client->failure.status == DIFS_STATUS_OK;
}
