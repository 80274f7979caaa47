/*
 * collect.h - collection: what nobody can see any more goes.
 *
 *	collect.c			a round, difs_collect(), and calls to servers that remember who has failed
 *	collect_outdated.c	versions and trash that have become old are let go of first
 *	collect_doomed.c	content that committed transactions have let go of
 *	collect_orphans.c	segments that no row names
 *	collect_dropped.c	what was in dropped volumes
 *	expire.c			rows of the journal and of locks whose time is over
 *	collect_groups.c	block groups that are empty, or belong to nobody
 *	horizon.c			how far back anybody can still look
 *	src/liveness.c		may a segment die? asked before each death
 *
 * The metadata outlives the bytes: rows go after all members of a segment's block
 * group have acknowledged that it is deleted.  So whatever dies at whatever
 * moment, the next round finds the same rows and does the same again.
 */
#ifndef DIFS_COLLECT_H
#define DIFS_COLLECT_H

#include "postgres.h"

#include "src/call.h"
#include "src/servers.h"

/* What a round has done: result[] of its DifsDutyState, in the order of the columns of difs_collect(). */
typedef enum DifsCollectResult
{
	DIFS_COLLECTED_DOOMED,	 /* files or versions */
	DIFS_COLLECTED_SEGMENTS, /* of those */
	DIFS_COLLECTED_ORPHANS,
	DIFS_COLLECTED_GROUPS,
	DIFS_COLLECTED_BYTES,	/* of segments, on all servers */
	DIFS_COLLECTED_WAITING, /* files or versions that had to wait */
	DIFS_COLLECT_RESULTS
} DifsCollectResult;

/* The duty. */
extern void difs_collect_round(void);

/* Its parts; false if the extension is gone. */
extern bool difs_collect_dropped(void);
extern bool difs_collect_expired(void);
extern bool difs_collect_outdated(void);
extern bool difs_collect_doomed(void);
extern bool difs_collect_orphans(void);
extern bool difs_collect_groups(void);

extern void difs_collect_count(DifsCollectResult result, int64 more);

/* difs_duty_begin(), and a look at which servers there are. */
extern bool difs_collect_begin(void);
extern int difs_collect_servers(const int32 **servers);

/* One request to one server, outside of transactions. A server that could not be reached is not tried again in this round. True also if the server
 * has been removed, or does not know the block group: either way there is nothing left to delete. */
extern bool difs_collect_call(int32 server, DifsMessage message, const void *control, uint32 control_length, DifsReply *reply);

/* Deletes segments of one block group on one server. */
extern bool difs_collect_delete(int32 server, uint64 group, const uint64 *segments, uint32 count);

/* A server's copy of a group, of which much is lost to dead segments: to be sealed if it is open, and then rewritten, unless it is dropped. */
extern void difs_collect_rewrite(int32 server, uint64 group);

#endif
