/*
 * engine_net.h - what engine_net.c and engine_link.c share: the state of the network thread, which nobody else touches.
 */
#ifndef DIFS_CLIENT_ENGINE_NET_H
#define DIFS_CLIENT_ENGINE_NET_H

#include "common/conn.h"
#include "engine.h"

#define MAX_LINKS 64
#define MAX_REQUESTS 512

/* A request that has no answer yet. */
typedef struct Request
{
	Task *task; /* NULL: free */
	int member;
	int link;
	bool sent; /* false: the connection is not READY yet */
} Request;

typedef struct Link
{
	char server[ENGINE_SERVER_SIZE]; /* "": free */
	DifsConn *conn;
	int owed;		/* requests */
	uint64_t moved; /* when it was last looked at, and at what time */
	int64_t moved_ms;
} Link;

typedef struct Network
{
	Engine *engine;
	Link links[MAX_LINKS];
	Request requests[MAX_REQUESTS];
	Task *waiting; /* for room among the requests */
	bool stopping; /* what fails now is not asked of another member */
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
} Network;

/* engine_net.c: one answer of a task; the last one sends it on. */
extern void engine_answered(Network *network, Request *request, bool good, const DifsError *error);

/* engine_link.c: the connection to a server, made if there is none. -1: it cannot be. */
extern int engine_find_link(Network *network, const char *server, const uint8_t *token);
extern void engine_break_link(Network *network, int number, const DifsError *error); /* all that it had fails */
extern void engine_look_for_silence(Network *network);
extern int64_t engine_now_ms(void);

#endif
