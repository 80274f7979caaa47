/*
 * stat.h - what a file, directory or symbolic link is, in SQL's words.
 */
#ifndef DIFS_STAT_H
#define DIFS_STAT_H

#include "postgres.h"

#include "src/inode.h"
#include "src/path.h"
#include "src/version.h"

/* "file", "directory" or "symlink". */
extern const char *difs_kind_name(DifsKind kind);

/* Reads a version of a file that a path led to; 58P01 naming path and version if there is none. */
extern void difs_stat_version(const DifsWalk *file, int32 number, DifsVersion *version);

#endif
