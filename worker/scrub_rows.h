/*
 * scrub_rows.h - the tables that the scrub reads and writes, each function in a transaction of its own.
 */
#ifndef DIFS_SCRUB_ROWS_H
#define DIFS_SCRUB_ROWS_H

#include "postgres.h"

#include "src/shmem.h"
#include "worker/scrub_copy.h"

#define DIFS_SCRUB_MAX_GROUPS 100000 /* of one round; the next goes on with others */

typedef struct DifsScrubGroup
{
	uint64 id;
	uint64 capacity_bytes;
	bool sealed;
	int count; /* of members */
	int32 server[DIFS_MAX_REPLICAS];
	bool due[DIFS_MAX_REPLICAS];
} DifsScrubGroup;

/* What manifest rows say of a segment. */
typedef struct DifsExpected
{
	uint64 segment;
	uint32 stored_length;
	uint32 crc;
} DifsExpected;

/* Segments of which a copy is not good. */
typedef struct DifsBad
{
	int count;
	const uint64 *segment;
	bool *needed; /* by a version that is not doomed */
	uint64 *lost;
	int lost_count;
} DifsBad;

/* Groups with a member that is due, or all; none if the extension is gone. In the current memory context. */
extern DifsScrubGroup *difs_scrub_rows_due(bool all, int *count);

/* Reads a group's row anew, as a round may take days and repair changes members meanwhile; count is 0 if there is nothing to
 * scrub any more. Then the segments that it must have, sorted. NULL if the extension is gone. */
extern DifsExpected *difs_scrub_rows_expected(DifsScrubGroup *group, int *count);

/* Fills in all of *bad but lost. This and those below return false if the extension is gone. */
extern bool difs_scrub_rows_needed(const uint64 *segments, int count, DifsBad *bad);

/* Raises the group's generation for a copy that is to be made anew, and says its epoch (copy_epoch.h); 0 if there is none to be had. */
extern bool difs_scrub_rows_raise(const DifsScrubGroup *group, uint64 *epoch);

/* Writes down what was found; nothing if the members are others by now. */
extern bool difs_scrub_rows_done(const DifsScrubGroup *group, const DifsScrubCopy *copies, const DifsBad *bad);

#endif
