/*
 * link.h - this backend's connections to chunk servers.
 *
 * A link is a server with a DifsConn (common/conn.h) that stays open from call to
 * call and over transactions.  It counts the requests that wait for a reply: a
 * call that is torn off by an error closes the links that have some, so that no
 * late reply can write to memory that is gone.  A call that ends well may leave
 * requests behind, because another server was quicker; their replies go to nowhere.
 */
#ifndef DIFS_LINK_H
#define DIFS_LINK_H

#include "postgres.h"

#include "common/conn.h"

typedef struct DifsLink
{
	int32 server;			/* id; 0 = entry not in use */
	DifsConn *conn;			/* NULL: closed */
	int in_flight;			/* requests without a reply, those included whose reply nobody wants any more */
	bool proven;			/* connected, or heard of, since difs_link_begin() */
	int64 heard_ms;			/* when bytes were last seen to move, or are waiting to be received */
	uint64 moved;			/* difs_conn_moved() then */
	int64 suspect_until_ms; /* failed lately: to be tried after others */
} DifsLink;

/* Milliseconds of a clock that never jumps. */
extern int64 difs_link_clock_ms(void);

/* A call begins: nothing is known of the connections that earlier calls have left. */
extern void difs_link_begin(void);

/* The link to a server, connecting if need be; NULL with *error if that cannot even begin. */
extern DifsLink *difs_link_open(int32 server, DifsError *error);

/* Closes it; a link with a failure is a suspect for suspect_ms. */
extern void difs_link_close(DifsLink *link, int64 suspect_ms);

/* Closes those with requests in flight. Never errors. */
extern void difs_link_close_busy(void);

/* Has the server failed lately? */
extern bool difs_link_suspect(int32 server);

/* Requests to the server without a reply. */
extern int difs_link_in_flight(int32 server);

/* The links, open or not: 0 .. count - 1. */
extern int difs_link_count(void);
extern DifsLink *difs_link_at(int index);

/* Waits until a socket is ready or the time is over. Interruptible. */
extern void difs_link_wait(int64 timeout_ms);

/* Waits until a single connection, which is not among the links, is READY or BROKEN, for at most timeout_ms.
 * Interruptible. */
extern void difs_link_wait_ready(DifsConn *conn, int64 timeout_ms);

#endif
