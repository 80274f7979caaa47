/*
 * group_jobs.h - the jobs of a group, each in a file of its own, and what starts them.
 *
 * Those that difs_group_schedule() starts find the group open, idle and now
 * busy, and end with difs_group_idle().
 */
#ifndef DIFS_GROUP_JOBS_H
#define DIFS_GROUP_JOBS_H

#include "group.h"

/* group_open.c: opens a group, recovering it if need be; then lets those in group->opening go on, or fails them. */
extern void difs_group_open(DifsGroup *group);

/* group_create.c: makes the file of a group that difs_group_create() has just made; answers request. */
extern void difs_group_make(DifsGroup *group, const DifsCreateGroup *create, DifsRequest *request);
extern void difs_group_drop(DifsGroup *group);

/* group_commit.c */
extern void difs_group_put(DifsRequest *request); /* resume function: queues a PUT whose request->segment is set */
extern void difs_group_commit(DifsGroup *group);
extern void difs_group_fail_puts(DifsGroup *group, const DifsError *error);

/* group_delete.c */
extern void difs_group_queue_delete(DifsRequest *request); /* resume function */
extern void difs_group_delete(DifsGroup *group);

/* group_mend.c */
extern void difs_group_queue_mend(DifsRequest *request); /* resume function: a MEND, with request->segment set if it is of one */
extern void difs_group_mend(DifsGroup *group);

/* group_seal.c */
extern void difs_group_queue_seal(DifsRequest *request); /* resume function */
extern void difs_group_seal(DifsGroup *group);

/* group_compact.c */
extern void difs_group_consider_compaction(DifsGroup *group); /* queues it if it is worth it */
extern void difs_group_want_compaction(DifsGroup *group);	  /* queues it if there is anything to gain */
extern void difs_group_next_compaction(struct DifsServer *server);
extern void difs_group_compact(DifsGroup *group);
extern void difs_group_forget_compaction(DifsGroup *group);

/* group_read.c: resume functions */
extern void difs_group_get(DifsRequest *request);
extern void difs_group_list(DifsRequest *request);

/* group_verify.c: resume functions */
extern void difs_group_verify(DifsRequest *request);
extern void difs_group_verify_all(DifsRequest *request);

/* group_check.c: in a job, by reading the disk.  False with DIFS_ERROR_CORRUPT if it is not what it should be. */
#define DIFS_CHECK_BYTES (16 * DIFS_BLOCK_SIZE)
typedef struct DifsCheckRoom /* to read into */
{
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint8_t bytes[DIFS_CHECK_BYTES];
} DifsCheckRoom;
extern bool difs_group_check_record(const DifsGroupFile *file, const DifsListEntry *entry, DifsCheckRoom *room,
									DifsError *error);
extern bool difs_group_check_header(const DifsGroupFile *file, DifsError *error);
extern bool difs_group_check_index(const DifsGroupFile *file, DifsError *error);

/* group_reserve.c, in a job: writes zeros from end on, not beyond limit, so that the next small commits do not make the file longer.
 * They end at *reserved_end, which is end if there is no room for them.  Not durable before the next sync.  False with errno if the disk fails. */
extern bool difs_group_reserve(int fd, uint64_t end, uint64_t limit, uint64_t *reserved_end);

/* The file ends with its records from now on, durably.  False with DIFS_ERROR_IO. */
extern bool difs_group_end_reserve(DifsStore *store, int fd, uint64_t end, DifsError *error);

/* store->sync(), and adds the time that it took to *took_us. */
extern bool difs_group_sync(DifsStore *store, int fd, uint64_t *took_us, DifsError *error);

/* group_recover.c: finds out, in a job, what a group file holds by walking its records. */
typedef struct DifsRecovery
{
	DifsIndex index;	 /* sorted */
	uint64_t file_bytes; /* the length that the file has now */
	uint64_t dead_bytes;
	uint64_t cut_bytes;	 /* that were cut off the end */
	uint64_t torn_bytes; /* the same without the zeros at its end, which may have been a reserve (group_reserve.c) */
	uint32_t damaged;	 /* places that were skipped, or whose bytes are bad */
	bool unreadable;	 /* the disk has refused to give some of the file: there may be more in it */
} DifsRecovery;

/* What recovery may change, and what it takes zeros at the end for. */
typedef enum DifsRecoveryOf
{
	DIFS_RECOVERY_OF_OPEN,	 /* its tail is checked and cut, and header->synced is raised to where it ends, in the file too */
	DIFS_RECOVERY_OF_FAILED, /* nothing is changed; zeros at the end may be a reserve */
	DIFS_RECOVERY_OF_SEALED	 /* nothing is changed; zeros at the end are damage, as its reserve was cut off */
} DifsRecoveryOf;

extern bool difs_group_recover(DifsStore *store, int fd, DifsGroupHeader *header, DifsRecoveryOf group,
							   DifsRecovery *recovery, DifsError *error);

#endif
