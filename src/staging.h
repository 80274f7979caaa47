/*
 * staging.h - segments in the database's own tables, until chunk servers can be
 * reached.
 *
 * difs.staging holds the stored form of a segment, WAL-logged, like any row.  The
 * manifest rows of a staged segment say block group 0.  Both are written by one
 * transaction, and the duty that later moves the segment to chunk servers
 * (worker/unstage.c) changes the one and deletes the other in one transaction too,
 * so every snapshot that shows a manifest row with group 0 shows the staging row.
 *
 * Who writes another manifest row for a segment that is there already holds the
 * lock on its inode's row, as every writer of a file does: the duty moves a
 * segment only while it holds that lock.
 */
#ifndef DIFS_STAGING_H
#define DIFS_STAGING_H

#include "postgres.h"

#include "src/stream.h"

/* difs.staging */
typedef enum DifsStagingMode
{
	DIFS_STAGING_NEVER,
	DIFS_STAGING_AUTO,
	DIFS_STAGING_ALWAYS
} DifsStagingMode;

/* The stored form of a segment, on its way between memory and table. */
typedef struct DifsStaged
{
	uint64 segment;
	DifsClass class;
	bytea *packed; /* packed header, with the checksum of each block */
	Datum bytes;   /* bytea: the stored form, in the table or in memory */
} DifsStaged;

/* May a segment be staged if it cannot be stored? Not if the class asks for more servers than there are: that would be for ever. */
extern bool difs_staging_allowed(DifsDatabase *database, const DifsClass *class);

/* Is it to be staged without trying chunk servers first? In auto mode, while the keeper knows of no way to store it. */
extern bool difs_staging_at_once(DifsDatabase *database, const DifsClass *class);

/* No group of the class is open, and the keeper could not open one. */
extern bool difs_staging_is_stuck(DifsDatabase *database, const DifsClass *class);

/* Does staging help against an error, or would it only hide it? */
extern bool difs_staging_helps(DifsErrorCode code);

/* Copies the stored form out of a slot that difs_stream_reap() left to us, gives the segment an id, and frees the slot. */
extern DifsStaged *difs_staging_take(int slot, DifsStored *stored);

/* Writes the row. 53100 if difs.staging_limit would be exceeded. */
extern void difs_staging_insert(const DifsStaged *staged, const DifsStored *stored);

/* Frees one that difs_staging_take() has made. */
extern void difs_staging_drop(DifsStaged *staged);

/* Finds a row under the active snapshot; bytes stay in the table until they are asked for. NULL if there is none. */
extern DifsStaged *difs_staging_find(uint64 segment);

/* Some bytes of the stored form, palloc'd. NULL if there are fewer. */
extern bytea *difs_staging_slice(const DifsStaged *staged, uint32 offset, uint32 length);

/* All of the stored form, checked against its checksums and the header, which is unpacked; palloc'd. NULL with *error if it is damaged. */
extern bytea *difs_staging_verified(const DifsStaged *staged, DifsSegment *header, DifsError *error);

/* Counts the bytes of all rows that the newest snapshot shows, for difs.staging_limit. */
extern uint64 difs_staging_count(DifsDatabase *database);

#endif
