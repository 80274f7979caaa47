/*
 * duties.h - the keeper's slow duties.
 *
 * A duty works in rounds.  Each round runs in a process of its own, started by
 * the keeper when it is due or wanted, so that a duty can be written straight on,
 * with transactions, network and waits one after the other, while the keeper
 * goes on with health and groups.  At most one process runs a duty of a database
 * at a time.  It ends with the round, with the keeper, or when the database's
 * workers are to stop; whatever it was doing is taken up again by the next round.
 *
 *	collect.c    doomed content and orphans
 *	repair.c     copies of block groups: lost ones are replaced, servers drained and rebalanced
 *	scrub.c      reads everything again, and mends it
 *	unstage.c    staged segments, to chunk servers
 *	compact.c    files that were written in many small parts, into whole segments
 *	place.c      what placement functions say about new block groups
 *	sample.c     how all is going, noted
 *	…            one file each; the table is in duties.c, names and intervals in src/duty.c
 */
#ifndef DIFS_DUTIES_H
#define DIFS_DUTIES_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "src/duty.h"

/* Indexed by DifsDutyKind: each runs one round, and may error out, which ends it with a problem. NULL: the duty does not exist. */
extern void (*const difs_duty_rounds[DIFS_DUTIES])(void);

/* Keeper: starts what is due or wanted, notices what has ended; moves *next. And at its end. */
extern void difs_duties_turn(TimestampTz *next);
extern void difs_duties_stop(void);

/* The process of a round. */
extern PGDLLEXPORT void difs_duty_main(Datum arg);

/* In a round: the database's entry; transactions as in served.h, with SPI and a snapshot (false: end the round); and results. */
extern DifsDatabase *difs_duty_database;
extern bool difs_duty_begin(void);
extern void difs_duty_commit(void);
extern bool difs_duty_asked(void);				/* somebody has asked for this round */
extern void difs_duty_phase(const char *phase); /* begins: up to 31 bytes, words of the documentation */
extern void difs_duty_progress(int64 done, int64 total);
extern void difs_duty_result(int index, int64 value);
extern void difs_duty_again(int again_ms); /* there will be work left: the next round comes so soon, unless rounds are only asked for */

#endif
