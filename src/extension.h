/*
 * extension.h - the extension as this database has it: is it there, and is its
 * SQL of a version that this library knows?
 *
 * Library and SQL are upgraded one after the other (new package, restart, ALTER
 * EXTENSION difs UPDATE), so each may meet an older or newer other.  Tables are
 * read by column number: nothing is done where the two do not fit.
 */
#ifndef DIFS_EXTENSION_H
#define DIFS_EXTENSION_H

#include "postgres.h"

/* Errors out (55000) if the extension is there, in a version that this library does not know. Not within CREATE and
 * ALTER EXTENSION, whose scripts call functions at versions in between. */
extern void difs_extension_check(void);

/* The OID of the extension, with a share lock on it, so that neither DROP nor ALTER EXTENSION comes in between until
 * the end of the transaction; InvalidOid if there is none. Checks its version. */
extern Oid difs_extension_hold(void);

#endif
