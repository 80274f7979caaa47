/*
 * download.c - large files from chunk servers directly: the database says where and gives tokens, the servers give the bytes, and each
 * segment is proved by the checksum that the database has of it.
 *
 * A file is read in windows, so that tokens do not expire and answers stay small.  Segments come in any order, and are written in theirs.
 * What no copy can be had of from here is asked of the database server, which may know more.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "engine.h"

#define WINDOW ((int64_t) 256 << 20)

enum
{
	COLUMN_OFFSET,
	COLUMN_LENGTH,
	COLUMN_SEGMENT,
	COLUMN_SEGMENT_OFFSET,
	COLUMN_GROUP,
	COLUMN_STORED_LENGTH,
	COLUMN_RAW_LENGTH,
	COLUMN_CODEC,
	COLUMN_CRC,
	COLUMN_SERVERS,
	COLUMN_TOKEN,
	COLUMN_DATA,
};

typedef struct Download
{
	DifsClient *client;
	const char *path;
	const DifsGetOptions *options;
	int64_t version;
	DifsWriter writer;
	void *writer_context;
	int64_t at; /* in the file: what comes next */
	int64_t begin;
	int64_t end;
	int64_t *bytes;
	PGresult *rows; /* of the window */
	Task **task_of; /* by row; NULL: not asked for */
	bool *back;		/* by row: its task has come back */
} Download;

static bool window(Download *down, int64_t end);
static bool ask(Download *down, int row, Task *task);
static bool wait_for(Download *down, int row);
static bool deliver(Download *down, int row);
static bool deliver_by_server(Download *down, int64_t offset, int64_t length);
static bool zeros(Download *down, int64_t end);
static bool write_out(Download *down, const void *data, size_t length);

bool
download(DifsClient *client, const char *path, DifsWriter writer, void *writer_context, const DifsGetOptions *options,
		 const DifsEntry *entry, int64_t *bytes)
{
	Download down = {
		.client = client,
		.path = path,
		.options = options,
		.version = entry->version,
		.writer = writer,
		.writer_context = writer_context,
		.at = options->offset,
		.begin = options->offset,
		.end = entry->size,
		.bytes = bytes,
	};
	bool good = true;

	*bytes = 0;
	if (options->length > 0 && options->length < entry->size - options->offset)
		down.end = options->offset + options->length;
	while (good && down.at < down.end)
		good = window(&down, down.at + WINDOW < down.end ? down.at + WINDOW : down.end);
	direct_stop(client);
	return good;
}

static bool
window(Download *down, int64_t end)
{
	DifsClient *client = down->client;
	int64_t largest = 4096;
	int count;
	int asked = 0;
	int fresh = 0;
	bool good;

	down->rows = client_query(client, true,
							  "SELECT file_offset, length, segment, segment_offset, block_group, stored_length, raw_length, codec, crc,"
							  " pg_catalog.array_to_string(servers, E'\\n'), token, data FROM difs_locate($1::text, $2::bigint, $3::bigint, $4) ORDER BY file_offset",
							  4,
							  (Parameter[]){TEXT(down->path), NUMBER(down->at), NUMBER(end - down->at), NUMBER(down->version)});
	if (down->rows == NULL)
		return false;
	count = PQntuples(down->rows);
	for (int row = 0; row < count; row++)
		if (!PQgetisnull(down->rows, row, COLUMN_TOKEN) && binary_int8(down->rows, row, COLUMN_RAW_LENGTH) > largest)
			largest = binary_int8(down->rows, row, COLUMN_RAW_LENGTH);
	down->task_of = calloc((size_t) count + 1, sizeof(*down->task_of)); /* NOLINT(bugprone-sizeof-expression): pointers */
	down->back = calloc((size_t) count + 1, sizeof(*down->back));
	if (down->task_of == NULL || down->back == NULL)
		good = client_fail(client, DIFS_STATUS_MEMORY, "out of memory");
	else
		good = largest <= DIFS_MAX_SEGMENT_SIZE && direct_prepare(client, (size_t) largest, true);

	for (int row = 0; good && row < count; row++)
	{
		/* ahead, as far as there are tasks; that of a row that was delivered is taken for the next one */
		for (; asked < count; asked++)
		{
			Task *task = row > 0 ? down->task_of[row - 1] : NULL;

			if (!PQgetisnull(down->rows, asked, COLUMN_DATA) || PQgetisnull(down->rows, asked, COLUMN_TOKEN))
				continue;
			if (task != NULL)
				down->task_of[row - 1] = NULL;
			else if (fresh < client->task_count)
				task = &client->tasks[fresh++];
			else
				break;
			if (!ask(down, asked, task))
				down->back[asked] = true; /* by the server, then */
		}
		good = zeros(down, binary_int8(down->rows, row, COLUMN_OFFSET)) && wait_for(down, row) && deliver(down, row);
	}
	good = good && zeros(down, end);
	if (!good)
		direct_stop(client);
	free(down->task_of);
	free(down->back);
	PQclear(down->rows);
	return good;
}

