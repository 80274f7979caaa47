/*
 * choice.c - open block groups, as the streamer sees them in shared memory
 * (streamer.h).
 *
 * The keeper opens and seals groups; the streamer chooses among the open ones (and backends, for clients: lease.c),
 * keeps count of what is on its way to each, and says when one is full or has
 * failed.  Beside it only the keeper takes a group from OPEN to FULL, when a
 * member is to be drained or has been gone for long, or the entry is needed.  The keeper does not touch the rest of it before nothing is on its way any more, so an index
 * into groups[] stays good for as long as a try uses it.
 */
#include "postgres.h"

#include "common/segment.h"
#include "src/settings.h"
#include "worker/lease.h"
#include "worker/streamer.h"

#define SPREAD_BYTES (1024 * 1024)
#define FILE_HEADER 4096 /* what stands in a group's file before the first record: chunkd/disk_format.h */

static uint64 record_bytes(const DifsSlot *slot);

/*
 * An open group of the slot's class that has room.  The first one, until there is enough on its way to keep its servers busy, because segments that
 * arrive together share one fdatasync; then the one with the least.  Groups without room are marked full on the way.
 */
DifsChoice
difs_choice_make(const DifsSlot *slot, int *index, DifsOpenGroup *chosen)
{
	DifsChoice choice;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	choice = difs_choice_among(difs_streamer_database, &slot->class, record_bytes(slot), NULL, 0, index);
	if (choice == DIFS_CHOICE_MADE)
		*chosen = difs_streamer_database->groups[*index];
	LWLockRelease(&difs_shared->lock);
	return choice;
}

DifsChoice
difs_choice_among(DifsDatabase *database, const DifsClass *class, uint64 bytes, const uint64 *avoid, int avoid_count, int *index)
{
	DifsChoice choice = DIFS_CHOICE_NONE;
	uint64 least = 0;
	bool filled = false;

	if (FILE_HEADER + bytes > (uint64) difs_block_group_size * 1024)
		return DIFS_CHOICE_TOO_LARGE;
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &database->groups[i];
		bool unwanted = group->avoided;

		for (int j = 0; j < avoid_count && !unwanted; j++)
			unwanted = group->id == avoid[j];
		if (group->state != DIFS_OPEN_GROUP_OPEN || unwanted || !difs_class_equal(&group->class, class))
			continue;
		if (group->reserved_bytes + bytes > group->capacity_bytes)
		{
			group->state = DIFS_OPEN_GROUP_FULL;
			filled = true;
		}
		else if (choice != DIFS_CHOICE_MADE || (least >= SPREAD_BYTES && difs_choice_load(group) < least))
		{
			choice = DIFS_CHOICE_MADE;
			*index = i;
			least = difs_choice_load(group);
		}
	}
	if (filled)
		difs_wake(database->keeper);
	return choice;
}

void
difs_choice_reserve(int index, const DifsSlot *slot)
{
	DifsOpenGroup *group = &difs_streamer_database->groups[index];

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	group->reserved_bytes += record_bytes(slot);
	group->in_flight++;
	group->in_flight_bytes += record_bytes(slot);
	LWLockRelease(&difs_shared->lock);
}

void
difs_choice_release(int index, const DifsSlot *slot)
{
	DifsOpenGroup *group = &difs_streamer_database->groups[index];
	bool drained;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	group->in_flight--;
	group->in_flight_bytes -= record_bytes(slot);
	drained = group->in_flight == 0 && group->state != DIFS_OPEN_GROUP_OPEN;
	LWLockRelease(&difs_shared->lock);
	if (drained)
		difs_wake(difs_streamer_database->keeper); /* to seal it */
}

void
difs_choice_failed(int index, const char *why)
{
	DifsOpenGroup *group = &difs_streamer_database->groups[index];

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	group->state = DIFS_OPEN_GROUP_FAILED;
	LWLockRelease(&difs_shared->lock);
	ereport(LOG,
			(errmsg("difs streamer: block group " UINT64_FORMAT " takes no more segments: %s", group->id, why)));
	difs_wake(difs_streamer_database->keeper);
}

void
difs_choice_reset(void)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		difs_streamer_database->groups[i].in_flight = 0;
		difs_streamer_database->groups[i].in_flight_bytes = 0;
	}
	LWLockRelease(&difs_shared->lock);
}

void
difs_choice_want(const DifsClass *class)
{
	difs_class_want(difs_streamer_database, class);
}

DifsError
difs_choice_problem(const DifsClass *class)
{
	return difs_class_problem(difs_streamer_database, class);
}

/* What it takes in a group's file. */
static uint64
record_bytes(const DifsSlot *slot)
{
	return difs_record_bytes(slot->stored_length);
}
