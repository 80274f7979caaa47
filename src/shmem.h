/*
 * shmem.h - what backends and workers share.
 *
 * One fixed area is requested at server start (difs must be in
 * shared_preload_libraries for that).  It holds numbers, never pointers or
 * descriptors, so any process may die without leaving a dangling one.
 *
 *	 DifsShared
 *	  |- databases[]	one entry for each database that has the extension
 *	  |    |- servers[]	   the chunk servers of that database       written by its keeper
 *	  |    |- groups[]	   open block groups                        written by keeper, streamer, and backends that place uploads
 *	  |    '- classes[]	   kinds of group that somebody needs       written by streamer, read by keeper
 *	  |- local[]		embedded chunk servers                      written by the launcher
 *	  |- slots[]		segments on their way (stream.h)
 *	  |- pool			their bytes (pool.h)
 *	  |- cache			blocks of segments that are read often (cache.h)
 *	  |- counters		what was done, counted (counters.h)
 *	  '- row hints		where rows of files were found last (row_hint.h)
 *
 * Locks.  "lock" (an LWLock) guards all but slots, pool, cache, counters and row hints; it is held
 * for a few instructions, never over I/O.  Those five have rules of their own in
 * stream.h, pool.h, cache.h, counters.h and row_hint.h.  What carries a "generation" may be recycled while
 * somebody remembers its index: compare before believing.
 *
 * Who dies, who cleans up: a backend's slots and pool pages are returned by its
 * exit hook (stream.c); an entry of databases[] is emptied by the launcher when
 * its keeper and streamer are gone (worker/launcher.c); everything else is
 * rebuilt by its writer when that starts again.  If a process dies in a way that
 * may have harmed shared memory, the postmaster starts all of it anew.
 */
#ifndef DIFS_SHMEM_H
#define DIFS_SHMEM_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "common/segment.h"
#include "common/wire.h"

#define DIFS_MAX_REPLICAS 8
#define DIFS_MAX_SERVERS 128	/* of one database */
#define DIFS_MAX_OPEN_GROUPS 64 /* of one database */
#define DIFS_MAX_CLASSES 16		/* of one database */
#define DIFS_MAX_LOCAL_SERVERS 16
#define DIFS_TIER_SIZE 16
#define DIFS_ZONE_SIZE 64
#define DIFS_MAX_HINTS 32
#define DIFS_MAX_INSERTS 16 /* helpers of difs_insert() in one database */

/* What a block group must be like to take a segment: the part of a volume's policy that concerns placement. */
typedef struct DifsClass
{
	int replicas; /* 1 .. DIFS_MAX_REPLICAS */
	char tier[DIFS_TIER_SIZE];
	int64 placement; /* whose function chooses the servers (placement_function.h); 0 = nobody's */
} DifsClass;

typedef struct DifsSharedServer
{
	int32 id; /* difs.server.id; 0 = entry not in use */
	char name[DIFS_NAME_SIZE];
	char host[256];
	uint16 port;
	char zone[DIFS_ZONE_SIZE];
	char tier[DIFS_TIER_SIZE];
	int32 weight;
	bool accepts_groups; /* state is 'active': neither draining nor removed */
	bool alive;			 /* answered the last health check */
	TimestampTz last_seen;
	TimestampTz down_since; /* while it is not alive; counted from when this was first known of it */
	uint64 capacity_bytes;
	uint64 used_bytes;
	uint64 free_bytes;
	uint64 puts; /* segments written, read, and syncs, since it started */
	uint64 gets;
	uint64 syncs;
	uint64 sync_us;						/* what these took */
	uint8 storage[DIFS_UUID_SIZE];		/* identity of its data directory, by its row; all zeros: not known */
	uint8 seen_storage[DIFS_UUID_SIZE]; /* the same as it says itself */
	char problem[DIFS_ERROR_TEXT_SIZE]; /* why it is not alive, or what its disk does; for messages */
} DifsSharedServer;

typedef enum DifsOpenGroupState
{
	DIFS_OPEN_GROUP_UNUSED = 0,
	DIFS_OPEN_GROUP_OPEN,  /* set by the keeper, after its row is committed and all members have created it */
	DIFS_OPEN_GROUP_FULL,  /* set by the streamer: no room for more; the keeper seals it */
	DIFS_OPEN_GROUP_FAILED /* set by the streamer: a member failed; the keeper seals it on those that answer */
} DifsOpenGroupState;

typedef struct DifsOpenGroup
{
	DifsOpenGroupState state;
	uint64 id; /* difs.block_group.id */
	DifsClass class;
	int32 member[DIFS_MAX_REPLICAS]; /* server ids, in the order of the row */
	uint64 capacity_bytes;
	uint64 reserved_bytes;	  /* used in the file, what is on its way included; streamer's */
	int32 in_flight;		  /* segments sent and not acknowledged; streamer's; sealed only at 0 */
	uint64 in_flight_bytes;	  /* the same in bytes */
	int32 leases;			  /* receipts that are to come of segments which clients write to it by token (worker/lease.h) */
	uint64 leased_bytes;	  /* what these segments may have, at most */
	TimestampTz leased_until; /* when the last of their tokens expires */
	bool avoided;			  /* a member is not alive: nothing new goes there; set by the keeper */
} DifsOpenGroup;

