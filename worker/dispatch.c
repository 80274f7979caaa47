/*
 * dispatch.c - what the streamer does with slots (streamer.h).
 *
 *	 queue -> waiting -> active -> STORED
 *				 ^          |
 *				 '----------'  a member failed: another group, a new segment id
 *
 * A slot waits until there is an open group of its class with room.  It is then
 * sent to all members, and is stored when all have acknowledged.  If one of them
 * fails, the group is marked FAILED (the keeper seals it and opens another) and
 * everything on its way to that group waits again, oldest first.  The choice of
 * group is not visible to anyone before the manifest row is, so nothing has to be
 * undone.
 *
 * A slot fails, with the keeper's or the last try's reason,
 *	- when no group could be had for its backend's difs.server_timeout, or half of that since its last try
 *	- when a try has failed so late that another one could not succeed before the slot's deadline (stream.h)
 *	- at its deadline.  If bytes of it are still on their way, the connections that carry them are given up: they read its memory,
 *	  and a server that takes longer than that is as good as down
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/fault.h"
#include "src/counters.h"
#include "src/settings.h"
#include "src/staging.h"
#include "worker/streamer.h"

#define MAX_TRIES 16
#define FULL_TIMEOUT_MS 1000	 /* waiting rarely helps against full disks */
#define STAGING_PATIENCE_MS 1000 /* no server can be had, and there is another way: staging */
#define ENOUGH_TURNS 2			 /* a server syncs what was sent in one of them, and has the next at hand when that is done */
#define LATE "bytes have moved, but no acknowledgement has come in time"

static dlist_head waiting = DLIST_STATIC_INIT(waiting);
static dlist_head active = DLIST_STATIC_INIT(active);
static uint64 to_be_stored_bytes = 0; /* of all slots in the two lists */
static int turns_unanswered = 0;	  /* turns of the loop that have sent something, since an answer came */
static int sent = 0;				  /* tries begun in this turn */
static bool hurry = false;			  /* something came back to waiting since the list was last gone through */

static void take(int number);
static void put_back(int number);
static bool start(int number);
static bool reach_members(int index, const DifsOpenGroup *group, DifsOutlet **outlets);
static void leave_try(int number);
static void try_again(int number, const DifsError *why);
static void fail_group(int index, DifsErrorCode code, const char *why);
static void finish(int number);
static void fail(int number, const DifsError *why);
static void end(int number, const DifsError *why);
static bool has_waited(int number, int limit_ms, TimestampTz now);
static bool is_too_late(int number, TimestampTz now);
static void end_late(TimestampTz now);
static DifsOutlet *find_late(TimestampTz now);

void
difs_dispatch_begin(void)
{
	int mine = difs_streamer_database - difs_shared->databases;

	difs_attempts_begin();
	while (difs_stream_pop(difs_streamer_database) != -1)
		; /* found below, with those that were sent */
	difs_choice_reset();
	for (int i = 0; i < difs_stream_slot_count(); i++)
		if (difs_stream_slot(i)->database == mine)
			take(i);
}

void
difs_dispatch_queue(bool due)
{
	static const DifsError unwanted = {DIFS_ERROR_IO, 0, "abandoned"};
	DifsClass stuck = {0}; /* there is no group for this class, so the others of it need not be tried */
	dlist_mutable_iter iter;
	int number;

	hurry = false;
	while (due && (number = difs_stream_pop(difs_streamer_database)) != -1)
		take(number);
	dlist_foreach_modify (iter, &waiting)
	{
		DifsSlot *slot;

		number = difs_attempt_slot(dlist_container(DifsAttempt, node, iter.cur));
		slot = difs_stream_slot(number);
		if (pg_atomic_read_u32(&slot->abandoned))
			fail(number, &unwanted);
		else if (!difs_class_equal(&slot->class, &stuck) && !start(number))
			stuck = slot->class;
	}
	if (sent > 0)
	{
		turns_unanswered++;
		difs_counters_streamer(DIFS_STREAMER_BATCHES, 1);
		difs_counters_streamer(DIFS_STREAMER_SENT, sent);
		sent = 0;
	}
}

