/*
 * upload.c - large files to chunk servers directly: the database says where, the servers say that they have it, the database believes
 * them by their receipts.
 *
 * This thread reads, asks for places and hands in receipts (upload_place.c); the engine encodes and sends.  Without resume, all of it is one transaction, so an upload that breaks off leaves no row behind.  With it, begin and
 * receipts are committed as they go, and only the end is a transaction with the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upload.h"

/* What was read, and not stored, and the rest. */
typedef struct Replay
{
	Upload *upload;
	int64_t number;
	size_t at;
} Replay;

static bool begin(Upload *up);
static bool resume(Upload *up, bool *found);
static void read_done(Upload *up, const char *text);
static bool transfer(Upload *up);
static bool next_segment(Upload *up, Task *task, bool *ended);
static bool is_done(const Upload *up, int64_t number);
static bool commit(Upload *up, int64_t *version);
static ssize_t replay(void *context, void *buffer, size_t length);

bool
upload(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size, const DifsPutOptions *options,
	   const void *begun, size_t begun_length, int64_t *version)
{
	Upload up = {
		.client = client,
		.path = path,
		.options = options,
		.reader = reader,
		.reader_context = reader_context,
		.size = size,
		.begun = begun,
		.begun_length = begun_length,
	};
	bool resumable = options->resume && size >= 0 && !difs_in_transaction(client);
	bool found = false;
	bool own = false;
	bool done;

	if (resumable)
		done = resume(&up, &found) && (found || begin(&up)) && transfer(&up) && upload_hand_in(&up) && client_enter(client, &own) && commit(&up, version);
	else
		done = client_enter(client, &own) && begin(&up) && transfer(&up) && commit(&up, version);
	direct_stop(client);

	/* an upload of a file that has changed is of no use to anybody */
	if (!done && !up.fall_back && up.id != 0 && client->failure.status == DIFS_STATUS_CHANGED && resumable)
	{
		DifsFailure failure = client->failure;

		client_command(client, "SELECT difs_upload_cancel($1::bigint)", 1, (Parameter[]){NUMBER(up.id)});
		client->failure = failure;
	}
	done = client_leave(client, own, done);
	if (up.fall_back)
	{
		Replay again = {.upload = &up};

		client_clear(client);
		client->direct = DIRECT_NO;
		if (!own)
			client_command(client, "SELECT difs_upload_cancel($1::bigint)", 1, (Parameter[]){NUMBER(up.id)});
		done = put_pieces(client, path, replay, &again, size, options, NULL, 0, version);
	}
	PQclear(up.places);
	free(up.receipts);
	free(up.done);
	return done;
}

static bool
begin(Upload *up)
{
	const DifsPutOptions *options = up->options;
	PGresult *result = client_query(up->client, true,
									"SELECT upload, segment_size, compression, compression_level FROM difs_upload_begin($1::text, $2::bigint, $3::text,"
									" $4::boolean, $5, $6::boolean, $7::boolean)",
									7,
									(Parameter[]){TEXT(up->path), up->size >= 0 ? NUMBER(up->size) : TEXT(NULL), TEXT(options->media_type),
												  BOOLEAN(options->create_only), options->if_version != 0 ? NUMBER(options->if_version) : TEXT(NULL),
												  BOOLEAN(options->resume && up->size >= 0 && !difs_in_transaction(up->client)), BOOLEAN(options->parents)});

	if (result == NULL)
		return false;
	up->id = binary_int8(result, 0, 0);
	up->segment_size = (uint32_t) binary_int8(result, 0, 1);
	up->level = strcmp(PQgetvalue(result, 0, 2), "none") == 0 ? 0 : (int) binary_int8(result, 0, 3);
	PQclear(result);
	return true;
}

/* Only one that began after the file was last changed can be gone on with, since nobody knows whether the bytes are the same otherwise.
 * (The clocks of client and database have to agree about that.) */
static bool
resume(Upload *up, bool *found)
{
	PGresult *result = client_query(up->client, false,
									"SELECT r.upload, r.segment_size, r.compression, r.compression_level, r.done,"
									" r.size = $2::bigint AND pg_catalog.to_timestamp(0) + $3::bigint * interval '1 microsecond' < u.created"
									" FROM (SELECT upload, created FROM difs.uploads WHERE path IN ($1::text, COALESCE(pg_catalog.current_setting('difs.volume', true), 'main') || ':' || $1::text)"
									" ORDER BY created DESC LIMIT 1) AS u, LATERAL difs_upload_resume(u.upload) AS r",
									3,
									(Parameter[]){TEXT(up->path), NUMBER(up->size),
												  NUMBER(up->client->source_changed_us)});

	if (result == NULL)
		return false;
	if (PQntuples(result) == 1)
	{
		up->id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		*found = PQgetvalue(result, 0, 5)[0] == 't';
		up->segment_size = (uint32_t) atoi(PQgetvalue(result, 0, 1));
		up->level = strcmp(PQgetvalue(result, 0, 2), "none") == 0 ? 0 : atoi(PQgetvalue(result, 0, 3));
		if (*found)
			read_done(up, PQgetvalue(result, 0, 4));
		else if (!client_command(up->client, "SELECT difs_upload_cancel($1::bigint)", 1, (Parameter[]){NUMBER(up->id)}))
		{
			PQclear(result);
			return false;
		}
	}
	PQclear(result);
	return true;
}

