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
#include "src/compat.h"
#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

static int compare_names(const void *a, const void *b);
static int64 ino_of(HeapTuple row);
static void find_root(const DifsPath *path, DifsInode *root);

HeapTuple
difs_dentry_find(int64 parent, const char *name, int64 *ino)
{
	ScanKeyData keys[2];
	HeapTuple row;

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
	int64 found;
	HeapTuple row = difs_dentry_find(parent, name, &found);

	if (row == NULL || found != ino || !difs_row_lock(DIFS_REL_DENTRY, &row))
		return NULL;
	return ino_of(row) == ino ? row : NULL;
}

DifsName *
difs_dentry_names(int64 ino, int *count)
{
	int room = 4;
	DifsName *names = palloc(room * sizeof(DifsName));
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	*count = 0;
	DIFS_KEY(&key, DIFS_DENTRY_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_INO, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		TupleDesc desc = difs_scan_desc(scan);
		bool null;

		if (*count == room)
			names = repalloc_huge(names, (room *= 2) * sizeof(DifsName));
		names[*count].parent = DatumGetInt64(heap_getattr(row, DIFS_DENTRY_PARENT, desc, &null));
		names[*count].name = TextDatumGetCString(heap_getattr(row, DIFS_DENTRY_NAME, desc, &null));
		++*count;
	}
	difs_scan_end(scan);
	qsort(names, *count, sizeof(DifsName), compare_names);
	return names;
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
	DifsScan *scan;
	HeapTuple row;
	bool null;

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
	Datum values[DIFS_DENTRY_COLUMNS];

	values[DIFS_DENTRY_PARENT - 1] = Int64GetDatum(parent);
	values[DIFS_DENTRY_NAME - 1] = CStringGetTextDatum(name);
	values[DIFS_DENTRY_INO - 1] = Int64GetDatum(ino);
	return difs_row_insert_missing(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, values, NULL);
}

void
difs_dentry_take_back(int64 parent, const char *name, int64 ino)
{
	int64 found;
	HeapTuple row = difs_dentry_find(parent, name, &found);

	if (row == NULL || found != ino)
		elog(ERROR, "entry \"%s\" of inode " INT64_FORMAT " is gone though this transaction made it", name, parent);
	difs_row_delete(DIFS_REL_DENTRY, row);
}

bool
difs_directory_enter(const DifsInode *directory)
{
	static struct
	{
		int64 ino;
		LocalTransactionId transaction;
		SubTransactionId subtransaction;
	} entered; /* the last one that this process has found there, and when */
	DifsInode now;
	bool exists;

	if (directory->own)
		return true;
	/* what that subtransaction has locked is locked until it ends */
	if (entered.ino == directory->ino && entered.transaction == DIFS_MY_LXID &&
		entered.subtransaction == GetCurrentSubTransactionId())
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
	if (exists)
	{
		entered.ino = directory->ino;
		entered.transaction = DIFS_MY_LXID;
		entered.subtransaction = GetCurrentSubTransactionId();
	}
	return exists;
}

bool
difs_entry_create(const DifsInode *directory, const char *name, DifsKind kind, DifsInode *inode)
{
	if (!difs_directory_enter(directory))
		return false;
	difs_inode_prepare(directory->volume, kind, directory, inode);
	if (!difs_dentry_insert(directory->ino, name, inode->ino))
		return false;
	if (kind == DIFS_KIND_DIRECTORY)
	{
		difs_inode_insert(inode);
		difs_change_made(directory->ino, inode);
	}
	return true;
}

static void
find_root(const DifsPath *path, DifsInode *root)
{
	DifsVolume volume;

	difs_volume_find(path->volume, &volume);
	difs_change_enter(&volume);
	if (!difs_inode_find(volume.root, root))
		elog(ERROR, "root of volume \"%s\" is missing", volume.name);
}

bool
difs_directories_create(const DifsPath *path)
{
	DifsInode directory;
	int links = 0;

	find_root(path, &directory);
	for (int i = 0;; i++)
	{
		const DifsPath *expanded = difs_path_expand(path, i, &directory, &links);
		DifsInode next;
		int64 ino;

		if (expanded != NULL)
		{
			path = expanded;
			find_root(path, &directory);
			i = -1;
			continue;
		}
		if (i >= path->count - 1)
			return true;
		difs_perm_search(path, i, directory.volume, directory.ino);
		if (difs_dentry_find(directory.ino, path->component[i], &ino) == NULL)
		{
			difs_perm_require_entry(directory.volume, directory.ino, path->text);
			if (!difs_entry_create(&directory, path->component[i], DIFS_KIND_DIRECTORY, &next))
				return false;
		}
		else if (!difs_inode_find(ino, &next))
			elog(ERROR, "entry \"%s\" of inode " INT64_FORMAT " leads to inode " INT64_FORMAT ", which is missing",
				 path->component[i], directory.ino, ino);
		else if (next.kind == DIFS_KIND_FILE)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_WRONG_KIND),
					 errmsg("\"%s\" on the way to \"%s\" is not a directory", path->component[i], path->text)));
		directory = next;
	}
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
	bool null;

	return DatumGetInt64(heap_getattr(row, DIFS_DENTRY_INO, desc, &null));
}

static int
compare_names(const void *a, const void *b)
{
	const DifsName *one = a;
	const DifsName *other = b;

	if (one->parent != other->parent)
		return one->parent < other->parent ? -1 : 1;
	return strcmp(one->name, other->name);
}

/* Where a row leads that was read before; so the relation is locked already. */
static int64
ino_of(HeapTuple row)
{
	Relation relation = table_open(difs_relation(DIFS_REL_DENTRY), NoLock);
	int64 ino = difs_dentry_ino(row, RelationGetDescr(relation));

	table_close(relation, NoLock);
	return ino;
}
