/*
 * role_use.h - which roles the files of this database name.
 *
 * PostgreSQL refuses to drop a role that something depends on.  What files name,
 * as owner, group or entry, would be too many dependencies if each file had its own, so
 * there is one for each role in a database: of the sequence difs.ino on the role, recorded when
 * the first file names it.  difs_reassign() ends it.
 */
#ifndef DIFS_ROLE_USE_H
#define DIFS_ROLE_USE_H

#include "postgres.h"

/* A file or volume is about to name a role. Hot: one comparison, mostly. */
extern void difs_role_use(Oid role);

/* The same for all roles that files name: after a restore. */
extern void difs_role_use_all(void);

/* What this process knows to be recorded may not be any more. */
extern void difs_role_use_forget(void);

#endif
