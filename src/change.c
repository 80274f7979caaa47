/*
 * change.c - what else is to be done when files and names change (change.h).
 *
 * No state here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/journal.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/table.h"
#include "src/usage.h"

static bool is_watched(int32 id, DifsVolume *volume);
static char *path_below(const DifsVolume *volume, int64 parent, const char *name);
static int64 size_before(HeapTuple row);
static bool crosses_roots(const DifsVolume *volume, int64 from_parent, int64 to_parent, DifsRoots *from, DifsRoots *to);
static bool find_counted(const DifsVolume *volume, const DifsInode *inode, int64 *parent);
static void refuse_other_roots(const DifsVolume *volume, int64 parent, const DifsInode *directory);
static void move_usage(const DifsVolume *volume, const DifsInode *inode, int64 from_parent, int64 to_parent);

void
difs_change_enter_move(const DifsVolume *volume, const DifsInode *inode, int64 from_parent, int64 to_parent)
{
	DifsRoots from;
	DifsRoots to;

	if (volume->accounting != DIFS_ACCOUNTING_NONE)
		difs_volume_usage_lock(volume->id, inode->kind == DIFS_KIND_DIRECTORY && crosses_roots(volume, from_parent, to_parent, &from, &to));
}

void
difs_change_content(const DifsInode *inode, HeapTuple row)
{
	DifsVolume volume;
	DifsRoots roots;
	int64 parent;

	if (!is_watched(inode->volume, &volume))
		return;
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		int64 bytes = inode->size - (row != NULL ? size_before(row) : 0);
		bool named;

		difs_latest_begin();
		named = find_counted(&volume, inode, &parent);
		difs_latest_end();
		if (named)
		{
			difs_quota_roots(&volume, parent, &roots);
			difs_usage_add(&roots, bytes, row == NULL);
		}
	}
	difs_journal_add(&volume, "put", inode->ino, inode->version, NULL, NULL);
}

/* A directory that has the file in it: of several, one that is not in the trash. */
static bool
find_counted(const DifsVolume *volume, const DifsInode *inode, int64 *parent)
{
	DifsName *names;
	int count;

	if (inode->nlink <= 1)
		return difs_dentry_above(inode->ino, parent, NULL);
	names = difs_dentry_names(inode->ino, &count);
	for (int i = 0; i < count; i++)
	{
		*parent = names[i].parent;
		if (difs_dentry_below(*parent, volume->root))
			break;
	}
	return count > 0;
}

void
difs_change_made(int64 parent, const DifsInode *inode)
{
	DifsVolume volume;
	DifsRoots roots;

	if (!is_watched(inode->volume, &volume))
		return;
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		difs_quota_roots(&volume, parent, &roots);
		difs_usage_add(&roots, inode->size, 1);
	}
	difs_journal_add(&volume, inode->kind == DIFS_KIND_DIRECTORY ? "mkdir" : "symlink", inode->ino, 0, NULL, NULL);
}

void
difs_change_linking(const DifsInode *inode, int64 parent, int64 new_parent, const char *new_path)
{
	DifsVolume volume;
	DifsRoots from;
	DifsRoots to;

	if (!is_watched(inode->volume, &volume))
		return;
	if (crosses_roots(&volume, parent, new_parent, &from, &to))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot link to \"%s\", where another quota counts", new_path),
				 errhint("difs_symlink() makes a symbolic link, and difs_copy() a copy that moves no bytes.")));
	difs_journal_add(&volume, "link", inode->ino, inode->version, NULL, NULL);
}

/* A file's row is locked, which waits for a writer to end, and has its final size then. */
void
difs_change_removing(int64 parent, const DifsInode *inode)
{
	DifsInode newest = *inode;
	DifsVolume volume;
	DifsRoots roots;

	if (!is_watched(inode->volume, &volume))
		return;
	if (inode->kind != DIFS_KIND_DIRECTORY && !difs_inode_lock(&newest))
		return; /* its remover finds out */
	if (volume.accounting != DIFS_ACCOUNTING_NONE && (newest.nlink <= 1 || difs_quota_count_names(&volume, inode->ino) <= 1))
	{
		difs_quota_roots(&volume, parent, &roots);
		difs_usage_add(&roots, -newest.size, -1);
		if (inode->kind == DIFS_KIND_DIRECTORY && volume.accounting == DIFS_ACCOUNTING_TREES)
			difs_quota_remove(inode->ino);
	}
	difs_journal_add(&volume, "delete", inode->ino, newest.version, NULL, NULL);
}

void
difs_change_discarding(int64 parent, const DifsInode *directory)
{
	DifsVolume volume;
	DifsRoots roots;

	if (!is_watched(directory->volume, &volume))
		return;
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		DifsTotals totals;

		difs_volume_usage_lock(volume.id, true);
		difs_quota_count_own(&volume, directory->ino, &totals);
		difs_quota_roots(&volume, parent, &roots);
		difs_usage_add(&roots, -totals.bytes, -totals.files - 1);
	}
	difs_journal_add(&volume, "delete", directory->ino, 0, NULL, NULL);
}

