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
 */
#ifndef DIFS_LIVENESS_H
#define DIFS_LIVENESS_H

#include "postgres.h"

/* Content that has been let go of. */
typedef struct DifsRelease
{
	int64		ino;			/* rows of this inode do not count */
	int32		first;			/* those with from_version in [first, last] are all that can be let go of */
	int32		last;
	int			kept_count;		/* but those that belong to a version of these do */
	int			kept_room;
	struct DifsKept *kept;
} DifsRelease;

typedef enum DifsVerdict
{
	DIFS_SEGMENT_MAY_DIE,
	DIFS_SEGMENT_IN_VERSION,	/* another version of the inode has it: it goes with that one */
	DIFS_SEGMENT_WANTED
} DifsVerdict;

/* The scans of one transaction, with an active snapshot; its resource owner ends them after an error. */
typedef struct DifsLiveness DifsLiveness;
extern DifsLiveness *difs_liveness_begin(void);
extern void difs_liveness_end(DifsLiveness *liveness);

/* May the segment die? release is NULL if nothing has been let go of: not a single row may name it. */
extern DifsVerdict difs_segment_may_die(DifsLiveness *liveness, uint64 segment, const DifsRelease *release);

/* Fills in *release for a doomed inode (version 0), or one version of it, whose transaction is older than every
 * snapshot. False if any snapshot could still see the inode: then nothing may be released. The versions of an inode are read once for all of its
 * that are asked about one after the other. */
extern bool difs_liveness_release(DifsLiveness *liveness, int64 ino, int32 version, DifsRelease *release);

#endif
