/*
 * names.h - removing what has no name any more.
 */
#ifndef DIFS_NAMES_H
#define DIFS_NAMES_H

#include "postgres.h"

#include "access/htup.h"

#include "src/inode.h"

/* An inode that nothing leads to, and all below it if it is a directory, which is locked exclusively. Returns how many that were. path is for
 * messages. */
extern int64 difs_names_remove(const DifsInode *inode, const char *path);

/* A row of difs.dentry below a path is to be removed: REPEATABLE READ and above must not remove what their snapshot has never seen (40001). */
extern void difs_names_refuse_unseen(HeapTuple row, const char *path);

/* difs_delete(path, version => n): one version of a file, also of a deleted one (delete_version.c). */
extern void difs_delete_version(const text *path, int32 number);

#endif
