/*
 * duty.h - the keeper's slow duties, as those see them who ask for a round; what they do is worker/duties.h.
 */
#ifndef DIFS_DUTY_H
#define DIFS_DUTY_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "src/shmem.h"

typedef struct DifsDuty
{
	const char *name;		/* "collect" */
	const int *interval_ms; /* setting: time from the end of a round to the next; 0 = only when wanted */
} DifsDuty;

/* Indexed by DifsDutyKind. */
extern const DifsDuty difs_duties[DIFS_DUTIES];

/* What a round of repair reports: result[] of its DifsDutyState. */
enum DifsRepairResult
{
	DIFS_REPAIR_COPIED,
	DIFS_REPAIR_DROPPED,
	DIFS_REPAIR_MOVED, /* by rebalancing */
};

/* And one of the scrub. */
enum DifsScrubResult
{
	DIFS_SCRUB_COPIES, /* copies of block groups that were read */
	DIFS_SCRUB_BYTES,
	DIFS_SCRUB_DAMAGED, /* copies of segments that were damaged or missing */
	DIFS_SCRUB_MENDED,
	DIFS_SCRUB_LOST,		/* segments without a good copy */
	DIFS_SCRUB_UNREACHABLE, /* copies of block groups that could not be read */
	DIFS_SCRUB_RESULTS,
};

/* When the next round is to begin, as the settings of this process and the last round say, in the past too; DT_NOEND: when it is wanted. */
extern TimestampTz difs_duty_due(DifsDutyKind kind, const DifsDutyState *state);

/* Asks for a round now. */
extern void difs_duty_want(DifsDatabase *database, DifsDutyKind kind);

/* Backend: asks for a round that begins after this call, waits for its end (interruptible, without limit but the statement's own), and
 * copies how it went. Errors out if it failed, or if the workers stop. */
extern void difs_duty_run(DifsDutyKind kind, DifsDutyState *state);

#endif
