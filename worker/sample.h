/*
 * sample.h - how a database and its chunk servers are doing, noted every difs.sample_interval.
 *
 * A round of this duty adds rows to difs.sample and difs.server_sample, which is
 * what `difs report` draws, removes old ones, and leaves in shared memory what it
 * has counted in tables, for metrics.c, which can look into none.
 */
#ifndef DIFS_SAMPLE_H
#define DIFS_SAMPLE_H

extern void difs_sample_round(void);

/* Keeper: the first round comes a moment after those of the others, which all begin at once and take worker slots. */
extern void difs_sample_begin(void);

#endif
