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
#include "access/transam.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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

/* A row of difs.version that shares the manifest rows of an inode. */
typedef struct SharingVersion
{
	int32		number;			/* 0 if it is of another inode */
	int32		base;
	int32		version;		/* for the manifest */
	bool		elsewhere;		/* none of them are its: a copy of another inode's */
	bool		dead;			/* somebody has deleted it, and that is committed */
	bool		released;		/* it has been asked about itself: it keeps nothing for others that are asked about later */
} SharingVersion;

struct DifsLiveness
{
	PossibleScan manifest;
	int64		ino;			/* whose versions these are; 0 = none read yet */
	int			sharing_count;
	int			sharing_room;
	SharingVersion *sharing;
};

static void possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index);
static void possible_find(PossibleScan *possible, int64 value);
static bool possible_next(PossibleScan *possible);
static void possible_end(PossibleScan *possible);
static int64 number(PossibleScan *possible, int column);
static bool is_dead(PossibleScan *possible);
static DifsVerdict judge_row(PossibleScan *possible, const DifsRelease *release);
static bool inode_is_possible(int64 ino);
static void read_sharing(DifsLiveness *liveness, int64 ino);
static void read_index(DifsLiveness *liveness, int64 ino, bool copies);
static void set_range(DifsLiveness *liveness, int32 version, DifsRelease *release);
static void keep(DifsRelease *release, const DifsKept *kept);

DifsLiveness *
difs_liveness_begin(void)
{
	DifsLiveness *liveness = palloc(sizeof(DifsLiveness));

	possible_begin(&liveness->manifest, DIFS_REL_MANIFEST, DIFS_REL_MANIFEST_SEGMENT);
	liveness->ino = 0;
	liveness->sharing = NULL;
	liveness->sharing_room = 0;
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

/*
 * A version that is let go of one by one has a row with a number below zero until its
 * item is collected (history.h), so all that items wait for is among the rows.  A
 * dead row with the content of the item itself is the one from which it came; any
 * other dead row stays in force as long as a snapshot could see it.  Of two that share
 * content, both of them asked about, the second must not be kept by the first.
 */
bool
difs_liveness_release(DifsLiveness *liveness, int64 ino, int32 version, DifsRelease *release)
{
	memset(release, 0, sizeof(*release));
	release->ino = ino;
	if (version == 0 && inode_is_possible(ino))
		return false;

	if (liveness->ino != ino)
		read_sharing(liveness, ino);
	set_range(liveness, version, release);
	for (int i = 0; i < liveness->sharing_count; i++)
	{
		const SharingVersion *sharing = &liveness->sharing[i];
		bool		copy = sharing->number == 0;

		if (sharing->elsewhere || sharing->released || (!copy && (version == 0 || sharing->number == version)))
			continue;
		if (sharing->version < release->first || sharing->base > release->last)
			continue;
		if (!copy && sharing->dead && sharing->base == release->first && sharing->version == release->last)
			continue;
		keep(release, &(DifsKept) {.base = sharing->base, .version = sharing->version, .copy = copy});
	}
	return true;
}

static bool
inode_is_possible(int64 ino)
{
	PossibleScan possible;
	bool		visible;

	possible_begin(&possible, DIFS_REL_INODE, DIFS_REL_INODE_PKEY);
	possible_find(&possible, ino);
	visible = possible_next(&possible);
	possible_end(&possible);
	return visible;
}

static void
read_sharing(DifsLiveness *liveness, int64 ino)
{
	liveness->ino = ino;
	liveness->sharing_count = 0;
	read_index(liveness, ino, false);
	read_index(liveness, ino, true);
}

/* The inode's own versions, or those of others that share its manifest rows. */
static void
read_index(DifsLiveness *liveness, int64 ino, bool copies)
{
	PossibleScan possible;

	possible_begin(&possible, DIFS_REL_VERSION, copies ? DIFS_REL_VERSION_MAP : DIFS_REL_VERSION_PKEY);
	possible_find(&possible, ino);
	while (possible_next(&possible))
	{
		int64		map_ino = number(&possible, DIFS_VERSION_MAP_INO);
		bool		own = number(&possible, DIFS_VERSION_INO) == ino;

		if (copies == own)
			continue;
		if (liveness->sharing_count == liveness->sharing_room)
		{
			liveness->sharing_room = Max(64, liveness->sharing_room * 2);
			liveness->sharing = liveness->sharing == NULL ? palloc(liveness->sharing_room * sizeof(SharingVersion))
				: repalloc_huge(liveness->sharing, liveness->sharing_room * sizeof(SharingVersion));
		}
		liveness->sharing[liveness->sharing_count++] = (SharingVersion) {
			.number = own ? number(&possible, DIFS_VERSION_VERSION) : 0,
			.base = number(&possible, DIFS_VERSION_BASE),
			.version = number(&possible, map_ino != -1 ? DIFS_VERSION_MAP_VERSION : DIFS_VERSION_VERSION),
			.elsewhere = own && map_ino != -1 && map_ino != ino,
			.dead = is_dead(&possible)
		};
	}
	possible_end(&possible);
}

/* Which manifest rows can go with a version: none if it is a copy of another inode's, all with the whole inode, or if its row is gone. */
static void
set_range(DifsLiveness *liveness, int32 version, DifsRelease *release)
{
	release->first = PG_INT32_MIN;
	release->last = PG_INT32_MAX;
	for (int i = 0; version != 0 && i < liveness->sharing_count; i++)
	{
		SharingVersion *sharing = &liveness->sharing[i];

		if (sharing->number == version && !sharing->dead)
		{
			sharing->released = true;
			release->first = sharing->elsewhere ? PG_INT32_MAX : sharing->base;
			release->last = sharing->elsewhere ? PG_INT32_MIN : sharing->version;
		}
	}
}

static void
possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index)
{
	possible->table = difs_table_open(table, AccessShareLock);
	possible->index = index_open(difs_relation(index), AccessShareLock);
	possible->slot = table_slot_create(possible->table, NULL);
	InitNonVacuumableSnapshot(possible->snapshot, GlobalVisTestFor(possible->table));
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

/* Has a committed transaction deleted or changed the row that the scan stands on? */
static bool
is_dead(PossibleScan *possible)
{
	HeapTupleHeader header = ExecFetchSlotHeapTuple(possible->slot, false, NULL)->t_data;

	return (header->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdDidCommit(HeapTupleHeaderGetUpdateXid(header));
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
