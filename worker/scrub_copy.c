/*
 * scrub_copy.c - reads one server's copy of a block group, at the rate that is allowed (scrub_copy.h).
 *
 * State: when the next bytes may be read, of this process.
 *
 * A request reads 16 MiB (DIFS_VERIFY_BYTES) and then waits for as long as that
 * takes at difs.scrub_rate; so the rate holds over seconds, not within one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "src/settings.h"
#include "src/wait.h"
#include "worker/mend.h"
#include "worker/scrub_copy.h"

static bool list(DifsScrubCopy *copy, uint64 group);
static bool add_entries(DifsScrubCopy *copy, const DifsReply *reply);
static bool verify(DifsScrubCopy *copy, uint64 group, bool *own_damage);
static void note_bad(DifsScrubCopy *copy, const DifsReply *reply, bool *own_damage);
static DifsScrubOutcome outcome_of(const DifsError *error);

void
difs_scrub_copy_read(DifsScrubCopy *copy, uint64 group)
{
	bool own_damage = false;
	bool ok = list(copy, group) && (!copy->due || verify(copy, group, &own_damage));

	/* The index was wrong, perhaps, and so all that was said. */
	if (ok && own_damage)
	{
		copy->bad++;
		ok = difs_mend_group(copy->server, group, &copy->error) && list(copy, group) &&
			verify(copy, group, &own_damage);
		copy->mended += ok && !own_damage;
	}
	copy->outcome = ok ? DIFS_SCRUB_READ : outcome_of(&copy->error);
}

DifsListEntry *
difs_scrub_copy_find(const DifsScrubCopy *copy, uint64 segment)
{
	uint32 low = 0;
	uint32 high = copy->count;

	while (low < high)
	{
		uint32 middle = low + (high - low) / 2;

		if (copy->entries[middle].segment < segment)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == copy->count || copy->entries[low].segment != segment || copy->entries[low].flags & DIFS_LIST_DEAD)
		return NULL;
	return &copy->entries[low];
}

void
difs_scrub_pace(int64 bytes)
{
	static TimestampTz next = 0;
	TimestampTz now = GetCurrentTimestamp();
	int64 rate = (int64) difs_scrub_rate * 1024;

	if (rate > 0)
		next = Max(next, now) + (TimestampTz) ((double) bytes / (double) rate * USECS_PER_SEC);
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		now = GetCurrentTimestamp();
		if (difs_scrub_rate == 0 || next <= now)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(now, next), difs_wait_event(DIFS_WAIT_RATE));
		ResetLatch(MyLatch);
	} while (true);
}

/* All entries, in order: the server lists them by segment. */
static bool
list(DifsScrubCopy *copy, uint64 group)
{
	uint8 control[16];
	uint64 cursor = 0;

	copy->count = 0;
	do
	{
		DifsReply reply;

		if (!difs_mend_ask(copy->server, group, DIFS_MESSAGE_LIST, control, difs_pair_pack(group, cursor, control),
						   NULL, 0, &reply, &copy->error))
			return false;
		if (!difs_group_unpack(reply.control, reply.control_length, &cursor, &copy->error) ||
			!add_entries(copy, &reply))
			return false;
	} while (cursor != 0);
	return true;
}

static bool
add_entries(DifsScrubCopy *copy, const DifsReply *reply)
{
	uint32 count = reply->payload_length / DIFS_LIST_ENTRY_SIZE;
	Size size = sizeof(DifsListEntry) * ((Size) copy->count + count + 1);

	if (copy->entries == NULL)
		copy->entries = MemoryContextAllocHuge(CurrentMemoryContext, size);
	else
		copy->entries = repalloc_huge(copy->entries, size);
	for (uint32 i = 0; i < count; i++)
	{
		DifsListEntry *entry = &copy->entries[copy->count];

		difs_list_entry_unpack(reply->payload + (Size) i * DIFS_LIST_ENTRY_SIZE, entry);
		entry->flags &= ~(copy->due ? DIFS_LIST_DAMAGED : 0);
		if (copy->count > 0 && entry[-1].segment > entry->segment)
			return difs_error_set(&copy->error, DIFS_ERROR_PROTOCOL, "server %d lists segments out of order",
								  copy->server);
		copy->count++;
	}
	if (reply->payload != NULL)
		pfree(reply->payload);
	return true;
}

static bool
verify(DifsScrubCopy *copy, uint64 group, bool *own_damage)
{
	uint8 control[16];
	uint64 cursor = 0;

	*own_damage = false;
	do
	{
		DifsReply reply;
		uint64 bytes;

		if (!difs_mend_ask(copy->server, group, DIFS_MESSAGE_VERIFY_GROUP, control,
						   difs_pair_pack(group, cursor, control), NULL, 0, &reply, &copy->error) ||
			!difs_pair_unpack(reply.control, reply.control_length, &cursor, &bytes, &copy->error))
			return false;
		note_bad(copy, &reply, own_damage);
		copy->bytes += (int64) bytes;
		difs_scrub_pace((int64) bytes);
	} while (cursor != 0);
	return true;
}

static void
note_bad(DifsScrubCopy *copy, const DifsReply *reply, bool *own_damage)
{
	for (uint32 at = 0; at + DIFS_LIST_ENTRY_SIZE <= reply->payload_length; at += DIFS_LIST_ENTRY_SIZE)
	{
		DifsListEntry bad;
		DifsListEntry *entry;

		difs_list_entry_unpack(reply->payload + at, &bad);
		if (bad.segment == 0)
			*own_damage |= bad.offset == 0;
		else if ((entry = difs_scrub_copy_find(copy, bad.segment)) != NULL)
			entry->flags |= bad.flags & (DIFS_LIST_DAMAGED | DIFS_LIST_DEAD);
	}
	if (reply->payload != NULL)
		pfree(reply->payload);
}

static DifsScrubOutcome
outcome_of(const DifsError *error)
{
	switch (error->code)
	{
		case DIFS_ERROR_NO_GROUP:
			return DIFS_SCRUB_GONE;
		case DIFS_ERROR_CORRUPT:
			return DIFS_SCRUB_UNREADABLE;
		default:
			return DIFS_SCRUB_NO_ANSWER;
	}
}
