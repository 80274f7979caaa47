/*
 * load.h - the load generator: some clients do one operation of one system for some time, and say how long each took.
 *
 * A system is something that stores bytes under a number (object): difs, large objects, bytea, plain tables, plain files. Every system
 * gets the same payload for the same object, by the same program, so that what the client costs is the same for all.
 */
#ifndef DIFS_BENCH_LOAD_H
#define DIFS_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "histogram.h"

#define PIECE_BYTES (1024 * 1024)
#define FIRST_LATENCIES 64
#define PATH_BYTES 1024

typedef enum Mode
{
	MODE_SINGLE,	  /* each operation by itself */
	MODE_TRANSACTION, /* a batch in one transaction, call by call */
	MODE_PIPELINE	  /* the same, without waiting between the calls */
} Mode;

/* Which object an operation takes. */
typedef enum Access
{
	ACCESS_NEW,	  /* the next number that nobody has used */
	ACCESS_ONCE,  /* each of the existing ones once */
	ACCESS_RANDOM /* any of the existing ones */
} Access;

typedef struct Options
{
	const char *system;
	const char *operation;
	const char *place;	   /* difs: volume:/directory; files: directory; tables: number of the parent */
	const char *data_file; /* where payload comes from */
	Mode mode;
	int64_t size_bytes;
	int64_t span_bytes; /* ranges lie below this */
	int64_t first;		/* number of the first object */
	int64_t objects;	/* how many exist */
	int64_t count;		/* operations of all clients together; 0: as many as fit into the time */
	double seconds;
	int clients;
	int batch;
	int warm;			 /* operations of each client before the clock starts */
	bool check;			 /* compare what was read */
	bool directory_sync; /* plain files: fsync the directory as well */
} Options;

struct Operation;

typedef struct Client
{
	const Options *options;
	const struct Operation *operation;
	PGconn *conn;
	char *buffer; /* of plain files and lo_read */
	uint64_t random;
	int directory; /* descriptor of options->place, of plain files */
	int file;	   /* that ranges are read from, of plain files */
	int64_t done;
	Histogram latencies;
	double first[FIRST_LATENCIES];
	double began;
	double ended;
} Client;

typedef struct Operation
{
	const char *system;
	const char *name;
	Access access;
	void (*open)(Client *client);
	void (*run)(Client *client, int64_t object);
	const char *sql; /* of a prepared statement: statement.c */
	const char *parameters;
} Operation;

/* main.c */
extern void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
extern double now_seconds(void);
extern const char *payload_of(const Options *options, int64_t object);
extern void check_bytes(const Options *options, int64_t object, int64_t offset, const char *bytes, int64_t length);

/* client.c */
extern int64_t client_next_object(Client *client);
extern int64_t client_random(Client *client, int64_t below);
extern void client_loop(Client *client);
extern void client_set_start(const Options *options);
extern int64_t client_objects_used(void);

/* statement.c */
extern const Operation statement_operations[];
extern void statement_send(Client *client, int64_t object);
extern void statement_take(Client *client, int64_t object, PGresult *result);
extern void statement_command(PGconn *conn, const char *sql);

/* stream.c, files.c, loopback.c, batch.c */
extern const Operation loopback_operations[];
extern const Operation stream_operations[];
extern const Operation file_operations[];
extern void batch_run(Client *client);

#endif
