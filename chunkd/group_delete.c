/*
 * group_delete.c - DELETE: marks segments as dead, durably, then gives their space back.
 *
 * Like PUTs, deletions of a group queue and share one sync.  In this order:
 *
 *	1. the magic of each record becomes DEAD; in a sealed group, its index entry's flag and the counts change too
 *	2. group file, then index file are synced
 *	3. the requests are acknowledged
 *	4. holes are punched where the payloads were, in whole pages
 *
 * The record is the truth: a crash between the two syncs leaves an index that lists
 * a segment which a read finds dead, and the keeper deletes it again.  A crash
 * before 4 leaves dead_bytes too high, and so at most an early compaction.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../common/bytes.h"
#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

typedef struct Target
{
	uint64_t offset;
	uint32_t stored_length;
	uint32_t flags;
	uint32_t position; /* in the mapped index */
	uint64_t segment;
	DifsRequest *request; /* who asked for it; valid until the requests are answered */
} Target;

typedef struct Delete
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsGroupFile *file;
	DifsRequestQueue requests;
	Target *targets; /* sorted by segment */
	uint32_t count;
	DifsIndexHeader header; /* of the index, as it shall be */
	uint64_t punched_bytes;
	uint64_t allocated_bytes;
	uint64_t sync_us;
	bool ok;
	DifsError error;
} Delete;

static void collect_targets(Delete *deletion);
static void add_target(Delete *deletion, const DifsListEntry *entry, DifsRequest *request);
static void sort_targets(Delete *deletion);
static int compare_targets(const void *a, const void *b);
static void mark_run(DifsJob *job);
static bool mark_record(const Delete *deletion, const Target *target, DifsError *error);
static bool mark_index(const Delete *deletion, DifsError *error);
static void mark_done(DifsJob *job);
static void apply_targets(Delete *deletion);
static void punch_run(DifsJob *job);
static void punch_done(DifsJob *job);

void
difs_group_queue_delete(DifsRequest *request)
{
	DifsGroup *group = request->group;

	if (group->failed)
	{
		difs_request_refuse(request, DIFS_ERROR_IO, "block group %016llx has failed and is read-only",
							(unsigned long long) group->id);
		return;
	}
	STAILQ_INSERT_TAIL(&group->deletes, request, next);
	difs_gather_group(&difs_group_server(group)->gather, group);
}

void
difs_group_delete(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Delete *deletion = difs_alloc(sizeof(*deletion));

	group->busy = true;
	group->deleted_last = true;
	deletion->group = group;
	deletion->server = server;
	deletion->file = difs_group_file_hold(group->file);
	STAILQ_INIT(&deletion->requests);
	STAILQ_CONCAT(&deletion->requests, &group->deletes);
	collect_targets(deletion);
	difs_job_start(&server->pool, DIFS_LANE_WRITE, &deletion->job, mark_run, mark_done);
}

/* Finds the live segments among all ids asked for, once each, and prepares the index header. */
static void
collect_targets(Delete *deletion)
{
	DifsGroup *group = deletion->group;
	DifsRequest *request;
	DifsDelete delete;
	DifsListEntry entry;
	size_t asked = 0;

	STAILQ_FOREACH (request, &deletion->requests, next)
		asked += request->frame.control_length / sizeof(uint64_t);
	deletion->targets = difs_alloc((asked + 1) * sizeof(Target));

	deletion->header = (DifsIndexHeader){
		.group = deletion->file->header,
		.count = deletion->file->map.count,
		.file_bytes = group->file_bytes,
		.live_segments = group->live_segments,
		.live_bytes = group->live_bytes,
		.dead_bytes = group->dead_bytes,
		.entries_crc = deletion->file->map.entries_crc,
		.incomplete = deletion->file->map.incomplete,
	};
	STAILQ_FOREACH (request, &deletion->requests, next)
	{
		/* It has been checked when it came. */
		(void) difs_delete_unpack(request->control, request->frame.control_length, &delete, NULL);
		for (uint32_t i = 0; i < delete.count; i++)
		{
			uint64_t segment = difs_get64(delete.ids + 8 * (size_t) i);

			if (segment != 0 && difs_group_find(group, segment, &entry) && !(entry.flags & DIFS_LIST_DEAD))
				add_target(deletion, &entry, request);
		}
	}
	sort_targets(deletion);
}

