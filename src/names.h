/*
 * names.h - what names.c does for others.
 */
#ifndef DIFS_NAMES_H
#define DIFS_NAMES_H

#include "postgres.h"

#include "src/inode.h"

/* Removes what is in a directory that is locked exclusively, one by one; if not recursive, sees that it is empty (2BP01). path is for messages. */
extern void difs_directory_empty(const DifsInode *directory, bool recursive, const char *path);

#endif
