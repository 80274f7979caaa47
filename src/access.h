/*
 * access.h - access entries: rights of single roles on an inode beyond its mode.
 *
 * An entry has a role, what it may do (DIFS_MAY_READ …), and, of a directory,
 * what it will be able to do with what is created there (the default, which
 * is copied).  In difs.inode the roles are the column acl_role, both sets of bits
 * one number in acl_mode; both columns are null where there is no entry, so
 * that nothing is paid for.
 */
#ifndef DIFS_ACCESS_H
#define DIFS_ACCESS_H

#include "postgres.h"

#define DIFS_MAX_ACCESS 64					  /* entries of one inode */
#define DIFS_ACCESS_DEFAULT(may) ((may) << 3) /* in mode: the same for what is created */

typedef struct DifsAccess
{
	int count;
	struct
	{
		Oid role;
		int16 mode;
	} entry[FLEXIBLE_ARRAY_MEMBER];
} DifsAccess;

/* From the two columns (NULL: null), palloc'd; NULL if both are null, XX001 if they do not fit together. To the two columns: false if they are to be null. */
extern DifsAccess *difs_access_decode(const Datum *roles, const Datum *modes);
extern bool difs_access_encode(const DifsAccess *access, Datum *roles, Datum *modes);

/* A copy with bits of a role's entry added or taken away; NULL if no entry is left. access may be NULL: none. 54000 if there
 * would be too many entries. */
extern DifsAccess *difs_access_add(const DifsAccess *access, Oid role, int mode);
extern DifsAccess *difs_access_remove(const DifsAccess *access, Oid role, int mode);

/* What something that is created in a directory with these entries begins with; NULL if none. */
extern DifsAccess *difs_access_inherit(const DifsAccess *access, bool directory);

/* Bits by letters: "rwx", in any order; 22023 for others or none. And back, palloc'd, with "-" for what is missing. */
extern int difs_access_parse(const char *privileges);
extern char *difs_access_letters(int may);

#endif