/* What a placement function says about the next group of a class: the keeper asks, a round of DIFS_DUTY_PLACE answers, the keeper takes it. */
typedef enum DifsPlacementState
{
	DIFS_PLACEMENT_NONE = 0,
	DIFS_PLACEMENT_ASKED,
	DIFS_PLACEMENT_CHOSEN,
	DIFS_PLACEMENT_REFUSED
} DifsPlacementState;

/* A class that somebody waits for. The streamer adds it and sets wanted; the keeper opens groups and clears it. */
typedef struct DifsWantedClass
{
	DifsClass class; /* replicas 0 = entry not in use */
	bool wanted;
	TimestampTz wanted_at;		/* when it last was; the entry of one that is not may be given to another class */
	DifsError problem;			/* why the keeper cannot open a group (code FULL if for want of space); DIFS_OK if it can */
	DifsPlacementState placing; /* for a class with a placement function */
	int32 chosen[DIFS_MAX_REPLICAS];
	DifsError refusal;
} DifsWantedClass;

/* Slow duties of the keeper: worker/duties.c has the table of what each does. */
typedef enum DifsDutyKind
{
	DIFS_DUTY_COLLECT, /* deletes what nobody can see any more */
	DIFS_DUTY_REPAIR,  /* gives block groups back the members that they lost; drains servers */
	DIFS_DUTY_SCRUB,   /* reads everything again */
	DIFS_DUTY_UNSTAGE, /* moves staged segments to chunk servers */
	DIFS_DUTY_CLAIM,   /* takes the claim, with difs.auto_claim */
	DIFS_DUTY_COMPACT, /* puts together files that were written in many small parts */
	DIFS_DUTY_PLACE,   /* asks placement functions where new block groups are to be */
	DIFS_DUTY_SAMPLE,  /* notes how all is going */
	DIFS_DUTIES
} DifsDutyKind;

#define DIFS_DUTY_RESULTS 8
#define DIFS_PHASE_SIZE 32

/* How a duty is doing. The duty's process writes it, but for wanted. */
typedef struct DifsDutyState
{
	bool wanted;		 /* run as soon as possible; set by anybody, cleared by the keeper when it starts a round */
	int proc;			 /* proc number of the process that runs a round, or -1 */
	bool asked;			 /* somebody has wanted the round that runs or ran last */
	uint64 round;		 /* number of the round that runs or ran last; raised by the keeper when it starts one */
	uint64 ended_round;	 /* the last round that has ended, well or not */
	TimestampTz started; /* of the round that runs or ran last */
	TimestampTz ended;
	int again_ms;				 /* not 0: the round that ended last has left work, for a round so long afterwards */
	char phase[DIFS_PHASE_SIZE]; /* what the round that runs is at; empty: it says nothing about that */
	int64 done;					 /* progress: work done and to be done in this phase, in units of the duty's own */
	int64 total;
	int64 so_far[DIFS_DUTY_RESULTS];	/* results of the round that runs or ran last; what they are is the duty's own */
	int64 result[DIFS_DUTY_RESULTS];	/* the same of the last round that ended */
	char problem[DIFS_ERROR_TEXT_SIZE]; /* why the last round did not end well; empty if it did */
} DifsDutyState;

/* A helper of difs_insert(), written by itself (worker/insert_helper.c). */
typedef struct DifsInsertHelper
{
	int pid;		/* 0 = entry not in use */
	int64 process;	/* what it works at; 0 = nothing */
	int64 segments; /* of that, so far */
	int64 bytes;
	int64 total_bytes; /* -1: not known */
} DifsInsertHelper;

/* What the last round of DIFS_DUTY_SAMPLE has counted in tables (worker/sample.c): columns of difs.sample. */
typedef enum DifsSampled
{
	DIFS_SAMPLED_GROUPS_OPEN,
	DIFS_SAMPLED_GROUPS_SEALED,
	DIFS_SAMPLED_GROUPS_REPAIRING,
	DIFS_SAMPLED_COPIES_MISSING,
	DIFS_SAMPLED_COPIES_TO_MOVE,
	DIFS_SAMPLED_FILES_TO_REPAIR,
	DIFS_SAMPLED_LOST_SEGMENTS,
	DIFS_SAMPLED_BAD_COPIES,
	DIFS_SAMPLED_MENDED_COPIES,
	DIFS_SAMPLED_DOOMED,
	DIFS_SAMPLED_COUNTS
} DifsSampled;

typedef struct DifsSample
{
	TimestampTz taken; /* 0: there is none */
	int64 count[DIFS_SAMPLED_COUNTS];
	TimestampTz doomed_since; /* 0: nothing that has to wait */
} DifsSample;

typedef enum DifsDatabaseState
{
	DIFS_DATABASE_UNUSED = 0,
	DIFS_DATABASE_PROBING, /* launcher has started a keeper, which looks for the extension */
	DIFS_DATABASE_RUNNING, /* set by the keeper: servers are published, the streamer is to run */
	DIFS_DATABASE_STOPPING /* keeper and streamer are to exit, or have: the extension or the database goes away */
} DifsDatabaseState;

