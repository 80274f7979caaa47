/*
 * place.h - asking placement functions (src/placement_function.h).
 *
 * User code never runs in the keeper, which must not be held up.  For a new block group the keeper asks in classes[] of shared memory
 * (group_stock.c), a round of the duty "place", in a process of its own, answers there, and the keeper takes the answer if it can be used still.
 * Repair is a process of its own already, and asks for itself.
 *
 *	NONE --keeper--> ASKED --place--> CHOSEN or REFUSED --keeper--> NONE
 *
 * What a function says holds.  If it fails, takes longer than half of difs.server_timeout, or names too few servers or one that is no
 * candidate, nothing is placed against it: a write is staged (difs.staging), or fails with the reason, a lost copy stays missing,
 * with the reason in difs.missing_copies, and it is asked again.  If the volume is gone or has no function any more, the built-in rules hold.
 */
#ifndef DIFS_PLACE_H
#define DIFS_PLACE_H

#include "postgres.h"

#include "src/shmem.h"
#include "worker/placement.h"

/* The duty's round. */
extern void difs_place_round(void);

/* In a duty, outside of a transaction: chooses as difs_placement_choose() and difs_placement_choose_one() do, by the function
 * of the class, if it has one. */
extern bool difs_place_group(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers, const DifsLoad *load, int count,
							 int32 *member, DifsError *problem);
extern bool difs_place_one(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers, const DifsLoad *load, int count,
						   const int32 *others, int other_count, int32 *chosen, DifsError *problem);

#endif
