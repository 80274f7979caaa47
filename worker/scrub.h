/*
 * scrub.h - the duty that reads everything again.
 */
#ifndef DIFS_SCRUB_H
#define DIFS_SCRUB_H

/* What a round reports (difs_duty_result). */
enum DifsScrubResult
{
	DIFS_SCRUB_COPIES,			/* copies of block groups that were read */
	DIFS_SCRUB_BYTES,
	DIFS_SCRUB_DAMAGED,			/* copies of segments that were damaged or missing */
	DIFS_SCRUB_MENDED,
	DIFS_SCRUB_LOST,			/* segments without a good copy */
	DIFS_SCRUB_UNREACHABLE,		/* copies of block groups that could not be read */
	DIFS_SCRUB_RESULTS
};

/* Runs one round. */
extern void difs_scrub_round(void);

#endif
