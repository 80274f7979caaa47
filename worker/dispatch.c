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
 * undone.  A slot that has waited longer than its backend's difs.server_timeout
 * fails, with the keeper's or the last try's reason.
 *
 * Memory: a frame that is being sent reads the slot's pool memory.  When a try is
 * given up, sends that have not begun are taken back; one that has begun becomes a
 * straggler, and the slot does not end before it has left or its connection is gone.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/segment.h"
#include "src/settings.h"
#include "worker/streamer.h"

#define MAX_TRIES		16
#define FULL_TIMEOUT_MS 1000	/* waiting rarely helps against full disks */
#define RECORD_ALIGN	64		/* of a group file: chunkd/disk_format.h */

typedef struct DifsStraggler
{
	dlist_node	node;
	int			slot;
	DifsOutlet *outlet;
	uint64		number;
} DifsStraggler;

static DifsAttempt *attempts = NULL;
static dlist_head waiting = DLIST_STATIC_INIT(waiting);
static dlist_head active = DLIST_STATIC_INIT(active);
static dlist_head stragglers = DLIST_STATIC_INIT(stragglers);
static bool hurry = false;		/* something came back to waiting since the list was last gone through */

static int	slot_of(DifsAttempt *attempt);
static void take(int number);
static void put_back(int number);
static bool start(int number);
static bool choose_group(const DifsSlot *slot, uint64 bytes, int *index, DifsOpenGroup *group);
static bool reach_members(int index, const DifsOpenGroup *group, DifsOutlet **outlets);
static void send_to_members(int number);
static void want(const DifsClass *class);
static void give_up_try(int number);
static void make_straggler(int number, int member);
static void straggler_left(DifsStraggler *straggler);
static void try_again(int number, const DifsError *why);
static void fail_group(int index, DifsErrorCode code, const char *why);
static void finish(int number);
static void fail(int number, const DifsError *why);
static DifsError class_problem(const DifsClass *class);
static bool same_class(const DifsClass *a, const DifsClass *b);
static bool awaits(const DifsAttempt *attempt, const DifsOutlet *outlet);
static void release_group(DifsAttempt *attempt);

void
difs_dispatch_begin(void)
{
	int			mine = difs_streamer_database - difs_shared->databases;

	attempts = MemoryContextAllocZero(TopMemoryContext, difs_stream_slot_count() * sizeof(DifsAttempt));
	while (difs_stream_pop(difs_streamer_database) != -1)
		;						/* found below, with those that were sent */
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
		difs_streamer_database->groups[i].in_flight = 0;
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < difs_stream_slot_count(); i++)
	{
		DifsSlot   *slot = difs_stream_slot(i);
		uint32		state = pg_atomic_read_u32(&slot->state);

		if (slot->database == mine && (state == DIFS_SLOT_QUEUED || state == DIFS_SLOT_SENT))
			take(i);
	}
}

void
difs_dispatch_queue(void)
{
	static const DifsError unwanted = {DIFS_ERROR_IO, 0, "abandoned"};
	DifsClass	stuck = {0};	/* there is no group for this class, so the others of it need not be tried */
	dlist_mutable_iter iter;
	int			number;

	hurry = false;
	while ((number = difs_stream_pop(difs_streamer_database)) != -1)
		take(number);
	dlist_foreach_modify(iter, &waiting)
	{
		DifsSlot   *slot;

		number = slot_of(dlist_container(DifsAttempt, node, iter.cur));
		slot = difs_stream_slot(number);
		if (pg_atomic_read_u32(&slot->abandoned))
			fail(number, &unwanted);
		else if (!same_class(&slot->class, &stuck) && !start(number))
			stuck = slot->class;
	}
}

void
difs_dispatch_reply(DifsOutlet *outlet, const DifsFrame *frame)
{
	uint32		number = (uint32) frame->request;
	DifsAttempt *attempt;
	DifsError	error;
	int			member = 0;

	pg_atomic_fetch_add_u32(&difs_streamer_database->progress, 1);
	if (number >= (uint32) difs_stream_slot_count())
		return;
	attempt = &attempts[number];
	if (attempt->serial != (uint32) (frame->request >> 32) || attempt->unanswered == 0)
		return;					/* of a try that was given up */
	while (member < attempt->members && attempt->outlet[member] != outlet)
		member++;
	if (member == attempt->members || (attempt->unanswered & (1U << member)) == 0)
		return;

	if (frame->status == DIFS_OK)
	{
		attempt->unanswered &= ~(1U << member);
		if (attempt->unanswered == 0)
			finish(number);
		return;
	}
	difs_conn_reply_error(outlet->conn, frame, &error);
	if (frame->status == DIFS_ERROR_FENCED)
		fail(number, &error);
	else if (frame->status == DIFS_ERROR_CORRUPT)
		try_again(number, &error);	/* bytes changed on the way; the group is as good as before */
	else
		fail_group(attempt->group, error.code, error.text);
}

