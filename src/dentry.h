/*
 * dentry.h - entries of directories, and how a new one comes to be.
 *
 * Names are resolved without locks (path.h), so whoever changes something locks
 * first and then looks again.  Two places are looked at again:
 *
 *	- a directory that gets a new entry: its inode number is locked shared, then
 *	  difs_directory_enter() looks whether it is still there.  Who removes a
 *	  directory locks the number exclusively, so from then on it stays;
 *	- an entry that goes away or leads elsewhere: its row is locked, and compared
 *	  with what was found.
 *
 * If something is not as it was, the function begins again from the path with
 * a new snapshot, difs_names_again(), and then either finds the new state or
 * reports what is missing.  In REPEATABLE READ and above there is no newer
 * snapshot: the functions here raise 40001 instead of asking for another try.
 *
 * A directory's row is never changed when its entries change (no hot row), so
 * its mtime and ctime do not move as POSIX's would.
 */
#ifndef DIFS_DENTRY_H
#define DIFS_DENTRY_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

#include "src/path.h"

/* The row of a name under the active snapshot, copied, and where it leads; NULL if there is none. */
extern HeapTuple difs_dentry_find(int64 parent, const char *name, int64 *ino);

/* Where the tuple of a scan leads. */
extern int64 difs_dentry_ino(HeapTuple row, TupleDesc desc);

/* The row of a name, locked against change and removal; NULL if it is gone by now, or does not lead to ino. */
extern HeapTuple difs_dentry_lock(int64 parent, const char *name, int64 ino);

/* A name of an inode. */
typedef struct DifsName
{
	int64 parent;
	char *name;
} DifsName;

/* All names of an inode under the active snapshot, in the order of their keys, palloc'd; *count says how many. */
extern DifsName *difs_dentry_names(int64 ino, int *count);

/* Does ino lie below that directory, or is it the directory itself? Under the active snapshot. */
extern bool difs_dentry_below(int64 ino, int64 directory);

/* The directory that has ino in it, and under which name (unless name is NULL; palloc'd): the first, if it has several. False if there is
 * none. Under the active snapshot. */
extern bool difs_dentry_above(int64 ino, int64 *parent, char **name);

/* Adds a name. False if somebody else has done so meanwhile. */
extern bool difs_dentry_insert(int64 parent, const char *name, int64 ino);

/* Removes a name that this call has just added. */
extern void difs_dentry_take_back(int64 parent, const char *name, int64 ino);

/* Locks a directory for new entries. False if it is gone. */
extern bool difs_directory_enter(const DifsInode *directory);

/* Makes an inode and its name in a directory. False if the directory is gone or somebody else has taken the name:
 * nothing is left behind. The row of a directory is written; other inodes are only prepared, for what the caller has to
 * add: a file's row is written with its first version, by difs_inode_store_content(). */
extern bool difs_entry_create(const DifsInode *directory, const char *name, DifsKind kind, DifsInode *inode);

/* Makes those directories on the way to a path's last component that do not exist. False: begin again.
 * Symbolic links are followed. Errors: 42809 if something on the way is not a directory, 42501 (perm.h). */
extern bool difs_directories_create(const DifsPath *path);

/* After a wait, between difs_write_begin() and _end(): puts the newest snapshot that the isolation level allows in
 * place of the active one. */
extern void difs_names_again(void);

/* What is committed now and what this transaction has written, whatever the isolation level: for looking again
 * under a lock. */
extern void difs_latest_begin(void);
extern void difs_latest_end(void);

#endif
