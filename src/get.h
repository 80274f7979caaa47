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

#endif