void
difs_dispatch_outlet_lost(DifsOutlet *outlet)
{
	dlist_mutable_iter iter;
	bool		found;

	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &difs_streamer_database->groups[i];
		bool		member = false;

		/* only the streamer takes a group from OPEN to another state, so it may look without the lock */
		for (int j = 0; group->state == DIFS_OPEN_GROUP_OPEN && j < group->class.replicas; j++)
			member = member || group->member[j] == outlet->server;
		if (member)
			fail_group(i, DIFS_ERROR_NETWORK, outlet->problem);
	}
	do							/* what is on its way to groups that were full already; each failure changes the list */
	{
		found = false;
		dlist_foreach_modify(iter, &active)
		{
			DifsAttempt *attempt = dlist_container(DifsAttempt, node, iter.cur);

			found = awaits(attempt, outlet);
			if (!found)
				continue;
			fail_group(attempt->group, DIFS_ERROR_NETWORK, outlet->problem);
			break;
		}
	} while (found);
	dlist_foreach_modify(iter, &stragglers)
	{
		DifsStraggler *straggler = dlist_container(DifsStraggler, node, iter.cur);

		if (straggler->outlet == outlet)
			straggler_left(straggler);
	}
}

void
difs_dispatch_tick(TimestampTz now)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &stragglers)
	{
		DifsStraggler *straggler = dlist_container(DifsStraggler, node, iter.cur);

		if (difs_conn_sent(straggler->outlet->conn) >= straggler->number)
			straggler_left(straggler);
	}
	dlist_foreach_modify(iter, &waiting)
	{
		int			number = slot_of(dlist_container(DifsAttempt, node, iter.cur));
		DifsSlot   *slot = difs_stream_slot(number);
		DifsError	why = class_problem(&slot->class);
		int			limit_ms = why.code == DIFS_ERROR_FULL ? Min(slot->timeout_ms, FULL_TIMEOUT_MS) : slot->timeout_ms;

		if (!TimestampDifferenceExceeds(slot->queued_at, now, limit_ms))
			continue;
		if (why.code == DIFS_OK && attempts[number].problem.code != DIFS_OK)
			why = attempts[number].problem;
		else if (why.code == DIFS_OK)
			difs_error_set(&why, DIFS_ERROR_MEMORY, "no block group could be opened in time");
		fail(number, &why);
	}
}

bool
difs_dispatch_idle(void)
{
	return dlist_is_empty(&waiting) && dlist_is_empty(&active) && dlist_is_empty(&stragglers);
}

bool
difs_dispatch_hurries(void)
{
	return hurry;
}

static int
slot_of(DifsAttempt *attempt)
{
	return attempt - attempts;
}

/* A slot that is new to this streamer. */
static void
take(int number)
{
	DifsAttempt *attempt = &attempts[number];

	attempt->tries = 0;
	attempt->unanswered = 0;
	attempt->ended = false;
	attempt->problem.code = DIFS_OK;
	dlist_push_tail(&waiting, &attempt->node);
}

/* A slot that has to wait again: before those that came later. */
static void
put_back(int number)
{
	TimestampTz queued_at = difs_stream_slot(number)->queued_at;
	dlist_iter	iter;

	hurry = true;
	dlist_foreach(iter, &waiting)
	{
		if (difs_stream_slot(slot_of(dlist_container(DifsAttempt, node, iter.cur)))->queued_at <= queued_at)
			continue;
		dlist_insert_before(iter.cur, &attempts[number].node);
		return;
	}
	dlist_push_tail(&waiting, &attempts[number].node);
}

