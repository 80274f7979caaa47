/*
 * lease.c - see lease.h.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/segment.h"
#include "worker/lease.h"

#define RECORD_ALIGN 64 /* of records in a group's file: chunkd/disk_format.h */
#define SPARE_ENTRIES (DIFS_MAX_OPEN_GROUPS / 4)

static DifsWantedClass *find_class(DifsDatabase *database, const DifsClass *class);
static DifsWantedClass *make_class(DifsDatabase *database, const DifsClass *class);

uint64
difs_record_bytes(uint32 stored_length)
{
	return TYPEALIGN(RECORD_ALIGN, difs_segment_packed_size(stored_length) + stored_length);
}

DifsChoice
difs_lease_take(DifsDatabase *database, const DifsClass *class, uint32 bytes, TimestampTz until,
				const uint64 *avoid, int avoid_count, DifsOpenGroup *group)
{
	DifsChoice choice;
	int index;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	choice = difs_choice_among(database, class, difs_record_bytes(bytes), avoid, avoid_count, &index);
	if (choice == DIFS_CHOICE_MADE)
	{
		DifsOpenGroup *chosen = &database->groups[index];

		chosen->reserved_bytes += difs_record_bytes(bytes);
		chosen->leased_bytes += difs_record_bytes(bytes);
		chosen->leases += class->replicas;
		chosen->leased_until = Max(chosen->leased_until, until);
		*group = *chosen;
	}
	LWLockRelease(&difs_shared->lock);
	return choice;
}

/* Of a group that is sealed meanwhile, or that another keeper has opened anew, there is nothing to return. */
void
difs_lease_return(DifsDatabase *database, uint64 id, uint32 bytes, uint32 stored_length)
{
	uint64 taken = difs_record_bytes(bytes);
	uint64 surplus = taken - difs_record_bytes(stored_length);
	bool ended = false;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &database->groups[i];

		if (group->state == DIFS_OPEN_GROUP_UNUSED || group->id != id || group->leases == 0)
			continue;
		group->leases--;
		group->leased_bytes = group->leases == 0 ? 0 : group->leased_bytes - Min(group->leased_bytes, taken / group->class.replicas);
		group->reserved_bytes -= Min(group->reserved_bytes, surplus / group->class.replicas);
		ended = group->leases == 0 && group->state != DIFS_OPEN_GROUP_OPEN;
	}
	LWLockRelease(&difs_shared->lock);
	if (ended)
		difs_wake(database->keeper); /* to seal it */
}

bool
difs_lease_holds(const DifsDatabase *database, const DifsOpenGroup *group, TimestampTz now)
{
	int unused = 0;

	if (group->state != DIFS_OPEN_GROUP_FULL || group->leases == 0 || group->leased_until <= now)
		return false;
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
		unused += database->groups[i].state == DIFS_OPEN_GROUP_UNUSED;
	return unused >= SPARE_ENTRIES;
}

void
difs_class_want(DifsDatabase *database, const DifsClass *class)
{
	DifsWantedClass *entry;
	bool asked = false;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	entry = find_class(database, class);
	if (entry == NULL)
		entry = make_class(database, class);
	if (entry != NULL)
	{
		asked = !entry->wanted;
		entry->wanted = true;
		entry->wanted_at = GetCurrentTimestamp();
	}
	LWLockRelease(&difs_shared->lock);
	if (asked)
		difs_wake(database->keeper);
}

DifsError
difs_class_problem(DifsDatabase *database, const DifsClass *class)
{
	DifsError problem = {DIFS_OK};
	DifsWantedClass *entry;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	entry = find_class(database, class);
	if (entry != NULL)
		problem = entry->problem;
	LWLockRelease(&difs_shared->lock);
	return problem;
}

static DifsWantedClass *
find_class(DifsDatabase *database, const DifsClass *class)
{
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		if (difs_class_equal(&database->classes[i].class, class))
			return &database->classes[i];
	}
	return NULL;
}

/* An entry that is not in use, or that of the class which has been wanted the longest ago: its open groups are used up, but it is not kept in stock. */
static DifsWantedClass *
make_class(DifsDatabase *database, const DifsClass *class)
{
	DifsWantedClass *chosen = NULL;

	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		DifsWantedClass *entry = &database->classes[i];

		if (!entry->wanted && (chosen == NULL || entry->wanted_at < chosen->wanted_at))
			chosen = entry;
	}
	if (chosen != NULL)
		*chosen = (DifsWantedClass){.class = *class};
	return chosen;
}
