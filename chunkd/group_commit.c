/*
 * group_commit.c - PUT: many records, one write, one sync.
 *
 * PUTs for a group queue on the loop thread.  When no job changes the group, one
 * job takes the whole queue, writes all records behind the end of the file and
 * syncs it once; back on the loop thread they are indexed, become visible and are
 * acknowledged, and the next job takes what has queued meanwhile.  So the slower
 * the disk, the more share a sync.
 *
 * State: the queue and file_bytes, the durable length of the file, which is where
 * the next job writes.  Crash points:
 *
 *	while writing, before the sync    nobody was told anything; recovery cuts or keeps what is there
 *	after the sync                    acknowledged or not, the records are there
 *
 * A write that finds no room is taken back by cutting the file to its durable
 * length. Any other failure, and any failed sync, makes the group failed: what the
 * kernel has dropped it will not report twice, so nothing is ever tried again.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

#define VERIFY_IN_JOB_BYTES (256 * 1024)	/* larger payloads are checked by the job */
#define SMALL_BYTES (64 * 1024)				/* of all records of a commit: it reserves, and may be done by the loop thread */
#define LEAST_FREE_BYTES (16 * 1024 * 1024) /* nothing is reserved on a disk that is almost full */
#define QUICK_SYNC_US 2000
#define QUIET_MS 500
#define RUN_RECORDS 256
#define RUN_BYTES (1024 * 1024) /* what has just been checked is still in the processor's cache when it is written */

typedef struct Commit
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsGroupFile *file;
	DifsRequestQueue puts;
	uint64_t start;			/* durable length before */
	uint64_t end;			/* and after */
	uint64_t reserved_end;	/* before and after, as in the group */
	uint64_t reserve_up_to; /* 0: this commit reserves nothing */
	uint64_t allocated_bytes;
	uint64_t sync_us;
	DifsErrorCode outcome; /* of the job as a whole: DIFS_OK, DIFS_ERROR_FULL, or the group has failed */
	DifsError error;
} Commit;

static bool is_small(const Commit *commit, uint64_t bytes);
static bool may_wait_here(const Commit *commit, uint64_t bytes);
static bool check_put(DifsGroup *group, DifsRequest *request, DifsError *error);
static void commit_run(DifsJob *job);
static bool write_records(Commit *commit);
static DifsRequest *place_run(Commit *commit, DifsRequest *first);
static bool write_run(Commit *commit, DifsRequest *first, const DifsRequest *end, uint64_t offset);
static bool take_back(Commit *commit, int write_errno);
static void commit_done(DifsJob *job);
static void finish_put(Commit *commit, DifsRequest *request);

void
difs_group_put(DifsRequest *request)
{
	DifsGroup *group = request->group;
	uint64_t size = difs_record_size(request->segment.stored_length);
	DifsError error;

	if (!check_put(group, request, &error))
	{
		difs_request_fail(request, &error);
		return;
	}
	difs_index_insert(&group->index, &(DifsListEntry){
										 .segment = request->segment.segment,
										 .xid = request->segment.xid,
										 .stored_length = request->segment.stored_length,
										 .flags = DIFS_ENTRY_PENDING,
									 });
	group->queued_bytes += size;
	group->queued_puts++;
	difs_group_server(group)->queued_bytes += size;
	STAILQ_INSERT_TAIL(&group->puts, request, next);
	difs_gather_group(&difs_group_server(group)->gather, group);
}

void
difs_group_commit(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Commit *commit = difs_alloc(sizeof(*commit));
	uint64_t bytes = group->queued_bytes;

	group->busy = true;
	group->deleted_last = false;
	commit->group = group;
	commit->server = server;
	commit->file = difs_group_file_hold(group->file);
	commit->start = commit->end = group->file_bytes;
	STAILQ_INIT(&commit->puts);
	STAILQ_CONCAT(&commit->puts, &group->puts);
	commit->reserved_end = group->reserved_end;
	commit->allocated_bytes = group->allocated_bytes;
	if (is_small(commit, bytes) && server->free_bytes >= LEAST_FREE_BYTES && difs_server_has_room(server, LEAST_FREE_BYTES))
		commit->reserve_up_to = group->capacity_bytes;
	if (may_wait_here(commit, bytes))
		difs_job_run_here(&server->pool, DIFS_LANE_WRITE, &commit->job, commit_run, commit_done);
	else
		difs_job_start(&server->pool, DIFS_LANE_WRITE, &commit->job, commit_run, commit_done);
}

static bool
is_small(const Commit *commit, uint64_t bytes)
{
	return bytes <= SMALL_BYTES && commit->server->options->tier == DIFS_TIER_DISK;
}

