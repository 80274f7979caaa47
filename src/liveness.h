/*
 * liveness.h - may a segment die?
 *
 * One function says so, and whoever deletes segments asks it: a segment may die
 * only if no row of the manifest that any snapshot could still see names it.
 * "Could see" is PostgreSQL's own answer to whether VACUUM might remove the row:
 * rows not yet committed count, and so do deleted ones that an old snapshot, a
 * replication slot or a standby's feedback still holds.
 *
 * Rows of content that has been let go of are there until after the bytes, so they
 * must not count: but only where no version that is wanted, of a copy for
 * instance, shares them.
 *
 * Segments of a resumable upload are named by no row yet: the upload's row speaks for
 * all of them.
 *
 * A segment may be named by many rows, of one inode (what an overwrite has left of
 * it on either side) and of several (copies of parts).  So a row that nobody needs
 * may go before its segment, which goes with the last one.
 */
#ifndef DIFS_LIVENESS_H
#define DIFS_LIVENESS_H

#include "postgres.h"

/* Manifest rows of an inode with base <= from_version <= version that do not end before it. */
typedef struct DifsContentRows
{
	int32 number; /* whose: a version of the inode, or DIFS_OF_COPY */
	int32 base;
	int32 version;
} DifsContentRows;

#define DIFS_OF_COPY 0 /* a version of another inode */

/* Versions of an inode that have been let go of, judged together: none keeps what it shares with another of them. */
typedef struct DifsRelease
{
	int64 ino;	 /* rows of this inode do not count */
	int32 first; /* those with from_version in [first, last] are all that can be let go of; none if first > last */
	int32 last;
	int gone_count; /* rows of the versions let go of; not of those that have none, as copies of other inodes' */
	int gone_room;
	DifsContentRows *gone;
	int kept_count; /* rows of versions that are not */
	int kept_room;
	DifsContentRows *kept;
} DifsRelease;

/* Who needs a row of the manifest of such an inode. */
typedef enum DifsRowNeed
{
	DIFS_ROW_FREE,		/* nobody */
	DIFS_ROW_IN_COPY,	/* a version of another inode only */
	DIFS_ROW_IN_VERSION /* another version of the inode, too: it goes with that one */
} DifsRowNeed;

/* The scans of one transaction, with an active snapshot; its resource owner ends them after an error. */
typedef struct DifsLiveness DifsLiveness;
/* released: it will be asked with releases. Rows that are gone do not count then: who could see one could see what it was released with,
 * or the row that compaction (worker/compact.c) or letting go of one version (history.h) has put in its place. */
extern DifsLiveness *difs_liveness_begin(bool released);
extern void difs_liveness_end(DifsLiveness *liveness);

/* May the segment die? Only if all rows that name it are free by these releases, which are in order of their inodes. count 0: nothing has been
 * let go of, and not a single row may name it. except: a row that is not asked, as it is known to be free; NULL if there is none. */
typedef struct DifsRowId
{
	int64 ino;
	int64 file_offset;
	int32 from_version;
} DifsRowId;
extern bool difs_segment_may_die(DifsLiveness *liveness, uint64 segment, const DifsRelease *releases, int count,
								 const DifsRowId *except);

/* May an upload yet be committed whose segments carry this transaction id (upload.h)? The same question about rows of difs.upload: while any
 * snapshot could still see one, its segments are no orphans, though no row names them. A commit removes the row and names them in one
 * transaction, so whoever asks about a segment's rows first and then this misses none. */
extern bool difs_upload_may_commit(DifsLiveness *liveness, uint64 xid);

/* to_version -1: null. */
extern DifsRowNeed difs_release_row_need(const DifsRelease *release, int64 from_version, int64 to_version);

/* Does a version that has been let go of have such a row? */
extern bool difs_release_has_row(const DifsRelease *release, int32 number, int64 from_version, int64 to_version);

/* Versions whose rows, or whose bytes in difs.inline, are kept, palloc'd; copies: only those that are kept for other inodes. */
extern int32 *difs_release_kept(const DifsRelease *release, bool copies, int *count);

/* Fills in *release for a doomed inode (one of the numbers is 0), or some of its versions (or DIFS_DOOM_UNUSED_ROWS), in order, whose transactions
 * are older than every snapshot. The versions of the inode are read once for all of them. False if any snapshot could still see the inode: then
 * nothing may be released. */
extern bool difs_liveness_release(DifsLiveness *liveness, int64 ino, const int32 *versions, int count, DifsRelease *release);

#endif