static void
add_target(Delete *deletion, const DifsListEntry *entry, DifsRequest *request)
{
	const DifsIndexMap *map = &deletion->file->map;

	deletion->targets[deletion->count++] = (Target){
		.offset = entry->offset,
		.stored_length = entry->stored_length,
		.flags = entry->flags | DIFS_LIST_DEAD,
		.position = map->fd >= 0 ? difs_index_map_position(map, entry->segment) : 0,
		.segment = entry->segment,
		.request = request,
	};
}

/* Sorts them, drops those that were asked for twice, and counts. */
static void
sort_targets(Delete *deletion)
{
	uint32_t kept = 0;

	if (deletion->count > 1)
		qsort(deletion->targets, deletion->count, sizeof(Target), compare_targets);
	for (uint32_t i = 0; i < deletion->count; i++)
	{
		Target *target = &deletion->targets[i];

		if (kept > 0 && target->segment == deletion->targets[kept - 1].segment)
			continue;
		target->request->deleted++;
		deletion->header.live_segments--;
		deletion->header.live_bytes -= target->stored_length;
		deletion->header.dead_bytes += difs_record_size(target->stored_length);
		deletion->targets[kept++] = *target;
	}
	deletion->count = kept;
}

static int
compare_targets(const void *a, const void *b)
{
	const Target *left = a;
	const Target *right = b;

	return left->segment < right->segment ? -1 : left->segment > right->segment;
}

static void
mark_run(DifsJob *job)
{
	Delete *deletion = (Delete *) job;
	DifsStore *store = deletion->server->store;
	DifsGroupFile *file = deletion->file;

	deletion->ok = true;
	for (uint32_t i = 0; i < deletion->count && deletion->ok; i++)
		deletion->ok = mark_record(deletion, &deletion->targets[i], &deletion->error);
	DIFS_FAULT("chunkd.delete.marked");
	if (deletion->ok && deletion->count > 0)
		deletion->ok = difs_group_sync(store, file->fd, &deletion->sync_us, &deletion->error);
	DIFS_FAULT("chunkd.delete.synced");
	if (deletion->ok && deletion->count > 0 && file->map.fd >= 0)
		deletion->ok = mark_index(deletion, &deletion->error) && difs_group_sync(store, file->map.fd, &deletion->sync_us, &deletion->error);
	DIFS_FAULT("chunkd.delete.durable");
	if (!deletion->ok)
		difs_group_note_failure(deletion->group, deletion->server);
}

/* Only a record that can be recognised is overwritten; of one that cannot, the index alone says that it is dead.  A group without an
 * index file has nothing else that says so: there, a record that cannot be read now may come to life again. */
static bool
mark_record(const Delete *deletion, const Target *target, DifsError *error)
{
	uint8_t packed[16];
	uint8_t magic[4];

	if (!difs_pread_all(deletion->file->fd, packed, sizeof(packed), target->offset, error))
		return error->code == DIFS_ERROR_CORRUPT || (error->system_errno == EIO && deletion->file->map.fd >= 0);
	if (difs_get32(packed) != DIFS_SEGMENT_MAGIC || difs_get64(packed + 8) != target->segment)
		return true;
	difs_put32(magic, DIFS_SEGMENT_MAGIC_DEAD);
	return difs_pwrite(deletion->file->fd, magic, sizeof(magic), target->offset) ||
		difs_error_set(error, DIFS_ERROR_IO, "could not mark segment %llu as deleted",
					   (unsigned long long) target->segment);
}

