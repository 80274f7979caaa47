/*
 * attempt.c - one try to store a slot's segment on all members of a group
 * (streamer.h).
 *
 * A frame that is being sent reads the slot's pool memory.  When a try is given
 * up, sends that have not begun are taken back; one that has begun becomes a
 * straggler, and the slot does not end before it has left or its connection is
 * gone.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/segment.h"
#include "src/settings.h"
#include "src/staging.h"
#include "worker/streamer.h"

typedef struct DifsStraggler
{
	dlist_node node;
	int slot;
	DifsOutlet *outlet;
	uint64 number;
} DifsStraggler;

static DifsAttempt *attempts = NULL;
static dlist_head stragglers = DLIST_STATIC_INIT(stragglers);

static void make_straggler(int number, int member);
static void straggler_left(DifsStraggler *straggler);
static void end(int number);

void
difs_attempts_begin(void)
{
	attempts = MemoryContextAllocZero(TopMemoryContext, difs_stream_slot_count() * sizeof(DifsAttempt));
}

DifsAttempt *
difs_attempt(int slot)
{
	return &attempts[slot];
}

int
difs_attempt_slot(const DifsAttempt *attempt)
{
	return attempt - attempts;
}

void
difs_attempt_send(int number, int group, DifsOutlet **outlets)
{
	static uint8 control[DIFS_MAX_PACKED_SIZE];
	DifsSlot *slot = difs_stream_slot(number);
	DifsAttempt *attempt = &attempts[number];
	uint8 *packed = difs_pool_address(slot->run);
	DifsSegment segment = {
		.segment = slot->segment,
		.xid = slot->xid,
		.group = slot->group,
		.raw_length = slot->raw_length,
		.stored_length = slot->stored_length,
		.crc = slot->crc,
		.codec = slot->codec,
	};
	DifsFrame frame = {
		.control_length = difs_segment_packed_size(slot->stored_length),
		.payload_length = slot->stored_length,
		.request = (uint64) ++attempt->serial << 32 | (uint32) number,
		.message = DIFS_MESSAGE_PUT,
	};

	attempt->group = group;
	attempt->sent_at = difs_streamer_now;
	attempt->members = slot->class.replicas;
	attempt->unanswered = (1U << attempt->members) - 1;
	memcpy(control + DIFS_SEGMENT_HEADER_SIZE, packed + DIFS_SEGMENT_HEADER_SIZE,
		   frame.control_length - DIFS_SEGMENT_HEADER_SIZE);
	difs_segment_pack(&segment, NULL, control);
	for (int i = 0; i < attempt->members; i++)
	{
		DifsOutlet *outlet = attempt->outlet[i] = outlets[i];

		if (outlet->outstanding++ == 0)
			outlet->moved_at = GetCurrentTimestamp();
		attempt->number[i] = difs_conn_send(outlet->conn, &frame, control, packed + slot->payload_offset);
	}
}

bool
difs_attempt_awaits(const DifsAttempt *attempt, const DifsOutlet *outlet)
{
	for (int i = 0; i < attempt->members; i++)
		if (attempt->outlet[i] == outlet && (attempt->unanswered & (1U << i)) != 0)
			return true;
	return false;
}

bool
difs_attempt_answered(DifsAttempt *attempt, const DifsOutlet *outlet)
{
	for (int i = 0; i < attempt->members; i++)
		if (attempt->outlet[i] == outlet)
			attempt->unanswered &= ~(1U << i);
	return attempt->unanswered == 0;
}

void
difs_attempt_give_up(int number)
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
	attempt->unanswered = 0;
}

void
difs_attempt_log_slow(int number)
{
	DifsAttempt *attempt = &attempts[number];
	DifsSlot *slot = difs_stream_slot(number);
	StringInfoData servers;

	if (difs_log_min_duration < 0 || difs_streamer_now - slot->queued_at < difs_log_min_duration * INT64CONST(1000))
		return;
	initStringInfo(&servers);
	for (int i = 0; i < attempt->members; i++)
		appendStringInfo(&servers, "%s%s", i == 0 ? "" : ", ", attempt->outlet[i]->name);
	ereport(LOG,
			(errmsg("difs streamer: slow segment " UINT64_FORMAT " of %u bytes: %.3f ms", slot->segment, slot->stored_length,
					(difs_streamer_now - slot->queued_at) / 1000.0),
			 errdetail("It waited %.3f ms for a block group and for its turn, in %d tries; then %s took %.3f ms.",
					   (attempt->sent_at - slot->queued_at) / 1000.0, attempt->tries, servers.data,
					   (difs_streamer_now - attempt->sent_at) / 1000.0)));
	pfree(servers.data);
}

void
difs_attempt_end(int number, const DifsError *why)
{
	DifsSlot *slot = difs_stream_slot(number);

	slot->error_code = why->code;
	strlcpy(slot->error_text, why->text, sizeof(slot->error_text));
	attempts[number].ended = true;
	end(number);
}

void
difs_stragglers_look(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify (iter, &stragglers)
	{
		DifsStraggler *straggler = dlist_container(DifsStraggler, node, iter.cur);

		if (difs_conn_sent(straggler->outlet->conn) >= straggler->number)
			straggler_left(straggler);
	}
}

void
difs_stragglers_outlet_lost(const DifsOutlet *outlet)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify (iter, &stragglers)
	{
		DifsStraggler *straggler = dlist_container(DifsStraggler, node, iter.cur);

		if (straggler->outlet == outlet)
			straggler_left(straggler);
	}
}

DifsOutlet *
difs_stragglers_late(TimestampTz now)
{
	dlist_iter iter;

	dlist_foreach (iter, &stragglers)
	{
		DifsStraggler *straggler = dlist_container(DifsStraggler, node, iter.cur);

		if (attempts[straggler->slot].ended && now >= difs_stream_deadline(difs_stream_slot(straggler->slot)))
			return straggler->outlet;
	}
	return NULL;
}

bool
difs_stragglers_any(void)
{
	return !dlist_is_empty(&stragglers);
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
	int number = straggler->slot;

	dlist_delete(&straggler->node);
	pfree(straggler);
	attempts[number].stragglers--;
	if (attempts[number].ended)
		end(number);
}

/* Tells the backend, unless a straggler still reads the memory that this gives back. */
static void
end(int number)
{
	DifsSlot *slot = difs_stream_slot(number);

	if (attempts[number].stragglers > 0)
		return;
	attempts[number].taken = false;
	if (slot->error_code == DIFS_OK)
		difs_stream_end(number, DIFS_SLOT_STORED);
	else
		difs_stream_end(number, slot->stages && difs_staging_helps(slot->error_code) ? DIFS_SLOT_KEPT : DIFS_SLOT_FAILED);
}
