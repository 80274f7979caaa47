/*
 * gather.h - what comes together goes together.
 *
 * Requests that came in one packet are handled one by one, and so are those that one sync has made durable.  Between begin and end
 * neither is a group scheduled nor a reply written; at the end each group starts one job for all that has queued, and each connection
 * one write for all its replies.  Pairs nest; all of it is on the loop thread, and nothing waits between the two.
 */
#ifndef DIFS_GATHER_H
#define DIFS_GATHER_H

#include <stdbool.h>
#include <sys/queue.h>

struct DifsConnection;
struct DifsGroup;
struct DifsServer;

typedef struct DifsGather
{
	int depth;
	TAILQ_HEAD(, DifsGroup) groups;			  /* to be scheduled */
	TAILQ_HEAD(, DifsConnection) connections; /* with replies to be written */
} DifsGather;

extern void difs_gather_init(DifsGather *gather);
extern void difs_gather_begin(DifsGather *gather);
extern void difs_gather_end(DifsGather *gather);

/* Schedules the group, writes the replies: now, or at the end. */
extern void difs_gather_group(DifsGather *gather, struct DifsGroup *group);
extern void difs_gather_connection(DifsGather *gather, struct DifsConnection *connection);

/* Before one of them is freed. */
extern void difs_gather_forget_group(DifsGather *gather, struct DifsGroup *group);
extern void difs_gather_forget_connection(DifsGather *gather, struct DifsConnection *connection);

#endif
