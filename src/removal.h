/*
 * removal.h - the end of an inode.
 */
#ifndef DIFS_REMOVAL_H
#define DIFS_REMOVAL_H

#include "postgres.h"

#include "src/path.h"

/* Removes an inode whose last name goes: for a file, one doomed row says that all its versions go, whatever their size. Refuses (55006, naming the
 * file) if it is held (policy.h): call it before its name is gone. */
extern void difs_remove_inode(const DifsInode *inode);

/* What a walk found and locked is to go as a whole from its name, whose row is locked as well, into the history of the directory (marker.h)
 * or into the trash (trash.h), if the volume says so. False if not: the caller removes it. Takes the row of difs.dentry away. */
extern bool difs_removal_keeps(const DifsWalk *walk, HeapTuple row);

/* Before that, while nothing is locked yet: takes the lock on the directory's number that this needs. False if the directory is gone. */
extern bool difs_removal_prepare(const DifsWalk *walk);

#endif
