/*
 * group_jobs.h - what the keeper is doing about which block group.
 *
 * A job is one step in a group's life (groups.c): the same request to all
 * members, until all have answered or the deadline has passed.
 */
#ifndef DIFS_GROUP_JOBS_H
#define DIFS_GROUP_JOBS_H

#include "postgres.h"

#include "worker/health.h"

#define DIFS_MAX_JOBS DIFS_MAX_OPEN_GROUPS

typedef enum DifsTask
{
	DIFS_TASK_NONE = 0,
	DIFS_TASK_CREATE,
	DIFS_TASK_SEAL,
	DIFS_TASK_DROP, /* it could not be made everywhere, and nobody has used it */
	DIFS_TASK_ADOPT
} DifsTask;

typedef struct DifsJob
{
	DifsTask task;
	int entry; /* of groups[], to be emptied after SEAL; -1 = none */
	DifsOpenGroup group;
	uint32 strangers; /* bit for each member that has another group of this id: it is not ours */
	TimestampTz deadline;
	DifsAsk asks[DIFS_MAX_REPLICAS];
} DifsJob;

extern DifsJob difs_jobs[DIFS_MAX_JOBS];

/* A job that nobody uses, or NULL. */
extern DifsJob *difs_job_free(void);

/* Begins a task for a group. There is a free job: the caller has looked. */
extern void difs_job_start(DifsTask task, const DifsOpenGroup *group, int entry);

/* Asks all members at once; also the second task of a job whose first one did not succeed. */
extern void difs_job_begin(DifsJob *job, DifsTask task);

/* Have all members answered, or is it too late for that? */
extern bool difs_job_ended(const DifsJob *job);

#endif
