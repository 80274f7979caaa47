/*
 * upload_place.c - of an upload: places for its segments, and receipts of those that are stored.
 *
 * A segment that one of its servers did not take is placed anew, somewhere else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "upload.h"

#define PLACES 32		  /* asked for at once */
#define RECEIPTS 64		  /* segments whose receipts are handed in at once */
#define MAX_TRIES 12	  /* of one segment */
#define FALL_BACK_TRIES 2 /* places that cannot be reached, before anything has been stored, mean that none can be */
#define RECEIPT_TEXT (2 * DIFS_RECEIPT_MAX_SIZE + 8)

static bool ask_places(Upload *up, int64_t first, int count);
static bool add_receipts(Upload *up, const Task *task);

bool
upload_place(Upload *up, Task *task, bool anew)
{
	int64_t row = task->number - up->first_place;

	if (anew || up->places == NULL || row < 0 || row >= PQntuples(up->places))
	{
		int64_t left = up->size >= 0 && !anew ? (up->size - task->number * (int64_t) up->segment_size + up->segment_size - 1) / up->segment_size : PLACES;
		int count = anew ? 1 : (left < 1 ? 1 : (left > PLACES ? PLACES : (int) left));

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
	char avoid[MAX_AVOIDED * 22 + 3] = "{";

	for (int i = 0; i < up->avoided && i < MAX_AVOIDED; i++)
		sprintf(avoid + strlen(avoid), "%s%lld", i > 0 ? "," : "", (long long) up->avoid[i]);
	strcat(avoid, "}");
	PQclear(up->places);
	up->first_place = first;
	up->places = client_query(up->client, true,
							  "SELECT number, segment, block_group, pg_catalog.array_to_string(servers, E'\\n'), token"
							  " FROM difs_upload_place($1::bigint, $2::bigint, $3::integer, $4::bigint[]) ORDER BY number",
							  4,
							  (Parameter[]){NUMBER(up->id), NUMBER(first), NUMBER(count), up->avoided > 0 ? TEXT(avoid) : TEXT(NULL)});
	return up->places != NULL;
}

Task *
upload_take_back(Upload *up, Task *task, bool *good)
{
	DifsClient *client = up->client;
	int *tries;

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
		*good = add_receipts(up, task) && (up->receipt_segments < RECEIPTS || upload_hand_in(up));
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
			nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		up->avoid[up->avoided++ % MAX_AVOIDED] = (int64_t) task->group;
		if (up->avoided == 2 * MAX_AVOIDED)
			up->avoided = MAX_AVOIDED;
		*good = upload_place(up, task, true);
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
		char *to;

		if (up->receipts_room - up->receipts_length < RECEIPT_TEXT + 2)
		{
			size_t room = up->receipts_room > 0 ? 2 * up->receipts_room : 65536;
			char *more = realloc(up->receipts, room);

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

bool
upload_hand_in(Upload *up)
{
	bool done;

	if (up->receipt_segments == 0)
		return true;
	strcpy(up->receipts + up->receipts_length, "}");
	done = client_command(up->client, "SELECT difs_upload_receipts($1::bigint, $2::bytea[])", 2, (Parameter[]){NUMBER(up->id), TEXT(up->receipts)});
	up->receipts_length = 0;
	up->receipt_segments = 0;
	return done;
}
