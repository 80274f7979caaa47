/*
 * doom.h - letting go of content.
 *
 * Content is let go of by one row of difs.doomed, in the transaction that takes
 * its last name away, whatever its size.  Rows of difs.version and difs.manifest
 * stay: old snapshots go on reading through them, and the keeper removes them
 * after the segments.  A rollback takes the doomed row away with the rest, so
 * there is nothing to clean up here.
 */
#ifndef DIFS_DOOM_H
#define DIFS_DOOM_H

#include "postgres.h"

/* All versions of a file. */
extern void difs_doom_inode(int64 ino);

/* One version of a file that stays; its row has a number below zero (history.h). Or none, but the manifest rows that no version has
 * any more (worker/compact.c): a number that no file ever counts down to. */
#define DIFS_DOOM_UNUSED_ROWS PG_INT32_MIN
extern void difs_doom_version(int64 ino, int32 version);

#endif
