/*
 * marker.c - delete markers: a deleted file whose history stays (marker.h).
 *
 * No state here.  Locks are those of names.c and in their order: the directory's
 * number, the row of the name, the inode's row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/hardlink.h"
#include "src/history.h"
#include "src/marker.h"
#include "src/names.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"

static char *history_name(const char *name, int64 ino);

bool
difs_marker_find(const DifsWalk *walk, DifsMarkerEntry *entry)
{
	ScanKeyData keys[3];
	DifsScan *scan;
	HeapTuple row;
	bool found = false;

	/* "name/" and all that begins with it: "0" follows the slash */
	DIFS_KEY(&keys[0], DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(-walk->parent.ino));
	DIFS_KEY(&keys[1], DIFS_DENTRY_NAME, BTGreaterEqualStrategyNumber, F_TEXT_GE,
			 CStringGetTextDatum(psprintf("%s/", walk->name)));
	DIFS_KEY(&keys[2], DIFS_DENTRY_NAME, BTLessStrategyNumber, F_TEXT_LT,
			 CStringGetTextDatum(psprintf("%s0", walk->name)));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 3, keys);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		int64 ino = difs_dentry_ino(row, difs_scan_desc(scan));
		DifsInode inode;

		if (!difs_inode_find(ino, &inode))
			elog(ERROR, "inode " INT64_FORMAT ", which was \"%s\", is missing", ino, walk->path->text);
		if (found && inode.ctime <= entry->inode.ctime)
			continue;
		entry->inode = inode;
		entry->row = heap_copytuple(row);
		found = true;
	}
	difs_scan_end(scan);
	return found;
}

void
difs_marker_path_find(const text *path, DifsWalk *walk)
{
	DifsMarkerEntry entry;

	difs_path_walk(path, walk);
	difs_path_expect_file(walk);
	if (walk->found)
		return;
	if (!walk->volume.versioning || !difs_marker_find(walk, &entry))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file or directory \"%s\" does not exist", walk->path->text)));
	walk->inode = entry.inode;
}

bool
difs_marker_revive(const DifsWalk *walk, const DifsMarkerEntry *entry, DifsInode *inode)
{
	HeapTuple row = entry->row;

	if (!difs_directory_enter(&walk->parent) || !difs_row_lock(DIFS_REL_DENTRY, &row))
		return false;
	*inode = entry->inode;
	if (!difs_inode_lock(inode) || !difs_dentry_insert(walk->parent.ino, walk->name, inode->ino))
		return false;
	difs_row_delete(DIFS_REL_DENTRY, row);
	return true;
}

/* That something has changed says that it may not have it. */
bool
difs_marker_still_named(const DifsWalk *walk, const DifsInode *inode)
{
	int64 ino;
	bool named;

	if (!(walk->volume.versioning || walk->volume.has_trash) || inode->ctime == walk->inode.ctime)
		return true;
	difs_latest_begin();
	named = difs_dentry_find(walk->parent.ino, walk->name, &ino) != NULL && ino == inode->ino;
	difs_latest_end();
	return named;
}

void
difs_marker_leave(const DifsWalk *walk, HeapTuple row)
{
	DifsInode inode = walk->inode;
	DifsVersion marker = {0};

	if (!difs_inode_lock(&inode))
		elog(ERROR, "inode " INT64_FORMAT ", to which \"%s\" leads, is missing", inode.ino, walk->path->text);
	difs_policy_refuse_removal(&inode, walk->path->text);
	difs_names_again();
	difs_change_removing(walk->parent.ino, &inode);

	marker.ino = marker.map_ino = inode.ino;
	marker.version = marker.map_version = marker.base = difs_inode_next_version(&inode);
	marker.deleted = true;
	marker.author = GetUserId();
	marker.mtime = GetCurrentTimestamp();
	difs_version_insert(&marker);

	inode.version = marker.version;
	inode.size = 0;
	inode.mtime = inode.ctime = marker.mtime;
	difs_retain_after_put(&walk->volume, &inode);
	difs_inode_store_history(&inode);
	difs_marker_hide(walk, &inode, row);
}

void
difs_marker_hide(const DifsWalk *walk, const DifsInode *inode, HeapTuple row)
{
	if (!difs_dentry_insert(-walk->parent.ino, history_name(walk->name, inode->ino), inode->ino))
		elog(ERROR, "inode " INT64_FORMAT " is in the history of \"%s\" already", inode->ino, walk->path->text);
	difs_row_delete(DIFS_REL_DENTRY, row);
}

void
difs_marker_remove_file(const DifsInode *inode, const char *path)
{
	ScanKeyData key;
	HeapTuple row;

	DIFS_KEY(&key, DIFS_DENTRY_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(inode->ino));
	row = difs_row_find(DIFS_REL_DENTRY, DIFS_REL_DENTRY_INO, 1, &key);
	if (row != NULL)
		difs_row_delete(DIFS_REL_DENTRY, row);
	difs_inode_unlink(inode, path);
}

void
difs_marker_require_removal(const DifsInode *directory, const char *path)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(-directory->ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsInode file;

		if (!difs_inode_find(difs_dentry_ino(row, difs_scan_desc(scan)), &file))
			continue;
		difs_perm_require_removal(directory->ino, &file, path);
		difs_inode_free(&file);
	}
	difs_scan_end(scan);
}

void
difs_marker_remove_below(const DifsInode *directory, bool recursive, const char *path)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(-directory->ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsInode file;

		if (!recursive)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_NOT_EMPTY),
					 errmsg("directory \"%s\" has the history of deleted files", path),
					 errhint("difs_delete() with recursive => true removes that, too.")));
		difs_names_refuse_unseen(row, path);
		row = heap_copytuple(row);
		if (!difs_inode_find(difs_dentry_ino(row, difs_scan_desc(scan)), &file) || !difs_row_lock(DIFS_REL_DENTRY, &row))
			continue;
		difs_perm_require_removal(directory->ino, &file, path);
		if (file.policy)
			path = difs_policy_path(&file);
		difs_row_delete(DIFS_REL_DENTRY, row);
		difs_inode_unlink(&file, path);
	}
	difs_scan_end(scan);
}

static char *
history_name(const char *name, int64 ino)
{
	return psprintf("%s/" INT64_FORMAT, name, ino);
}
