/*
 * version.h - versions of a file, and the manifest rows that map one to segments.
 *
 * A version of a file is a row of difs.version; its bytes are the manifest rows
 * of the same inode with base <= from_version <= version and to_version null or
 * greater.  A put that replaces the content sets base to itself, so it never
 * touches rows of older versions.  One that changes a part (splice.h) ends the
 * rows of that part and adds its own.  A copy has no manifest rows of its own: it
 * names the inode and version whose rows it shares (map_ino, map_version), so a
 * copy costs the same whatever the size.
 *
 * A version whose number was used before (difs_put(version => n), history.h) is
 * a copy within its own file: its rows are under another number, below zero.  Who
 * adds rows to those of the current version rather than replacing all must look
 * whether its map is its own (map_ino = ino and map_version = version) and whether
 * the next number follows at once (difs_inode_next_version()): numbers between may
 * have rows of versions that were let go of.
 */
#ifndef DIFS_VERSION_H
#define DIFS_VERSION_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"

#include "src/inode.h"
#include "src/stream.h"

typedef struct DifsVersion
{
	int64 ino;
	int32 version;
	int64 size;
	int32 segments;
	int32 base;
	int32 extent;  /* no manifest row of it is longer than this, in bytes */
	int64 map_ino; /* whose manifest rows: ino itself unless it is a copy */
	int32 map_version;
	bool deleted; /* a delete marker */
	Oid author;
	TimestampTz mtime;
	int digest_length; /* 0 = none, or not known: content that was written in part has none */
	uint8 digest[32];
	int64 holes; /* bytes that no manifest row covers: they are zeros */
} DifsVersion;

/* Are its bytes in difs.inline (inline.h) rather than in segments? No column says so, because this does. */
static inline bool
difs_version_is_inline(const DifsVersion *version)
{
	return version->segments == 0 && version->size > version->holes;
}

/* Reads one under the active snapshot; false if there is none. Those that have been let go of (history.h) are not found. */
extern bool difs_version_find(int64 ino, int32 version, DifsVersion *found);

/*
 * The current version of a file, as difs_version_find() reads it but without author, mtime and digest.  Most files were
 * written in one piece; their inodes say all that a reader has to know (inode.extent), so difs.version is not
 * looked at, which saves a sixth of a read of a small file.
 */
extern bool difs_version_of_inode(const DifsInode *inode, DifsVersion *found);

/* The extent for the inode of a file that gets this version; 0 unless it was written in one piece. */
extern int32 difs_version_extent(const DifsVersion *version);

/* Reads one from a tuple of difs.version: for scans over many. */
extern void difs_version_decode(HeapTuple tuple, TupleDesc desc, DifsVersion *version);

/* Writes a new one. All fields count; map_ino and map_version name the version itself unless it is a copy. */
extern void difs_version_insert(const DifsVersion *version);

/* One row of the manifest. */
typedef struct DifsExtent
{
	int64 file_offset;
	int32 length;
	uint32 segment_offset; /* where in the raw form of the segment it begins */
	int32 from_version;	   /* as read; who writes it says so */
	DifsStored stored;
} DifsExtent;

/* Writes one. */
extern void difs_manifest_insert(int64 ino, int32 from_version, const DifsExtent *extent);

/* The same for any number of rows, with less WAL and work than one by one. */
typedef struct DifsManifestRow
{
	int64 ino;
	int32 from_version;
	const DifsExtent *extent;
} DifsManifestRow;
extern void difs_manifest_insert_rows(int count, const DifsManifestRow *rows);

/* Ends one that difs_manifest_range() has found: it holds for versions below to_version only. REPEATABLE READ and above: 40001 if it
 * has changed since the snapshot. */
extern void difs_manifest_close(int64 ino, const DifsExtent *extent, int32 to_version);

/* Removes one that difs_manifest_range() has found. */
extern void difs_manifest_delete(int64 ino, const DifsExtent *extent);

/* The rows that overlap [offset, offset + length) of a version, in order of file_offset, palloc'd; *count says how
 * many, at most limit. If the limit was reached, the caller asks again from the end of the last one. Bytes that no
 * row covers are zeros. The number of other versions of the file hardly matters. */
extern DifsExtent *difs_manifest_range(const DifsVersion *version, int64 offset, int64 length, int limit, int *count);

#endif
