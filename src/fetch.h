/*
 * fetch.h - segments from chunk servers, verified, into memory.
 */
#ifndef DIFS_FETCH_H
#define DIFS_FETCH_H

#include "postgres.h"

#include "src/fetch_plan.h"
#include "src/version.h"

/* Reads bytes [offset, offset + length) of a version into out, which has room for them. The range lies within the
 * version's size. Holes become zeros. caching is what it has to do with the
 * shared cache (difs_cache_for()). Several segments are in flight at once; each is asked of one member of its
 * group, and of the next if that does not answer in time, does not have it or sends bad bytes. path is for
 * messages. Errors: XX001 if every member's copy is bad, 58030 if none answers within difs.server_timeout; both
 * name file, segment and servers. Interruptible. */
extern void difs_fetch_range(const char *path, const DifsVersion *version, int64 offset, int64 length,
							 DifsCaching caching, char *out);

/* A range of a version to be read with others. */
typedef struct DifsFetchRange
{
	const char *path;
	const DifsVersion *version;
	int64 offset;
	int64 length;
	DifsCaching caching;
	char *out;
	const DifsExtent *rows; /* its manifest rows, if they have been read already: all of them, as difs_manifest_range() … */
	int row_count;			/* … gives them; or NULL */
} DifsFetchRange;

/* The same for many, whose segments are in flight together. Out of an error nobody learns which of the others were read. */
extern void difs_fetch_ranges(const DifsFetchRange *ranges, int count);

#endif
