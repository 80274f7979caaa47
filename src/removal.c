/*
 * removal.c - the end of an inode, and what comes in its place (removal.h).
 *
 * No state here.
 */
#include "postgres.h"

#include "src/dentry.h"
#include "src/doom.h"
#include "src/marker.h"
#include "src/policy.h"
#include "src/removal.h"
#include "src/trash.h"

void
difs_remove_inode(const DifsInode *inode)
{
	if (difs_inode_remove(inode->ino))
		difs_policy_remove(inode, difs_policy_path(inode));
	if (inode->kind == DIFS_KIND_FILE)
		difs_doom_inode(inode->ino);
}

bool
difs_removal_prepare(const DifsWalk *walk)
{
	return !walk->volume.versioning || walk->inode.kind != DIFS_KIND_FILE || difs_directory_enter(&walk->parent);
}

bool
difs_removal_keeps(const DifsWalk *walk, HeapTuple row)
{
	if (walk->volume.versioning && walk->inode.kind == DIFS_KIND_FILE)
		difs_marker_leave(walk, row);
	else if (walk->volume.has_trash)
		difs_trash_put(walk, row);
	else
		return false;
	return true;
}
