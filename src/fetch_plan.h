/*
 * fetch_plan.h - which bytes of which segments make up a range of a file.
 */
#ifndef DIFS_FETCH_PLAN_H
#define DIFS_FETCH_PLAN_H

#include "postgres.h"

#include "src/cache.h"
#include "src/version.h"

/* One request's worth: some bytes of one segment, and where they go. */
typedef struct DifsPiece
{
	DifsStored stored; /* the segment, as the manifest has it */
	int64 file_offset; /* of the first byte wanted, for messages */
	uint32 raw_offset; /* bytes [raw_offset, raw_offset + length) of the raw form are wanted */
	uint32 length;
	uint32 get_offset; /* bytes of the stored form that must come for that: whole blocks */
	uint32 get_length;
	bool chunked; /* a part of a large compressed segment: comes chunk by chunk (inflate.h) */
	bool keep;	  /* what comes of it is put into the cache */
	char *out;	  /* room for length bytes */
} DifsPiece;

/* How far the way through the manifest has come. */
typedef struct DifsPlan
{
	const char *path;
	const DifsVersion *version;
	int64 at; /* everything in front has been planned */
	int64 end;
	char *out; /* where byte "at" goes */
	DifsCaching caching;

	DifsExtent *extents; /* a batch of manifest rows, or NULL */
	int count;
	int next;
	bool last_batch;
} DifsPlan;

extern void difs_plan_begin(DifsPlan *plan, const char *path, const DifsVersion *version, int64 offset, int64 length,
							DifsCaching caching, char *out);

/* All its rows have been read, by difs_manifest_range(). They are copied. */
extern void difs_plan_know(DifsPlan *plan, const DifsExtent *rows, int count);

/* Does a row describe a part of its segment that can be there? Others are reported as damaged. */
extern bool difs_plan_fits(const DifsExtent *row);

/* The next piece that must be fetched; false at the end. On its way, fills holes with zeros, and puts into place what is in
 * the cache. */
extern bool difs_plan_next(DifsPlan *plan, DifsPiece *piece);

#endif