static bool
ask(Download *down, int row, Task *task)
{
	PGresult *rows = down->rows;

	task->kind = TASK_GET;
	task->number = row;
	task->stored_length = (uint32_t) binary_int8(rows, row, COLUMN_STORED_LENGTH);
	task->raw_length = (uint32_t) binary_int8(rows, row, COLUMN_RAW_LENGTH);
	task->codec = (uint8_t) binary_int8(rows, row, COLUMN_CODEC);
	task->crc = (uint32_t) binary_int8(rows, row, COLUMN_CRC);
	down->task_of[row] = task;
	if (task->stored_length > task->raw_length ||
		!direct_place(task, PQgetvalue(rows, row, COLUMN_SERVERS), PQgetvalue(rows, row, COLUMN_TOKEN), (size_t) PQgetlength(rows, row, COLUMN_TOKEN),
					  (uint64_t) binary_int8(rows, row, COLUMN_SEGMENT), (uint64_t) binary_int8(rows, row, COLUMN_GROUP)))
	{
		task->result = TASK_FAILED;
		return false;
	}
	engine_submit(down->client->engine, task);
	return true;
}

static bool
wait_for(Download *down, int row)
{
	DifsClient *client = down->client;

	while (down->task_of[row] != NULL && !down->back[row])
	{
		Task *task = engine_wait(client->engine, 200);

		if (task != NULL)
			down->back[task->number] = true;
		if (atomic_exchange(&client->cancel_asked, false))
			return client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
	}
	return true;
}

static bool
deliver(Download *down, int row)
{
	int64_t offset = binary_int8(down->rows, row, COLUMN_OFFSET);
	int64_t length = binary_int8(down->rows, row, COLUMN_LENGTH);
	int64_t within = binary_int8(down->rows, row, COLUMN_SEGMENT_OFFSET);
	const Task *task = down->task_of[row];

	if (!PQgetisnull(down->rows, row, COLUMN_DATA) && PQgetlength(down->rows, row, COLUMN_DATA) == length)
		return write_out(down, PQgetvalue(down->rows, row, COLUMN_DATA), (size_t) length);
	if (task != NULL && task->result == TASK_DONE && within >= 0 && within + length <= task->raw_length)
	{
		down->client->direct = DIRECT_YES;
		return write_out(down, task->raw + within, (size_t) length);
	}
	/* a network that is closed towards the servers stays so: the rest goes through the database server at once */
	if (task != NULL && task->error.code == DIFS_ERROR_NETWORK && down->client->direct == DIRECT_MAYBE)
		down->client->direct = DIRECT_NO;
	return deliver_by_server(down, offset, length);
}

static bool
deliver_by_server(Download *down, int64_t offset, int64_t length)
{
	PGresult *result = client_query(down->client, true, "SELECT difs_get($1::text, $2, $3::bigint, $4::bigint)", 4,
									(Parameter[]){TEXT(down->path), NUMBER(down->version), NUMBER(offset), NUMBER(length)});
	bool good;

	if (result == NULL)
		return false;
	good = PQgetlength(result, 0, 0) == length || client_fail(down->client, DIFS_STATUS_SERVER, "\"%s\" has become shorter", down->path);
	good = good && write_out(down, PQgetvalue(result, 0, 0), (size_t) length);
	PQclear(result);
	return good;
}

/* What no row covers was never written. */
static bool
zeros(Download *down, int64_t end)
{
	static const char nothing[65536];

	while (down->at < end)
		if (!write_out(down, nothing, end - down->at < (int64_t) sizeof(nothing) ? (size_t) (end - down->at) : sizeof(nothing)))
			return false;
	return true;
}

static bool
write_out(Download *down, const void *data, size_t length)
{
	if (!down->writer(down->writer_context, data, length))
		return client_fail_errno(down->client, "could not write what was read of \"%s\"", down->path);
	down->at += (int64_t) length;
	*down->bytes = down->at - down->begin;
	return client_tell(down->client, down->options->progress, down->options->context, *down->bytes, down->end - down->begin, down->at == down->end);
}
