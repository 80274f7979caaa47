/*
 * collect_doomed.h - a batch of doomed content, on its way from rows of difs.doomed to nothing (collect_doomed.c).
 *
 * Items of one inode are judged together.  The first of them that is due is their
 * leader: what is said about rows of the inode hangs on that one.
 */
#ifndef DIFS_COLLECT_DOOMED_H
#define DIFS_COLLECT_DOOMED_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "src/liveness.h"
#include "worker/horizon.h"

#define DIFS_DOOMED_ITEMS 256 /* of a batch */
#define DIFS_DOOMED_ROWS 8192 /* of a batch, more or less */

/* A row of difs.doomed. */
typedef struct DifsDoomedItem
{
	int64 ino;
	int32 version; /* 0 = all of the inode */
	uint64 xid;
	XLogRecPtr lsn;
	TimestampTz doomed;
	bool settled;
	bool ended;			/* its rows have been read to the end */
	int64 kept;			/* rows of it that had to stay, in this round */
	bool released;		/* no snapshot can see it */
	int leader;			/* index of the first item of its inode that is due: rows are read for all of these at once, as that one's */
	int32 release;		/* of a leader: index into releases */
	int64 after_offset; /* where to go on reading rows */
	int32 after_version;
} DifsDoomedItem;

/* A row of the manifest that nobody needs. */
typedef struct DifsDoomedRow
{
	DifsDoomedItem *item; /* the leader */
	int64 offset;
	int32 from_version;
	int32 to_version; /* -1: null */
	uint64 segment;
	uint64 group;
	uint32 stored_length;
	bool shared; /* other rows name the segment: this one goes without it */
	bool gone;	 /* from all servers */
} DifsDoomedRow;

typedef struct DifsDoomedBatch
{
	DifsHorizon horizon;
	DifsDoomedItem items[DIFS_DOOMED_ITEMS];
	int item_count;
	DifsDoomedItem unfinished[DIFS_DOOMED_ITEMS]; /* the last inode's items of the batch before, if its rows have not been read to the end */
	int unfinished_count;
	DifsRelease releases[DIFS_DOOMED_ITEMS]; /* in order of their inodes */
	int release_count;
	MemoryContext context; /* of the releases: they outlast the transaction that made them */
	DifsDoomedRow rows[DIFS_DOOMED_ROWS];
	int row_count;
	bool last;
} DifsDoomedBatch;

/* Step 1, in a transaction.  Of the items that are due, those of one inode are released together, which leaves some of them waiting. */
extern void difs_doomed_release(DifsDoomedBatch *batch, DifsLiveness *liveness);

/* The rows of a leader's inode that nobody needs; false if there are more than fit. */
extern bool difs_doomed_gather_rows(DifsDoomedBatch *batch, DifsDoomedItem *item, DifsLiveness *liveness);

/* A row has to stay, so the items that have it do; and if nobody needs it (free) and none has it, all of them, or it would be forgotten. */
extern void difs_doomed_keep(DifsDoomedBatch *batch, DifsDoomedItem *leader, int64 from_version, int64 to_version, bool free);

/* Step 2, outside of transactions: the segments of the rows, on all servers. */
extern void difs_doomed_delete_segments(DifsDoomedBatch *batch);

/* Step 3, a transaction of its own: rows and items; false if the extension is gone. */
extern bool difs_doomed_delete_rows(DifsDoomedBatch *batch);

/* An item's version as an argument of a statement: *null becomes 'n' for all of the inode. */
extern Datum difs_doomed_item_version(const DifsDoomedItem *item, char *null);

/* Numbers of versions as an int4[]. */
extern Datum difs_doomed_versions(const int32 *versions, int count);

#endif
