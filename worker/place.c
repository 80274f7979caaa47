/*
 * place.c - asks placement functions where block groups are to be (place.h).
 *
 * State: none here; question and answer stand in classes[] of the database's entry, under difs_shared->lock.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "src/placement_function.h"
#include "src/settings.h"
#include "worker/duties.h"
#include "worker/place.h"
#include "worker/place_call.h"

static void answer(int index, const DifsClass *class);
static DifsSharedServer *copy_servers(int *count);
static DifsLoad *measure_load(const DifsSharedServer *servers, int count);
static bool ask(const DifsClass *class, const DifsCandidates *candidates, DifsPlaced *placed, DifsError *problem);
static bool is_among(int32 server, const int32 *members, int count);

void
difs_place_round(void)
{
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		DifsWantedClass entry;

		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		entry = difs_duty_database->classes[i];
		LWLockRelease(&difs_shared->lock);
		if (entry.class.replicas > 0 && entry.placing == DIFS_PLACEMENT_ASKED)
			answer(i, &entry.class);
	}
}

/* The entry may have become another class's meanwhile. */
static void
answer(int index, const DifsClass *class)
{
	DifsWantedClass *entry = &difs_duty_database->classes[index];
	int count;
	DifsSharedServer *servers = copy_servers(&count);
	DifsLoad *load = measure_load(servers, count);
	int32 member[DIFS_MAX_REPLICAS];
	DifsError refusal = {DIFS_OK};
	bool chosen = difs_place_group(class, (uint64) difs_block_group_size * 1024, servers, load, count, member, &refusal);

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (difs_class_equal(&entry->class, class) && entry->placing == DIFS_PLACEMENT_ASKED)
	{
		entry->placing = chosen ? DIFS_PLACEMENT_CHOSEN : DIFS_PLACEMENT_REFUSED;
		entry->refusal = refusal;
		if (chosen)
			memcpy(entry->chosen, member, sizeof(member[0]) * class->replicas);
	}
	LWLockRelease(&difs_shared->lock);
	difs_wake(difs_duty_database->keeper);
}

bool
difs_place_group(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers, const DifsLoad *load, int count,
				 int32 *member, DifsError *problem)
{
	DifsCandidates candidates = {.capacity_bytes = capacity_bytes, .servers = servers, .load = load, .count = count};
	DifsPlaced placed;

	if (!ask(class, &candidates, &placed, problem))
		return false;
	if (!placed.asked)
		return difs_placement_choose(class, capacity_bytes, servers, load, count, member, problem);
	errno = 0;
	if (placed.count < class->replicas)
		return difs_error_set(problem, DIFS_ERROR_NO_GROUP, "placement function %s of volume \"%s\" named %d of %d servers",
							  placed.function, placed.volume, placed.count, class->replicas);
	memcpy(member, placed.server, sizeof(member[0]) * class->replicas);
	return true;
}

bool
difs_place_one(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers, const DifsLoad *load, int count,
			   const int32 *others, int other_count, int32 *chosen, DifsError *problem)
{
	DifsCandidates candidates = {
		.capacity_bytes = capacity_bytes,
		.servers = servers,
		.load = load,
		.count = count,
		.members = others,
		.member_count = other_count,
	};
	DifsPlaced placed;

	if (!ask(class, &candidates, &placed, problem))
		return false;
	if (!placed.asked)
		return difs_placement_choose_one(class, capacity_bytes, servers, load, count, others, other_count, chosen, problem);
	for (int i = 0; i < placed.count; i++)
	{
		if (is_among(placed.server[i], others, other_count))
			continue;
		*chosen = placed.server[i];
		return true;
	}
	errno = 0;
	return difs_error_set(problem, DIFS_ERROR_NO_GROUP, "placement function %s of volume \"%s\" named no server beside those that have the block group",
						  placed.function, placed.volume);
}

static DifsSharedServer *
copy_servers(int *count)
{
	DifsSharedServer *servers = palloc(sizeof(difs_duty_database->servers));

	*count = 0;
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (difs_duty_database->servers[i].id != 0)
			servers[(*count)++] = difs_duty_database->servers[i];
	}
	LWLockRelease(&difs_shared->lock);
	return servers;
}

/* Of open groups; the keeper, which knows of those that are being made, looks again. */
static DifsLoad *
measure_load(const DifsSharedServer *servers, int count)
{
	DifsLoad *load = palloc0(Max(count, 1) * sizeof(DifsLoad));

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		if (difs_duty_database->groups[i].state == DIFS_OPEN_GROUP_OPEN)
			difs_load_add(load, &difs_duty_database->groups[i], servers, count);
	}
	LWLockRelease(&difs_shared->lock);
	return load;
}

/* A transaction of its own. What the function does is undone if it fails, and committed if not. */
static bool
ask(const DifsClass *class, const DifsCandidates *candidates, DifsPlaced *placed, DifsError *problem)
{
	MemoryContext before = CurrentMemoryContext;
	DifsVolume volume;
	bool good = true;

	memset(placed, 0, sizeof(*placed));
	if (class->placement == 0)
		return true;
	if (!difs_duty_begin())
		proc_exit(0);
	if (difs_volume_find_id(difs_placement_volume(class->placement), &volume) && volume.placement[0] != '\0')
	{
		placed->asked = true;
		strlcpy(placed->function, volume.placement, sizeof(placed->function));
		strlcpy(placed->volume, volume.name, sizeof(placed->volume));
		good = difs_place_call(class, candidates, placed, problem);
	}
	difs_duty_commit();
	MemoryContextSwitchTo(before);
	return good;
}

static bool
is_among(int32 server, const int32 *members, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (members[i] == server)
			return true;
	}
	return false;
}