/* Sends a waiting slot to the members of a group, if there is one with room. */
static bool
start(int number)
{
	DifsSlot   *slot = difs_stream_slot(number);
	DifsAttempt *attempt = &attempts[number];
	uint64		bytes = TYPEALIGN(RECORD_ALIGN, difs_segment_packed_size(slot->stored_length) + slot->stored_length);
	DifsOutlet *outlets[DIFS_MAX_REPLICAS];
	DifsOpenGroup group = {0};
	int			index;
	uint64		segment;

	do
	{
		if (!choose_group(slot, bytes, &index, &group))
		{
			want(&slot->class);
			return false;
		}
	} while (!reach_members(index, &group, outlets));

	segment = difs_segment_next(difs_streamer_database);
	if (segment == 0)
	{
		difs_wake(difs_streamer_database->keeper);	/* which refills; backends do as well */
		return false;
	}
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_streamer_database->groups[index].reserved_bytes += bytes;
	difs_streamer_database->groups[index].in_flight++;
	LWLockRelease(&difs_shared->lock);

	slot->segment = segment;
	slot->group = group.id;
	attempt->serial++;
	attempt->tries++;
	attempt->group = index;
	attempt->members = group.class.replicas;
	attempt->unanswered = (1U << attempt->members) - 1;
	memcpy(attempt->outlet, outlets, sizeof(outlets));
	dlist_delete(&attempt->node);
	dlist_push_tail(&active, &attempt->node);
	pg_atomic_write_u32(&slot->state, DIFS_SLOT_SENT);
	send_to_members(number);
	return true;
}

/* The open group of the slot's class with the least on its way that has room. Groups without room are marked full on the way. */
static bool
choose_group(const DifsSlot *slot, uint64 bytes, int *index, DifsOpenGroup *chosen)
{
	bool		filled = false;

	*index = -1;
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &difs_streamer_database->groups[i];

		if (group->state != DIFS_OPEN_GROUP_OPEN || !same_class(&group->class, &slot->class))
			continue;
		if (group->reserved_bytes + bytes > group->capacity_bytes)
		{
			group->state = DIFS_OPEN_GROUP_FULL;
			filled = true;
		}
		else if (*index == -1 || group->in_flight < chosen->in_flight)
		{
			*index = i;
			*chosen = *group;
		}
	}
	LWLockRelease(&difs_shared->lock);
	if (filled)
		difs_wake(difs_streamer_database->keeper);
	return *index != -1;
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

static void
send_to_members(int number)
{
	static uint8 control[DIFS_MAX_PACKED_SIZE];
	DifsSlot   *slot = difs_stream_slot(number);
	DifsAttempt *attempt = &attempts[number];
	uint8	   *packed = difs_pool_address(slot->run);
	DifsSegment segment = {
		.segment = slot->segment,
		.xid = slot->xid,
		.group = slot->group,
		.raw_length = slot->raw_length,
		.stored_length = slot->stored_length,
		.crc = slot->crc,
		.codec = slot->codec,
	};
	DifsFrame	frame = {
		.control_length = difs_segment_packed_size(slot->stored_length),
		.payload_length = slot->stored_length,
		.request = (uint64) attempt->serial << 32 | (uint32) number,
		.message = DIFS_MESSAGE_PUT,
	};

	memcpy(control + DIFS_SEGMENT_HEADER_SIZE, packed + DIFS_SEGMENT_HEADER_SIZE,
		   frame.control_length - DIFS_SEGMENT_HEADER_SIZE);
	difs_segment_pack(&segment, NULL, control);
	for (int i = 0; i < attempt->members; i++)
	{
		DifsOutlet *outlet = attempt->outlet[i];

		if (outlet->outstanding++ == 0)
			outlet->moved_at = GetCurrentTimestamp();
		attempt->number[i] = difs_conn_send(outlet->conn, &frame, control, packed + slot->payload_offset);
	}
}

/* Asks the keeper for a group of a class. */
static void
want(const DifsClass *class)
{
	DifsWantedClass *entry = NULL;
	bool		asked = false;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		DifsWantedClass *candidate = &difs_streamer_database->classes[i];

		if (same_class(&candidate->class, class))
		{
			entry = candidate;
			break;
		}
		if (entry == NULL && candidate->class.replicas == 0)
			entry = candidate;
	}
	if (entry != NULL)
	{
		entry->class = *class;
		asked = !entry->wanted;
		entry->wanted = true;
	}
	LWLockRelease(&difs_shared->lock);
	if (asked)
		difs_wake(difs_streamer_database->keeper);
}

/* Takes an active slot out of its try, leaving nobody that reads its memory but stragglers. */
static void
give_up_try(int number)
{
	DifsAttempt *attempt = &attempts[number];

	for (int i = 0; i < attempt->members; i++)
	{
		DifsOutlet *outlet = attempt->outlet[i];

		if (outlet->conn == NULL || (attempt->unanswered & (1U << i)) == 0)
			continue;
		if (difs_conn_unsend(outlet->conn, attempt->number[i]))
			outlet->outstanding--;
		else if (difs_conn_sent(outlet->conn) < attempt->number[i])
			make_straggler(number, i);
	}
	release_group(attempt);
	attempt->unanswered = 0;
	dlist_delete(&attempt->node);
}

