/*
 * group_jobs.c - jobs about block groups (group_jobs.h).
 *
 * State: difs_jobs[], in the keeper's memory.  It dies with the keeper, which is
 * harmless: see groups.c.
 */
#include "postgres.h"

#include "src/settings.h"
#include "worker/group_jobs.h"
#include "worker/keeper.h"
#include "worker/process.h"

DifsJob difs_jobs[DIFS_MAX_JOBS];

void
difs_job_start(DifsTask task, const DifsOpenGroup *group, int entry)
{
	DifsJob *job = difs_job_free();

	job->group = *group;
	job->entry = entry;
	job->strangers = 0;
	difs_job_begin(job, task);
}

void
difs_job_begin(DifsJob *job, DifsTask task)
{
	DifsCreateGroup create = {
		.group = job->group.id,
		.epoch = difs_keeper_database->epoch,
		.capacity = job->group.capacity_bytes,
	};
	DifsMessage message;
	uint8 control[32];
	size_t length;

	if (task == DIFS_TASK_CREATE)
	{
		message = DIFS_MESSAGE_CREATE_GROUP;
		length = difs_create_group_pack(&create, control);
	}
	else if (task == DIFS_TASK_SEAL)
	{
		message = DIFS_MESSAGE_SEAL_GROUP;
		length = difs_group_pack(job->group.id, control);
	}
	else if (task == DIFS_TASK_DROP)
	{
		message = DIFS_MESSAGE_DROP_GROUP;
		length = difs_pair_pack(job->group.id, difs_keeper_database->epoch, control);
	}
	else
	{
		message = DIFS_MESSAGE_LIST_GROUPS;
		length = difs_group_pack(job->group.id - 1, control);
	}
	for (int i = 0; i < job->group.class.replicas; i++)
	{
		difs_health_forget(&job->asks[i]);
		if ((job->strangers & (1U << i)) != 0)
			continue;
		difs_health_ask(&job->asks[i], job->group.member[i], message, control, length);
	}
	job->task = task;
	job->deadline = difs_process_in(difs_server_timeout / 2);
}

DifsJob *
difs_job_free(void)
{
	for (int i = 0; i < DIFS_MAX_JOBS; i++)
	{
		if (difs_jobs[i].task == DIFS_TASK_NONE)
			return &difs_jobs[i];
	}
	return NULL;
}

bool
difs_job_ended(const DifsJob *job)
{
	bool waiting = false;

	for (int i = 0; i < job->group.class.replicas; i++)
		waiting = waiting || job->asks[i].state == DIFS_ASK_WAITING;
	return !waiting || GetCurrentTimestamp() >= job->deadline;
}
