/*
 * hardlink.h - inodes with several names.
 *
 * difs.inode.nlink counts the names of a file or symbolic link.  It changes under
 * the lock of the inode's row, after the name came or went, so two who add or
 * remove names of one file take turns, and the last one to remove a name removes
 * the inode.  A directory has one name.
 */
#ifndef DIFS_HARDLINK_H
#define DIFS_HARDLINK_H

#include "postgres.h"

#include "access/htup.h"

#include "src/inode.h"

/* After a name was removed: the last one takes the inode along, and a file's content is doomed (23503 if a foreign
 * key forbids it). *inode is what was found before; only its number, kind and nlink count. No name of a file that is held goes
 * (55006, policy.h), with path in the message. */
extern void difs_inode_unlink(const DifsInode *inode, const char *path);

/* Removes a name, whose row is locked, in the same way; path leads to it, or to something above. */
extern void difs_name_remove(int64 parent, HeapTuple row, const DifsInode *inode, const char *path);

#endif
