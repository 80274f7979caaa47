/*
 * pull_install.c - puts the file that a pull has made in the place of the group's (pull.h).
 *
 *	1. <group>.pull.new is synced and renamed to <group>.group
 *	2. an index that belongs to it is written and renamed
 *	3. <group>.failed, if there is one, is removed: it was about the old file
 *
 * A crash between 1 and 2 leaves no index, or that of the old file, whose header says so: opening the group makes
 * it anew, or finds an open group that the keeper seals.  A crash between 2 and 3 leaves a group that is failed, as before, and is
 * repaired again.
 *
 * If the directory's sync fails in 1, in the place of another copy, nobody knows which of the two a power cut would leave: the group has failed, so that the
 * next request does not find the new one there and call it done.  A pull with a higher epoch replaces it.
 *
 * The loop thread takes the new files over when all of it is durable; until then, and for those who hold the old file, reads go to
 * that.
 */
#include <stdlib.h>

#include "../common/fault.h"
#include "group_jobs.h"
#include "log.h"
#include "pull.h"
#include "server.h"

static void start(DifsGroupPull *pull);
static void install_run(DifsJob *job);
static bool write_index(DifsGroupPull *pull);
static void install_done(DifsJob *job);
static void take_over(DifsGroupPull *pull);
static void wake_waiting(DifsGroup *group);

void
difs_pull_install_when_idle(DifsGroupPull *pull)
{
	DifsServer *server = pull->server;
	DifsGroup *group = difs_tenant_find(pull->tenant, pull->asked.group);

	pull->ok = false;
	if (pull->epoch < pull->tenant->epoch)
		difs_error_set(&pull->error, DIFS_ERROR_FENCED, "epoch %llu has been superseded by epoch %llu",
					   (unsigned long long) pull->epoch, (unsigned long long) pull->tenant->epoch);
	else if (group == NULL && server->group_count >= DIFS_MAX_GROUPS)
		difs_error_set(&pull->error, DIFS_ERROR_FULL, "there are %u block groups already", server->group_count);
	else if (group != NULL && (group->dropping || group->pull != NULL))
		difs_error_set(&pull->error, DIFS_ERROR_REFUSED, "block group %016llx is being changed", (unsigned long long) group->id);
	else if (group != NULL && group->epoch >= pull->asked.epoch)
		difs_error_set(&pull->error, DIFS_ERROR_EXISTS, "block group %016llx is already there with epoch %llu",
					   (unsigned long long) group->id, (unsigned long long) group->epoch);
	else
	{
		pull->made = group == NULL;
		if (pull->made)
		{
			group = difs_group_create(pull->tenant, pull->asked.group);
			difs_tenant_add(pull->tenant, group);
		}
		pull->stage = DIFS_PULL_WAITING;
		pull->group = group;
		group->pull = pull;
		difs_group_schedule(group);
		return;
	}
	difs_pull_end(pull);
}

void
difs_group_install(DifsGroup *group)
{
	DifsGroupPull *pull = group->pull;

	group->busy = true;
	pull->stage = DIFS_PULL_INSTALLING;
	start(pull);
}

static void
start(DifsGroupPull *pull)
{
	difs_job_start(&pull->server->pool, DIFS_LANE_WRITE, &pull->job, install_run, install_done);
}

