/*
 * history.h - versions that go, or get other content, one by one.
 *
 * Numbers.  A number is given to one version only, but for an explicit
 * difs_put(version => n), which may name one again.  Manifest rows lie under the
 * number of the version that made them and stay until the keeper has collected
 * them, so a version with a number that was used before has its rows under
 * another one, below zero (version.map_version, as a copy within the file).
 *
 * Letting go.  The row of difs.version moves to a number below zero, where
 * nobody looks for versions, and a row of difs.doomed names it there: so the
 * keeper, who asks which versions still need a segment, knows of everything that
 * a snapshot, a standby or a hold may still want.  The number is free at once.
 * inode.let_go counts down to those numbers.
 *
 * All of this is for a file whose row is locked, under a snapshot that was taken
 * after the lock (difs_names_again()); the caller stores the inode afterwards.
 */
#ifndef DIFS_HISTORY_H
#define DIFS_HISTORY_H

#include "postgres.h"

#include "fmgr.h"

#include "src/path.h"
#include "src/version.h"

/* What difs_put(version => n) amounts to. */
typedef struct DifsNumber
{
	int32 version;
	int32 content; /* number for its manifest rows; for difs_content_begin() */
	bool replaces; /* there is a version with this number */
	bool current;  /* it is, or becomes, the current one */
} DifsNumber;

/* No explicit number: the next one is taken. */
#define DIFS_NEXT_VERSION 0

/* Takes an argument apart that names a version: 22003 beyond integer, 22023 below 1. DIFS_NEXT_VERSION if null. */
extern int32 difs_version_argument(FunctionCallInfo fcinfo, int argument);

/* Chooses the number of a new version: number is DIFS_NEXT_VERSION, or higher than the current version, or that of one that there is (58P01
 * otherwise). */
extern void difs_number_choose(const DifsWalk *walk, DifsInode *inode, int32 number, DifsNumber *chosen);

/* Writes the row of a version whose content was given the chosen number, in place of the one before if there is one, and makes *inode
 * say so. */
extern void difs_number_store(const DifsNumber *chosen, DifsInode *inode, DifsVersion *version);

/* Lets go of a version; the inode's current one is left to the caller. A delete marker just goes. */
extern void difs_history_remove(DifsInode *inode, const DifsVersion *version);

/* Makes a version the current one of an inode, after the one that was is gone: that one's number is not given again. */
extern void difs_history_make_current(DifsInode *inode, const DifsVersion *version);

/* The newest version below a number, delete markers included; false if there is none. */
extern bool difs_history_before(int64 ino, int32 number, DifsVersion *version);

#endif