static void
make_straggler(int number, int member)
{
	DifsStraggler *straggler = MemoryContextAlloc(TopMemoryContext, sizeof(DifsStraggler));

	straggler->slot = number;
	straggler->outlet = attempts[number].outlet[member];
	straggler->number = attempts[number].number[member];
	attempts[number].stragglers++;
	dlist_push_tail(&stragglers, &straggler->node);
}

static void
straggler_left(DifsStraggler *straggler)
{
	int			number = straggler->slot;

	dlist_delete(&straggler->node);
	pfree(straggler);
	if (--attempts[number].stragglers == 0 && attempts[number].ended)
		difs_stream_end(number, difs_stream_slot(number)->error_code == DIFS_OK ? DIFS_SLOT_STORED : DIFS_SLOT_FAILED);
}

static void
try_again(int number, const DifsError *why)
{
	attempts[number].problem = *why;
	if (attempts[number].tries >= MAX_TRIES)
	{
		fail(number, why);
		return;
	}
	give_up_try(number);
	put_back(number);
}

/* A group takes no more; what is on its way to it goes elsewhere. why may be a text that changes under us. */
static void
fail_group(int index, DifsErrorCode code, const char *why)
{
	DifsOpenGroup *group = &difs_streamer_database->groups[index];
	DifsError	reason = {.code = code};
	dlist_mutable_iter iter;

	strlcpy(reason.text, why, sizeof(reason.text));
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	group->state = DIFS_OPEN_GROUP_FAILED;
	LWLockRelease(&difs_shared->lock);
	ereport(LOG,
			(errmsg("difs streamer: block group " UINT64_FORMAT " takes no more segments: %s", group->id, reason.text)));
	dlist_foreach_modify(iter, &active)
	{
		DifsAttempt *attempt = dlist_container(DifsAttempt, node, iter.cur);

		if (attempt->group == index)
			try_again(slot_of(attempt), &reason);
	}
	difs_wake(difs_streamer_database->keeper);
}

/* All members have it. */
static void
finish(int number)
{
	DifsAttempt *attempt = &attempts[number];

	release_group(attempt);
	dlist_delete(&attempt->node);
	attempt->ended = true;
	difs_stream_slot(number)->error_code = DIFS_OK;
	if (attempt->stragglers == 0)
		difs_stream_end(number, DIFS_SLOT_STORED);
}

/* The slot fails, or is no longer wanted: waiting or active. */
static void
fail(int number, const DifsError *why)
{
	DifsSlot   *slot = difs_stream_slot(number);
	DifsAttempt *attempt = &attempts[number];

	slot->error_code = why->code;
	strlcpy(slot->error_text, why->text, sizeof(slot->error_text));
	if (attempt->unanswered != 0)
		give_up_try(number);
	else
		dlist_delete(&attempt->node);
	attempt->ended = true;
	if (attempt->stragglers == 0)
		difs_stream_end(number, DIFS_SLOT_FAILED);
}

/* What the keeper says about opening groups of a class. */
static DifsError
class_problem(const DifsClass *class)
{
	DifsError	problem = {DIFS_OK};

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
		if (same_class(&difs_streamer_database->classes[i].class, class))
			problem = difs_streamer_database->classes[i].problem;
	LWLockRelease(&difs_shared->lock);
	return problem;
}

static bool
same_class(const DifsClass *a, const DifsClass *b)
{
	return a->replicas == b->replicas && strcmp(a->tier, b->tier) == 0;
}

/* Does an active slot still want an answer from there? */
static bool
awaits(const DifsAttempt *attempt, const DifsOutlet *outlet)
{
	for (int i = 0; i < attempt->members; i++)
		if (attempt->outlet[i] == outlet && (attempt->unanswered & (1U << i)) != 0)
			return true;
	return false;
}

static void
release_group(DifsAttempt *attempt)
{
	DifsOpenGroup *group = &difs_streamer_database->groups[attempt->group];
	bool		drained;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	group->in_flight--;
	drained = group->in_flight == 0 && group->state != DIFS_OPEN_GROUP_OPEN;
	LWLockRelease(&difs_shared->lock);
	if (drained)
		difs_wake(difs_streamer_database->keeper);	/* to seal it */
}
