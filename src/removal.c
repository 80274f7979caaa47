/*
 * removal.c - what becomes of an inode whose last name goes (removal.h).
 *
 * No state here.
 */
#include "postgres.h"

#include "src/dentry.h"
#include "src/marker.h"
#include "src/removal.h"
#include "src/trash.h"

static bool has_more_names(const DifsInode *inode);

bool
difs_removal_prepare(const DifsWalk *walk)
{
	return !walk->volume.versioning || walk->inode.kind != DIFS_KIND_FILE || difs_directory_enter(&walk->parent);
}

bool
difs_removal_keeps(const DifsWalk *walk, HeapTuple row)
{
	bool marked = walk->volume.versioning && walk->inode.kind == DIFS_KIND_FILE;

	if (!(marked || walk->volume.has_trash) || has_more_names(&walk->inode))
		return false;
	if (marked)
		difs_marker_leave(walk, row);
	else
		difs_trash_put(walk, row);
	return true;
}

/* Under the lock of its row, which both kinds of keeping need. */
static bool
has_more_names(const DifsInode *inode)
{
	DifsInode now = *inode;

	return inode->kind != DIFS_KIND_DIRECTORY && difs_inode_lock(&now) && now.nlink > 1;
}
