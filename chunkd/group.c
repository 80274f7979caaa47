/*
 * group.c - the life of a group in memory: finding it open, taking turns, closing it.
 *
 * What happens on disk is in group_*.c, and so is what a crash leaves there; this
 * file has no state on disk of its own, but for the .failed mark.
 */
#include "group.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "pull.h"
#include "server.h"
#include "tenant.h"

static void close_least_used(DifsServer *server);
static bool may_close(const DifsGroup *group);
static bool may_drop(const DifsGroup *group);
static void fail_queue(DifsRequestQueue *queue, const DifsError *error);

DifsGroup *
difs_group_create(DifsTenant *tenant, uint64_t id)
{
	DifsGroup *group = difs_alloc(sizeof(*group));

	group->tenant = tenant;
	group->id = id;
	STAILQ_INIT(&group->opening);
	STAILQ_INIT(&group->puts);
	STAILQ_INIT(&group->deletes);
	STAILQ_INIT(&group->mends);
	STAILQ_INIT(&group->seals);
	STAILQ_INIT(&group->drops);
	return group;
}

void
difs_group_free(DifsGroup *group)
{
	difs_group_forget_compaction(group);
	difs_gather_forget_group(&difs_group_server(group)->gather, group);
	difs_group_close(group);
	difs_group_set_allocated(group, 0);
	difs_index_free(&group->index);
	free(group->failure);
	free(group);
}

DifsServer *
difs_group_server(const DifsGroup *group)
{
	return group->tenant->server;
}

void
difs_group_path(const DifsGroup *group, const char *suffix, char path[DIFS_PATH_SIZE])
{
	snprintf(path, DIFS_PATH_SIZE, "%s/%016llx%s", group->tenant->directory, (unsigned long long) group->id, suffix);
}

void
difs_group_when_open(DifsGroup *group, DifsRequest *request, void (*resume)(DifsRequest *request))
{
	DifsServer *server = difs_group_server(group);

	request->group = group;
	request->resume = resume;
	if (group->file != NULL && group->known)
	{
		TAILQ_REMOVE(&server->open_groups, group, open_link);
		TAILQ_INSERT_TAIL(&server->open_groups, group, open_link);
		resume(request);
		return;
	}
	STAILQ_INSERT_TAIL(&group->opening, request, next);
	if (!group->busy)
		difs_group_open(group);
}

void
difs_group_schedule(DifsGroup *group)
{
	bool puts = !STAILQ_EMPTY(&group->puts);
	bool deletes = !STAILQ_EMPTY(&group->deletes);

	if (group->busy)
		return;
	/* A compaction that failed half-way has closed it under those that waited. */
	if (group->file == NULL && (puts || deletes || !STAILQ_EMPTY(&group->seals)))
		difs_group_open(group);
	else if (puts && (!deletes || group->deleted_last))
		difs_group_commit(group);
	else if (deletes)
		difs_group_delete(group);
	else if (!STAILQ_EMPTY(&group->mends))
		difs_group_mend(group);
	else if (!STAILQ_EMPTY(&group->seals))
		difs_group_seal(group);
	else if (group->pull != NULL)
		difs_group_install(group);
	else if (may_drop(group))
		difs_group_drop(group);
	else if (group->compaction_due && !group->dropping)
	{
		if (group->failed)
			difs_group_forget_compaction(group);
		else if (group->file == NULL)
			difs_group_open(group);
		else
			difs_group_compact(group);
	}
}

void
difs_group_idle(DifsGroup *group)
{
	group->busy = false;
	difs_group_schedule(group);
}

bool
difs_group_find(const DifsGroup *group, uint64_t segment, DifsListEntry *entry)
{
	const DifsIndexMap *map = &group->file->map;

	if (map->fd >= 0)
	{
		uint32_t position = difs_index_map_position(map, segment);

		if (position == map->count)
			return false;
		difs_index_map_entry(map, position, entry);
		return entry->segment == segment;
	}
	else
	{
		const DifsListEntry *found = difs_index_find(&group->index, segment);

		if (found == NULL || found->flags & DIFS_ENTRY_PENDING)
			return false;
		*entry = *found;
		return true;
	}
}

/* The mark in a sealed index is a hint for LIST: it is not synced, and reading the segment finds the damage again. */
void
difs_group_mark_damaged(DifsGroup *group, uint64_t segment)
{
	DifsListEntry entry;
	DifsError error;

	if (group->file == NULL || !difs_group_find(group, segment, &entry) || entry.flags & DIFS_LIST_DAMAGED)
		return;
	if (group->file->map.fd < 0)
		difs_index_find(&group->index, segment)->flags |= DIFS_LIST_DAMAGED;
	else if (!group->failed &&
			 !difs_index_map_flags(&group->file->map, difs_index_map_position(&group->file->map, segment),
								   entry.flags | DIFS_LIST_DAMAGED, &error))
		difs_log(DIFS_LOG_WARNING, "group %016llx: %s", (unsigned long long) group->id, error.text);
}

