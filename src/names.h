/*
 * names.h - what names.c does for others.
 */
#ifndef DIFS_NAMES_H
#define DIFS_NAMES_H

#include "postgres.h"

#include "access/htup.h"

#include "src/inode.h"

/* Removes what is in a directory that is locked exclusively, one by one; if not recursive, sees that it is empty (2BP01). path is for messages. */
extern void difs_directory_empty(const DifsInode *directory, bool recursive, const char *path);

/* What is in the trash goes for good: an inode that nothing leads to, and all below it if it is a directory, which is locked exclusively.
 * Returns how many that were. path is for messages. */
extern int64 difs_names_purge(const DifsInode *inode, const char *path);

/* A row of difs.dentry below a path is to be removed: REPEATABLE READ and above must not remove what their snapshot has never seen (40001). */
extern void difs_names_refuse_unseen(HeapTuple row, const char *path);

/* difs_delete(path, version => n): one version of a file, also of a deleted one (delete_version.c). */
extern void difs_delete_version(const text *path, int32 number);

#endif
