/*
 * pull.h - PULL: a copy of a block group that is made from the copies of other chunk servers.
 *
 *	group_pull.c    what is asked for and how far it is: loop thread
 *	pull_copy.c     the job that makes the new file, in a pool thread
 *	pull_source.c   that thread's connection to another chunk server
 *	pull_install.c  puts the new file in the place of the old one
 *
 *	COPYING ---------> WAITING ----------> INSTALLING ---> gone
 *	   |    file made   |   group is idle      |
 *	   '----------------'----------------------'--> FAILED, until somebody has been told
 *
 * Until the install begins nothing is changed but the file <group>.pull.new, which is removed at start like all that
 * is not published.  So a pull that a crash interrupts, or that nobody asks about any more, has not happened.
 */
#ifndef DIFS_PULL_H
#define DIFS_PULL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "../common/conn.h"
#include "group.h"
#include "job.h"
#include "tenant.h"

#define DIFS_PULL_SILENCE_MS 10000				 /* a source that sends nothing for so long is given up */
#define DIFS_PULL_WINDOW_BYTES (8 * 1024 * 1024) /* asked for and not received; one segment in any case */

typedef enum DifsPullStage
{
	DIFS_PULL_COPYING,
	DIFS_PULL_WAITING,
	DIFS_PULL_INSTALLING,
	DIFS_PULL_FAILED
} DifsPullStage;

typedef struct DifsGroupPull
{
	DifsJob job;
	TAILQ_ENTRY(DifsGroupPull) link; /* in server->pulls */
	struct DifsServer *server;		 /* what stands up to here and the next five never change */
	DifsTenant *tenant;
	DifsPull asked;
	uint8_t key[DIFS_KEY_SIZE];
	DifsTlsContext *tls; /* NULL: without */
	uint64_t epoch;		 /* of the claim, as which it talks to the sources */

	DifsPullStage stage;
	DifsGroup *group;		   /* WAITING, INSTALLING: what the file goes to */
	bool made;				   /* the install made the group */
	DifsRequestQueue requests; /* that wait for an answer */
	int forgotten_ticks;	   /* since the last request */

	/* how far it is: written by the job */
	atomic_bool given_up; /* written by the loop thread, for the job to see */
	atomic_uint_fast64_t segments;
	atomic_uint_fast64_t bytes;
	atomic_uint_fast64_t total;
	atomic_uint damaged;

	/* what the job has made; the loop thread's when it is done */
	DifsGroupFile *file;
	DifsIndex index;
	uint64_t file_bytes;
	uint64_t allocated_bytes;
	bool doubtful; /* which file a power cut would leave in place is not known */
	bool ok;
	DifsError error;
} DifsGroupPull;

/* Handler of PULL. */
extern void difs_pull_handle(DifsRequest *request, const DifsPull *asked);

/* Every second: tells those who wait how far it is. */
extern void difs_pulls_tick(struct DifsServer *server);
extern void difs_pulls_free(struct DifsServer *server);

/* Answers all who wait, and frees the pull unless it has failed and nobody has been told. */
extern void difs_pull_end(DifsGroupPull *pull);

/* The job: makes <group>.pull.new and pull->index. */
extern void difs_pull_copy(DifsJob *job);

/* True once the pull shall end; any thread. */
extern bool difs_pull_stopped(const DifsGroupPull *pull);

/* The file has been made: puts it in place as soon as the group is idle. difs_group_schedule() calls the second. */
extern void difs_pull_install_when_idle(DifsGroupPull *pull);
extern void difs_group_install(DifsGroup *group);

/* Of a pull's file: what ends in .new is removed at start (tenant_load.c). */
#define DIFS_PULL_SUFFIX ".pull.new"

/* A source, for one thread.  Functions that fail leave it broken, with the reason. */
typedef struct DifsSource
{
	const DifsGroupPull *pull;
	DifsConn *conn;
	uint64_t moved;
	uint64_t heard_ms;
	uint64_t last_request;
	bool broken;
	DifsError error;
} DifsSource;

/* A segment that is wanted, or was. */
typedef struct DifsPullItem
{
	DifsListEntry entry; /* as a source lists it; once taken, as it is in the new file */
	uint32_t sources;	 /* bit for each source that says it has a good copy */
	bool settled;		 /* taken, or not wanted any more */
	bool taken;
} DifsPullItem;

/* A segment has come, verified: packed header and stored form. */
typedef bool (*DifsPullTake)(void *context, DifsPullItem *item, DifsSegment *segment, uint8_t *packed,
							 const uint8_t *payload);

extern bool difs_source_open(DifsSource *source, const DifsGroupPull *pull, int number);
extern void difs_source_close(DifsSource *source);

/* All entries of the group, sorted. */
extern bool difs_source_list(DifsSource *source, DifsIndex *entries);

/* Fetches all items that are not settled and that this source (by its number) has.  Each that comes and is right goes to take; one
 * that has been deleted is settled; of one that is bad, the source's bit is cleared.  False if the source broke, or if take
 * returned false. */
extern bool difs_source_fetch(DifsSource *source, int number, DifsPullItem *items, uint32_t count, DifsPullTake take,
							  void *context);

#endif
