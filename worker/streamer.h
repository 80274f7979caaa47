/*
 * streamer.h - the worker that takes segments from backends to chunk servers.
 *
 *	streamer.c   the loop: queue -> dispatch -> wait
 *	dispatch.c   slots: waiting, sent, stored or tried again
 *	choice.c     groups: which one a slot goes to
 *	attempt.c    one try: sending to all members, and taking it back
 *	outlet.c     connections: one to each chunk server
 *
 * There is one streamer for each database, without a connection to it: all that
 * it needs is in shared memory, put there by backends (slots, segment ids) and by
 * the keeper (servers, open groups).  So it neither holds a snapshot nor blocks
 * DROP DATABASE.
 *
 * If it ends, whatever was on its way is still in its slots; the next streamer
 * sends it all again, under new segment ids.  Copies that had arrived under the
 * old ids are orphans.
 */
#ifndef DIFS_STREAMER_H
#define DIFS_STREAMER_H

#include "postgres.h"

#include "lib/ilist.h"

#include "common/conn.h"
#include "src/shmem.h"
#include "src/stream.h"

/* A connection to one server, kept from first use on. */
typedef struct DifsOutlet
{
	int32 server;			   /* 0 = entry not in use */
	DifsConn *conn;			   /* NULL: down, until retry_at */
	char name[DIFS_NAME_SIZE]; /* to which it is connected */
	char host[256];
	uint16 port;
	uint32 generation;	  /* servers_generation when it was made */
	TimestampTz loaded;	  /* PgReloadTime when it was made */
	bool ready;			  /* it has greeted */
	int outstanding;	  /* requests sent and not answered */
	uint64 moved;		  /* difs_conn_moved() when last looked at */
	TimestampTz moved_at; /* when it last grew, or outstanding rose from 0 */
	TimestampTz retry_at;
	char problem[DIFS_ERROR_TEXT_SIZE]; /* why it is down */
} DifsOutlet;

/* The try that a SENT slot is in, or that a waiting one had last. One for each slot, local to the streamer. */
typedef struct DifsAttempt
{
	dlist_node node; /* in waiting or active */
	uint32 serial;	 /* in the upper half of request ids: tells late answers to earlier tries */
	bool taken;		 /* it is in one of the lists, or has ended and waits for stragglers */
	int tries;
	int group; /* index into groups[] */
	int members;
	uint32 unanswered; /* bit for each member */
	DifsOutlet *outlet[DIFS_MAX_REPLICAS];
	uint64 number[DIFS_MAX_REPLICAS]; /* difs_conn_send()'s */
	int stragglers;					  /* sends of earlier tries that still read the slot's memory */
	bool ended;						  /* stored or failed; only stragglers are waited for */
	TimestampTz sent_at;			  /* the turn in which the last try began */
	DifsError problem;				  /* why the last try failed */
	TimestampTz failed_at;			  /* and when */
} DifsAttempt;

extern DifsDatabase *difs_streamer_database; /* ours */
extern TimestampTz difs_streamer_now;		 /* when this turn of the loop began: for statistics and time-outs, which need no better clock */

extern PGDLLEXPORT void difs_streamer_main(Datum arg);

/* dispatch.c */
extern void difs_dispatch_begin(void);	   /* finds what a former streamer left */
extern void difs_dispatch_queue(bool due); /* takes what is queued, if it is due, and sends what can be sent */
extern void difs_dispatch_reply(DifsOutlet *outlet, const DifsFrame *frame);
extern void difs_dispatch_outlet_lost(DifsOutlet *outlet); /* before its connection is destroyed */
extern void difs_dispatch_tick(TimestampTz now);		   /* time-outs, stragglers */
extern bool difs_dispatch_idle(void);					   /* nothing waits for a group, nothing is on its way */
extern bool difs_dispatch_awaits(void);					   /* enough is on its way to keep servers busy until the next answer */
extern bool difs_dispatch_hurries(void);				   /* something has to be tried again now */

/* choice.c */
typedef enum DifsChoice
{
	DIFS_CHOICE_MADE,
	DIFS_CHOICE_NONE,	  /* no open group of the class has room */
	DIFS_CHOICE_TOO_LARGE /* not even an empty one of difs.block_group_size would */
} DifsChoice;

extern DifsChoice difs_choice_make(const DifsSlot *slot, int *index, DifsOpenGroup *chosen);
extern void difs_choice_reserve(int index, const DifsSlot *slot); /* it is on its way there */
extern void difs_choice_release(int index, const DifsSlot *slot); /* it no longer is */
extern void difs_choice_failed(int index, const char *why);		  /* the group takes no more; says so to keeper and log */
extern void difs_choice_reset(void);							  /* a new streamer: nothing is on its way */
extern void difs_choice_want(const DifsClass *class);			  /* asks the keeper for a group */
extern DifsError difs_choice_problem(const DifsClass *class);	  /* what the keeper says about opening one */

/* attempt.c */
extern void difs_attempts_begin(void);
extern DifsAttempt *difs_attempt(int slot);
extern int difs_attempt_slot(const DifsAttempt *attempt);
extern void difs_attempt_send(int slot, int group, DifsOutlet **outlets);			   /* segment and group are in the slot */
extern bool difs_attempt_awaits(const DifsAttempt *attempt, const DifsOutlet *outlet); /* an answer from there */
extern bool difs_attempt_answered(DifsAttempt *attempt, const DifsOutlet *outlet);	   /* true if all have */
extern void difs_attempt_give_up(int slot);											   /* nobody reads the slot's memory any more but stragglers */
/* All members have it: logs what took longer than difs.log_min_duration. What its backend waited for, that one logs (src/slow.h). */
extern void difs_attempt_log_slow(int slot);
extern void difs_attempt_end(int slot, const DifsError *why); /* stored (DIFS_OK) or failed */
extern void difs_stragglers_look(void);						  /* have some left? */
extern void difs_stragglers_outlet_lost(const DifsOutlet *outlet);
extern bool difs_stragglers_any(void);
extern DifsOutlet *difs_stragglers_late(TimestampTz now); /* holds up a slot beyond its deadline; NULL if none does */

/* outlet.c */
extern DifsOutlet *difs_outlet_get(int32 server);					  /* connects if need be; NULL if the server is down or not known */
extern const char *difs_outlet_problem(int32 server);				  /* why it is down; "" if it is not known to be */
extern void difs_outlet_give_up(DifsOutlet *outlet, const char *why); /* its connection; dispatch.c is told first */
extern void difs_outlets_advance(void);								  /* hears what has come */
extern void difs_outlets_flush(void);								  /* sends what can be */
extern void difs_outlets_tick(TimestampTz now);						  /* drops those that are silent */
extern bool difs_outlets_wait(long timeout_ms);						  /* sleeps until a socket or the latch has something; false if none had */
extern void difs_outlets_close(void);

#endif
