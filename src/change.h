/*
 * change.h - what else is to be done when files and names change.
 *
 * Usage (usage.h) and the journal (journal.h) hang on the same few events, and
 * those stand here, so that the code that changes rows has one line for each.
 * Volumes without quota, journal and notification pay a look into the cache of
 * volumes (volume.h) for it, and open no table.
 *
 * A caller of any of these is between difs_write_begin() and _end(), and has a
 * lock on difs.dentry or difs.inode already (its own write), so that a volume
 * cannot begin to count files while one is on its way (quota.c).
 */
#ifndef DIFS_CHANGE_H
#define DIFS_CHANGE_H

#include "postgres.h"

#include "access/htup.h"

#include "src/inode.h"
#include "src/volume.h"

/* Before the first other lock of a call that changes something in a volume. */
static inline void
difs_change_enter(const DifsVolume *volume)
{
	if (volume->accounting != DIFS_ACCOUNTING_NONE)
		difs_volume_usage_lock(volume->id, false);
}

/* The same for what may take a whole tree out of what is counted, or bring it back: nobody may change it meanwhile. */
static inline void
difs_change_enter_tree(const DifsVolume *volume, bool tree)
{
	if (volume->accounting != DIFS_ACCOUNTING_NONE)
		difs_volume_usage_lock(volume->id, tree);
}

/* The same for a rename. */
extern void difs_change_enter_move(const DifsVolume *volume, const DifsInode *inode, int64 from_parent, int64 to_parent);

/* A file gets the size and version of *inode; row is what it was, NULL for a new file, whose name is there already. Errors: 53400 quota. */
extern void difs_change_content(const DifsInode *inode, HeapTuple row);

/* A directory or symbolic link has been made. Errors: 53400. */
extern void difs_change_made(int64 parent, const DifsInode *inode);

/* A file gets one more name. Errors: 0A000 if other quotas count what is there, since all names of a file count once. */
extern void difs_change_linking(const DifsInode *inode, int64 parent, int64 new_parent, const char *new_path);

/* A name is about to go: its row is locked, and still there. If it is the last one that leads to its inode from the root, that counts no more. */
extern void difs_change_removing(int64 parent, const DifsInode *inode);

/* A tree is about to go to the trash: nothing in it counts any more. Its name is still there. */
extern void difs_change_discarding(int64 parent, const DifsInode *directory);

/* Something deleted has its name again, or another one: a file with a history, or what was in the trash. action is for the journal; NULL if
 * another row tells it. Errors: 53400; 0A000 if a file in it has another name that other quotas count. */
extern void difs_change_returning(int64 parent, const DifsInode *inode, const char *action);

/* What is in the trash, and so is not counted, is about to go for good. */
extern void difs_change_purging(const DifsInode *inode);

/* A name becomes another one in the same volume: the new one is there already, and the old one still. Errors: 53400. */
extern void difs_change_moving(const DifsInode *inode, int64 from_parent, const char *from_name,
							   int64 to_parent, const char *to_name);

#endif