/* Waking a thread and being woken by it takes longer than a sync on a good disk.  So a small commit is done by the loop thread, while
 * nobody else would wait for it: nothing else is under way, nobody has read lately, no other database writes, and
 * the disk was quick the last time. */
static bool
may_wait_here(const Commit *commit, uint64_t bytes)
{
	const DifsServer *server = commit->server;
	uint64_t now_ms = uv_now(server->loop);

	return is_small(commit, bytes) && server->in_flight == commit->group->queued_puts &&
		now_ms - server->last_read_ms >= QUIET_MS && server->last_sync_us <= QUICK_SYNC_US &&
		(server->last_commit == commit->group->tenant || now_ms - server->last_commit_ms >= QUIET_MS);
}

void
difs_group_fail_puts(DifsGroup *group, const DifsError *error)
{
	DifsRequest *request;

	while ((request = STAILQ_FIRST(&group->puts)) != NULL)
	{
		uint64_t size = difs_record_size(request->segment.stored_length);

		STAILQ_REMOVE_HEAD(&group->puts, next);
		difs_index_remove(&group->index, request->segment.segment);
		group->queued_bytes -= size;
		group->queued_puts--;
		difs_group_server(group)->queued_bytes -= size;
		difs_request_fail(request, error);
	}
}

/* What can be said before anything is written. */
static bool
check_put(DifsGroup *group, DifsRequest *request, DifsError *error)
{
	const DifsSegment *segment = &request->segment;
	uint64_t size = difs_record_size(segment->stored_length);

	if (group->failed)
		return difs_error_set(error, DIFS_ERROR_SEALED, "block group %016llx has failed and takes no more segments",
							  (unsigned long long) group->id);
	if (group->sealed || group->sealing)
		return difs_error_set(error, DIFS_ERROR_SEALED, "block group %016llx is sealed",
							  (unsigned long long) group->id);
	if (difs_index_find(&group->index, segment->segment) != NULL)
		return difs_error_set(error, DIFS_ERROR_EXISTS, "segment %llu is already in block group %016llx",
							  (unsigned long long) segment->segment, (unsigned long long) group->id);
	if (group->file_bytes + group->queued_bytes + size > group->capacity_bytes ||
		group->index.count >= DIFS_GROUP_MAX_SEGMENTS)
		return difs_error_set(error, DIFS_ERROR_FULL, "block group %016llx has no room for segment %llu",
							  (unsigned long long) group->id, (unsigned long long) segment->segment);
	if (!difs_server_has_room(difs_group_server(group), size))
		return difs_error_set(error, DIFS_ERROR_FULL, "storage \"%.100s\" is full",
							  difs_group_server(group)->options->name);
	return segment->stored_length > VERIFY_IN_JOB_BYTES || DIFS_FAULT_SKIP("chunkd.put.checksum") ||
		difs_segment_verify(request->control, 0, request->payload, segment->stored_length, error);
}

static void
commit_run(DifsJob *job)
{
	Commit *commit = (Commit *) job;
	DifsStore *store = commit->server->store;
	uint64_t reserved_end = commit->reserved_end;

	if (!write_records(commit) ||
		(commit->reserve_up_to > 0 && commit->end > reserved_end &&
		 !difs_group_reserve(commit->file->fd, commit->end, commit->reserve_up_to, &commit->reserved_end)))
	{
		int write_errno = errno;

		difs_error_set(&commit->error, DIFS_ERROR_IO, "could not write segments");
		if (take_back(commit, write_errno))
			commit->outcome = commit->error.code = DIFS_ERROR_FULL;
		else
			commit->outcome = DIFS_ERROR_IO;
	}
	else
	{
		DIFS_FAULT("chunkd.put.written");
		if (commit->end > commit->start && !difs_group_sync(store, commit->file->fd, &commit->sync_us, &commit->error))
			commit->outcome = DIFS_ERROR_IO;
		DIFS_FAULT("chunkd.put.synced");
	}

	if (commit->outcome == DIFS_ERROR_IO)
		difs_group_note_failure(commit->group, commit->server);
	/* what was written over the reserve takes no more than before */
	if (commit->outcome != DIFS_OK || commit->end > reserved_end)
		commit->allocated_bytes = difs_group_file_allocated(commit->file);
}

/* In runs. While one is copied into the page cache, the disk writes those before it, so that the sync has less to wait for. */
static bool
write_records(Commit *commit)
{
	DifsRequest *first = STAILQ_FIRST(&commit->puts);

	while (first != NULL)
	{
		uint64_t offset = commit->end;
		DifsRequest *end = place_run(commit, first);

		DIFS_FAULT("chunkd.put.placed");
		if (!write_run(commit, first, end, offset))
			return false;
		if (end != NULL)
			difs_write_back(commit->file->fd, offset, commit->end - offset);
		first = end;
	}
	return true;
}

