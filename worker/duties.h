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
 *	…            one file each; the table is in duties.c
 */
#ifndef DIFS_DUTIES_H
#define DIFS_DUTIES_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "src/shmem.h"

typedef struct DifsDuty
{
	const char *name;			/* "collect" */
	const int  *interval_ms;	/* setting: time from the end of a round to the next; 0 = only when wanted */
	void		(*round) (void);	/* runs one round; may error out, which ends the round with a problem */
} DifsDuty;

/* Indexed by DifsDutyKind; a duty without a round does not exist. */
extern const DifsDuty difs_duties[DIFS_DUTIES];

/* Keeper: starts what is due or wanted, notices what has ended; moves *next. And at its end. */
extern void difs_duties_turn(TimestampTz *next);
extern void difs_duties_stop(void);

/* The process of a round. */
extern PGDLLEXPORT void difs_duty_main(Datum arg);

/* When the next round is to begin, as the settings of this process and the last round say, in the past too; DT_NOEND: when it is wanted. */
extern TimestampTz difs_duty_due(DifsDutyKind kind, const DifsDutyState *state);

/* In a round: the database's entry; transactions as in served.h, with SPI and a snapshot (false: end the round); and results. */
extern DifsDatabase *difs_duty_database;
extern bool difs_duty_begin(void);
extern void difs_duty_commit(void);
extern bool difs_duty_asked(void);	/* somebody has asked for this round */
extern void difs_duty_phase(const char *phase);	/* begins: up to 31 bytes, words of the documentation */
extern void difs_duty_progress(int64 done, int64 total);
extern void difs_duty_result(int index, int64 value);
extern void difs_duty_again(int again_ms);	/* there will be work left: the next round comes so soon, unless rounds are only asked for */

/* Backend: asks for a round now. */
extern void difs_duty_want(DifsDatabase *database, DifsDutyKind kind);

/* Backend: asks for a round that begins after this call, waits for its end (interruptible, without limit but the statement's own), and
 * copies how it went. Errors out if it failed, or if the workers stop. */
extern void difs_duty_run(DifsDutyKind kind, DifsDutyState *state);

#endif
