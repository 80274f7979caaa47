/*
 * copy.h - what copies of whole files and of parts have in common.
 */
#ifndef DIFS_COPY_H
#define DIFS_COPY_H

#include "postgres.h"

#include "src/path.h"
#include "src/version.h"

/* Finds a file and a version of it; 0: the current one. */
extern void difs_copy_find_source(const text *path, int32 number, DifsWalk *walk, DifsVersion *version);

/* If the target's inode is a new one, it is no source: one of the same path that was found before is gone. 58P01. */
extern void difs_copy_check_gone(const text *path, const DifsWalk *target, const DifsInode *inode);

/* Segments stay where they are, so that must be a place that the target's volume would choose: 0A000 otherwise. */
extern void difs_copy_check_classes(const DifsWalk *from, const DifsWalk *to);

#endif