/* Checks the large ones, says where each goes, and makes its header that of a record there. Returns where the next run begins. */
static DifsRequest *
place_run(Commit *commit, DifsRequest *first)
{
	uint64_t offset = commit->end;
	int count = 0;
	DifsRequest *request = first;

	for (; request != NULL && count < RUN_RECORDS && commit->end - offset < RUN_BYTES; request = STAILQ_NEXT(request, next))
	{
		const DifsSegment *segment = &request->segment;

		if (segment->stored_length > VERIFY_IN_JOB_BYTES &&
			!difs_segment_verify(request->control, 0, request->payload, segment->stored_length, &request->error))
			continue;
		request->offset = commit->end;
		difs_record_pack(segment, commit->file->header.salt, request->offset, commit->start, request->control);
		commit->end += difs_record_size(segment->stored_length);
		count++;
	}
	return request;
}

static bool
write_run(Commit *commit, DifsRequest *first, const DifsRequest *end, uint64_t offset)
{
	static const uint8_t zeros[DIFS_RECORD_ALIGNMENT];
	struct iovec vector[3 * RUN_RECORDS];
	int count = 0;

	for (DifsRequest *request = first; request != end; request = STAILQ_NEXT(request, next))
	{
		uint32_t stored_length = request->segment.stored_length;
		size_t packed_size = difs_segment_packed_size(stored_length);
		uint64_t record_size = difs_record_size(stored_length);

		if (request->offset == 0)
			continue;
		vector[count++] = (struct iovec){request->control, packed_size};
		vector[count++] = (struct iovec){request->payload, stored_length};
		if (record_size > packed_size + stored_length)
			vector[count++] = (struct iovec){(void *) (uintptr_t) zeros, record_size - packed_size - stored_length};
	}
	return difs_pwritev(commit->file->fd, vector, count, offset);
}

/* There was no room: the file is as before if what was written can be cut off. */
static bool
take_back(Commit *commit, int write_errno)
{
	if (!difs_lacks_room(write_errno))
		return false;
	commit->reserved_end = 0;
	return ftruncate(commit->file->fd, (off_t) commit->start) == 0;
}

static void
commit_done(DifsJob *job)
{
	Commit *commit = (Commit *) job;
	DifsGroup *group = commit->group;
	DifsRequest *request;

	group->reserved_end = commit->reserved_end;
	commit->server->last_commit = group->tenant;
	commit->server->last_commit_ms = uv_now(commit->server->loop);
	commit->server->last_sync_us = commit->sync_us;
	if (commit->outcome == DIFS_OK)
	{
		group->file_bytes = commit->end;
		if (commit->end > commit->start && commit->server->options->tier == DIFS_TIER_DISK)
		{
			commit->server->syncs++;
			commit->server->sync_us += commit->sync_us;
		}
	}
	difs_group_set_allocated(group, commit->allocated_bytes);
	difs_gather_begin(&commit->server->gather);
	while ((request = STAILQ_FIRST(&commit->puts)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&commit->puts, next);
		finish_put(commit, request);
	}
	difs_gather_end(&commit->server->gather);
	if (commit->outcome == DIFS_ERROR_FULL)
		difs_log(DIFS_LOG_WARNING, "group %016llx: %s", (unsigned long long) group->id, commit->error.text);
	else if (commit->outcome != DIFS_OK)
		difs_group_fail(group, &commit->error);
	DIFS_FAULT("chunkd.put.acknowledged");
	difs_group_file_release(commit->file);
	free(commit);
	difs_group_idle(group);
}

static void
finish_put(Commit *commit, DifsRequest *request)
{
	DifsGroup *group = commit->group;
	const DifsSegment *segment = &request->segment;
	uint64_t size = difs_record_size(segment->stored_length);

	group->queued_bytes -= size;
	group->queued_puts--;
	commit->server->queued_bytes -= size;
	if (commit->outcome == DIFS_OK && request->offset > 0)
	{
		DifsListEntry *entry = difs_index_find(&group->index, segment->segment);

		entry->offset = request->offset;
		entry->flags = 0;
		group->live_segments++;
		group->live_bytes += segment->stored_length;
		commit->server->puts++;
		difs_request_reply(request, request->receipt, request->receipt_length, NULL, 0);
		return;
	}
	difs_index_remove(&group->index, segment->segment);
	difs_request_fail(request, request->error.code != DIFS_OK ? &request->error : &commit->error);
}