void
difs_dispatch_reply(DifsOutlet *outlet, const DifsFrame *frame)
{
	uint32 number = (uint32) frame->request;
	DifsAttempt *attempt;
	DifsError error;

	turns_unanswered = 0;
	if (number >= (uint32) difs_stream_slot_count())
		return;
	attempt = difs_attempt(number);
	if (attempt->serial != (uint32) (frame->request >> 32) || !difs_attempt_awaits(attempt, outlet))
		return; /* of a try that was given up */
	if (frame->status == DIFS_OK)
	{
		difs_counters_io(DIFS_IO_PUT, outlet->server, difs_stream_slot(number)->stored_length,
						 difs_streamer_now - attempt->sent_at);
		if (difs_attempt_answered(attempt, outlet))
			finish(number);
		return;
	}
	difs_counters_io_failed(DIFS_IO_PUT, outlet->server, 1);
	difs_conn_reply_error(outlet->conn, frame, &error);
	if (frame->status == DIFS_ERROR_FENCED)
		fail(number, &error);
	else if (frame->status == DIFS_ERROR_CORRUPT)
		try_again(number, &error); /* bytes changed on the way; the group is as good as before */
	else
		fail_group(attempt->group, error.code, error.text);
}

void
difs_dispatch_outlet_lost(DifsOutlet *outlet)
{
	dlist_mutable_iter iter;
	bool found;

	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &difs_streamer_database->groups[i];
		bool member = false;

		/* only the streamer takes a group from OPEN to another state, so it may look without the lock */
		for (int j = 0; group->state == DIFS_OPEN_GROUP_OPEN && j < group->class.replicas; j++)
			member = member || group->member[j] == outlet->server;
		if (member)
			fail_group(i, DIFS_ERROR_NETWORK, outlet->problem);
	}
	do /* what is on its way to groups that were full already; each failure changes the list */
	{
		found = false;
		dlist_foreach_modify (iter, &active)
		{
			DifsAttempt *attempt = dlist_container(DifsAttempt, node, iter.cur);

			found = difs_attempt_awaits(attempt, outlet);
			if (!found)
				continue;
			fail_group(attempt->group, DIFS_ERROR_NETWORK, outlet->problem);
			break;
		}
	} while (found);
	difs_stragglers_outlet_lost(outlet);
}

void
difs_dispatch_tick(TimestampTz now)
{
	dlist_mutable_iter iter;

	difs_stragglers_look();
	end_late(now);
	dlist_foreach_modify (iter, &waiting)
	{
		int number = difs_attempt_slot(dlist_container(DifsAttempt, node, iter.cur));
		DifsSlot *slot = difs_stream_slot(number);
		DifsError why = difs_choice_problem(&slot->class);
		int limit_ms = slot->timeout_ms;

		if (why.code == DIFS_ERROR_FULL)
			limit_ms = Min(limit_ms, FULL_TIMEOUT_MS);
		else if (why.code != DIFS_OK && slot->stages && difs_staging_helps(why.code))
			limit_ms = Min(limit_ms, STAGING_PATIENCE_MS);
		if (!has_waited(number, limit_ms, now) && !is_too_late(number, now))
			continue;
		if (why.code == DIFS_OK && difs_attempt(number)->problem.code != DIFS_OK)
			why = difs_attempt(number)->problem;
		else if (why.code == DIFS_OK)
			difs_error_set(&why, DIFS_ERROR_MEMORY, "no block group could be opened in time");
		fail(number, &why);
	}
}

bool
difs_dispatch_idle(void)
{
	return dlist_is_empty(&waiting) && dlist_is_empty(&active) && !difs_stragglers_any();
}

bool
difs_dispatch_awaits(void)
{
	return turns_unanswered >= ENOUGH_TURNS && !dlist_is_empty(&active);
}

bool
difs_dispatch_hurries(void)
{
	return hurry;
}

