/*
 * removal.h - what becomes of an inode whose last name goes, other than its end (hardlink.h).
 */
#ifndef DIFS_REMOVAL_H
#define DIFS_REMOVAL_H

#include "postgres.h"

#include "src/path.h"

/* What a walk found and locked is to go as a whole from its name, whose row is locked as well, into the history of the directory (marker.h)
 * or into the trash (trash.h), if the volume says so and it is the last name. False if not: the caller removes the name. Takes the row of
 * difs.dentry away. */
extern bool difs_removal_keeps(const DifsWalk *walk, HeapTuple row);

/* Before that, while nothing is locked yet: takes the lock on the directory's number that this needs. False if the directory is gone. */
extern bool difs_removal_prepare(const DifsWalk *walk);

#endif
