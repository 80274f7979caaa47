/*
 * create.h - opening a file for a new version.
 */
#ifndef DIFS_CREATE_H
#define DIFS_CREATE_H

#include "postgres.h"

#include "fmgr.h"

#include "src/history.h"
#include "src/path.h"
#include "src/version.h"

#define DIFS_ANY_VERSION (-1)

/*
 * Finds or creates the file that is to get a new version, and locks it: on return, *inode is its
 * newest state, and until the end of the transaction nobody else can add a version or remove it.
 * *created says that it is new: its version is 0, its row is not written, and the caller is to write
 * version 1. *walk says where it is.  Between difs_write_begin() and _end(); the active snapshot may have been replaced by a
 * newer one.
 *
 * parents: directories on the way are made.  if_version: 0 = must not exist (58P02), n = the current
 * version must be n (40001), DIFS_ANY_VERSION.  Two transactions that create the same name: the second
 * waits for the first to end, and then adds a version to its file (REPEATABLE READ and above: 40001).
 * 42809 if the path says directory, or a directory is there, 42501 (perm.h).
 */
extern void difs_file_open_for_write(const text *path, bool parents, int32 if_version,
									 DifsWalk *walk, DifsInode *inode, bool *created);

/*
 * Makes a version that replaces the content, with the number that was chosen for it (history.h), one of a file that was opened so: sets
 * author and time, writes both rows, and lets older versions go as the policies say.
 */
extern void difs_file_store(const DifsVolume *volume, const DifsNumber *number, DifsInode *inode, DifsVersion *version);

/* An argument if_version of SQL: null is DIFS_ANY_VERSION; 22023 if it is negative. */
extern int32 difs_if_version_argument(FunctionCallInfo fcinfo, int argument);

#endif
