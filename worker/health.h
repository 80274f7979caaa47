/*
 * health.h - the keeper's connections to chunk servers.
 *
 * One connection to each server asks it how it is, and carries the keeper's
 * other requests, which are called asks.  Nothing here waits for a server.
 */
#ifndef DIFS_HEALTH_H
#define DIFS_HEALTH_H

#include "postgres.h"

#include "lib/ilist.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "common/wire.h"
#include "src/shmem.h"

#define DIFS_ASK_REPLY_SIZE 64

typedef enum DifsAskState
{
	DIFS_ASK_NONE = 0,
	DIFS_ASK_WAITING,
	DIFS_ASK_ANSWERED,
	DIFS_ASK_FAILED /* see error: the server said no, or the connection broke */
} DifsAskState;

/* One request to one server, in memory of whoever asks; it stays where it is until it is answered, failed or
 * forgotten. */
typedef struct DifsAsk
{
	DifsAskState state;
	int32 server;
	uint64 request;
	DifsError error;
	uint32 reply_length;			  /* of all: reply has the beginning */
	uint8 reply[DIFS_ASK_REPLY_SIZE]; /* the reply's payload if it has one, otherwise its control */
	dlist_node node;
} DifsAsk;

/* Serves all connections: opens, reads, asks for status, gives up; moves *next to when it wants to be called again. */
extern void difs_health_turn(TimestampTz *next);

/* Adds the sockets to a wait set: at most DIFS_MAX_SERVERS. */
extern void difs_health_wait_for(WaitEventSet *set);

/* Raised whenever a server comes up, goes down or has rested. */
extern uint64 difs_health_changes(void);

/* Is it known of each server whether it is up? */
extern bool difs_health_settled(void);

/* Sends a request; an ask to a server that is not connected fails at once. */
extern void difs_health_ask(DifsAsk *ask, int32 server, DifsMessage message, const void *control,
							uint32 control_length);
extern void difs_health_forget(DifsAsk *ask);

/* A server that answers but cannot take block groups gets none for a while. follows: if there has been a reason before, that is the one
 * to be told. */
extern void difs_health_rest(int32 server, const DifsError *why, bool follows);

/* It has done what it had failed to do: difs.servers says no more that it has not. */
extern void difs_health_well(int32 server);

/* Its storage name, for messages. */
extern const char *difs_health_name(int32 server);

/* Servers as in servers[], where those that rest are not alive; in the current memory context. */
extern DifsSharedServer *difs_health_servers(int *count);

#endif