static void
install_run(DifsJob *job)
{
	DifsGroupPull *pull = (DifsGroupPull *) job;
	DifsStore *store = pull->server->store;
	char temporary[DIFS_PATH_SIZE];
	char path[DIFS_PATH_SIZE];
	char index[DIFS_PATH_SIZE];
	char failed[DIFS_PATH_SIZE];
	const char *marks[] = {failed, NULL};
	const char *all[] = {temporary, path, index, NULL};

	difs_group_path(pull->group, DIFS_PULL_SUFFIX, temporary);
	difs_group_path(pull->group, ".group", path);
	difs_group_path(pull->group, ".index", index);
	difs_group_path(pull->group, ".failed", failed);
	DIFS_FAULT("chunkd.pull.copied");
	pull->ok = difs_group_publish(pull->group, pull->server, pull->file->fd, temporary, pull->made ? NULL : &pull->doubtful,
								  &pull->error);
	DIFS_FAULT("chunkd.pull.renamed");
	pull->ok = pull->ok && write_index(pull);
	DIFS_FAULT("chunkd.pull.indexed");
	pull->ok = pull->ok && store->remove(store, marks, &pull->error);
	DIFS_FAULT("chunkd.pull.durable");
	if (pull->ok)
		pull->allocated_bytes = difs_group_file_allocated(pull->file);
	else if (pull->made && !store->remove(store, all, NULL))
		difs_log(DIFS_LOG_WARNING, "file \"%s\" could not be removed", path);
}

static bool
write_index(DifsGroupPull *pull)
{
	DifsStore *store = pull->server->store;
	DifsIndexHeader header = {.group = pull->file->header, .file_bytes = pull->file_bytes};
	DifsIndexTotals totals;
	char path[DIFS_PATH_SIZE];

	difs_group_path(pull->group, ".index", path);
	difs_index_count(&pull->index, &totals);
	header.live_segments = totals.live_segments;
	header.live_bytes = totals.live_bytes;
	return difs_index_write(store, path, &header, &pull->index, &pull->error) &&
		difs_index_map(store, path, &pull->file->header, false, &pull->file->map, &header, &pull->error);
}

static void
install_done(DifsJob *job)
{
	DifsGroupPull *pull = (DifsGroupPull *) job;
	DifsGroup *group = pull->group;

	group->pull = NULL;
	group->busy = false;
	if (pull->ok)
		take_over(pull);
	else if (!pull->made)
	{
		if (pull->doubtful)
			difs_group_fail(group, &pull->error);
		/* Group file and index may not belong together: opening them puts that right. */
		difs_group_close(group);
		group->known = false;
	}
	wake_waiting(group);
	if (pull->ok || !pull->made)
		difs_group_schedule(group);
	else
	{
		difs_tenant_remove(group->tenant, group);
		difs_group_free(group);
	}
	pull->group = NULL;
	difs_pull_end(pull);
}

static void
take_over(DifsGroupPull *pull)
{
	DifsGroup *group = pull->group;
	DifsIndexTotals totals;

	difs_group_forget_compaction(group);
	difs_index_count(&pull->index, &totals);
	difs_index_free(&group->index);
	group->epoch = pull->file->header.epoch;
	group->capacity_bytes = pull->file->header.capacity;
	group->sealed = true;
	group->failed = group->sealing = false;
	group->known = true;
	group->file_bytes = pull->file_bytes;
	group->live_segments = totals.live_segments;
	group->live_bytes = totals.live_bytes;
	group->dead_bytes = group->compaction_failed_at = 0;
	difs_group_set_file(group, difs_group_file_hold(pull->file));
	difs_group_set_allocated(group, pull->allocated_bytes);
	difs_log(DIFS_LOG_INFO, "group %016llx pulled: %llu segments, %llu bytes, %u damaged, epoch %llu",
			 (unsigned long long) group->id, (unsigned long long) totals.live_segments, (unsigned long long) totals.live_bytes,
			 totals.damaged, (unsigned long long) group->epoch);
}

/* Requests that came while the files were exchanged. */
static void
wake_waiting(DifsGroup *group)
{
	DifsRequestQueue waiting = STAILQ_HEAD_INITIALIZER(waiting);
	DifsRequest *request;

	STAILQ_CONCAT(&waiting, &group->opening);
	while ((request = STAILQ_FIRST(&waiting)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&waiting, next);
		if (group->file == NULL && group->epoch == 0)
			difs_request_refuse(request, DIFS_ERROR_NO_GROUP, "block group %016llx could not be pulled",
								(unsigned long long) group->id);
		else
			difs_group_when_open(group, request, request->resume);
	}
}
