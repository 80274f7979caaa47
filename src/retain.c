/*
 * retain.c - retention: which old versions stay (retain.h).
 *
 * No state here.  Old versions are looked at from the oldest on, as far as they
 * go, so what stays costs nothing but for the newest keep_versions.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/dentry.h"
#include "src/marker.h"
#include "src/owner_query.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"

/* Versions that one put lets go of at most; the keeper does the rest. */
#define AT_ONCE 100

static bool has_rule(const DifsRetention *retention);
static bool rules_of(const DifsVolume *volume, const DifsInode *inode, DifsRetention *retention);
static int32 newest_kept(const DifsInode *inode, int count);
static TimestampTz shift(TimestampTz time, const Interval *interval, bool forward);
static TimestampTz expire(DifsInode *inode, const DifsRetention *retention, int limit);
static bool is_lone_marker(const DifsInode *inode);
static void look_again(int64 ino, TimestampTz due);
static HeapTuple find_expiring(int64 ino, TimestampTz *due);

bool
difs_retention_decode(Datum keep_versions, bool versions_null, Datum keep_for, bool for_null, DifsRetention *retention)
{
	*retention = (DifsRetention){0};
	if (!versions_null)
		retention->keep_versions = DatumGetInt32(keep_versions);
	if (!for_null)
	{
		retention->has_keep_for = true;
		retention->keep_for = *DatumGetIntervalP(keep_for);
	}
	return has_rule(retention);
}

void
difs_retention_argument(FunctionCallInfo fcinfo, int argument, DifsRetention *retention)
{
	*retention = (DifsRetention){0};
	if (!PG_ARGISNULL(argument))
	{
		retention->keep_versions = PG_GETARG_INT32(argument);
		if (retention->keep_versions < 1)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_ARGUMENT),
					 errmsg("keep_versions must be at least 1, not %d", retention->keep_versions),
					 errhint("The current version always stays. Null is no such rule.")));
	}
	retention->has_keep_for = difs_interval_argument(fcinfo, argument + 1, "keep_for", &retention->keep_for);
}

bool
difs_interval_argument(FunctionCallInfo fcinfo, int argument, const char *name, Interval *interval)
{
	Interval zero = {0};

	if (PG_ARGISNULL(argument))
		return false;
	*interval = *PG_GETARG_INTERVAL_P(argument);
	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(interval), IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("%s must not be negative: %s", name,
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval))))));

	/* what cannot be reckoned with is refused now (22008), and not at every put */
	(void) shift(GetCurrentTimestamp(), interval, false);
	(void) shift(GetCurrentTimestamp(), interval, true);
	return true;
}

void
difs_retain_after_put(const DifsVolume *volume, DifsInode *inode)
{
	DifsRetention retention;
	TimestampTz due;

	if (inode->version == 1 || !rules_of(volume, inode, &retention))
		return;
	difs_names_again(); /* what there is now that the file is locked */
	due = expire(inode, &retention, AT_ONCE);
	if (due == DT_NOEND && inode->size == 0 && is_lone_marker(inode))
		due = GetCurrentTimestamp(); /* the keeper removes the file */
	if (due != DT_NOEND)
		look_again(inode->ino, due);
}

bool
difs_retain_apply(int64 ino, bool all)
{
	DifsInode inode = {.ino = ino};
	DifsVolume volume;
	DifsRetention retention;
	TimestampTz due;
	HeapTuple row;

	if (!difs_inode_lock(&inode) || inode.kind != DIFS_KIND_FILE)
		return false;
	difs_names_again();
	if (!difs_volume_find_id(inode.volume, &volume))
		return false;
	row = find_expiring(ino, &due);
	if (row != NULL)
		difs_row_delete(DIFS_REL_EXPIRING, row);
	if (!rules_of(&volume, &inode, &retention))
		return true;
	due = expire(&inode, &retention, all ? PG_INT32_MAX : AT_ONCE);
	if (due != DT_NOEND)
		look_again(ino, due);
	if (inode.let_go > 0)
		difs_inode_store_history(&inode);
	if (is_lone_marker(&inode))
		difs_marker_remove_file(&inode, difs_policy_path(&inode));
	return true;
}

void
difs_retain_volume(const DifsVolume *volume)
{
	(void) difs_owner_query("INSERT INTO difs.expiring (ino, due) VALUES ($1, pg_catalog.clock_timestamp())"
							" ON CONFLICT (ino) DO UPDATE SET due = excluded.due",
							1, &volume->root, false, 0, NULL);
}

static bool
has_rule(const DifsRetention *retention)
{
	return retention->keep_versions > 0 || retention->has_keep_for;
}

/* False if every version stays. */
static bool
rules_of(const DifsVolume *volume, const DifsInode *inode, DifsRetention *retention)
{
	DifsFilePolicy policy;

	*retention = volume->retention;
	if (difs_policy_find(inode, &policy))
	{
		if (policy.has_retention)
			*retention = policy.retention;
		if (policy.held_until > GetCurrentTimestamp())
		{
			look_again(inode->ino, policy.held_until);
			return false;
		}
	}
	return has_rule(retention);
}

