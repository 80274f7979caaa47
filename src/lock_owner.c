/*
 * lock_owner.c - locks of named owners: rows of difs.lock (lock.h).
 *
 * State: the rows.  Who inserts one holds the heavyweight lock of the range until
 * the end of the transaction, so others look for rows only when his can be seen.
 * A row that has expired does not count, and the keeper removes it
 * (worker/expire.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/dentry.h"
#include "src/lock.h"
#include "src/table.h"

typedef struct OwnerLock
{
	int64 fence;
	DifsRange range;
	char *owner;
	TimestampTz expires;
} OwnerLock;

static DifsScan *scan_locks(int64 ino);
static bool next_lock(DifsScan *scan, OwnerLock *lock, HeapTuple *row);
static HeapTuple find_lock(const DifsRange *range, const char *owner, bool any_mode, OwnerLock *lock);

TimestampTz
difs_owner_conflict(const DifsRange *range, const char *owner)
{
	TimestampTz last = 0;
	OwnerLock lock;
	HeapTuple row;
	DifsScan *scan;

	difs_latest_begin();
	scan = scan_locks(range->ino);
	while (next_lock(scan, &lock, &row))
	{
		if (lock.range.offset < range->behind && range->offset < lock.range.behind &&
			(lock.range.exclusive || range->exclusive) && (owner == NULL || strcmp(owner, lock.owner) != 0))
			last = Max(last, lock.expires);
	}
	difs_scan_end(scan);
	difs_latest_end();
	return last;
}

int64
difs_owner_renew(const DifsRange *range, const char *owner, TimestampTz expires)
{
	Datum values[DIFS_LOCK_COLUMNS] = {0};
	bool nulls[DIFS_LOCK_COLUMNS] = {0};
	bool replace[DIFS_LOCK_COLUMNS] = {0};
	OwnerLock lock;
	HeapTuple row;

	difs_latest_begin();
	row = find_lock(range, owner, false, &lock);
	if (row != NULL && difs_row_lock_newest(DIFS_REL_LOCK, &row, true) == DIFS_ROW_LOCKED)
	{
		values[DIFS_LOCK_EXPIRES - 1] = TimestampTzGetDatum(expires);
		replace[DIFS_LOCK_EXPIRES - 1] = true;
		difs_row_update(DIFS_REL_LOCK, row, values, nulls, replace);
	}
	else
		lock.fence = 0;
	difs_latest_end();
	return lock.fence;
}

void
difs_owner_insert(const DifsRange *range, const char *owner, int64 fence, TimestampTz expires)
{
	Datum values[DIFS_LOCK_COLUMNS];

	values[DIFS_LOCK_FENCE - 1] = Int64GetDatum(fence);
	values[DIFS_LOCK_INO - 1] = Int64GetDatum(range->ino);
	values[DIFS_LOCK_OWNER - 1] = CStringGetTextDatum(owner);
	values[DIFS_LOCK_EXCLUSIVE - 1] = BoolGetDatum(range->exclusive);
	values[DIFS_LOCK_OFFSET - 1] = Int64GetDatum(range->offset);
	values[DIFS_LOCK_BEHIND - 1] = Int64GetDatum(range->behind);
	values[DIFS_LOCK_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[DIFS_LOCK_EXPIRES - 1] = TimestampTzGetDatum(expires);
	difs_row_insert(DIFS_REL_LOCK, values, NULL);
}

bool
difs_owner_remove(const DifsWalk *walk, const DifsRange *range, const char *owner)
{
	bool removed = false;
	OwnerLock lock;
	HeapTuple row;

	difs_latest_begin();
	while ((row = find_lock(range, owner, true, &lock)) != NULL &&
		   difs_row_lock_newest(DIFS_REL_LOCK, &row, true) == DIFS_ROW_LOCKED)
	{
		difs_lock_require(walk, lock.range.exclusive);
		difs_row_delete(DIFS_REL_LOCK, row);
		removed = true;
	}
	difs_latest_end();
	return removed;
}

static DifsScan *
scan_locks(int64 ino)
{
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_LOCK_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	return difs_scan_begin(DIFS_REL_LOCK, DIFS_REL_LOCK_INO, 1, &key);
}

/* The next one that has not expired. */
static bool
next_lock(DifsScan *scan, OwnerLock *lock, HeapTuple *row)
{
	TimestampTz now = GetCurrentTimestamp();

	while ((*row = difs_scan_next(scan, false)) != NULL)
	{
		Datum values[DIFS_LOCK_COLUMNS];
		bool nulls[DIFS_LOCK_COLUMNS];

		heap_deform_tuple(*row, difs_scan_desc(scan), values, nulls);
		lock->fence = DatumGetInt64(values[DIFS_LOCK_FENCE - 1]);
		lock->range = (DifsRange){
			.ino = DatumGetInt64(values[DIFS_LOCK_INO - 1]),
			.offset = DatumGetInt64(values[DIFS_LOCK_OFFSET - 1]),
			.behind = DatumGetInt64(values[DIFS_LOCK_BEHIND - 1]),
			.exclusive = DatumGetBool(values[DIFS_LOCK_EXCLUSIVE - 1]),
		};
		lock->owner = TextDatumGetCString(values[DIFS_LOCK_OWNER - 1]);
		lock->expires = DatumGetTimestampTz(values[DIFS_LOCK_EXPIRES - 1]);
		if (lock->expires > now)
			return true;
	}
	return false;
}

/* Copied. */
static HeapTuple
find_lock(const DifsRange *range, const char *owner, bool any_mode, OwnerLock *lock)
{
	DifsScan *scan = scan_locks(range->ino);
	HeapTuple found = NULL;
	HeapTuple row;

	while (found == NULL && next_lock(scan, lock, &row))
	{
		if (lock->range.offset == range->offset && lock->range.behind == range->behind &&
			(any_mode || lock->range.exclusive == range->exclusive) && strcmp(lock->owner, owner) == 0)
			found = heap_copytuple(row);
	}
	difs_scan_end(scan);
	return found;
}
