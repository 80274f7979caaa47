/*
 * copy_epoch.h - the epoch that a copy of a block group carries in the header of its file.
 *
 * A copy that has been there since its group was made carries the epoch of the claim
 * alone, as CREATE_GROUP said it. One that is made anew, by repair or by the scrub, carries
 *
 *	epoch of the claim << 32 | a number
 *
 * above all that are known, and is committed as difs.block_group.generation before a server hears of it.  So no two
 * copies of a group that were made anew carry the same: not of one owner, and not of two, of which
 * the older has not heard of the newer one yet.
 */
#ifndef DIFS_COPY_EPOCH_H
#define DIFS_COPY_EPOCH_H

#include "postgres.h"

#define DIFS_COPY_EPOCH_SHIFT 32

/* The epoch of the claim of who made it. */
static inline uint64
difs_copy_owner(uint64 copy_epoch)
{
	return copy_epoch >> DIFS_COPY_EPOCH_SHIFT != 0 ? copy_epoch >> DIFS_COPY_EPOCH_SHIFT : copy_epoch;
}

/* The next one that this owner may give out; 0 if a later owner has given out the highest that is known. */
static inline uint64
difs_copy_epoch_next(uint64 owner, uint64 highest)
{
	uint64 next = Max(highest + 1, owner << DIFS_COPY_EPOCH_SHIFT);

	return difs_copy_owner(next) > owner ? 0 : next;
}

#endif
