/*
 * upload.c - large files to chunk servers directly: the database says where, the servers say that they have it, the database believes
 * them by their receipts.
 *
 * This thread reads, asks for places and hands in receipts; the engine encodes and sends.  A segment that one of its servers did not take is
 * placed anew, somewhere else.  Without resume, all of it is one transaction, so an upload that breaks off leaves no row behind.  With it, begin and
 * receipts are committed as they go, and only the end is a transaction with the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "engine.h"

#define PLACES			32			/* asked for at once */
#define RECEIPTS		64			/* segments whose receipts are handed in at once */
#define MAX_TRIES		12			/* of one segment */
#define FALL_BACK_TRIES	2			/* places that cannot be reached, before anything has been stored, mean that none can be */
#define MAX_AVOIDED		8
#define RECEIPT_TEXT	(2 * DIFS_RECEIPT_MAX_SIZE + 8)

/* Numbers [from, to) that are stored already. */
typedef struct Range
{
	int64_t		from;
	int64_t		to;
} Range;

typedef struct Upload
{
	DifsClient *client;
	const char *path;
	const DifsPutOptions *options;
	int64_t		id;
	uint32_t	segment_size;
	int			level;

	DifsReader	reader;
	void	   *reader_context;
	const char *begun;				/* read before */
	size_t		begun_length;
	int64_t		size;				/* -1: not known */
	int64_t		total;				/* read */
	int64_t		confirmed;			/* bytes of segments that are stored */
	int64_t		sent;				/* segments that are, by this call */
	bool		fall_back;			/* no chunk server can be reached from here */

	PGresult   *places;				/* of numbers from first_place on; NULL: none */
	int64_t		first_place;
	int64_t		avoid[MAX_AVOIDED];	/* block groups that have failed */
	int			avoided;

	char	   *receipts;			/* a bytea[] in the making */
	size_t		receipts_length;
	size_t		receipts_room;
	int			receipt_segments;

	Range	   *done;
	int			done_count;
	int			tries[64];			/* of the segment in a task */
} Upload;

/* What was read, and not stored, and the rest. */
typedef struct Replay
{
	Upload	   *upload;
	int64_t		number;
	size_t		at;
} Replay;

static bool begin(Upload *up);
static bool resume(Upload *up, bool *found);
static void read_done(Upload *up, const char *text);
static bool transfer(Upload *up);
static bool next_segment(Upload *up, Task *task, bool *ended);
static bool is_done(const Upload *up, int64_t number);
static bool place(Upload *up, Task *task, bool anew);
static bool ask_places(Upload *up, int64_t first, int count);
static Task *take_back(Upload *up, Task *task, bool *good);
static bool hand_in(Upload *up);
static bool add_receipts(Upload *up, const Task *task);
static bool commit(Upload *up, int64_t *version);
static ssize_t replay(void *context, void *buffer, size_t length);