/* "{[0,5),[7,9)}" */
static void
read_done(Upload *up, const char *text)
{
	int count = 0;

	for (const char *at = text; *at != '\0'; at++)
		count += *at == '[';
	up->done = calloc((size_t) count + 1, sizeof(Range));
	while (up->done != NULL && (text = strchr(text, '[')) != NULL && up->done_count < count)
	{
		char *end;

		up->done[up->done_count].from = strtoll(text + 1, &end, 10);
		up->done[up->done_count++].to = strtoll(end + 1, &end, 10);
		text = end;
	}
}

static bool
transfer(Upload *up)
{
	DifsClient *client = up->client;
	bool good = direct_prepare(client, up->segment_size, up->level > 0);
	bool ended = false;
	int64_t number = 0;
	int fresh = 0; /* tasks that have not been used yet */
	Task *task = NULL;

	for (int i = 0; good && i < client->task_count; i++)
		client->tasks[i].raw_length = 0;
	while (good && !ended)
	{
		if (task == NULL && fresh < client->task_count)
			task = &client->tasks[fresh++];
		while (good && task == NULL)
			task = upload_take_back(up, engine_wait(client->engine, 200), &good);
		if (!good)
			break;
		task->number = number;
		good = next_segment(up, task, &ended);
		if (!good || task->raw_length == 0)
			break;
		number++;
		if (is_done(up, task->number))
		{
			up->confirmed += task->raw_length;
			continue; /* with the same task */
		}
		up->tries[task - client->tasks] = 0;
		good = upload_place(up, task, false);
		if (good)
			engine_submit(client->engine, task);
		task = good ? upload_take_back(up, engine_wait(client->engine, 0), &good) : NULL;
	}
	while (good)
	{
		Task *back = engine_wait(client->engine, 200);

		if (back == NULL && up->confirmed == up->total)
			break;
		upload_take_back(up, back, &good);
	}
	if (good && up->size >= 0 && up->total != up->size)
		return client_fail(client, DIFS_STATUS_CHANGED, "\"%s\": %lld bytes came instead of %lld", up->path, (long long) up->total, (long long) up->size);
	return good && client_tell(client, up->options->progress, up->options->context, up->confirmed, up->size, true);
}

static bool
next_segment(Upload *up, Task *task, bool *ended)
{
	size_t length = 0;

	while (!*ended && length < up->segment_size)
	{
		size_t room = up->segment_size - length;
		ssize_t got;

		if (up->begun_length > 0)
		{
			got = (ssize_t) (up->begun_length < room ? up->begun_length : room);
			memcpy(task->raw + length, up->begun, (size_t) got);
			up->begun += got;
			up->begun_length -= (size_t) got;
		}
		else
			got = up->reader(up->reader_context, task->raw + length, room);
		if (got < 0)
			return client_fail_errno(up->client, "could not read what is to be put to \"%s\"", up->path);
		*ended = got == 0;
		length += (size_t) got;
	}
	task->kind = TASK_PUT;
	task->raw_length = (uint32_t) length;
	task->level = up->level;
	task->encoded = false;
	up->total += (int64_t) length;
	return true;
}

static bool
is_done(const Upload *up, int64_t number)
{
	for (int i = 0; i < up->done_count; i++)
		if (number >= up->done[i].from && number < up->done[i].to)
			return true;
	return false;
}

static bool
commit(Upload *up, int64_t *version)
{
	DifsPutOptions rest = *up->options;
	PGresult *result;

	if (!upload_hand_in(up))
		return false;
	result = client_query(up->client, true, "SELECT difs_upload_commit($1::bigint, NULL, $2::bigint)", 2, (Parameter[]){NUMBER(up->id), NUMBER(up->total)});
	if (result == NULL)
		return false;
	if (version != NULL)
		*version = binary_int8(result, 0, 0);
	PQclear(result);
	rest.media_type = NULL; /* it has that from the beginning */
	return put_attributes(up->client, up->path, &rest);
}

/* The segments that stand in tasks, in order, then what stands behind them. */
static ssize_t
replay(void *context, void *buffer, size_t length)
{
	Replay *again = context;
	Upload *up = again->upload;

	for (int i = 0; i < up->client->task_count; i++)
	{
		const Task *task = &up->client->tasks[i];
		size_t taken;

		if (task->number != again->number || task->raw_length == 0 || again->number * (int64_t) up->segment_size >= up->total)
			continue;
		taken = task->raw_length - again->at < length ? task->raw_length - again->at : length;
		memcpy(buffer, task->raw + again->at, taken);
		again->at += taken;
		if (again->at == task->raw_length)
		{
			again->number++;
			again->at = 0;
		}
		return (ssize_t) taken;
	}
	if (up->begun_length > 0)
	{
		size_t taken = up->begun_length < length ? up->begun_length : length;

		memcpy(buffer, up->begun, taken);
		up->begun += taken;
		up->begun_length -= taken;
		return (ssize_t) taken;
	}
	return up->reader(up->reader_context, buffer, length);
}
