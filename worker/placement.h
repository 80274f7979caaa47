/*
 * placement.h - which servers a new block group lives on.
 */
#ifndef DIFS_PLACEMENT_H
#define DIFS_PLACEMENT_H

#include "postgres.h"

#include "src/shmem.h"

/* What a server carries already, beside what it says itself. */
typedef struct DifsLoad
{
	int groups;			   /* open block groups on it */
	uint64 promised_bytes; /* what these may still grow by */
} DifsLoad;

/* Chooses class->replicas members for a group of that capacity; load[] is parallel to servers[]. False if there are
 * too few usable servers, with the reason in problem: its code is DIFS_ERROR_FULL if there would be enough but for
 * want of space. */
extern bool difs_placement_choose(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers,
								  const DifsLoad *load, int count, int32 *member, DifsError *problem);

/* The same for one more member beside others that the group has already; others may be gone from servers[]. */
extern bool difs_placement_choose_one(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers,
									  const DifsLoad *load, int count, const int32 *others, int other_count,
									  int32 *chosen, DifsError *problem);

/* Is a server alive, does it take groups, is it of the tier, and has it room? How much room there is beside what open groups may still take. */
extern bool difs_placement_usable(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *server, const DifsLoad *load);
extern uint64 difs_placement_room(const DifsSharedServer *server, const DifsLoad *load);

/* Adds an open group to what its servers carry. */
extern void difs_load_add(DifsLoad *load, const DifsOpenGroup *group, const DifsSharedServer *servers, int count);

/* Servers of the class's tier that take groups, usable now or not. */
extern int difs_placement_servers(const DifsClass *class, const DifsSharedServer *servers, int count);

#endif
