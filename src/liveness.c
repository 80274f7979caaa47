/*
 * liveness.c - may a segment die? (liveness.h)
 *
 * No state but scans.  They run under InitNonVacuumableSnapshot(), which shows
 * every tuple but those that VACUUM might remove: of aborted transactions, and
 * deleted ones that no snapshot could see.
 *
 * With an exception: of what has been let go of, versions and manifest rows that
 * were deleted before the scans began do not count.  Only the keeper removes them,
 * when no snapshot can see them, or moves something else into their place in the
 * same transaction; a removed one must not hold what it shared with the next to go.
 * "Before the scans began" is a snapshot's answer: who moves a row at the same
 * time may put it where a scan has been already, and then the old one must count.
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

#include "common/fault.h"
#include "src/compat.h"
#include "src/doom.h"
#include "src/liveness.h"
#include "src/table.h"

/* An index scan that shows whatever a snapshot could see. */
typedef struct PossibleScan
{
	Relation table;
	Relation index;
	SnapshotData snapshot;
	Snapshot began; /* rows deleted before it are not shown; NULL: they are */
	IndexScanDesc scan;
	TupleTableSlot *slot;
} PossibleScan;

struct DifsLiveness
{
	PossibleScan manifest;
	Snapshot began; /* registered; NULL if it will not be asked with releases */
	PossibleScan uploads;
	bool uploads_open;
};

static void possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index, Snapshot began);
static void possible_find(PossibleScan *possible, int64 value);
static bool possible_next(PossibleScan *possible);
static bool is_gone(PossibleScan *possible);
static void possible_end(PossibleScan *possible);
static int64 number(PossibleScan *possible, int column);
static bool is_row(PossibleScan *possible, const DifsRowId *id);
static bool is_free(PossibleScan *possible, const DifsRelease *releases, int count);
static bool has_row(const DifsContentRows *rows, int64 from_version, int64 to_version);
static bool inode_is_possible(int64 ino);
static void read_versions(PossibleScan *possible, bool copies, const int32 *versions, int count, DifsRelease *release);
static void set_range(const int32 *versions, int count, int found, DifsRelease *release);
static void keep_in_range(DifsRelease *release);
static bool contains(const int32 *versions, int count, int64 version);
static bool is_known(const DifsContentRows *list, int count, const DifsContentRows *rows);
static void add(DifsContentRows **list, int *count, int *room, const DifsContentRows *rows);

DifsLiveness *
difs_liveness_begin(bool released)
{
	DifsLiveness *liveness = palloc(sizeof(DifsLiveness));

	liveness->began = released ? RegisterSnapshot(GetLatestSnapshot()) : NULL;
	possible_begin(&liveness->manifest, DIFS_REL_MANIFEST, DIFS_REL_MANIFEST_SEGMENT, liveness->began);
	liveness->uploads_open = false;
	return liveness;
}

void
difs_liveness_end(DifsLiveness *liveness)
{
	possible_end(&liveness->manifest);
	if (liveness->began != NULL)
		UnregisterSnapshot(liveness->began);
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
		possible_begin(&liveness->uploads, DIFS_REL_UPLOAD, DIFS_REL_UPLOAD_XID, NULL);
	liveness->uploads_open = true;
	possible_find(&liveness->uploads, (int64) xid);
	return possible_next(&liveness->uploads);
}

DifsRowNeed
difs_release_row_need(const DifsRelease *release, int64 from_version, int64 to_version)
{
	DifsRowNeed need = DIFS_ROW_FREE;

	if (from_version < release->first || from_version > release->last)
		return DIFS_ROW_IN_VERSION; /* nobody has let go of it, and who needs it has not been read */
	for (int i = 0; i < release->kept_count && need != DIFS_ROW_IN_VERSION; i++)
	{
		if (has_row(&release->kept[i], from_version, to_version))
			need = release->kept[i].number == DIFS_OF_COPY ? DIFS_ROW_IN_COPY : DIFS_ROW_IN_VERSION;
	}
	return need;
}

