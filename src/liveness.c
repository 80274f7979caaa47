/*
 * liveness.c - may a segment die? (liveness.h)
 *
 * No state but scans.  They run under InitNonVacuumableSnapshot(), which shows
 * every tuple but those that VACUUM might remove: of aborted transactions, and
 * deleted ones that no snapshot could see.
 *
 * With an exception: of what has been let go of, those versions and manifest rows
 * count that are there or are being written.  Nobody removes them but the keeper,
 * when no snapshot can see them; a removed one must not hold what it shared with
 * the next to go.
 *
 * Why a scan and then a delete is no race: a new row that names an old segment
 * comes from a transaction that saw the version whose rows it shares, so it had a
 * snapshot from before the horizon.  Who asks has read the horizon first, so that
 * transaction has written its row, or has ended, before the scan begins.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/fault.h"
#include "src/compat.h"
#include "src/liveness.h"
#include "src/table.h"

/* Rows with base <= from_version <= version that do not end before it belong to a version that is wanted. */
typedef struct DifsKept
{
	int32		base;
	int32		version;
	bool		copy;			/* of another inode */
} DifsKept;

/* An index scan that shows whatever a snapshot could see. */
typedef struct PossibleScan
{
	Relation	table;
	Relation	index;
	SnapshotData snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} PossibleScan;

struct DifsLiveness
{
	PossibleScan manifest;
	PossibleScan uploads;
	bool		uploads_open;
};

static void possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index);
static void possible_find(PossibleScan *possible, int64 value);
static bool possible_next(PossibleScan *possible);
static void possible_end(PossibleScan *possible);
static int64 number(PossibleScan *possible, int column);
static bool is_row(PossibleScan *possible, const DifsRowId *id);
static bool is_free(PossibleScan *possible, const DifsRelease *releases, int count);
static void keep_versions(PossibleScan *possible, bool copies, const int32 *versions, int count, DifsRelease *release);
static bool contains(const int32 *versions, int count, int64 version);
static void keep(DifsRelease *release, const DifsKept *kept);

DifsLiveness *
difs_liveness_begin(bool released)
{
	DifsLiveness *liveness = palloc(sizeof(DifsLiveness));

	possible_begin(&liveness->manifest, DIFS_REL_MANIFEST, DIFS_REL_MANIFEST_SEGMENT);
	if (released)
		InitDirtySnapshot(liveness->manifest.snapshot);
	liveness->uploads_open = false;
	return liveness;
}

void
difs_liveness_end(DifsLiveness *liveness)
{
	possible_end(&liveness->manifest);
	if (liveness->uploads_open)
		possible_end(&liveness->uploads);
	pfree(liveness);
}

bool
difs_segment_may_die(DifsLiveness *liveness, uint64 segment, const DifsRelease *releases, int count,
					 const DifsRowId *except)
{
	PossibleScan *rows = &liveness->manifest;

	possible_find(rows, (int64) segment);
	while (possible_next(rows))
	{
		if ((except == NULL || !is_row(rows, except)) && !is_free(rows, releases, count))
			return false;
	}
	return true;
}

bool
difs_upload_may_commit(DifsLiveness *liveness, uint64 xid)
{
	if (!liveness->uploads_open)
		possible_begin(&liveness->uploads, DIFS_REL_UPLOAD, DIFS_REL_UPLOAD_XID);
	liveness->uploads_open = true;
	possible_find(&liveness->uploads, (int64) xid);
	return possible_next(&liveness->uploads);
}

DifsRowNeed
difs_release_row_need(const DifsRelease *release, int64 from_version, int64 to_version)
{
	DifsRowNeed need = DIFS_ROW_FREE;

	for (int i = 0; i < release->kept_count && need != DIFS_ROW_IN_VERSION; i++)
	{
		const DifsKept *kept = &release->kept[i];

		if (from_version >= kept->base && from_version <= kept->version &&
			(to_version == -1 || to_version > kept->version))
			need = kept->copy ? DIFS_ROW_IN_COPY : DIFS_ROW_IN_VERSION;
	}
	return need;
}

int32 *
difs_release_kept(const DifsRelease *release, bool copies, int *count)
{
	int32	   *versions = palloc(sizeof(int32) * (release->kept_count + 1));

	*count = 0;
	for (int i = 0; i < release->kept_count; i++)
	{
		if (release->kept[i].copy || !copies)
			versions[(*count)++] = release->kept[i].version;
	}
	return versions;
}