void
difs_change_returning(int64 parent, const DifsInode *inode, const char *action)
{
	DifsTotals totals = {.bytes = inode->size};
	DifsVolume volume;
	DifsRoots roots;

	if (!is_watched(inode->volume, &volume))
		return;
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		if (inode->kind == DIFS_KIND_DIRECTORY)
		{
			difs_volume_usage_lock(volume.id, true);
			difs_quota_count_own(&volume, inode->ino, &totals);
			if (totals.linked)
				refuse_other_roots(&volume, parent, inode);
		}
		difs_quota_roots(&volume, parent, &roots);
		difs_usage_add(&roots, totals.bytes, totals.files + 1);
	}
	if (action != NULL)
		difs_journal_add(&volume, action, inode->ino, inode->version, NULL, NULL);
}

/* All names of a file have the same roots above them (move_usage()). */
static void
refuse_other_roots(const DifsVolume *volume, int64 parent, const DifsInode *directory)
{
	int64 outside = 0;

	while (volume->accounting == DIFS_ACCOUNTING_TREES &&
		   (outside = difs_quota_next_outside(volume, directory->ino, outside)) != 0)
	{
		DifsRoots here;
		DifsRoots there;

		if (crosses_roots(volume, parent, outside, &here, &there))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot bring back \"%s\" to where another quota counts it", difs_journal_path(volume, directory->ino)),
					 errdetail("A file in it has another name, in \"%s\".", difs_journal_path(volume, outside)),
					 errhint("Give another place, or delete that name first.")));
	}
}

void
difs_change_purging(const DifsInode *inode)
{
	DifsVolume volume;

	if (inode->kind == DIFS_KIND_DIRECTORY && difs_volume_find_current(inode->volume, &volume) &&
		volume.accounting == DIFS_ACCOUNTING_TREES)
		difs_quota_remove(inode->ino);
}

void
difs_change_moving(const DifsInode *inode, int64 from_parent, const char *from_name,
				   int64 to_parent, const char *to_name)
{
	DifsVolume volume;

	if (!is_watched(inode->volume, &volume))
		return;
	move_usage(&volume, inode, from_parent, to_parent);
	if (volume.journal || volume.notify)
		difs_journal_add(&volume, "rename", inode->ino, inode->version,
						 path_below(&volume, from_parent, from_name), path_below(&volume, to_parent, to_name));
}

static char *
path_below(const DifsVolume *volume, int64 parent, const char *name)
{
	char *above = difs_journal_path(volume, parent);

	return psprintf("%s%s%s", above, above[1] == '\0' ? "" : "/", name);
}

static bool
is_watched(int32 id, DifsVolume *volume)
{
	return difs_volume_find_current(id, volume) &&
		(volume->accounting != DIFS_ACCOUNTING_NONE || volume->journal || volume->notify);
}

static int64
size_before(HeapTuple row)
{
	Relation table = table_open(difs_relation(DIFS_REL_INODE), NoLock);
	bool null;
	int64 size = DatumGetInt64(heap_getattr(row, DIFS_INODE_SIZE, RelationGetDescr(table), &null));

	table_close(table, NoLock);
	return size;
}

/* Do different quotas count what is in the two directories? */
static bool
crosses_roots(const DifsVolume *volume, int64 from_parent, int64 to_parent, DifsRoots *from, DifsRoots *to)
{
	if (volume->accounting == DIFS_ACCOUNTING_NONE || from_parent == to_parent ||
		(volume->accounting == DIFS_ACCOUNTING_VOLUME && !volume->has_trash))
		return false;
	difs_quota_roots(volume, from_parent, from);
	difs_quota_roots(volume, to_parent, to);
	return from->count != to->count || memcmp(from->ino, to->ino, from->count * sizeof(int64)) != 0;
}

/*
 * A file takes its size along; what a directory takes along must be counted, which nobody may change meanwhile.
 * All names of a file have the same roots above them, or they could not all be counted once.
 */
static void
move_usage(const DifsVolume *volume, const DifsInode *inode, int64 from_parent, int64 to_parent)
{
	DifsRoots from;
	DifsRoots to;
	DifsRoots left;
	DifsRoots entered;
	DifsTotals totals = {0};

	if (!crosses_roots(volume, from_parent, to_parent, &from, &to))
		return;
	if (inode->kind == DIFS_KIND_DIRECTORY)
	{
		difs_volume_usage_lock(volume->id, true);
		difs_quota_count(inode->ino, &totals);
		totals.files++;
	}
	else
	{
		DifsInode newest = *inode;

		if (!difs_inode_lock(&newest))
			return; /* its name is locked, so we find out before we change it */
		totals.bytes = newest.size;
		totals.files = 1;
		totals.linked = newest.nlink > 1;
	}
	if (totals.linked)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot move \"%s\" to where another quota counts it", difs_journal_path(volume, inode->ino)),
				 errdetail("A file has another name that would stay behind."),
				 errhint("Copy it with difs_copy().")));
	difs_roots_without(&from, &to, &left);
	difs_roots_without(&to, &from, &entered);
	difs_usage_add(&left, -totals.bytes, -totals.files);
	difs_usage_add(&entered, totals.bytes, totals.files);
}
