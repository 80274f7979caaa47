/*
 * lock.h - locks on files that programs ask for: difs_lock(), difs_unlock().
 *
 *	lock.c			the two functions
 *	lock_range.c	ranges of bytes in PostgreSQL's lock manager
 *	lock_owner.c	locks of named owners, in difs.lock
 *
 * They are advisory: they hold off nobody but who asks for them too.  Locks of
 * transactions and sessions are PostgreSQL's own heavyweight locks, so they end
 * with their holder however he ends, show in pg_locks, and deadlocks are detected.
 * Those of a named owner are rows that expire.  Who asks for any lock takes the
 * heavyweight one first and then looks for rows, so the kinds exclude each other.
 *
 * The fencing number has the epoch of the claim in front (ids.h), so that it rises
 * across failover and restore as well.
 */
#ifndef DIFS_LOCK_H
#define DIFS_LOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "src/path.h"

/* Bytes [offset, behind) of an inode. */
typedef struct DifsRange
{
	int64 ino;
	int64 offset;
	int64 behind; /* PG_INT64_MAX: to the end, wherever that is */
	bool exclusive;
} DifsRange;

/* Locks a range for the transaction, or releases one. Waits until the deadline, then 55P03; DT_NOEND waits for ever, and DT_NOBEGIN not at all: false
 * if it would have to. */
extern bool difs_range_lock(const DifsRange *range, TimestampTz deadline);
extern void difs_range_unlock(const DifsRange *range);

/* Makes a lock of the transaction one of the session too; and ends that: false if the session has none any more. */
extern void difs_range_keep(const DifsRange *range);
extern bool difs_range_drop(const DifsRange *range);

/* When does the last lock of others end that stands against a range? 0 if there is none. owner is whose are not others; NULL for nobody. */
extern TimestampTz difs_owner_conflict(const DifsRange *range, const char *owner);

/* Renews an owner's lock of that range and mode, and returns its number; 0 if there is none. */
extern int64 difs_owner_renew(const DifsRange *range, const char *owner, TimestampTz expires);
extern void difs_owner_insert(const DifsRange *range, const char *owner, int64 fence, TimestampTz expires);

/* Ends an owner's locks of just that range of what a walk found; false if there is none that has not expired. 42501 if the user could not take one of
 * them. */
extern bool difs_owner_remove(const DifsWalk *walk, const DifsRange *range, const char *owner);

/* May the user take a lock? Exclusive for who may write, shared for who may read; 42501 if not. */
extern void difs_lock_require(const DifsWalk *walk, bool exclusive);

#endif