bool
difs_liveness_release(int64 ino, const int32 *versions, int count, DifsRelease *release)
{
	PossibleScan possible;
	bool		visible;

	memset(release, 0, sizeof(*release));
	release->ino = ino;
	if (contains(versions, count, 0))
	{
		possible_begin(&possible, DIFS_REL_INODE, DIFS_REL_INODE_PKEY);
		possible_find(&possible, ino);
		visible = possible_next(&possible);
		possible_end(&possible);
		if (visible)
			return false;
	}
	else
	{
		possible_begin(&possible, DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY);
		InitDirtySnapshot(possible.snapshot);
		possible_find(&possible, ino);
		keep_versions(&possible, false, versions, count, release);
		possible_end(&possible);
	}
	possible_begin(&possible, DIFS_REL_VERSION, DIFS_REL_VERSION_MAP);
	possible_find(&possible, ino);
	keep_versions(&possible, true, NULL, 0, release);
	possible_end(&possible);
	return true;
}

static void
possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index)
{
	possible->table = difs_table_open(table, AccessShareLock);
	possible->index = index_open(difs_relation(index), AccessShareLock);
	possible->slot = table_slot_create(possible->table, NULL);
	InitNonVacuumableSnapshot(possible->snapshot, GlobalVisTestFor(possible->table));
	if (DIFS_FAULT_SKIP("keeper.collect.horizon"))
		possible->snapshot = *SnapshotSelf;
	possible->scan = index_beginscan(possible->table, possible->index, &possible->snapshot, NULL, 1, 0);
}

/* All indexes used here begin with the one bigint that is looked for. */
static void
possible_find(PossibleScan *possible, int64 value)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(value));
	index_rescan(possible->scan, &key, 1, NULL, 0);
}

static bool
possible_next(PossibleScan *possible)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(possible->scan, ForwardScanDirection, possible->slot);
}

static void
possible_end(PossibleScan *possible)
{
	index_endscan(possible->scan);
	ExecDropSingleTupleTableSlot(possible->slot);
	index_close(possible->index, NoLock);
	table_close(possible->table, NoLock);
}

/* A column of the row that the scan stands on; -1 if it is null. */
static int64
number(PossibleScan *possible, int column)
{
	bool		null;
	Datum		datum = slot_getattr(possible->slot, column, &null);

	if (null)
		return -1;
	return TupleDescAttr(RelationGetDescr(possible->table), column - 1)->attlen == sizeof(int64) ?
		DatumGetInt64(datum) : DatumGetInt32(datum);
}

/* Older tuples of it, too: who could see one of those could see the row. */
static bool
is_row(PossibleScan *possible, const DifsRowId *id)
{
	return number(possible, DIFS_MANIFEST_INO) == id->ino &&
		number(possible, DIFS_MANIFEST_FILE_OFFSET) == id->file_offset &&
		number(possible, DIFS_MANIFEST_FROM_VERSION) == id->from_version;
}

static bool
is_free(PossibleScan *possible, const DifsRelease *releases, int count)
{
	int64		ino = number(possible, DIFS_MANIFEST_INO);
	int			low = 0;

	for (int high = count; low < high;)
	{
		int			middle = (low + high) / 2;

		if (releases[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && releases[low].ino == ino &&
		difs_release_row_need(&releases[low], number(possible, DIFS_MANIFEST_FROM_VERSION),
							  number(possible, DIFS_MANIFEST_TO_VERSION)) == DIFS_ROW_FREE;
}

/* Of the rows of difs.version that the scan finds: those of others that share the inode's manifest rows (copies), or
 * its own but for those that are let go of. */
static void
keep_versions(PossibleScan *possible, bool copies, const int32 *versions, int count, DifsRelease *release)
{
	while (possible_next(possible))
	{
		int64		map_ino = number(possible, DIFS_VERSION_MAP_INO);
		bool		own = number(possible, DIFS_VERSION_INO) == release->ino;

		if (copies ? own : contains(versions, count, number(possible, DIFS_VERSION_VERSION)))
			continue;
		if (map_ino != -1 && map_ino != release->ino)
			continue;
		keep(release, &(DifsKept) {
			.base = number(possible, DIFS_VERSION_BASE),
			.version = number(possible, map_ino != -1 ? DIFS_VERSION_MAP_VERSION : DIFS_VERSION_VERSION),
			.copy = copies
		});
	}
}

/* They are in order. */
static bool
contains(const int32 *versions, int count, int64 version)
{
	int			low = 0;

	for (int high = count; low < high;)
	{
		int			middle = (low + high) / 2;

		if (versions[middle] < version)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && versions[low] == version;
}

/* Many copies of one version count once. */
static void
keep(DifsRelease *release, const DifsKept *kept)
{
	for (int i = 0; i < release->kept_count; i++)
	{
		const DifsKept *known = &release->kept[i];

		if (known->base == kept->base && known->version == kept->version && known->copy == kept->copy)
			return;
	}
	if (release->kept_count == release->kept_room)
	{
		release->kept_room = Max(16, release->kept_room * 2);
		release->kept = release->kept == NULL ? palloc(release->kept_room * sizeof(DifsKept)) :
			repalloc_huge(release->kept, release->kept_room * sizeof(DifsKept));
	}
	release->kept[release->kept_count++] = *kept;
}
