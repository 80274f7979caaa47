/*
 * dentry.c - rows of difs.dentry.
 *
 * Who may change a row: its inserter; later only who holds its row lock
 * (rename, delete).  A key is never updated: a rename inserts the new name and
 * deletes the old one, or makes the target's row lead to another inode.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/report.h"
#include "src/table.h"

static int64 ino_of(HeapTuple row);

HeapTuple
difs_dentry_find(int64 parent, const char *name, int64 *ino)
{
	ScanKeyData keys[2];
	HeapTuple	row;

	DIFS_KEY(&keys[0], DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(parent));
	DIFS_KEY(&keys[1], DIFS_DENTRY_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	row = difs_row_find(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 2, keys);
	if (row != NULL)
		*ino = ino_of(row);
	return row;
}

HeapTuple
difs_dentry_lock(int64 parent, const char *name, int64 ino)
{
	int64		found;
	HeapTuple	row = difs_dentry_find(parent, name, &found);

	if (row == NULL || found != ino || !difs_row_lock(DIFS_REL_DENTRY, &row))
		return NULL;
	return ino_of(row) == ino ? row : NULL;
}

/* Goes up from ino to the root, which no entry leads to. */
bool
difs_dentry_below(int64 ino, int64 directory)
{
	while (ino != directory)
	{
		if (!difs_dentry_above(ino, &ino, NULL))
			return false;
	}
	return true;
}

bool
difs_dentry_above(int64 ino, int64 *parent, char **name)
{
	ScanKeyData key;
	DifsScan   *scan;
	HeapTuple	row;
	bool		null;

	CHECK_FOR_INTERRUPTS();
	DIFS_KEY(&key, DIFS_DENTRY_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_INO, 1, &key);
	row = difs_scan_next(scan, false);
	if (row != NULL)
		*parent = DatumGetInt64(heap_getattr(row, DIFS_DENTRY_PARENT, difs_scan_desc(scan), &null));
	if (row != NULL && name != NULL)
		*name = TextDatumGetCString(heap_getattr(row, DIFS_DENTRY_NAME, difs_scan_desc(scan), &null));
	difs_scan_end(scan);
	return row != NULL;
}

bool
difs_dentry_insert(int64 parent, const char *name, int64 ino)
{
	Datum		values[DIFS_DENTRY_COLUMNS];

	values[DIFS_DENTRY_PARENT - 1] = Int64GetDatum(parent);
	values[DIFS_DENTRY_NAME - 1] = CStringGetTextDatum(name);
	values[DIFS_DENTRY_INO - 1] = Int64GetDatum(ino);
	return difs_row_insert_unless(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, values, NULL);
}

bool
difs_directory_enter(const DifsInode *directory)
{
	DifsInode	now;
	bool		exists;

	if (directory->own)
		return true;

	difs_inode_share(directory);

	/* Its remover may have ended before we got the lock, but after our snapshot was taken. */
	difs_latest_begin();
	exists = difs_inode_find(directory->ino, &now);
	difs_latest_end();

	if (!exists && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CHANGED),
				 errmsg("could not serialize access due to concurrent removal of a directory")));
	return exists;
}

bool
difs_entry_create(const DifsInode *directory, const char *name, DifsKind kind, DifsInode *inode)
{
	if (!difs_directory_enter(directory))
		return false;
	difs_inode_prepare(directory->volume, kind, inode);
	if (!difs_dentry_insert(directory->ino, name, inode->ino))
		return false;
	if (kind != DIFS_KIND_FILE)
	{
		difs_inode_insert(inode);
		difs_change_made(directory->ino, inode);
	}
	return true;
}

bool
difs_directories_create(const DifsPath *path)
{
	DifsVolume	volume;
	DifsInode	directory;

	difs_volume_find(path->volume, &volume);
	difs_change_enter(&volume);
	if (!difs_inode_find(volume.root, &directory))
		elog(ERROR, "root of volume \"%s\" is missing", volume.name);

	for (int i = 0; i < path->count - 1; i++)
	{
		DifsInode	next;
		int64		ino;

		if (difs_dentry_find(directory.ino, path->component[i], &ino) == NULL)
		{
			if (!difs_entry_create(&directory, path->component[i], DIFS_KIND_DIRECTORY, &next))
				return false;
		}
		else if (!difs_inode_find(ino, &next))
			elog(ERROR, "entry \"%s\" of inode " INT64_FORMAT " leads to inode " INT64_FORMAT ", which is missing",
				 path->component[i], directory.ino, ino);
		else if (next.kind != DIFS_KIND_DIRECTORY)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_WRONG_KIND),
					 errmsg("\"%s\" on the way to \"%s\" is not a directory", path->component[i], path->text)));
		directory = next;
	}
	return true;
}

void
difs_names_again(void)
{
	CHECK_FOR_INTERRUPTS();
	difs_write_end();
	difs_write_begin(NULL);
}

void
difs_latest_begin(void)
{
	PushActiveSnapshot(GetLatestSnapshot());
}

void
difs_latest_end(void)
{
	PopActiveSnapshot();
}

int64
difs_dentry_ino(HeapTuple row, TupleDesc desc)
{
	bool		null;

	return DatumGetInt64(heap_getattr(row, DIFS_DENTRY_INO, desc, &null));
}

/* Where a row leads that was read before; so the relation is locked already. */
static int64
ino_of(HeapTuple row)
{
	Relation	relation = table_open(difs_relation(DIFS_REL_DENTRY), NoLock);
	int64		ino = difs_dentry_ino(row, RelationGetDescr(relation));

	table_close(relation, NoLock);
	return ino;
}
