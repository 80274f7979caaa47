/*
 * value.h - what difs_get() returns: bytes, or for large files a promise of them.
 *
 * Who takes a bytea apart copies it first, as byteasend() does for a binary result, and heap_form_tuple() for a row: a value
 * of a megabyte is then written twice, into memory that is new each time.  PostgreSQL has a form for values that
 * are not flat yet, the expanded object (utils/expandeddatum.h), which writes itself where it is wanted.  So
 *
 *	a value all of which is in the shared cache    says so, and is copied out of the cache once, to where it is wanted;
 *	another one of VALUE_HUGE or more              is read as ever, and offers its bytes in this form, to have a say in the
 *												   kind of memory that they are copied to;
 *	any other one                                  is flat.
 *
 * What can go wrong, goes wrong in the call: permissions, versions, the map, and bytes that are on chunk servers, are all seen to before it
 * returns.  If bytes leave the cache between the call and the copy, they are read again, by the
 * manifest rows that the call has read.  The object lives in the caller's memory, for a row that is, and so not longer than the
 * snapshot of its statement, which keeps the segments alive; PostgreSQL flattens whatever it keeps longer.
 */
#ifndef DIFS_VALUE_H
#define DIFS_VALUE_H

#include "postgres.h"

#include "src/fetch.h"

/* Bytes [offset, offset + length) of a version, as a bytea. Errors as difs_fetch_range(). */
extern Datum difs_value_get(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching);

#endif
