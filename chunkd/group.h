/*
 * group.h - block groups as the server holds them.
 *
 * A DifsGroup is in memory for as long as the group exists; it is small.  What is
 * open of it, descriptors and the mapped index, is a DifsGroupFile, which comes
 * and goes: jobs and replies that read hold a reference, so that compaction,
 * dropping and the limit on open files never take it from under them.
 *
 * All fields belong to the loop thread, but for those that never change.  What
 * changes a group on disk is a job, and a group has one of them at a time:
 *
 *	       when_open()                schedule()
 *	closed ----------> open, idle <---------------> busy: commit, delete, mend, seal, install, compact or drop
 *	       (busy: open, or recovery)
 */
#ifndef DIFS_GROUP_H
#define DIFS_GROUP_H

#include <sys/queue.h>

#include "connection.h"
#include "disk_format.h"
#include "group_index.h"
#include "job.h"

struct DifsTenant;
struct DifsServer;
struct DifsGroupPull;

typedef TAILQ_HEAD(DifsGroupQueue, DifsGroup) DifsGroupQueue;

typedef struct DifsGroupFile
{
	int refs; /* loop thread only */
	int fd;
	DifsGroupHeader header;
	DifsIndexMap map;
} DifsGroupFile;

typedef struct DifsGroup
{
	struct DifsTenant *tenant; /* these two never change */
	uint64_t id;

	uint64_t epoch;
	uint64_t capacity_bytes;
	bool sealed;
	bool failed;   /* read-only for ever */
	char *failure; /* what it failed of; NULL: before the server was started */
	bool known;	   /* recovered, or its index checked, since start */

	DifsGroupFile *file;			  /* NULL: closed */
	TAILQ_ENTRY(DifsGroup) open_link; /* in server->open_groups while file != NULL */
	DifsIndex index;				  /* of a group that is not sealed */
	uint64_t file_bytes;			  /* durable length of the group file; where the next record goes */
	uint64_t reserved_end;			  /* zeros follow file_bytes up to here, durably; none if it is less (group_reserve.c) */
	uint64_t allocated_bytes;		  /* by group and index file */
	uint64_t used_bytes;			  /* the same without the reserve, as counted in server->used_bytes */
	uint64_t live_segments;
	uint64_t live_bytes;
	uint64_t dead_bytes; /* of dead records that have not gone back to the file system */

	bool busy;					   /* a job changes it, or opens it */
	bool deleted_last;			   /* commits and deletions take turns */
	bool sealing;				   /* takes no more PUTs */
	bool dropping;				   /* nobody finds it any more */
	bool compaction_queued;		   /* in server->compactions, or running */
	bool compaction_due;		   /* its turn has come */
	uint64_t compaction_failed_at; /* dead_bytes when compaction failed: not tried again before there are more */
	TAILQ_ENTRY(DifsGroup) compaction_link;
	TAILQ_ENTRY(DifsGroup) gather_link; /* in server->gather while gathered */
	bool gathered;
	struct DifsGroupPull *pull; /* its file is to take the place of this one's, or is about to */
	int readers;				/* jobs that use the group without changing it */
	uint64_t queued_bytes;		/* records of queued PUTs and of the running commit */
	uint32_t queued_puts;

	DifsRequestQueue opening; /* wait for the group to be open */
	DifsRequestQueue puts;
	DifsRequestQueue deletes;
	DifsRequestQueue mends;
	DifsRequestQueue seals;
	DifsRequestQueue drops; /* at most one */
} DifsGroup;

extern DifsGroup *difs_group_create(struct DifsTenant *tenant, uint64_t id);
extern void difs_group_free(DifsGroup *group);
extern struct DifsServer *difs_group_server(const DifsGroup *group);

/* "<cluster>/<group>" and a suffix such as ".group"; may be called by any thread. */
extern void difs_group_path(const DifsGroup *group, const char *suffix, char path[DIFS_PATH_SIZE]);

/* Calls resume(request), with request->group set, now or when the group has been opened; or fails the request. */
extern void difs_group_when_open(DifsGroup *group, DifsRequest *request, void (*resume)(DifsRequest *request));

/* Starts the next job of a group, if it is idle and there is something to do. */
extern void difs_group_schedule(DifsGroup *group);

/* Jobs that change the group call this on the loop thread when they are done. */
extern void difs_group_idle(DifsGroup *group);

/* The entry of a segment of an open group that anyone may see; false if there is none. */
extern bool difs_group_find(const DifsGroup *group, uint64_t segment, DifsListEntry *entry);

/* Remembers that a segment's bytes do not match their checksums. */
extern void difs_group_mark_damaged(DifsGroup *group, uint64_t segment);

/* Makes it read-only, after the job has called difs_group_note_failure(). */
extern void difs_group_fail(DifsGroup *group, const DifsError *error);

/* Refuses what waits for the group's next jobs. */
extern void difs_group_fail_queued(DifsGroup *group, const DifsError *error);

/* In a job: leaves the .failed file that says so after a restart too, if the disk still takes it. */
extern void difs_group_note_failure(const DifsGroup *group, struct DifsServer *server);

/* In a job: puts a new file, which has the temporary name, durably in the place of the group's.  If the rename was done and the directory's sync
 * failed, nobody knows which of the two a power cut would leave: *doubtful, and the failure is noted.  doubtful is NULL if there was no
 * file before, of which that could be said. */
extern bool difs_group_publish(const DifsGroup *group, struct DifsServer *server, int fd, const char *temporary, bool *doubtful,
							   DifsError *error);

/* How much the group takes on disk, after file_bytes and reserved_end have been set. */
extern void difs_group_set_allocated(DifsGroup *group, uint64_t bytes);

/* The group's file, open or freshly made by a job, becomes what the group uses. */
extern void difs_group_set_file(DifsGroup *group, DifsGroupFile *file);
extern void difs_group_close(DifsGroup *group);

extern DifsGroupFile *difs_group_file_hold(DifsGroupFile *file);
extern void difs_group_file_release(DifsGroupFile *file); /* NULL is fine */

/* In a job: bytes that group and index file take. */
extern uint64_t difs_group_file_allocated(const DifsGroupFile *file);

#endif
