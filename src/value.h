/*
 * value.h - what difs_get() returns: bytes, or for large files a promise of them.
 *
 * Who takes a bytea apart copies it first, as byteasend() does for a binary result, and heap_form_tuple() for a row: a value
 * of a megabyte is then written twice, into memory that is new each time.  PostgreSQL has a form for values that
 * are not flat yet, the expanded object (utils/expandeddatum.h), which writes itself where it is wanted.  So
 *
 *	a value all of which is in the shared cache	is copied out of the cache once, to where it is wanted;
 *	another one of more than 32 MiB				is received from chunk servers, and checked, there;
 *	any other one								is read in the call, and flat.
 *
 * The call sees to permissions, versions and the map, and keeps the rows of the map, by which the bytes are read whenever the value is
 * used: twice if it is used twice.  That can fail as any read can, if bytes have left the cache since, or never were there; who only asks for the
 * length reads nothing.  The object lives in the caller's memory, for a row that is, and so not longer than the
 * snapshot of its statement, which keeps the segments alive; PostgreSQL flattens whatever it keeps longer.  Staged bytes
 * are in a table, and could only be found under the snapshot of the call: they do not wait.
 */
#ifndef DIFS_VALUE_H
#define DIFS_VALUE_H

#include "postgres.h"

#include "src/fetch.h"

/* Bytes [offset, offset + length) of a version, as a bytea. Errors as difs_fetch_range(), now or when it is used. */
extern Datum difs_value_get(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching);

#endif