/* A slot that is new to this streamer.  Just after a start, one may be found both by its state and, a little later, in the queue. */
static void
take(int number)
{
	DifsAttempt *attempt = difs_attempt(number);
	uint32 state = pg_atomic_read_u32(&difs_stream_slot(number)->state);

	if (attempt->taken || (state != DIFS_SLOT_QUEUED && state != DIFS_SLOT_SENT))
		return;
	attempt->taken = true;
	attempt->tries = 0;
	attempt->unanswered = 0;
	attempt->ended = false;
	attempt->problem.code = DIFS_OK;
	attempt->failed_at = 0;
	difs_stream_allow(difs_stream_slot(number), to_be_stored_bytes);
	to_be_stored_bytes += difs_stream_slot(number)->stored_length;
	dlist_push_tail(&waiting, &attempt->node);
}

/* A slot that has to wait again: before those that came later. */
static void
put_back(int number)
{
	TimestampTz queued_at = difs_stream_slot(number)->queued_at;
	dlist_iter iter;

	hurry = true;
	dlist_foreach (iter, &waiting)
	{
		if (difs_stream_slot(difs_attempt_slot(dlist_container(DifsAttempt, node, iter.cur)))->queued_at <= queued_at)
			continue;
		dlist_insert_before(iter.cur, &difs_attempt(number)->node);
		return;
	}
	dlist_push_tail(&waiting, &difs_attempt(number)->node);
}

/* Sends a waiting slot to the members of a group, if there is one with room. */
static bool
start(int number)
{
	DifsSlot *slot = difs_stream_slot(number);
	DifsAttempt *attempt = difs_attempt(number);
	DifsOutlet *outlets[DIFS_MAX_REPLICAS];
	DifsOpenGroup group = {0};
	DifsError too_large;
	uint64 segment;
	int index;

	do
	{
		switch (difs_choice_make(slot, &index, &group))
		{
			case DIFS_CHOICE_MADE:
				break;
			case DIFS_CHOICE_NONE:
				difs_choice_want(&slot->class);
				return false;
			case DIFS_CHOICE_TOO_LARGE:
				difs_error_set(&too_large, DIFS_ERROR_ARGUMENT,
							   "a segment of %u bytes does not fit into a block group: raise difs.block_group_size",
							   slot->stored_length);
				fail(number, &too_large);
				return true;
		}
	} while (!reach_members(index, &group, outlets));

	segment = difs_segment_next(difs_streamer_database);
	if (segment == 0)
	{
		difs_wake(difs_streamer_database->keeper); /* which refills; backends do as well */
		return false;
	}
	difs_choice_reserve(index, slot);
	slot->segment = segment;
	slot->group = group.id;
	attempt->tries++;
	sent++;
	dlist_delete(&attempt->node);
	dlist_push_tail(&active, &attempt->node);
	pg_atomic_write_u32(&slot->state, DIFS_SLOT_SENT);
	difs_attempt_send(number, index, outlets);
	DIFS_FAULT("streamer.segment.sent");
	return true;
}

/* Connections to all members. If one is down, the group has failed. */
static bool
reach_members(int index, const DifsOpenGroup *group, DifsOutlet **outlets)
{
	for (int i = 0; i < group->class.replicas; i++)
	{
		outlets[i] = difs_outlet_get(group->member[i]);
		if (outlets[i] != NULL)
			continue;
		fail_group(index, DIFS_ERROR_NETWORK, difs_outlet_problem(group->member[i]));
		return false;
	}
	return true;
}

/* Takes an active slot out of its try. */
static void
leave_try(int number)
{
	DifsAttempt *attempt = difs_attempt(number);

	difs_attempt_give_up(number);
	difs_choice_release(attempt->group, difs_stream_slot(number));
	dlist_delete(&attempt->node);
}

static void
try_again(int number, const DifsError *why)
{
	DifsAttempt *attempt = difs_attempt(number);

	attempt->problem = *why;
	attempt->failed_at = GetCurrentTimestamp();
	if (attempt->tries >= MAX_TRIES || is_too_late(number, attempt->failed_at))
	{
		fail(number, why);
		return;
	}
	difs_counters_streamer(DIFS_STREAMER_TRIED_AGAIN, 1);
	leave_try(number);
	put_back(number);
}

