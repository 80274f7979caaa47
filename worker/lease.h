/*
 * lease.h - room in open block groups for segments that clients write by token.
 *
 * Backends take it, from the same open groups as the streamer, which the keeper
 * opens for both.  A lease lasts until the receipts of its segment have come in, or
 * its token has expired: a group that is full is not sealed before its leases are
 * over, unless entries for open groups become short.  Then, and when a member
 * fails, clients are refused by the servers and ask for another place.  A lease
 * says nothing about what may be written: that is the token, and the server.
 *
 * State: reserved_bytes, leases and leased_until of the group, in shared memory.  A
 * backend that dies leaves a lease that runs out.
 */
#ifndef DIFS_LEASE_H
#define DIFS_LEASE_H

#include "postgres.h"

#include "src/shmem.h"
#include "worker/streamer.h"

/* What a segment takes in a group's file. */
extern uint64 difs_record_bytes(uint32 stored_length);

/* choice.c: an open group of the class with room for so many bytes, but for those to be avoided: its index in groups[]. The first one, until
 * there is enough on its way to keep its servers busy, because segments that arrive together share one fdatasync; then the one with the least.
 * Groups without room are marked full on the way. Under difs_shared->lock, exclusive. */
extern DifsChoice difs_choice_among(DifsDatabase *database, const DifsClass *class, uint64 bytes, const uint64 *avoid,
									int avoid_count, int *index);

/* Bytes that are on their way to it. */
static inline uint64
difs_choice_load(const DifsOpenGroup *group)
{
	return group->in_flight_bytes + group->leased_bytes;
}

/* The keeper shall open a group of that class; and why it cannot, DIFS_OK if it can. */
extern void difs_class_want(DifsDatabase *database, const DifsClass *class);
extern DifsError difs_class_problem(DifsDatabase *database, const DifsClass *class);

/* Takes room for a segment of at most so many bytes; *group is where, and until when is the lease. */
extern DifsChoice difs_lease_take(DifsDatabase *database, const DifsClass *class, uint32 bytes, TimestampTz until,
								  const uint64 *avoid, int avoid_count, DifsOpenGroup *group);

/* A member has a segment for which room was taken, which is shorter, perhaps. */
extern void difs_lease_return(DifsDatabase *database, uint64 group, uint32 bytes, uint32 stored_length);

/* Under the lock: has the group leases that its sealing should wait for? */
extern bool difs_lease_holds(const DifsDatabase *database, const DifsOpenGroup *group, TimestampTz now);

#endif