typedef struct DifsDatabase
{
	DifsDatabaseState state;
	Oid database;
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 epoch;
	bool claimed; /* holds the claim (claim.h); set by the keeper before RUNNING, and constant while that lasts */
	uint8 claim[DIFS_CLAIM_SIZE];
	char claim_problem[DIFS_ERROR_TEXT_SIZE]; /* why it does not hold it, a sentence */
	int keeper;								  /* proc number, or -1 */
	int streamer;							  /* proc number, or -1 */
	uint32 servers_generation;				  /* raised whenever an address in servers[] changes */
	DifsSharedServer servers[DIFS_MAX_SERVERS];
	DifsOpenGroup groups[DIFS_MAX_OPEN_GROUPS];
	DifsWantedClass classes[DIFS_MAX_CLASSES];

	char name[NAMEDATALEN]; /* of the database; set by the keeper before RUNNING */
	DifsDutyState duties[DIFS_DUTIES];
	DifsSample sample;
	DifsInsertHelper inserts[DIFS_MAX_INSERTS];
	bool inserts_wanted;					  /* difs_insert() has committed something; set by backends, cleared by the keeper */
	bool rebalance_wanted;					  /* set by difs_rebalance(), taken by a round of DIFS_DUTY_REPAIR */
	uint64 rebalanced;						  /* copies that have moved by that since the start */
	pg_atomic_uint64 staged_bytes;			  /* about as many are in difs.staging (src/staging.c) */
	pg_atomic_uint64 paces[DIFS_MAX_SERVERS]; /* how quickly servers answer (src/pace.c) */

	/* segment ids: [next, limit) may be handed out; refilled from a sequence by the keeper (at start and below the low mark)
	 * and by any backend that finds it empty. */
	uint64 next_segment;
	uint64 limit_segment;

	/* segments to be sent, oldest first: indexes into slots[], linked by slot.next; queue_lock guards these four */
	slock_t queue_lock;
	int32 queue_head; /* -1 = empty */
	int32 queue_tail;
	uint64 queue_bytes;
	pg_atomic_uint32 queue_hurries;	 /* not all in it are patient (src/stream.h) */
	pg_atomic_uint32 streamer_sleep; /* DifsStreamerSleep: must whoever queues set the streamer's latch? */
} DifsDatabase;

typedef struct DifsLocalServer
{
	char name[DIFS_NAME_SIZE];	   /* empty = entry not in use */
	char host[256];				   /* address to announce */
	uint16 port;				   /* 0 until it listens */
	int pid;					   /* 0 while it is down */
	uint8 storage[DIFS_UUID_SIZE]; /* identity of its data directory, once it listens */
} DifsLocalServer;

typedef struct DifsShared
{
	LWLock lock;
	int tranche;
	ConditionVariable changed; /* broadcast when a database changes state */

	int launcher;	/* proc number, or -1 */
	int hint_count; /* databases in which a keeper should look for the extension */
	Oid hint[DIFS_MAX_HINTS];
	bool rescan;		  /* hints overflowed: look everywhere */
	Oid blocked_database; /* being dropped, renamed or copied: start nothing in it */
	int blocked_by;		  /* proc number of who does that */

	int local_count;
	DifsLocalServer local[DIFS_MAX_LOCAL_SERVERS];

	int database_count; /* length of databases[] = difs.max_databases */
	DifsDatabase databases[FLEXIBLE_ARRAY_MEMBER];
} DifsShared;

static inline bool
difs_class_equal(const DifsClass *a, const DifsClass *b)
{
	return a->replicas == b->replicas && a->placement == b->placement && strcmp(a->tier, b->tier) == 0;
}

extern DifsShared *difs_shared; /* NULL: not in shared_preload_libraries */

/* Installs the hooks that request and initialise the area. From _PG_init while preloading. */
extern void difs_shmem_install(void);

/* Errors out, with the hint to set shared_preload_libraries, unless the area is there. */
extern void difs_shmem_require(void);

/* This backend's database entry, RUNNING. Hints to the launcher and waits for up to difs.server_timeout, then errors out saying
 * what is missing. Interruptible. */
extern DifsDatabase *difs_database_require(void);

/* The same without waiting: NULL if workers are not running for this database (or difs is not preloaded). */
extern DifsDatabase *difs_database_find(Oid database);

/* Asks the launcher to look for the extension in a database, now. */
extern void difs_database_hint(Oid database);

/* Has the workers of a database end and start anew; until then calls that need them wait. */
extern void difs_database_restart(DifsDatabase *database);

/* Sets the latch of the process with that proc number, if it is not -1. */
extern void difs_wake(int proc_number);

/* Copies the entry of one server of a database; false if it is not known there. */
extern bool difs_server_lookup(DifsDatabase *database, int32 server, DifsSharedServer *copy);

/* Takes the next segment id, or returns 0 if the range is used up (see difs_segment_refill() in src/ids.h). */
extern uint64 difs_segment_next(DifsDatabase *database);

#endif