/* A group takes no more; what is on its way to it goes elsewhere. why may be a text that changes under us. */
static void
fail_group(int index, DifsErrorCode code, const char *why)
{
	DifsError reason = {.code = code};
	dlist_mutable_iter iter;

	strlcpy(reason.text, why, sizeof(reason.text));
	difs_choice_failed(index, reason.text);
	dlist_foreach_modify (iter, &active)
	{
		DifsAttempt *attempt = dlist_container(DifsAttempt, node, iter.cur);

		if (attempt->group == index)
			try_again(difs_attempt_slot(attempt), &reason);
	}
	DIFS_FAULT("streamer.group.failed");
}

/* All members have it. */
static void
finish(int number)
{
	static const DifsError none = {DIFS_OK};
	DifsAttempt *attempt = difs_attempt(number);

	DIFS_FAULT("streamer.segment.acknowledged");
	difs_counters_streamer(DIFS_STREAMER_STORED, 1);
	difs_counters_streamer(DIFS_STREAMER_BYTES, difs_stream_slot(number)->stored_length);
	difs_counters_streamer(DIFS_STREAMER_WAITED_US, attempt->sent_at - difs_stream_slot(number)->queued_at);
	difs_counters_streamer(DIFS_STREAMER_STORING_US, difs_streamer_now - attempt->sent_at);
	difs_attempt_log_slow(number);
	difs_choice_release(attempt->group, difs_stream_slot(number));
	dlist_delete(&attempt->node);
	end(number, &none);
	DIFS_FAULT("streamer.segment.stored");
}

/* The slot fails, or is no longer wanted: waiting or active. */
static void
fail(int number, const DifsError *why)
{
	DifsAttempt *attempt = difs_attempt(number);

	if (!pg_atomic_read_u32(&difs_stream_slot(number)->abandoned))
		difs_counters_streamer(DIFS_STREAMER_FAILED, 1);
	if (attempt->unanswered != 0)
		leave_try(number);
	else
		dlist_delete(&attempt->node);
	end(number, why);
}

/* It is in no list any more. */
static void
end(int number, const DifsError *why)
{
	to_be_stored_bytes -= difs_stream_slot(number)->stored_length;
	difs_attempt_end(number, why);
}

/* For a group.  One that was on its way for long has some time for another group, too. */
static bool
has_waited(int number, int limit_ms, TimestampTz now)
{
	return TimestampDifferenceExceeds(difs_stream_slot(number)->queued_at, now, limit_ms) &&
		TimestampDifferenceExceeds(difs_attempt(number)->failed_at, now, limit_ms / 2);
}

/* To begin a try: a server may be silent for half of difs.server_timeout before it is given up. */
static bool
is_too_late(int number, TimestampTz now)
{
	DifsSlot *slot = difs_stream_slot(number);

	return TimestampTzPlusMilliseconds(now, slot->timeout_ms / 2) >= difs_stream_deadline(slot);
}

/* What is on its way beyond its deadline. */
static void
end_late(TimestampTz now)
{
	DifsOutlet *outlet;

	while ((outlet = find_late(now)) != NULL || (outlet = difs_stragglers_late(now)) != NULL)
		difs_outlet_give_up(outlet, LATE);
}

/* A connection that has not delivered a segment in time.  When it is given up, the segment is in no try any more. */
static DifsOutlet *
find_late(TimestampTz now)
{
	dlist_iter iter;

	dlist_foreach (iter, &active)
	{
		DifsAttempt *attempt = dlist_container(DifsAttempt, node, iter.cur);

		if (now < difs_stream_deadline(difs_stream_slot(difs_attempt_slot(attempt))))
			continue;
		for (int i = 0; i < attempt->members; i++)
		{
			if ((attempt->unanswered & (1U << i)) != 0)
				return attempt->outlet[i];
		}
	}
	return NULL;
}
