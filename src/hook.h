/*
 * hook.h - SQL functions of a volume's owner that are asked about changes.
 *
 * before_put is asked about each new version of a file, however its content came:
 * difs_put(), difs_import(), difs_append(), difs_write(), difs_truncate(), difs_copy(), difs_concat(),
 * difs_restore(), difs_upload_commit() and the helpers of difs_insert().  It is called
 * once the version's rows are written and before the call returns, so it can read
 * the content with difs_get(), while nobody outside the transaction sees anything
 * of it.  An error that it raises undoes the version and reaches the caller.
 *
 * Rights.  The function runs as the user who puts, as a trigger does: the volume's
 * owner gains nothing by it but what a trigger's owner gains, and a caller who may not
 * execute it cannot put.  The caller's settings cannot mislead it: search_path is
 * "pg_catalog, pg_temp" while it runs, and what it sets ends with it.  In a helper of
 * difs_insert(), whose session is a superuser's, it runs restricted, so nothing that it
 * leaves behind (deferred triggers, temporary tables) runs with other rights later.
 *
 * The name.  difs.volume has the function's qualified name, not its OID: that survives
 * dump and restore, pg_upgrade, and DROP with CREATE.  A function that is not there, or
 * has become another kind of function, refuses every put (42883, 42P13), since a check
 * that cannot be made is not passed.
 *
 * Recursion.  A function that changes files of a volume whose before_put is running is
 * refused (55006).  It may write to other volumes.
 */
#ifndef DIFS_HOOK_H
#define DIFS_HOOK_H

#include "postgres.h"

#include "fmgr.h"

#include "src/inode.h"

/* "schema"."name", each of up to 63 bytes, which quoting may double. */
#define DIFS_HOOK_NAME_SIZE (2 * (2 * NAMEDATALEN + 2))

/* Asks before_put of the inode's volume, if it has one, about a version that is written. The last thing between difs_write_begin() and _end(): the function
 * may have changed what the caller has read. */
extern void difs_hook_before_put(const DifsInode *inode, int32 version, int64 size);

/* An argument regprocedure that is not null, checked: into name[DIFS_HOOK_NAME_SIZE]. 42883, 42P13, or 42501 if the user may not execute it. */
extern void difs_hook_argument(FunctionCallInfo fcinfo, int argument, char *name);

#endif