bool
difs_release_has_row(const DifsRelease *release, int32 number, int64 from_version, int64 to_version)
{
	int low = 0;

	for (int high = release->gone_count; low < high;)
	{
		int middle = (low + high) / 2;

		if (release->gone[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < release->gone_count && release->gone[low].number == number &&
		has_row(&release->gone[low], from_version, to_version);
}

int32 *
difs_release_kept(const DifsRelease *release, bool copies, int *count)
{
	int32 *versions = palloc(sizeof(int32) * (release->kept_count + 1));

	*count = 0;
	for (int i = 0; i < release->kept_count; i++)
	{
		if (release->kept[i].number == DIFS_OF_COPY || !copies)
			versions[(*count)++] = release->kept[i].version;
	}
	return versions;
}

/* A version that is let go of one by one has a row with a number below zero until its item is collected (history.h), so all that items wait for
 * is among the rows. */
bool
difs_liveness_release(DifsLiveness *liveness, int64 ino, const int32 *versions, int count, DifsRelease *release)
{
	PossibleScan possible;

	memset(release, 0, sizeof(*release));
	release->ino = ino;
	if (contains(versions, count, 0) && inode_is_possible(ino))
		return false;

	possible_begin(&possible, DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, liveness->began);
	possible_find(&possible, ino);
	read_versions(&possible, false, versions, count, release);
	possible_end(&possible);

	possible_begin(&possible, DIFS_REL_VERSION, DIFS_REL_VERSION_MAP, liveness->began);
	possible_find(&possible, ino);
	read_versions(&possible, true, versions, count, release);
	possible_end(&possible);
	return true;
}

static bool
inode_is_possible(int64 ino)
{
	PossibleScan possible;
	bool visible;

	possible_begin(&possible, DIFS_REL_INODE, DIFS_REL_INODE_PKEY, NULL);
	possible_find(&possible, ino);
	visible = possible_next(&possible);
	possible_end(&possible);
	return visible;
}

static void
possible_begin(PossibleScan *possible, DifsRelation table, DifsRelation index, Snapshot began)
{
	possible->table = difs_table_open(table, AccessShareLock);
	possible->index = index_open(difs_relation(index), AccessShareLock);
	possible->slot = table_slot_create(possible->table, NULL);
	possible->began = began;
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
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!index_getnext_slot(possible->scan, ForwardScanDirection, possible->slot))
			return false;
	} while (possible->began != NULL && is_gone(possible));
	return true;
}

/* Had a transaction deleted or changed the row, and committed, when the scans began? */
static bool
is_gone(PossibleScan *possible)
{
	HeapTupleHeader header = ExecFetchSlotHeapTuple(possible->slot, false, NULL)->t_data;
	TransactionId xmax;

	if ((header->t_infomask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	xmax = HeapTupleHeaderGetUpdateXid(header);
	return !XidInMVCCSnapshot(xmax, possible->began) && TransactionIdDidCommit(xmax);
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
	bool null;
	Datum datum = slot_getattr(possible->slot, column, &null);

	if (null)
		return -1;
	return TupleDescAttr(RelationGetDescr(possible->table), column - 1)->attlen == sizeof(int64) ?
		DatumGetInt64(datum) :
		DatumGetInt32(datum);
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
	int64 ino = number(possible, DIFS_MANIFEST_INO);
	int low = 0;

	for (int high = count; low < high;)
	{
		int middle = (low + high) / 2;

		if (releases[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && releases[low].ino == ino &&
		difs_release_row_need(&releases[low], number(possible, DIFS_MANIFEST_FROM_VERSION),
							  number(possible, DIFS_MANIFEST_TO_VERSION)) == DIFS_ROW_FREE;
}

static bool
has_row(const DifsContentRows *rows, int64 from_version, int64 to_version)
{
	return from_version >= rows->base && from_version <= rows->version && (to_version == -1 || to_version > rows->version);
}

/* Rows of difs.version that the scan finds: those of others that share the inode's manifest rows (copies), or its own. */
static void
read_versions(PossibleScan *possible, bool copies, const int32 *versions, int count, DifsRelease *release)
{
	int found = 0;
	int own_count = release->kept_count;

	while (possible_next(possible))
	{
		int64 map_ino = number(possible, DIFS_VERSION_MAP_INO);
		bool own = number(possible, DIFS_VERSION_INO) == release->ino;
		DifsContentRows rows = {
			.number = own ? number(possible, DIFS_VERSION_VERSION) : DIFS_OF_COPY,
			.base = number(possible, DIFS_VERSION_BASE),
			.version = number(possible, map_ino != -1 ? DIFS_VERSION_MAP_VERSION : DIFS_VERSION_VERSION),
		};
		bool gone = own && (contains(versions, count, 0) || contains(versions, count, rows.number));

		if (copies == own)
			continue;
		found += gone;
		if (map_ino != -1 && map_ino != release->ino)
			continue;
		if (gone)
			add(&release->gone, &release->gone_count, &release->gone_room, &rows);
		else if (own || !is_known(release->kept + own_count, release->kept_count - own_count, &rows))
			add(&release->kept, &release->kept_count, &release->kept_room, &rows);
	}
	if (!copies)
		set_range(versions, count, found, release);
	keep_in_range(release);
}

/* All of the inode's if it is gone, for unused rows, and for an item without a row of difs.version. */
static void
set_range(const int32 *versions, int count, int found, DifsRelease *release)
{
	bool all = contains(versions, count, 0) || contains(versions, count, DIFS_DOOM_UNUSED_ROWS) || found < count;

	release->first = all ? PG_INT32_MIN : PG_INT32_MAX;
	release->last = all ? PG_INT32_MAX : PG_INT32_MIN;
	for (int i = 0; i < release->gone_count && !all; i++)
	{
		release->first = Min(release->first, release->gone[i].base);
		release->last = Max(release->last, release->gone[i].version);
	}
}

/* Of many versions, few have to do with these. */
static void
keep_in_range(DifsRelease *release)
{
	int count = 0;

	for (int i = 0; i < release->kept_count; i++)
	{
		if (release->kept[i].version >= release->first && release->kept[i].base <= release->last)
			release->kept[count++] = release->kept[i];
	}
	release->kept_count = count;
}

/* They are in order. */
static bool
contains(const int32 *versions, int count, int64 version)
{
	int low = 0;

	for (int high = count; low < high;)
	{
		int middle = (low + high) / 2;

		if (versions[middle] < version)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && versions[low] == version;
}

/* Many copies of one version count once. */
static bool
is_known(const DifsContentRows *list, int count, const DifsContentRows *rows)
{
	for (int i = 0; i < count; i++)
	{
		if (list[i].base == rows->base && list[i].version == rows->version)
			return true;
	}
	return false;
}

static void
add(DifsContentRows **list, int *count, int *room, const DifsContentRows *rows)
{
	if (*count == *room)
	{
		*room = Max(16, *room * 2);
		*list = *list == NULL ? palloc(*room * sizeof(DifsContentRows)) : repalloc_huge(*list, *room * sizeof(DifsContentRows));
	}
	(*list)[(*count)++] = *rows;
}
