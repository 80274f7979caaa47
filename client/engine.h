/*
 * engine.h - segments to and from chunk servers: threads that compress, and one that talks to the servers.
 *
 *	caller ──submit──> workers (encode, checksum) ──> network (PUT to all members) ──> caller
 *	caller ──submit──> network (GET from one member after the other) ──> workers (verify, decode) ──> caller
 *
 * A Task is one segment on its way.  It belongs to whom it was handed last: the caller after engine_wait() has returned it, else the
 * engine.  Queues are guarded by one mutex; a task in a queue or at work is touched by nobody else.  Connections belong to the network
 * thread alone.
 *
 * An engine lives as long as its client, so connections outlive a file.  engine_stop_tasks() ends everything that is under way: all
 * connections are closed, and each task comes back as failed.
 */
#ifndef DIFS_ENGINE_H
#define DIFS_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/token.h"

#define ENGINE_MAX_MEMBERS 8
#define ENGINE_SERVER_SIZE 544	 /* "/name=host:port" */
#define ENGINE_PATIENCE_MS 30000 /* without a byte from a server that owes an answer */
#define ENGINE_CONNECT_MS 5000

typedef struct Engine Engine;

typedef enum TaskKind
{
	TASK_PUT,
	TASK_GET
} TaskKind;

typedef enum TaskResult
{
	TASK_DONE,
	TASK_FAILED, /* on the network: another placement, or another member, may do */
	TASK_BROKEN	 /* here: it makes no sense to try again */
} TaskResult;

typedef struct Task
{
	struct Task *next; /* in a queue */
	TaskKind kind;
	TaskResult result;
	DifsError error; /* if result is not TASK_DONE */
	int64_t number;	 /* the caller's */

	uint8_t *raw; /* room for the whole segment; after a GET, its raw form */
	uint32_t raw_length;
	int level;		 /* PUT: of compression, 0 = none */
	uint8_t *stored; /* room for raw_length bytes; NULL for a PUT at level 0 */
	uint32_t stored_length;
	uint8_t codec;
	uint32_t crc; /* GET: that the segment must have; PUT: found by encoding */
	bool encoded;
	uint32_t *block_crc; /* PUT: room for those of the stored form */
	uint8_t *packed;	 /* GET: room for the packed header */

	/* where: given by the caller */
	uint8_t token[DIFS_TOKEN_SIZE];
	uint64_t segment;
	uint64_t group;
	uint64_t xid; /* PUT */
	int server_count;
	char servers[ENGINE_MAX_MEMBERS][ENGINE_SERVER_SIZE];

	/* what came of it */
	int outstanding; /* the network thread's: requests without an answer */
	int member;		 /* GET: asked now */
	int tried;		 /* GET: members that have been */
	bool receipt_from[ENGINE_MAX_MEMBERS];
	size_t receipt_length[ENGINE_MAX_MEMBERS];
	uint8_t receipt[ENGINE_MAX_MEMBERS][DIFS_RECEIPT_MAX_SIZE];
} Task;

/* NULL with *error. tls: towards the chunk servers, or NULL; held until the engine goes. */
extern Engine *engine_create(int threads, DifsTlsContext *tls, DifsError *error);
extern void engine_destroy(Engine *engine); /* nothing may be under way; NULL is fine */

extern void engine_submit(Engine *engine, Task *task);

/* The next task that has come back, or NULL when timeout_ms have passed (-1: never; 0: at once) or nothing is under way. */
extern Task *engine_wait(Engine *engine, int timeout_ms);

/* Ends what is under way; every task then comes back by engine_wait(). */
extern void engine_stop_tasks(Engine *engine);

/* For the network thread (engine_net.c) and the workers (engine.c). */
typedef struct Queue
{
	Task *first;
	Task *last;
} Queue;
extern Task *engine_take_network(Engine *engine); /* the next one to be sent; NULL if there is none */
extern void engine_from_network(Engine *engine, Task *task);
extern bool engine_ended(Engine *engine, bool *stop); /* stop: give up what is under way */
extern int engine_wake_fd(const Engine *engine);
extern DifsTlsContext *engine_tls(const Engine *engine);
extern void *engine_network(void *engine); /* the thread */

#endif
