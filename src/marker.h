/*
 * marker.h - delete markers: a deleted file whose history stays.
 *
 * In a volume with versioning, the delete of a file adds a version that says so,
 * a delete marker, and takes the name out of its directory, so nobody who walks
 * paths or lists sees anything of it.  The inode stays, and the name lies in the
 * directory's history: rows of difs.dentry whose parent is minus the directory's
 * number and whose name is "name/ino", which no name can be.  So it moves with
 * the directory, and one name may have the history of several files.
 *
 * A put, copy or restore on the name goes on with the history of the file that
 * was deleted last; difs_undelete() takes the marker away.  Functions that are
 * given a version find deleted files.
 *
 * A directory with such a history in it is not empty: recursive deletion takes it
 * along, for good or into the trash.
 */
#ifndef DIFS_MARKER_H
#define DIFS_MARKER_H

#include "postgres.h"

#include "src/path.h"
#include "src/version.h"

/* Behind a relation of directories' numbers in SQL: the rows of difs.dentry that are in them, histories included. By an equality, so that
 * it can be hashed or looked up in the index. */
#define DIFS_JOIN_ENTRIES(directories) \
	" CROSS JOIN (VALUES (1), (-1)) AS side (sign) JOIN difs.dentry ON dentry.parent = " directories ".ino * side.sign"

/* A deleted file in the history of a directory. */
typedef struct DifsMarkerEntry
{
	DifsInode inode;
	HeapTuple row; /* of difs.dentry */
} DifsMarkerEntry;

/* The file that was deleted last under the name that a walk did not find; false if there is none. */
extern bool difs_marker_find(const DifsWalk *walk, DifsMarkerEntry *entry);

/* As difs_path_find_file(), but finds a deleted file's inode as well; walk->found says which. */
extern void difs_marker_path_find(const text *path, DifsWalk *walk);

/* Gives the name back to a file that difs_marker_find() has found, whose row is locked then and in *inode. Its marker stays the current version:
 * the caller adds another one, or takes it away. False if somebody was faster. */
extern bool difs_marker_revive(const DifsWalk *walk, const DifsMarkerEntry *entry, DifsInode *inode);

/* Has a file, whose row is locked, still the name under which a walk has found it? Where deleted files are kept, the lock alone does not say so. */
extern bool difs_marker_still_named(const DifsWalk *walk, const DifsInode *inode);

/* Deletes a file, leaving a marker. row is that of its name, locked; the directory has been entered. */
extern void difs_marker_leave(const DifsWalk *walk, HeapTuple row);

/* The name of a file whose row is locked goes into the history of its directory. */
extern void difs_marker_hide(const DifsWalk *walk, const DifsInode *inode, HeapTuple row);

/* Removes a deleted file for good, with its history. path is for messages. */
extern void difs_marker_remove_file(const DifsInode *inode, const char *path);

/* May the user remove the history of what was deleted in a directory? 42501 if not. */
extern void difs_marker_require_removal(const DifsInode *directory, const char *path);

/* A directory that is locked exclusively goes: so does the history of what was deleted in it; 2BP01 if there is one and not recursive. */
extern void difs_marker_remove_below(const DifsInode *directory, bool recursive, const char *path);

#endif
