/*
 * perm.h - who may do what with a file or directory.
 *
 * An inode has an owner (a role), perhaps a group (a role), mode bits as in
 * POSIX, and entries for more roles.  A role is of the owner's class if it has the
 * owner's privileges (is it, or a member that inherits), else of the group's
 * class if it has the group's, else it is one of the others; its class's three
 * bits count.  Entries only add to that: whoever has the privileges of an
 * entry's role may also do what the entry says.
 *
 *	search (x)	each directory on the way to anything; attributes need no more
 *	read (r)	content, versions and map of a file, names in a directory
 *	write (w)	content of a file; with search: entries of a directory
 *
 * In a directory with the sticky bit an entry is removed or moved only by its
 * owner or the directory's.  Superusers and who has the privileges of the volume's
 * owner may do everything in it.
 *
 * What holds is what is committed now, whatever the snapshot of the transaction:
 * rights that were taken away are gone for open transactions, too.  Rights on
 * directories are kept in each process, because every path needs them, and
 * forgotten as soon as those of any directory, a volume, or a role's membership
 * change.
 *
 * Errors are 42501; the message has the path, the detail says what is missing.
 */
#ifndef DIFS_PERM_H
#define DIFS_PERM_H

#include "postgres.h"

#include "src/inode.h"
#include "src/path.h"

#define DIFS_MAY_SEARCH 1
#define DIFS_MAY_WRITE 2
#define DIFS_MAY_READ 4
#define DIFS_MAY_ALL 7

#define DIFS_MODE_STICKY 01000
#define DIFS_MODE_BITS 07777

/* May the current user do everything in a volume? Hot: two comparisons, mostly. */
extern bool difs_perm_privileged(int32 volume);

/* What the current user may do: with an inode that was read; with a directory by its number, from what is kept. */
extern int difs_perm_of(const DifsInode *inode);
extern int difs_perm_of_directory(int32 volume, int64 ino);

/* Search permission on a directory that the first count components of a path lead to. */
extern void difs_perm_search(const DifsPath *path, int count, int32 volume, int64 directory);

/* DIFS_MAY_READ and others, all of them, on what a path leads to (or is below it, for whole trees). */
extern void difs_perm_require(const DifsInode *inode, int wanted, const char *path);

/* To add an entry to a directory; to remove or replace the one that leads to an inode. */
extern void difs_perm_require_entry(int32 volume, int64 directory, const char *path);
extern void difs_perm_require_removal(int64 directory, const DifsInode *inode, const char *path);

/* To change a volume, what it counts or keeps, or to read its journal: its owner and superusers. */
extern void difs_perm_require_volume(const DifsVolume *volume);

/* To change who may do what. */
extern void difs_perm_require_owner(const DifsInode *inode, const char *path);

/* After a change of the rights of a directory, before difs_command_done(): has all processes forget what they keep. */
extern void difs_perm_changed(void);

#endif
