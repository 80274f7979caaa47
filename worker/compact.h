/*
 * compact.h - the duty that puts together files that were written in many small parts.
 */
#ifndef DIFS_COMPACT_H
#define DIFS_COMPACT_H

/* What a round reports (difs_duty_result). */
typedef enum DifsCompactResult
{
	DIFS_COMPACT_FILES,
	DIFS_COMPACT_ROWS, /* of the manifest that were replaced */
	DIFS_COMPACT_BYTES,
	DIFS_COMPACT_RESULTS
} DifsCompactResult;

/* The duty. */
extern void difs_compact_round(void);

#endif