bool
upload(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size, const DifsPutOptions *options,
	   const void *begun, size_t begun_length, int64_t *version)
{
	Upload		up = {.client = client, .path = path, .options = options, .reader = reader, .reader_context = reader_context, .size = size,
	.begun = begun, .begun_length = begun_length};
	bool		resumable = options->resume && size >= 0 && !difs_in_transaction(client);
	bool		found = false;
	bool		own = false;
	bool		done;

	if (resumable)
		done = resume(&up, &found) && (found || begin(&up)) && transfer(&up) && hand_in(&up) && client_enter(client, &own) && commit(&up, version);
	else
		done = client_enter(client, &own) && begin(&up) && transfer(&up) && commit(&up, version);
	direct_stop(client);

	/* an upload of a file that has changed is of no use to anybody */
	if (!done && !up.fall_back && up.id != 0 && client->failure.status == DIFS_STATUS_CHANGED && resumable)
	{
		DifsFailure failure = client->failure;

		client_command(client, "SELECT difs_upload_cancel($1::bigint)", 1, (Parameter[]) {NUMBER(up.id)});
		client->failure = failure;
	}
	done = client_leave(client, own, done);
	if (up.fall_back)
	{
		Replay		again = {.upload = &up};

		client_clear(client);
		client->direct = DIRECT_NO;
		if (!own)
			client_command(client, "SELECT difs_upload_cancel($1::bigint)", 1, (Parameter[]) {NUMBER(up.id)});
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
	PGresult   *result = client_query(up->client, true,
									  "SELECT upload, segment_size, compression, compression_level FROM difs_upload_begin($1::text, $2::bigint, $3::text,"
									  " $4::boolean, $5, $6::boolean, $7::boolean)", 7,
									  (Parameter[]) {TEXT(up->path), up->size >= 0 ? NUMBER(up->size) : TEXT(NULL), TEXT(options->media_type),
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
	PGresult   *result = client_query(up->client, false,
									  "SELECT r.upload, r.segment_size, r.compression, r.compression_level, r.done,"
									  " r.size = $2::bigint AND pg_catalog.to_timestamp(0) + $3::bigint * interval '1 microsecond' < u.created"
									  " FROM (SELECT upload, created FROM difs.uploads WHERE path IN ($1::text, COALESCE(pg_catalog.current_setting('difs.volume', true), 'main') || ':' || $1::text)"
									  " ORDER BY created DESC LIMIT 1) AS u, LATERAL difs_upload_resume(u.upload) AS r", 3,
									  (Parameter[]) {TEXT(up->path), NUMBER(up->size),
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
		else if (!client_command(up->client, "SELECT difs_upload_cancel($1::bigint)", 1, (Parameter[]) {NUMBER(up->id)}))
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
	int			count = 0;

	for (const char *at = text; *at != '\0'; at++)
		count += *at == '[';
	up->done = calloc((size_t) count + 1, sizeof(Range));
	while (up->done != NULL && (text = strchr(text, '[')) != NULL && up->done_count < count)
	{
		char	   *end;

		up->done[up->done_count].from = strtoll(text + 1, &end, 10);
		up->done[up->done_count++].to = strtoll(end + 1, &end, 10);
		text = end;
	}
}

static bool
transfer(Upload *up)
{
	DifsClient *client = up->client;
	bool		good = direct_prepare(client, up->segment_size, up->level > 0);
	bool		ended = false;
	int64_t		number = 0;
	int			fresh = 0;			/* tasks that have not been used yet */
	Task	   *task = NULL;

	for (int i = 0; good && i < client->task_count; i++)
		client->tasks[i].raw_length = 0;
	while (good && !ended)
	{
		if (task == NULL && fresh < client->task_count)
			task = &client->tasks[fresh++];
		while (good && task == NULL)
			task = take_back(up, engine_wait(client->engine, 200), &good);
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
			continue;				/* with the same task */
		}
		up->tries[task - client->tasks] = 0;
		good = place(up, task, false);
		if (good)
			engine_submit(client->engine, task);
		task = good ? take_back(up, engine_wait(client->engine, 0), &good) : NULL;
	}
	while (good)
	{
		Task	   *back = engine_wait(client->engine, 200);

		if (back == NULL && up->confirmed == up->total)
			break;
		take_back(up, back, &good);
	}
	if (good && up->size >= 0 && up->total != up->size)
		return client_fail(client, DIFS_STATUS_CHANGED, "\"%s\": %lld bytes came instead of %lld", up->path, (long long) up->total, (long long) up->size);
	return good && client_tell(client, up->options->progress, up->options->context, up->confirmed, up->size, true);
}

static bool
next_segment(Upload *up, Task *task, bool *ended)
{
	size_t		length = 0;

	while (!*ended && length < up->segment_size)
	{
		size_t		room = up->segment_size - length;
		ssize_t		got;

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

/* anew: it had one that failed. */
static bool
place(Upload *up, Task *task, bool anew)
{
	int64_t		row = task->number - up->first_place;

	if (anew || up->places == NULL || row < 0 || row >= PQntuples(up->places))
	{
		int64_t		left = up->size >= 0 && !anew ? (up->size - task->number * (int64_t) up->segment_size + up->segment_size - 1) / up->segment_size : PLACES;
		int			count = anew ? 1 : left < 1 ? 1 : left > PLACES ? PLACES : (int) left;

		/* of a stream nobody knows how long it will be: the first places are few */
		if (up->size < 0 && task->number < PLACES)
			count = anew ? 1 : 4;
		if (!ask_places(up, task->number, count))
			return false;
		row = 0;
	}
	if (row >= PQntuples(up->places) || binary_int8(up->places, (int) row, 0) != task->number ||
		!direct_place(task, PQgetvalue(up->places, (int) row, 3), PQgetvalue(up->places, (int) row, 4), (size_t) PQgetlength(up->places, (int) row, 4),
					  (uint64_t) binary_int8(up->places, (int) row, 1), (uint64_t) binary_int8(up->places, (int) row, 2)))
		return client_fail(up->client, DIFS_STATUS_SERVER, "\"%s\": the database server named no place for segment %lld", up->path, (long long) task->number);
	if (anew)
	{
		PQclear(up->places);
		up->places = NULL;
	}
	return true;
}

static bool
ask_places(Upload *up, int64_t first, int count)
{
	char		avoid[MAX_AVOIDED * 22 + 3] = "{";

	for (int i = 0; i < up->avoided && i < MAX_AVOIDED; i++)
		sprintf(avoid + strlen(avoid), "%s%lld", i > 0 ? "," : "", (long long) up->avoid[i]);
	strcat(avoid, "}");
	PQclear(up->places);
	up->first_place = first;
	up->places = client_query(up->client, true,
							  "SELECT number, segment, block_group, pg_catalog.array_to_string(servers, E'\\n'), token"
							  " FROM difs_upload_place($1::bigint, $2::bigint, $3::integer, $4::bigint[]) ORDER BY number", 4,
							  (Parameter[]) {NUMBER(up->id), NUMBER(first), NUMBER(count), up->avoided > 0 ? TEXT(avoid) : TEXT(NULL)});
	return up->places != NULL;
}

/* What became of a task (NULL: nothing, it took too long). Returns the task if it is free again. */
static Task *
take_back(Upload *up, Task *task, bool *good)
{
	DifsClient *client = up->client;
	int		   *tries;

	*good = client_tell(client, up->options->progress, up->options->context, up->confirmed, up->size, false);
	if (*good && atomic_exchange(&client->cancel_asked, false))
		*good = client_fail(client, DIFS_STATUS_CANCELLED, "cancelled");
	if (task == NULL || !*good)
		return NULL;
	tries = &up->tries[task - client->tasks];
	if (task->result == TASK_DONE)
	{
		client->direct = DIRECT_YES;
		up->confirmed += task->raw_length;
		up->sent++;
		*good = add_receipts(up, task) && (up->receipt_segments < RECEIPTS || hand_in(up));
		return task;
	}
	if (task->result == TASK_BROKEN)
		*good = direct_fail(client, task, up->path);
	else if (++*tries > FALL_BACK_TRIES && task->error.code == DIFS_ERROR_NETWORK && client->direct == DIRECT_MAYBE && up->sent == 0 && up->done_count == 0)
	{
		/* not one of several servers: it is the way to them */
		up->fall_back = true;
		*good = direct_fail(client, task, up->path);
	}
	else if (*tries > MAX_TRIES)
		*good = direct_fail(client, task, up->path);
	else
	{
		/* a server that is just starting again gets a moment */
		if (*tries > 3)
			nanosleep(&(struct timespec) {.tv_nsec = 200000000}, NULL);
		up->avoid[up->avoided++ % MAX_AVOIDED] = (int64_t) task->group;
		if (up->avoided == 2 * MAX_AVOIDED)
			up->avoided = MAX_AVOIDED;
		*good = place(up, task, true);
		if (*good)
			engine_submit(client->engine, task);
	}
	return NULL;
}

/* Of all members, as an element of an array each. */
static bool
add_receipts(Upload *up, const Task *task)
{
	static const char digits[] = "0123456789abcdef";

	for (int member = 0; member < task->server_count; member++)
	{
		char	   *to;

		if (up->receipts_room - up->receipts_length < RECEIPT_TEXT + 2)
		{
			size_t		room = up->receipts_room > 0 ? 2 * up->receipts_room : 65536;
			char	   *more = realloc(up->receipts, room);

			if (more == NULL)
				return client_fail(up->client, DIFS_STATUS_MEMORY, "out of memory");
			up->receipts = more;
			up->receipts_room = room;
		}
		to = up->receipts + up->receipts_length;
		to += sprintf(to, "%s\"\\\\x", up->receipts_length == 0 ? "{" : ",");
		for (size_t i = 0; i < task->receipt_length[member]; i++)
		{
			*to++ = digits[task->receipt[member][i] >> 4];
			*to++ = digits[task->receipt[member][i] & 15];
		}
		*to++ = '"';
		up->receipts_length = (size_t) (to - up->receipts);
	}
	up->receipt_segments++;
	return true;
}

static bool
hand_in(Upload *up)
{
	bool		done;

	if (up->receipt_segments == 0)
		return true;
	strcpy(up->receipts + up->receipts_length, "}");
	done = client_command(up->client, "SELECT difs_upload_receipts($1::bigint, $2::bytea[])", 2, (Parameter[]) {NUMBER(up->id), TEXT(up->receipts)});
	up->receipts_length = 0;
	up->receipt_segments = 0;
	return done;
}

static bool
commit(Upload *up, int64_t *version)
{
	DifsPutOptions rest = *up->options;
	PGresult   *result;

	if (!hand_in(up))
		return false;
	result = client_query(up->client, true, "SELECT difs_upload_commit($1::bigint, NULL, $2::bigint)", 2, (Parameter[]) {NUMBER(up->id), NUMBER(up->total)});
	if (result == NULL)
		return false;
	if (version != NULL)
		*version = binary_int8(result, 0, 0);
	PQclear(result);
	rest.media_type = NULL;		/* it has that from the beginning */
	return put_attributes(up->client, up->path, &rest);
}

/* The segments that stand in tasks, in order, then what stands behind them. */
static ssize_t
replay(void *context, void *buffer, size_t length)
{
	Replay	   *again = context;
	Upload	   *up = again->upload;

	for (int i = 0; i < up->client->task_count; i++)
	{
		const Task *task = &up->client->tasks[i];
		size_t		taken;

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
		size_t		taken = up->begun_length < length ? up->begun_length : length;

		memcpy(buffer, up->begun, taken);
		up->begun += taken;
		up->begun_length -= taken;
		return (ssize_t) taken;
	}
	return up->reader(up->reader_context, buffer, length);
}
