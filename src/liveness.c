/*
 * liveness.c - may a segment die? (liveness.h)
 *
 * No state but scans.  They run under InitNonVacuumableSnapshot(), which shows
 * every tuple but those that VACUUM might remove: of aborted transactions, and
 * deleted ones that no snapshot could see.
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
};

static void possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index);
static void possible_find(PossibleScan *possible, int64 value);
static bool possible_next(PossibleScan *possible);
static void possible_end(PossibleScan *possible);
static int64 number(PossibleScan *possible, int column);
static DifsVerdict judge_row(PossibleScan *possible, const DifsRelease *release);
static void keep_versions(PossibleScan *possible, bool copies, int32 version, DifsRelease *release);
static void keep(DifsRelease *release, const DifsKept *kept);

DifsLiveness *
difs_liveness_begin(void)
{
	DifsLiveness *liveness = palloc(sizeof(DifsLiveness));

	possible_begin(&liveness->manifest, DIFS_REL_MANIFEST, DIFS_REL_MANIFEST_SEGMENT);
	return liveness;
}

void
difs_liveness_end(DifsLiveness *liveness)
{
	possible_end(&liveness->manifest);
	pfree(liveness);
}

DifsVerdict
difs_segment_may_die(DifsLiveness *liveness, uint64 segment, const DifsRelease *release)
{
	PossibleScan *rows = &liveness->manifest;
	DifsVerdict verdict = DIFS_SEGMENT_MAY_DIE;

	possible_find(rows, (int64) segment);
	while (verdict != DIFS_SEGMENT_WANTED && possible_next(rows))
	{
		DifsVerdict row = release == NULL ? DIFS_SEGMENT_WANTED : judge_row(rows, release);

		verdict = Max(verdict, row);
	}
	return verdict;
}

bool
difs_liveness_release(int64 ino, int32 version, DifsRelease *release)
{
	PossibleScan possible;
	bool		visible;

	memset(release, 0, sizeof(*release));
	release->ino = ino;
	if (version == 0)
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
		possible_find(&possible, ino);
		keep_versions(&possible, false, version, release);
		possible_end(&possible);
	}
	possible_begin(&possible, DIFS_REL_VERSION, DIFS_REL_VERSION_MAP);
	possible_find(&possible, ino);
	keep_versions(&possible, true, 0, release);
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

static DifsVerdict
judge_row(PossibleScan *possible, const DifsRelease *release)
{
	DifsVerdict verdict = DIFS_SEGMENT_MAY_DIE;
	int64		from = number(possible, DIFS_MANIFEST_FROM_VERSION);
	int64		to = number(possible, DIFS_MANIFEST_TO_VERSION);

	if (number(possible, DIFS_MANIFEST_INO) != release->ino)
		return DIFS_SEGMENT_WANTED;
	for (int i = 0; i < release->kept_count; i++)
	{
		const DifsKept *kept = &release->kept[i];

		if (from >= kept->base && from <= kept->version && (to == -1 || to > kept->version))
			verdict = Max(verdict, kept->copy ? DIFS_SEGMENT_WANTED : DIFS_SEGMENT_IN_VERSION);
	}
	return verdict;
}

/* Of the rows of difs.version that the scan finds: those of others that share the inode's manifest rows (copies), or
 * all but one of its own. */
static void
keep_versions(PossibleScan *possible, bool copies, int32 version, DifsRelease *release)
{
	while (possible_next(possible))
	{
		int64		map_ino = number(possible, DIFS_VERSION_MAP_INO);
		bool		own = number(possible, DIFS_VERSION_INO) == release->ino;

		if (copies ? own : number(possible, DIFS_VERSION_VERSION) == version)
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
