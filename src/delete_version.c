/*
 * delete_version.c - difs_delete(path, version => n), one version of a file.
 *
 * If it is the current one, the one before takes its place: if that says that the
 * file was deleted, the file is so again, and if it is a delete marker that goes,
 * the file is back.  With its last version the file goes, for good; so does a
 * deleted file with the last version that has content.
 *
 * No state here.  Locks are those of names.c and in their order.
 */
#include "postgres.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/hardlink.h"
#include "src/history.h"
#include "src/marker.h"
#include "src/names.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/stat.h"
#include "src/table.h"

/* The file and its name, or where it is among deleted ones; all locked. */
typedef struct Target
{
	DifsWalk walk;
	DifsInode inode;
	DifsMarkerEntry entry; /* its row is that of the name, also if the file is not deleted */
} Target;

static bool open_target(const text *path, Target *target);
static void remove_current(Target *target, const DifsVersion *version);
static void require_removal(const Target *target);

void
difs_delete_version(const text *path, int32 number)
{
	Target target;
	DifsInode *inode = &target.inode;
	DifsVersion version;
	DifsVersion current;
	DifsVersion before;

	while (!open_target(path, &target))
		difs_names_again();
	difs_names_again(); /* what there is now that the file is locked */

	target.walk.inode = *inode;
	difs_stat_version(&target.walk, number, &version);
	difs_policy_refuse_removal(inode, target.walk.path->text);
	if (number == inode->version)
	{
		remove_current(&target, &version);
		return;
	}
	difs_history_remove(inode, &version);
	difs_stat_version(&target.walk, inode->version, &current);
	if (current.deleted && !difs_history_before(inode->ino, current.version, &before))
	{
		require_removal(&target);
		difs_marker_remove_file(inode, target.walk.path->text);
		return;
	}
	difs_inode_store_history(inode);
}

/* False if something has changed since the path was resolved. */
static bool
open_target(const text *path, Target *target)
{
	DifsWalk *walk = &target->walk;

	difs_path_walk(path, walk);
	difs_path_expect_file(walk);
	if (!walk->found && (!walk->volume.versioning || !difs_marker_find(walk, &target->entry)))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file or directory \"%s\" does not exist", walk->path->text)));
	target->inode = walk->found ? walk->inode : target->entry.inode;
	difs_perm_require(&target->inode, DIFS_MAY_WRITE, walk->path->text);
	difs_change_enter(&walk->volume);
	if (!difs_directory_enter(&walk->parent))
		return false;
	if (!walk->found)
	{
		return difs_row_lock(DIFS_REL_DENTRY, &target->entry.row) && difs_inode_lock(&target->inode);
	}
	target->entry.row = difs_dentry_lock(walk->parent.ino, walk->name, walk->inode.ino);
	return target->entry.row != NULL && difs_inode_lock(&target->inode);
}

static void
remove_current(Target *target, const DifsVersion *version)
{
	const DifsWalk *walk = &target->walk;
	DifsInode *inode = &target->inode;
	DifsVersion before;

	if (!difs_history_before(inode->ino, version->version, &before))
	{
		require_removal(target);
		if (walk->found)
			difs_change_removing(walk->parent.ino, inode);
		difs_row_delete(DIFS_REL_DENTRY, target->entry.row);
		difs_inode_unlink(inode, walk->path->text);
		return;
	}
	if (before.deleted != version->deleted)
		require_removal(target);
	if (walk->found && before.deleted)
		difs_change_removing(walk->parent.ino, inode);
	difs_history_remove(inode, version);
	difs_history_make_current(inode, &before);
	if (walk->found && !before.deleted)
		difs_inode_store_content(inode);
	else
		difs_inode_store_history(inode);
	if (walk->found && before.deleted)
		difs_marker_hide(walk, inode, target->entry.row);
	else if (!walk->found && !before.deleted)
	{
		if (!difs_dentry_insert(walk->parent.ino, walk->name, inode->ino))
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_EXISTS),
					 errmsg("file or directory \"%s\" already exists", walk->path->text)));
		difs_row_delete(DIFS_REL_DENTRY, target->entry.row);
		difs_change_returning(walk->parent.ino, inode, "undelete");
	}
}

/* The name goes, or comes back. That is what deleting a version may do to a file with one name only: others would lose theirs. */
static void
require_removal(const Target *target)
{
	const DifsWalk *walk = &target->walk;

	difs_perm_require_removal(walk->parent.ino, &target->inode, walk->path->text);
	if (target->inode.nlink > 1)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NOT_EMPTY),
				 errmsg("cannot delete the last version of \"%s\", which has %d names", walk->path->text, target->inode.nlink),
				 errhint("difs_delete() without a version removes one name.")));
}
