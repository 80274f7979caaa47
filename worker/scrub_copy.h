/*
 * scrub_copy.h - one server's copy of a block group, as the scrub sees it.
 */
#ifndef DIFS_SCRUB_COPY_H
#define DIFS_SCRUB_COPY_H

#include "postgres.h"

#include "common/wire.h"

typedef enum DifsScrubOutcome
{
	DIFS_SCRUB_READ,	   /* entries say what is there */
	DIFS_SCRUB_GONE,	   /* the server answers that it has no such group */
	DIFS_SCRUB_UNREADABLE, /* it has, and cannot read anything of it */
	DIFS_SCRUB_NO_ANSWER
} DifsScrubOutcome;

typedef struct DifsScrubCopy
{
	int32 server;
	bool due; /* its bytes are to be read; otherwise only what it lists counts */
	DifsScrubOutcome outcome;
	DifsListEntry *entries; /* sorted by segment; DIFS_LIST_DAMAGED is what this scrub has found */
	uint32 count;
	int64 bytes; /* that were read */
	int32 bad;	 /* segments damaged or missing */
	int32 mended;
	DifsError error; /* why it is not READ */
} DifsScrubCopy;

/* Lists a copy, and reads it if it is due, slowly. Mends the group's own header and index on the way. */
extern void difs_scrub_copy_read(DifsScrubCopy *copy, uint64 group);

/* The entry of a live segment, or NULL. */
extern DifsListEntry *difs_scrub_copy_find(const DifsScrubCopy *copy, uint64 segment);

/* Waits for as long as difs.scrub_rate says that reading so many bytes takes. Interruptible; re-reads the configuration. */
extern void difs_scrub_pace(int64 bytes);

#endif
