/*
 * counters.h - what requests to chunk servers and the streamer have done, counted.
 *
 * Numbers only ever grow, until difs_stat_reset().  They are in shared memory: one
 * entry for each database, in it one for each chunk server, all of it atomics.
 * Who counts takes no lock and asks no clock: times are made of moments that the
 * caller had to know anyway.  A request costs less than a hundred instructions, three
 * of them locked additions; the smallest read that asks a server has 11,000 more than
 * one that does not, and a put 200,000 (bench/README.md).  An entry is taken, by whoever first counts for a
 * database, under difs_shared->lock; after that a process remembers where it is.
 *
 * A shutdown writes them to a file, which the next start reads and removes
 * (counters_file.c): a crash begins anew, as PostgreSQL's own statistics do.  An
 * entry of a database that has been dropped stays until another one needs it; the
 * counts of an extension that has been dropped go when it is created again, by
 * the cluster's uuid.
 *
 * Without shared_preload_libraries nothing is counted.
 */
#ifndef DIFS_COUNTERS_H
#define DIFS_COUNTERS_H

#include "postgres.h"

#include "port/atomics.h"

#include "src/shmem.h"

/* A kind of request to a chunk server. */
typedef enum DifsIoKind
{
	DIFS_IO_GET,  /* a backend reads a segment, or a part of one */
	DIFS_IO_PUT,  /* the streamer stores a segment */
	DIFS_IO_CALL, /* all others (call.h): collection, repair, scrub, groups */
	DIFS_IO_KINDS
} DifsIoKind;

/* What is counted of a kind at a server.  DIFS_IO_TOOK begins a histogram: [i] counts answers that took less than
 * DIFS_IO_FIRST_US << i, and not less than the one before; the last one counts the rest. */
enum
{
	DIFS_IO_BYTES,
	DIFS_IO_TIME_US,
	DIFS_IO_ERRORS,
	DIFS_IO_TOOK,
};

#define DIFS_IO_BUCKETS 20
#define DIFS_IO_FIRST_US 64
#define DIFS_IO_COUNTS (DIFS_IO_TOOK + DIFS_IO_BUCKETS)

/* What is counted of a streamer. */
typedef enum DifsStreamerCount
{
	DIFS_STREAMER_BATCHES,	   /* turns of its loop in which it sent segments */
	DIFS_STREAMER_SENT,		   /* tries */
	DIFS_STREAMER_TRIED_AGAIN, /* tries that failed, and were followed by others */
	DIFS_STREAMER_STORED,	   /* segments, and their bytes */
	DIFS_STREAMER_BYTES,
	DIFS_STREAMER_FAILED,	  /* segments that could not be stored, those that were staged then included */
	DIFS_STREAMER_WAITED_US,  /* of what was stored: from the queue to the last try */
	DIFS_STREAMER_STORING_US, /* from there to the last member's word that the segment is durable */
	DIFS_STREAMER_COUNTS
} DifsStreamerCount;

typedef struct DifsServerCounters
{
	pg_atomic_uint32 server; /* difs.server.id; 0 = not in use */
	pg_atomic_uint64 io[DIFS_IO_KINDS][DIFS_IO_COUNTS];
} DifsServerCounters;

typedef struct DifsCounters
{
	Oid database;				   /* InvalidOid = not in use */
	uint8 cluster[DIFS_UUID_SIZE]; /* all zeros: not known yet */
	pg_atomic_uint64 since;		   /* TimestampTz: of the first count, or of the last reset */
	pg_atomic_uint64 streamer[DIFS_STREAMER_COUNTS];
	DifsServerCounters servers[DIFS_MAX_SERVERS]; /* in no order; more servers than that are not counted */
} DifsCounters;

extern Size difs_counters_shmem_size(void);
extern void difs_counters_shmem_init(void *area, bool found);

/* One entry after the other, NULL behind the last. */
extern DifsCounters *difs_counters_at(int index);

/* The entry of a database, taken if it has none; NULL if there is no room. cluster NULL: not known. */
extern DifsCounters *difs_counters_of(Oid database, const uint8 *cluster);

/* The entry of one server, taken if it has none; NULL if there is no room. */
extern DifsServerCounters *difs_counters_server(DifsCounters *counters, int32 server);

/* All numbers of an entry become zero. */
extern void difs_counters_reset(DifsCounters *counters);

/* The streamer, which is connected to no database, says for which one it counts. */
extern void difs_counters_begin(Oid database, const uint8 *cluster);

/* A request has had its answer; some have had none, or not what was wanted; something has happened in the streamer. Never errors. */
extern void difs_counters_io(DifsIoKind kind, int32 server, uint64 bytes, int64 microseconds);
extern void difs_counters_io_failed(DifsIoKind kind, int32 server, int requests);
extern void difs_counters_streamer(DifsStreamerCount count, int64 amount);

/* counters_file.c: what a shutdown leaves for the next start. Neither ever errors: counts are not worth a failure. */
extern void difs_counters_save(int code, Datum arg); /* for on_shmem_exit() */
extern void difs_counters_load(void);

#endif