/* The number of the count-th newest version that has content; 0 if there are fewer. */
static int32
newest_kept(const DifsInode *inode, int count)
{
	DifsVersion version = {.version = inode->version};
	ScanKeyData keys[2];
	DifsScan *scan;
	HeapTuple row;

	DIFS_KEY(&keys[0], DIFS_VERSION_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(inode->ino));
	DIFS_KEY(&keys[1], DIFS_VERSION_VERSION, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(0));
	scan = difs_scan_begin(DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, 2, keys);
	while (count > 0 && (row = difs_scan_next(scan, true)) != NULL)
	{
		difs_version_decode(row, difs_scan_desc(scan), &version);
		count -= !version.deleted;
	}
	difs_scan_end(scan);
	return count > 0 ? 0 : version.version;
}

static TimestampTz
shift(TimestampTz time, const Interval *interval, bool forward)
{
	Datum args[2] = {TimestampTzGetDatum(time), IntervalPGetDatum(interval)};

	return DatumGetTimestampTz(DirectFunctionCall2(forward ? timestamptz_pl_interval : timestamptz_mi_interval, args[0], args[1]));
}

/* Returns when there will be more to do: now if the limit was reached, DT_NOEND if never by time alone. */
static TimestampTz
expire(DifsInode *inode, const DifsRetention *retention, int limit)
{
	TimestampTz now = GetCurrentTimestamp();
	int32 end = retention->keep_versions > 0 ? newest_kept(inode, retention->keep_versions) : inode->version;
	TimestampTz due = DT_NOEND;
	DifsVersion *old = palloc(sizeof(DifsVersion));
	DifsVersion next;
	List *gone = NIL;
	ListCell *cell;
	ScanKeyData keys[2];
	DifsScan *scan;
	HeapTuple row;

	end = Min(end, inode->version);
	DIFS_KEY(&keys[0], DIFS_VERSION_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(inode->ino));
	DIFS_KEY(&keys[1], DIFS_VERSION_VERSION, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(0));
	scan = difs_scan_begin(DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, 2, keys);
	row = difs_scan_next(scan, false);
	if (row != NULL)
		difs_version_decode(row, difs_scan_desc(scan), old);
	while (row != NULL && old->version < end && (row = difs_scan_next(scan, false)) != NULL)
	{
		TimestampTz superseded;

		difs_version_decode(row, difs_scan_desc(scan), &next);
		superseded = Max(old->mtime, next.mtime); /* it may have been put in place of an older one since */
		if (retention->has_keep_for && superseded > shift(now, &retention->keep_for, false))
			due = shift(superseded, &retention->keep_for, true);
		else if (list_length(gone) == limit)
			due = now;
		else
		{
			gone = lappend(gone, old);
			old = palloc(sizeof(DifsVersion));
		}
		if (due != DT_NOEND)
			break;
		*old = next;
	}
	difs_scan_end(scan);

	foreach (cell, gone)
		difs_history_remove(inode, lfirst(cell));
	list_free_deep(gone);
	pfree(old);
	return due;
}

/* A deleted file of which there is nothing left but that it was deleted. */
static bool
is_lone_marker(const DifsInode *inode)
{
	DifsVersion version;

	return difs_version_find(inode->ino, inode->version, &version) && version.deleted &&
		!difs_history_before(inode->ino, inode->version, &version);
}

/* The keeper is to look at this file then, or before. Rows of difs.expiring are changed under the lock of the inode's row. */
static void
look_again(int64 ino, TimestampTz due)
{
	Datum values[DIFS_EXPIRING_COLUMNS] = {Int64GetDatum(ino), TimestampTzGetDatum(due)};
	bool nulls[DIFS_EXPIRING_COLUMNS] = {false};
	bool replace[DIFS_EXPIRING_COLUMNS] = {[DIFS_EXPIRING_DUE - 1] = true};
	TimestampTz before;
	HeapTuple row = find_expiring(ino, &before);

	if (row == NULL)
		(void) difs_row_insert_unless(DIFS_REL_EXPIRING, DIFS_REL_EXPIRING_PKEY, values, NULL);
	else if (due < before)
		difs_row_update(DIFS_REL_EXPIRING, row, values, nulls, replace);
}

static HeapTuple
find_expiring(int64 ino, TimestampTz *due)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;
	bool null;

	DIFS_KEY(&key, DIFS_EXPIRING_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	scan = difs_scan_begin(DIFS_REL_EXPIRING, DIFS_REL_EXPIRING_PKEY, 1, &key);
	row = difs_scan_next(scan, false);
	if (row != NULL)
	{
		*due = DatumGetTimestampTz(heap_getattr(row, DIFS_EXPIRING_DUE, difs_scan_desc(scan), &null));
		row = heap_copytuple(row);
	}
	difs_scan_end(scan);
	return row;
}
