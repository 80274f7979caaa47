/*
 * history.c - versions that go, or get other content, one by one (history.h).
 *
 * No state here.  Rows of difs.version are changed under the lock of their
 * inode's row only.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/doom.h"
#include "src/history.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/table.h"

static void let_go(DifsInode *inode, const DifsVersion *version);
static HeapTuple find_row(int64 ino, int32 number);

int32
difs_version_argument(FunctionCallInfo fcinfo, int argument)
{
	int64 number;

	if (PG_ARGISNULL(argument))
		return DIFS_NEXT_VERSION;
	number = PG_GETARG_INT64(argument);
	if (number > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("version " INT64_FORMAT " is out of range", number),
				 errdetail("The highest version is %d.", PG_INT32_MAX)));
	if (number < 1)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("invalid version: " INT64_FORMAT, number),
				 errhint("Versions are numbered from 1 on.")));
	return (int32) number;
}

void
difs_number_choose(const DifsWalk *walk, DifsInode *inode, int32 number, DifsNumber *chosen)
{
	DifsVersion version;

	if (number == DIFS_NEXT_VERSION)
	{
		chosen->version = chosen->content = difs_inode_next_version(inode);
		chosen->replaces = false;
		chosen->current = true;
		return;
	}

	chosen->version = number;
	chosen->current = number >= inode->version;
	chosen->replaces = number <= inode->version;
	if (chosen->replaces && !difs_version_find(inode->ino, number, &version))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file \"%s\" has no version %d", walk->path->text, number),
				 errdetail("Its current version is %d; a version below that can be replaced, but not made.", inode->version)));
	if (!chosen->current && !walk->found)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file \"%s\" is deleted", walk->path->text),
				 errhint("difs_undelete() brings it back; a version above %d makes it anew.", inode->version)));
	if (chosen->replaces)
		difs_policy_refuse_removal(inode, walk->path->text);
	chosen->content = number > Max(inode->version, inode->last_version) ? number : -++inode->let_go;
}

void
difs_number_store(const DifsNumber *chosen, DifsInode *inode, DifsVersion *version)
{
	version->version = chosen->version;
	if (chosen->replaces)
	{
		DifsVersion old;

		if (!difs_version_find(inode->ino, chosen->version, &old))
			elog(ERROR, "version %d of inode " INT64_FORMAT " is gone though the inode is locked", chosen->version, inode->ino);
		difs_history_remove(inode, &old);
	}
	difs_version_insert(version);

	inode->ctime = version->mtime;
	if (chosen->current)
	{
		inode->last_version = inode->last_version == 0 ? 0 : Max(inode->last_version, version->version);
		inode->version = version->version;
		inode->size = version->size;
		inode->mtime = version->mtime;
	}
}

void
difs_history_remove(DifsInode *inode, const DifsVersion *version)
{
	HeapTuple row = find_row(version->ino, version->version);

	if (row == NULL)
		elog(ERROR, "version %d of inode " INT64_FORMAT " is missing", version->version, version->ino);
	difs_row_delete(DIFS_REL_VERSION, row);
	heap_freetuple(row);
	if (!version->deleted)
		let_go(inode, version);
}

void
difs_history_make_current(DifsInode *inode, const DifsVersion *version)
{
	inode->last_version = Max(inode->last_version, inode->version);
	inode->version = version->version;
	inode->size = version->size;
	inode->mtime = version->mtime;
	inode->ctime = GetCurrentTimestamp();
}

bool
difs_history_before(int64 ino, int32 number, DifsVersion *version)
{
	ScanKeyData keys[3];
	DifsScan *scan;
	HeapTuple row;

	DIFS_KEY(&keys[0], DIFS_VERSION_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	DIFS_KEY(&keys[1], DIFS_VERSION_VERSION, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(0));
	DIFS_KEY(&keys[2], DIFS_VERSION_VERSION, BTLessStrategyNumber, F_INT4LT, Int32GetDatum(number));
	scan = difs_scan_begin(DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, 3, keys);
	row = difs_scan_next(scan, true);
	if (row != NULL)
		difs_version_decode(row, difs_scan_desc(scan), version);
	difs_scan_end(scan);
	return row != NULL;
}

/* The content stays as a version with a number below zero, until the keeper has collected it. */
static void
let_go(DifsInode *inode, const DifsVersion *version)
{
	DifsVersion gone = *version;

	gone.version = -++inode->let_go;
	difs_version_insert(&gone);
	difs_doom_version(gone.ino, gone.version);
}

static HeapTuple
find_row(int64 ino, int32 number)
{
	ScanKeyData keys[2];

	DIFS_KEY(&keys[0], DIFS_VERSION_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	DIFS_KEY(&keys[1], DIFS_VERSION_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(number));
	return difs_row_find(DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, 2, keys);
}
