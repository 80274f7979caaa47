/*
 * trash.h - the trash of a volume.
 *
 * In a volume with trash_for, what difs_delete() or a rename takes away goes to
 * the trash: its row of difs.dentry becomes a row of difs.discarded, which says
 * who did it, when, and where it was.  That is O(1), also for a tree.  What is
 * below hangs together as before and can be reached by no path.  A file with
 * several names goes there with the last of them; names of it in a tree that goes
 * there are names still.  No quota counts what is in the trash.
 *
 * difs_undelete() brings it back; the keeper (worker/collect_outdated.c), or difs_purge(),
 * removes it for good, with its inodes.
 */
#ifndef DIFS_TRASH_H
#define DIFS_TRASH_H

#include "postgres.h"

#include "src/path.h"

/* A row of difs.discarded. */
typedef struct DifsDiscarded
{
	int64 id;
	int32 volume;
	char *path; /* without the volume */
	int64 ino;
	Oid deleted_by;
	TimestampTz deleted;
	HeapTuple row;
} DifsDiscarded;

/* Puts what a walk has found there. row is that of its name, locked. Refuses if a file in it is held (policy.h). */
extern void difs_trash_put(const DifsWalk *walk, HeapTuple row);

/* Under the active snapshot: by number, or the last one that was deleted from a path and that the user may bring back. False if there is none. */
extern bool difs_trash_find(int64 id, DifsDiscarded *discarded);
extern bool difs_trash_find_path(const DifsPath *path, const DifsVolume *volume, DifsDiscarded *discarded);

/* May the user bring it back, or remove it for good? 42501 if not. */
extern void difs_trash_require(const DifsDiscarded *discarded, const DifsInode *inode);

/* Brings it back under the name that a walk did not find. False if something has changed: begin again. */
extern bool difs_trash_restore(const DifsDiscarded *discarded, const DifsWalk *walk);

/* Removes it for good: returns the number of entries. Refuses if a file in it is held. 0 if it is not there any more. */
extern int64 difs_trash_purge(int64 id);

#endif
