/*
 * bench.h - the parts of difs bench (bench.c): places for what is put, and turns of putting and getting by several connections.
 */
#ifndef DIFS_BENCH_H
#define DIFS_BENCH_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CLIENTS 256
#define WAYS 3

typedef enum Doing
{
	DOING_PUT,
	DOING_GET
} Doing;

/* Places for the directory or table. Both statements take a number, bigint or oid; the put takes the value, too. */
typedef struct Way
{
	const char *name;
	const char *put;
	const char *get;
	bool number_is_oid;
} Way;

/* One turn of one way. */
typedef struct Turn
{
	const Way *way;
	Doing doing;
	const char *value;
	size_t size;
	double until;
	_Atomic int64_t *next; /* put: the next number */
	int64_t first;		   /* get: these are there */
	int64_t count;
} Turn;

typedef struct Worker
{
	pthread_t thread;
	PGconn *conn;
	const Turn *turn;
	unsigned int seed;
	int64_t done;
	double ended;
	char *error; /* NULL: none */
} Worker;

typedef struct Bench
{
	int clients;
	double seconds;
	Worker workers[MAX_CLIENTS];
	char *place[WAYS]; /* as the statements want it */
	char *directory;
	char table[64];
	int64_t first_object;
	_Atomic int64_t next[WAYS];
} Bench;

extern const Way bench_ways[WAYS];

/* bench_turn.c: connections as the command's own, or the end, with EXIT_CONNECTION. */
extern PGconn *bench_connect(void);
extern void bench_connect_workers(Bench *bench);

/* Statements of all ways at all connections. What failed has been said, here and below. */
extern bool bench_prepare(Bench *bench);

/* One turn: all clients at once, until its time is over; how many a second. */
extern bool bench_take_turn(Bench *bench, Turn *turn, double *rate);

/* bench_places.c: the directory below a path, and the table. */
extern bool bench_make_places(Bench *bench, const char *in);
extern void bench_remove_places(Bench *bench);

#endif