void
difs_group_fail(DifsGroup *group, const DifsError *error)
{
	group->failed = true;
	free(group->failure);
	group->failure = strdup(error->text); /* NULL if there is no memory: for messages only */
	difs_log(DIFS_LOG_ERROR, "group %016llx failed and is read-only from now on: %s", (unsigned long long) group->id,
			 error->text);
	difs_group_fail_queued(group, error);
}

void
difs_group_fail_queued(DifsGroup *group, const DifsError *error)
{
	difs_group_fail_puts(group, error);
	fail_queue(&group->deletes, error);
	fail_queue(&group->mends, error);
	fail_queue(&group->seals, error);
}

bool
difs_group_sync(DifsStore *store, int fd, uint64_t *took_us, DifsError *error)
{
	uint64_t began_ns = uv_hrtime();
	bool done = store->sync(store, fd, error);

	*took_us += (uv_hrtime() - began_ns) / 1000;
	return done;
}

void
difs_group_note_failure(const DifsGroup *group, DifsServer *server)
{
	char temporary[DIFS_PATH_SIZE];
	char path[DIFS_PATH_SIZE];
	DifsError error;
	int fd;

	difs_group_path(group, ".failed.tmp", temporary);
	difs_group_path(group, ".failed", path);
	fd = server->store->create(server->store, temporary, &error);
	if (fd >= 0 && server->store->publish(server->store, fd, temporary, path, &error))
		error.code = DIFS_OK;
	if (fd >= 0)
		close(fd);
	if (error.code != DIFS_OK || fd < 0)
		difs_log(DIFS_LOG_ERROR, "group %016llx cannot be marked as failed: %s", (unsigned long long) group->id,
				 error.text);
}

bool
difs_group_publish(const DifsGroup *group, DifsServer *server, int fd, const char *temporary, bool *doubtful, DifsError *error)
{
	DifsStore *store = server->store;
	char path[DIFS_PATH_SIZE];
	DifsError reason;
	int left;

	difs_group_path(group, ".group", path);
	if (store->publish(store, fd, temporary, path, error))
		return true;
	if (doubtful == NULL)
		return false;
	left = store->open(store, temporary, &reason);
	if (left >= 0)
		close(left);
	else
		difs_group_note_failure(group, server);
	*doubtful = left < 0;
	return false;
}

void
difs_group_set_allocated(DifsGroup *group, uint64_t bytes)
{
	DifsServer *server = difs_group_server(group);
	uint64_t reserve = group->reserved_end > group->file_bytes ? group->reserved_end - group->file_bytes : 0;
	uint64_t used = bytes > reserve ? bytes - reserve : 0;

	server->used_bytes += used - group->used_bytes;
	group->used_bytes = used;
	group->allocated_bytes = bytes;
}

void
difs_group_set_file(DifsGroup *group, DifsGroupFile *file)
{
	DifsServer *server = difs_group_server(group);

	difs_group_close(group);
	group->file = file;
	group->reserved_end = 0; /* if it has one, the next small commit writes it again */
	TAILQ_INSERT_TAIL(&server->open_groups, group, open_link);
	server->open_group_count++;
	close_least_used(server);
}

void
difs_group_close(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);

	if (group->file == NULL)
		return;
	TAILQ_REMOVE(&server->open_groups, group, open_link);
	server->open_group_count--;
	difs_group_file_release(group->file);
	group->file = NULL;
}

DifsGroupFile *
difs_group_file_hold(DifsGroupFile *file)
{
	file->refs++;
	return file;
}

void
difs_group_file_release(DifsGroupFile *file)
{
	if (file == NULL || --file->refs > 0)
		return;
	difs_index_unmap(&file->map);
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

uint64_t
difs_group_file_allocated(const DifsGroupFile *file)
{
	uint64_t length;
	uint64_t allocated = 0;
	uint64_t total = 0;

	/* Cannot fail for an open descriptor; if it did, the space would be counted at the next change. */
	if (difs_file_size(file->fd, &length, &allocated, NULL))
		total += allocated;
	if (file->map.fd >= 0 && difs_file_size(file->map.fd, &length, &allocated, NULL))
		total += allocated;
	return total;
}

static void
close_least_used(DifsServer *server)
{
	DifsGroup *group = TAILQ_FIRST(&server->open_groups);

	while (group != NULL && server->open_group_count > DIFS_MAX_OPEN_FILES)
	{
		DifsGroup *next = TAILQ_NEXT(group, open_link);

		if (may_close(group))
			difs_group_close(group);
		group = next;
	}
}

/* Nothing that waits in a queue, or runs, expects the group to be open. */
static bool
may_close(const DifsGroup *group)
{
	return !group->busy && STAILQ_EMPTY(&group->puts) && STAILQ_EMPTY(&group->deletes) && STAILQ_EMPTY(&group->mends) &&
		STAILQ_EMPTY(&group->seals) && group->pull == NULL;
}

static bool
may_drop(const DifsGroup *group)
{
	return !STAILQ_EMPTY(&group->drops) && group->readers == 0 && STAILQ_EMPTY(&group->opening);
}

static void
fail_queue(DifsRequestQueue *queue, const DifsError *error)
{
	DifsRequest *request;

	while ((request = STAILQ_FIRST(queue)) != NULL)
	{
		STAILQ_REMOVE_HEAD(queue, next);
		difs_request_fail(request, error);
	}
}
