/*
 * get.h - finding the version of a file that is to be read.
 */
#ifndef DIFS_GET_H
#define DIFS_GET_H

#include "postgres.h"

#include "fmgr.h"

#include "src/version.h"

/* Resolves the arguments path and (may be null: the current one) version of an SQL function, under the active
 * snapshot of difs_read_begin(), and makes what this transaction has written to the file readable. *path is
 * palloc'd, for messages. */
extern void difs_get_open(FunctionCallInfo fcinfo, int path_argument, int version_argument,
						  char **path, DifsVersion *version);

/* The same for the current version, or for the one of that number. */
extern void difs_get_current(text *path_text, char **path, DifsVersion *version);
extern void difs_get_numbered(text *path_text, int32 number, char **path, DifsVersion *version);

/* A value of length bytes, to be filled. Errors out if no value can have as many; path is for the message. */
extern bytea *difs_get_room(const char *path, int64 length);

#endif
