/*
 * group_seal.c - SEAL_GROUP: the index goes to a file, and out of memory.
 *
 * PUTs are refused from the request on; those that queued before it are committed
 * first.  The one step on disk is the rename of the index: before it the group is
 * open after a crash, after it sealed, and a sealed group never becomes open again.
 */
#include <stdlib.h>
#include <string.h>

#include "../common/fault.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

typedef struct Seal
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsGroupFile *old;
	DifsGroupFile *file; /* the same descriptor's duplicate, with the index mapped */
	DifsIndex index;	 /* a copy */
	DifsIndexHeader header;
	uint64_t allocated_bytes;
	bool ok;
	DifsError error;
} Seal;

static void reply_sealed(DifsRequest *request);
static void seal_run(DifsJob *job);
static void seal_done(DifsJob *job);

void
difs_group_queue_seal(DifsRequest *request)
{
	DifsGroup *group = request->group;

	if (group->failed)
		difs_request_refuse(request, DIFS_ERROR_IO, "block group %016llx has failed and cannot be sealed%s%s",
							(unsigned long long) group->id, group->failure != NULL ? ": " : "",
							group->failure != NULL ? group->failure : "");
	else if (group->sealed)
	{
		/* who asks again wants what deletions have left behind */
		reply_sealed(request);
		difs_group_want_compaction(group);
	}
	else
	{
		group->sealing = true;
		STAILQ_INSERT_TAIL(&group->seals, request, next);
		difs_group_schedule(group);
	}
}

void
difs_group_seal(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Seal *seal = difs_alloc(sizeof(*seal));

	group->busy = true;
	seal->group = group;
	seal->server = server;
	seal->old = difs_group_file_hold(group->file);
	difs_index_copy(&group->index, &seal->index);
	seal->header.group = group->file->header;
	seal->header.file_bytes = group->file_bytes;
	seal->header.live_segments = group->live_segments;
	seal->header.live_bytes = group->live_bytes;
	seal->header.dead_bytes = group->dead_bytes;
	seal->file = difs_alloc(sizeof(*seal->file));
	*seal->file = (DifsGroupFile){.refs = 1, .fd = -1, .map.fd = -1, .header = group->file->header};
	difs_job_start(&server->pool, DIFS_LANE_WRITE, &seal->job, seal_run, seal_done);
}

static void
reply_sealed(DifsRequest *request)
{
	const DifsGroup *group = request->group;
	uint8_t control[16];

	difs_request_reply(request, control, (uint32_t) difs_pair_pack(group->live_segments, group->live_bytes, control),
					   NULL, 0);
}

static void
seal_run(DifsJob *job)
{
	Seal *seal = (Seal *) job;
	DifsStore *store = seal->server->store;
	char path[DIFS_PATH_SIZE];

	difs_group_path(seal->group, ".index", path);
	DIFS_FAULT("chunkd.seal.begun");
	seal->ok = difs_group_end_reserve(store, seal->old->fd, seal->header.file_bytes, &seal->error) &&
		difs_index_write(store, path, &seal->header, &seal->index, &seal->error) &&
		difs_index_map(store, path, &seal->header.group, false, &seal->file->map, &seal->header, &seal->error);
	if (!seal->ok)
		return;
	difs_group_path(seal->group, ".group", path);
	seal->file->fd = store->open(store, path, &seal->error);
	seal->ok = seal->file->fd >= 0;
	if (seal->ok)
		seal->allocated_bytes = difs_group_file_allocated(seal->file);
}

/* A group that could not be sealed takes no PUTs, but can be sealed again; it is not failed, as no segment is in
 * doubt. */
static void
seal_done(DifsJob *job)
{
	Seal *seal = (Seal *) job;
	DifsGroup *group = seal->group;
	DifsRequestQueue seals = STAILQ_HEAD_INITIALIZER(seals);
	DifsRequest *request;

	if (seal->ok)
	{
		group->sealed = true;
		DIFS_FAULT("chunkd.seal.durable");
		difs_group_set_file(group, seal->file);
		difs_group_set_allocated(group, seal->allocated_bytes);
		difs_index_free(&group->index);
		difs_log(DIFS_LOG_INFO, "group %016llx sealed: %llu segments, %llu bytes", (unsigned long long) group->id,
				 (unsigned long long) group->live_segments, (unsigned long long) group->live_bytes);
	}
	else
	{
		difs_log(DIFS_LOG_ERROR, "group %016llx could not be sealed: %s", (unsigned long long) group->id,
				 seal->error.text);
		difs_group_file_release(seal->file);
	}
	STAILQ_CONCAT(&seals, &group->seals);
	while ((request = STAILQ_FIRST(&seals)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&seals, next);
		if (seal->ok)
			reply_sealed(request);
		else
			difs_request_fail(request, &seal->error);
	}
	difs_group_file_release(seal->old);
	difs_index_free(&seal->index);
	if (seal->ok)
		difs_group_consider_compaction(group);
	free(seal);
	difs_group_idle(group);
}