static bool
mark_index(const Delete *deletion, DifsError *error)
{
	const DifsIndexMap *map = &deletion->file->map;

	for (uint32_t i = 0; i < deletion->count; i++)
	{
		if (!difs_index_map_flags(map, deletion->targets[i].position, deletion->targets[i].flags, error))
			return false;
		DIFS_FAULT("chunkd.delete.indexed");
	}
	return difs_index_map_header(map, &deletion->header, error);
}

static void
mark_done(DifsJob *job)
{
	Delete *deletion = (Delete *) job;
	DifsGroup *group = deletion->group;
	DifsRequest *request;

	if (deletion->ok)
		apply_targets(deletion);
	while ((request = STAILQ_FIRST(&deletion->requests)) != NULL)
	{
		uint8_t control[8];
		uint32_t asked = (request->frame.control_length - 8) / 8;

		STAILQ_REMOVE_HEAD(&deletion->requests, next);
		if (!deletion->ok)
		{
			difs_request_fail(request, &deletion->error);
			continue;
		}
		difs_put32(control, request->deleted);
		difs_put32(control + 4, asked - request->deleted);
		difs_request_reply(request, control, sizeof(control), NULL, 0);
	}
	DIFS_FAULT("chunkd.delete.acknowledged");
	if (deletion->ok && deletion->count > 0)
	{
		difs_job_start(&deletion->server->pool, DIFS_LANE_WRITE, &deletion->job, punch_run, punch_done);
		return;
	}
	if (!deletion->ok)
		difs_group_fail(group, &deletion->error);
	difs_group_file_release(deletion->file);
	free(deletion->targets);
	free(deletion);
	difs_group_idle(group);
}

static void
apply_targets(Delete *deletion)
{
	DifsGroup *group = deletion->group;

	group->live_segments -= deletion->count;
	for (uint32_t i = 0; i < deletion->count; i++)
	{
		const Target *target = &deletion->targets[i];

		group->live_bytes -= target->stored_length;
		group->dead_bytes += difs_record_size(target->stored_length);
		if (!group->sealed)
			difs_index_find(&group->index, target->segment)->flags |= DIFS_LIST_DEAD;
	}
	if (deletion->count > 0)
	{
		deletion->server->syncs++;
		deletion->server->sync_us += deletion->sync_us;
	}
}

/* A file system that cannot punch holes gets its space back by compaction. */
static void
punch_run(DifsJob *job)
{
	Delete *deletion = (Delete *) job;
	DifsGroupFile *file = deletion->file;

	for (uint32_t i = 0; i < deletion->count; i++)
	{
		uint64_t start;
		uint64_t pages = difs_record_pages(deletion->targets[i].offset, deletion->targets[i].stored_length, &start);

		if (pages > 0 && fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) start, (off_t) pages) == 0)
			deletion->punched_bytes += pages;
	}
	DIFS_FAULT("chunkd.delete.punched");
	deletion->header.dead_bytes -= deletion->punched_bytes;
	deletion->ok = file->map.fd < 0 || difs_index_map_header(&file->map, &deletion->header, &deletion->error);
	deletion->allocated_bytes = difs_group_file_allocated(file);
}

static void
punch_done(DifsJob *job)
{
	Delete *deletion = (Delete *) job;
	DifsGroup *group = deletion->group;

	/* Too high a count of dead bytes on disk does no harm. */
	if (!deletion->ok)
		difs_log(DIFS_LOG_WARNING, "group %016llx: %s", (unsigned long long) group->id, deletion->error.text);
	group->dead_bytes -= deletion->punched_bytes;
	difs_group_set_allocated(group, deletion->allocated_bytes);
	difs_group_file_release(deletion->file);
	free(deletion->targets);
	free(deletion);
	difs_group_consider_compaction(group);
	difs_group_idle(group);
}
