/*
 * group_create.c - makes the file of a new group, and removes all files of a
 * dropped one.
 *
 * A group file is written whole as .group.tmp, synced, renamed, and the directory
 * synced, before CREATE_GROUP is acknowledged; a crash before that leaves a .tmp
 * file or a group that nobody was told of, which the keeper drops.
 *
 * Dropping removes the group file first: what is left by a crash after that is an
 * index or mark without a group file, which tenant_load.c removes at start.  The other
 * way round an index that is gone would turn a sealed group into an open one.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

typedef struct Make
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsRequest *request;
	DifsGroupFile *file;
	uint64_t allocated_bytes;
	bool ok;
	DifsError error;
} Make;

typedef struct Drop
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	bool ok;
	DifsError error;
} Drop;

static void make_run(DifsJob *job);
static bool write_group_file(Make *make, const char *temporary, const char *path);
static void make_done(DifsJob *job);
static void drop_run(DifsJob *job);
static void drop_done(DifsJob *job);

void
difs_group_make(DifsGroup *group, const DifsCreateGroup *create, DifsRequest *request)
{
	DifsServer *server = difs_group_server(group);
	Make *make = difs_alloc(sizeof(*make));
	DifsGroupHeader *header;

	group->busy = true;
	group->epoch = create->epoch;
	group->capacity_bytes = create->capacity;
	make->group = group;
	make->server = server;
	make->request = request;
	make->file = difs_alloc(sizeof(*make->file));
	*make->file = (DifsGroupFile){.refs = 1, .fd = -1, .map.fd = -1};
	header = &make->file->header;
	memcpy(header->cluster, group->tenant->cluster, DIFS_UUID_SIZE);
	header->group = create->group;
	header->epoch = create->epoch;
	header->capacity = create->capacity;
	difs_job_start(&server->pool, DIFS_LANE_WRITE, &make->job, make_run, make_done);
}

static void
make_run(DifsJob *job)
{
	Make *make = (Make *) job;
	char temporary[DIFS_PATH_SIZE];
	char path[DIFS_PATH_SIZE];

	difs_group_path(make->group, ".group.tmp", temporary);
	difs_group_path(make->group, ".group", path);
	make->ok = write_group_file(make, temporary, path);
	if (make->ok)
		make->allocated_bytes = difs_group_file_allocated(make->file);
	else
	{
		const char *paths[] = {temporary, path, NULL};

		/* It may have been renamed already; nobody has been told of it, so it has to go. */
		if (!make->server->store->remove(make->server->store, paths, NULL))
			difs_log(DIFS_LOG_WARNING, "file \"%s\" could not be removed", path);
	}
}

static bool
write_group_file(Make *make, const char *temporary, const char *path)
{
	DifsStore *store = make->server->store;
	DifsGroupFile *file = make->file;
	uint8_t header[DIFS_GROUP_HEADER_SIZE];

	if (!difs_random(&file->header.salt, sizeof(file->header.salt), &make->error))
		return false;
	difs_group_header_pack(&file->header, header);
	file->fd = store->create(store, temporary, &make->error);
	if (file->fd < 0)
		return false;
	if (!difs_pwrite(file->fd, header, sizeof(header), 0))
		return difs_error_set(&make->error, DIFS_ERROR_IO, "could not write file \"%s\"", temporary);
	DIFS_FAULT("chunkd.create.written");
	return store->publish(store, file->fd, temporary, path, &make->error);
}

static void
make_done(DifsJob *job)
{
	Make *make = (Make *) job;
	DifsGroup *group = make->group;
	DifsRequest *request;

	group->busy = false;
	if (make->ok)
	{
		difs_log(DIFS_LOG_INFO, "group %016llx created", (unsigned long long) group->id);
		group->known = true;
		group->file_bytes = DIFS_GROUP_HEADER_SIZE;
		difs_group_set_file(group, make->file);
		difs_group_set_allocated(group, make->allocated_bytes);
		DIFS_FAULT("chunkd.create.durable");
		difs_request_reply(make->request, NULL, 0, NULL, 0);
	}
	else
	{
		difs_log(DIFS_LOG_ERROR, "group %016llx could not be created: %s", (unsigned long long) group->id,
				 make->error.text);
		difs_group_file_release(make->file);
		difs_request_fail(make->request, &make->error);
	}
	free(make);

	/* Requests that came while it was being made. */
	while ((request = STAILQ_FIRST(&group->opening)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&group->opening, next);
		if (group->known)
			difs_group_when_open(group, request, request->resume);
		else
			difs_request_refuse(request, DIFS_ERROR_NO_GROUP, "block group %016llx could not be created",
								(unsigned long long) group->id);
	}
	if (group->known)
	{
		difs_group_schedule(group);
		return;
	}
	while ((request = STAILQ_FIRST(&group->drops)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&group->drops, next);
		difs_request_refuse(request, DIFS_ERROR_NO_GROUP, "block group %016llx could not be created",
							(unsigned long long) group->id);
	}
	difs_tenant_remove(group->tenant, group);
	difs_group_free(group);
}

void
difs_group_drop(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Drop *drop = difs_alloc(sizeof(*drop));

	group->busy = true;
	drop->group = group;
	drop->server = server;
	difs_job_start(&server->pool, DIFS_LANE_WRITE, &drop->job, drop_run, drop_done);
}

static void
drop_run(DifsJob *job)
{
	Drop *drop = (Drop *) job;
	char group[DIFS_PATH_SIZE];
	char index[DIFS_PATH_SIZE];
	char failed[DIFS_PATH_SIZE];
	const char *paths[] = {group, index, failed, NULL};

	difs_group_path(drop->group, ".group", group);
	difs_group_path(drop->group, ".index", index);
	difs_group_path(drop->group, ".failed", failed);
	drop->ok = drop->server->store->remove(drop->server->store, paths, &drop->error);
}

/* A group whose files could not be removed stays, to be dropped again. */
static void
drop_done(DifsJob *job)
{
	Drop *drop = (Drop *) job;
	DifsGroup *group = drop->group;
	DifsRequest *request = STAILQ_FIRST(&group->drops);

	STAILQ_REMOVE_HEAD(&group->drops, next);
	group->busy = false;
	if (drop->ok)
	{
		DIFS_FAULT("chunkd.drop.durable");
		difs_log(DIFS_LOG_INFO, "group %016llx dropped", (unsigned long long) group->id);
		difs_request_reply(request, NULL, 0, NULL, 0);
		difs_tenant_remove(group->tenant, group);
		difs_group_free(group);
	}
	else
	{
		difs_log(DIFS_LOG_ERROR, "group %016llx could not be dropped: %s", (unsigned long long) group->id,
				 drop->error.text);
		group->dropping = false;
		group->failed = true;
		difs_request_fail(request, &drop->error);
		difs_group_schedule(group);
	}
	free(drop);
}
