/*
 * lock_range.c - ranges of bytes in PostgreSQL's lock manager (lock.h).
 *
 * Lock tags are equal or not; ranges overlap.  So a range is cut into blocks
 * whose size is a power of two and divides their offset, at most two of a size.
 * Two ranges overlap if and only if a block of one is, or lies in, a block of the
 * other.  So each block is locked, and the larger blocks around it get a lock that
 * says "something in here is", as in any hierarchy of locks:
 *
 *	                    shared              exclusive
 *	a block             ShareLock           AccessExclusiveLock
 *	those around it     AccessShareLock     RowExclusiveLock
 *
 * The whole file is one block, and so one lock.  A range costs 64 to 250 entries
 * of the lock table at worst, and aligned ones the fewest.  All are taken from the
 * largest to the smallest and from left to right, so single calls do not
 * deadlock with one another.
 *
 * The tag of the whole file is its inode number; others are a hash of it, and of
 * the block.  If two are the same by chance (2^-64), somebody waits in vain.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/lock.h"

/* Tags in the space of advisory locks; inode.c has the number before. */
#define SPACE_FILE 0xD1F6
#define SPACE_BLOCK 0xD1F7

#define FILE_LEVEL 63 /* a block of level n has 2^n bytes */

typedef bool (*BlockAction)(const LOCKTAG *tag, LOCKMODE mode, void *context);

static bool each_block(const DifsRange *range, int level, int64 number, BlockAction action, void *context);
static void make_tag(int64 ino, int level, int64 number, LOCKTAG *tag);
static bool acquire(const LOCKTAG *tag, LOCKMODE mode, void *context);
static bool release(const LOCKTAG *tag, LOCKMODE mode, void *context);
static bool keep(const LOCKTAG *tag, LOCKMODE mode, void *context);
static bool is_held(const LOCKTAG *tag, LOCKMODE mode, void *context);
static bool drop(const LOCKTAG *tag, LOCKMODE mode, void *context);
static bool count(const LOCKTAG *tag, LOCKMODE mode, void *context);

typedef struct Acquisition
{
	TimestampTz deadline;
	int done;
} Acquisition;

bool
difs_range_lock(const DifsRange *range, TimestampTz deadline)
{
	Acquisition acquisition = {.deadline = deadline};
	volatile int timeout_before = LockTimeout;
	volatile bool locked = false;

	PG_TRY();
	{
		locked = each_block(range, FILE_LEVEL, 0, acquire, &acquisition);
	}
	PG_FINALLY();
	{
		LockTimeout = timeout_before;
	}
	PG_END_TRY();
	if (!locked)
		(void) each_block(range, FILE_LEVEL, 0, release, &acquisition);
	return locked;
}

void
difs_range_unlock(const DifsRange *range)
{
	Acquisition all = {0};

	(void) each_block(range, FILE_LEVEL, 0, count, &all);
	(void) each_block(range, FILE_LEVEL, 0, release, &all);
}

void
difs_range_keep(const DifsRange *range)
{
	(void) each_block(range, FILE_LEVEL, 0, keep, NULL);
}

/* DISCARD ALL and pg_advisory_unlock_all() may have ended it. */
bool
difs_range_drop(const DifsRange *range)
{
	return each_block(range, FILE_LEVEL, 0, is_held, NULL) && each_block(range, FILE_LEVEL, 0, drop, NULL);
}

/* Acts on block number of a level and on the blocks in it, as far as the range reaches. False as soon as the action says so. */
static bool
each_block(const DifsRange *range, int level, int64 number, BlockAction action, void *context)
{
	uint64 first = (uint64) number << level;
	uint64 last = first + ((UINT64CONST(1) << level) - 1);
	uint64 range_last = (uint64) range->behind - 1;
	bool within;
	LOCKTAG tag;

	/* the end of all files counts as the end of the last block */
	if (range->behind == PG_INT64_MAX)
		range_last = PG_INT64_MAX;
	if (last < (uint64) range->offset || first > range_last)
		return true;
	within = first >= (uint64) range->offset && last <= range_last;
	make_tag(range->ino, level, number, &tag);
	if (!action(&tag, within ? (range->exclusive ? AccessExclusiveLock : ShareLock) : (range->exclusive ? RowExclusiveLock : AccessShareLock), context))
		return false;
	return within || (each_block(range, level - 1, number * 2, action, context) && each_block(range, level - 1, number * 2 + 1, action, context));
}

static void
make_tag(int64 ino, int level, int64 number, LOCKTAG *tag)
{
	int64 block[] = {ino, level, number};
	uint64 hash;

	if (level == FILE_LEVEL)
	{
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) ((uint64) ino >> 32), (uint32) ino, SPACE_FILE);
		return;
	}
	hash = hash_bytes_extended((const unsigned char *) block, sizeof(block), 0);
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, SPACE_BLOCK);
}

static bool
acquire(const LOCKTAG *tag, LOCKMODE mode, void *context)
{
	Acquisition *acquisition = context;
	bool wait = acquisition->deadline != DT_NOBEGIN;

	if (wait && acquisition->deadline != DT_NOEND)
		LockTimeout = Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), acquisition->deadline));
	if (LockAcquire(tag, mode, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	acquisition->done++;
	return true;
}

/* As many as were taken. */
static bool
release(const LOCKTAG *tag, LOCKMODE mode, void *context)
{
	Acquisition *acquisition = context;

	if (acquisition->done == 0)
		return false;
	acquisition->done--;
	LockRelease(tag, mode, false);
	return true;
}

static bool
count(const LOCKTAG *tag, LOCKMODE mode, void *context)
{
	((Acquisition *) context)->done++;
	return true;
}

/* Waits for nobody: the transaction has it. */
static bool
keep(const LOCKTAG *tag, LOCKMODE mode, void *context)
{
	(void) LockAcquire(tag, mode, true, false);
	return true;
}

static bool
is_held(const LOCKTAG *tag, LOCKMODE mode, void *context)
{
	return difs_lock_is_held(tag, mode);
}

static bool
drop(const LOCKTAG *tag, LOCKMODE mode, void *context)
{
	return LockRelease(tag, mode, true);
}

/* difs.lock_space() → objsubid, as pg_locks shows it */
PG_FUNCTION_INFO_V1(difs_lock_space);
Datum
difs_lock_space(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT16((int16) SPACE_FILE);
}
