/*
 * scrub.h - the duty that reads everything again.
 */
#ifndef DIFS_SCRUB_H
#define DIFS_SCRUB_H

/* Runs one round. */
extern void difs_scrub_round(void);

#endif
