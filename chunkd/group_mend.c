/*
 * group_mend.c - MEND: puts good bytes where bad ones are.
 *
 * One at a time, as it is rare.  What is written over is bad already, so a crash in the
 * middle leaves it bad, and the next scrub mends it again; nothing else is touched:
 *
 *	a segment that the index knows       its record is written over, in place
 *	one that an open group has lost      is appended, as a PUT
 *	one that a sealed group has lost     goes to a place without a readable record, or behind the end; then the
 *	                                     index is written anew and renamed.  A crash before that leaves a record
 *	                                     that no index knows, which the next MEND writes again
 *	header and index of a group          the header is written from memory; an index that is wrong is forgotten, and
 *	                                     made anew from the records when the group is next opened (group_open.c)
 *
 * The index says where a record is, so it is checked first: an offset that rotted would lead into the neighbour.
 */
#include <errno.h>
#include <stdlib.h>

#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

typedef struct Mend
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsRequest *request;
	DifsGroupFile *file;
	DifsGroupFile *renewed; /* the same file with another index, or NULL */
	bool of_group;			/* of header and index, not of a segment */
	bool known;				/* the index has the segment */
	DifsListEntry entry;
	DifsIndexHeader header; /* of a sealed group's index, as it shall be */
	bool forget;			/* the index is wrong: it is to be read anew */
	bool failed;			/* the disk may have kept anything: the group has failed */
	uint64_t allocated_bytes;
	DifsError error; /* code DIFS_OK: it is mended */
} Mend;

static bool check_mend(DifsRequest *request, DifsError *error);
static void mend_run(DifsJob *job);
static void mend_group(Mend *mend);
static void mend_segment(Mend *mend);
static bool find_place(Mend *mend, DifsIndex *index);
static bool write_record(Mend *mend);
static bool update_index(Mend *mend);
static bool renew_index(Mend *mend, DifsIndex *index);
static bool lost(Mend *mend, const char *what);
static void mend_done(DifsJob *job);
static void forget_index(DifsGroup *group);
static void take_over(Mend *mend);

void
difs_group_queue_mend(DifsRequest *request)
{
	DifsGroup *group = request->group;
	DifsListEntry entry;
	DifsError error;

	if (!check_mend(request, &error))
	{
		difs_request_fail(request, &error);
		return;
	}
	if (request->frame.payload_length > 0 && !group->sealed && !difs_group_find(group, request->segment.segment, &entry))
	{
		difs_group_put(request);
		return;
	}
	STAILQ_INSERT_TAIL(&group->mends, request, next);
	difs_group_schedule(group);
}

void
difs_group_mend(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Mend *mend = difs_alloc(sizeof(*mend));

	group->busy = true;
	mend->group = group;
	mend->server = server;
	mend->request = STAILQ_FIRST(&group->mends);
	STAILQ_REMOVE_HEAD(&group->mends, next);
	mend->file = difs_group_file_hold(group->file);
	mend->of_group = mend->request->frame.payload_length == 0;
	mend->known = !mend->of_group && difs_group_find(group, mend->request->segment.segment, &mend->entry);
	mend->header = (DifsIndexHeader){
		.group = mend->file->header,
		.count = mend->file->map.count,
		.file_bytes = group->file_bytes,
		.live_segments = group->live_segments,
		.live_bytes = group->live_bytes,
		.dead_bytes = group->dead_bytes,
		.entries_crc = mend->file->map.entries_crc,
		.incomplete = mend->file->map.incomplete,
	};
	difs_job_start(&server->pool, DIFS_LANE_WRITE, &mend->job, mend_run, mend_done);
}

/* What can be said at once. */
static bool
check_mend(DifsRequest *request, DifsError *error)
{
	const DifsGroup *group = request->group;
	const DifsSegment *segment = &request->segment;
	DifsListEntry entry;

	if (group->failed)
		return difs_error_set(error, DIFS_ERROR_IO, "block group %016llx has failed and is read-only",
							  (unsigned long long) group->id);
	if (request->frame.payload_length == 0 || !difs_group_find(group, segment->segment, &entry))
		return true;
	if (entry.stored_length != segment->stored_length || entry.xid != segment->xid)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "segment %llu of block group %016llx is another one",
							  (unsigned long long) segment->segment, (unsigned long long) group->id);
	return true;
}

static void
mend_run(DifsJob *job)
{
	Mend *mend = (Mend *) job;

	if (mend->of_group)
		mend_group(mend);
	else
		mend_segment(mend);
	if (mend->failed)
		difs_group_note_failure(mend->group, mend->server);
	else if (mend->error.code == DIFS_OK)
		DIFS_FAULT("chunkd.mend.durable");
	mend->allocated_bytes = difs_group_file_allocated(mend->renewed != NULL ? mend->renewed : mend->file);
}

static void
mend_group(Mend *mend)
{
	DifsStore *store = mend->server->store;
	DifsGroupFile *file = mend->file;
	uint8_t packed[DIFS_GROUP_HEADER_SIZE];

	if (!difs_group_check_header(file, NULL))
	{
		difs_group_header_pack(&file->header, packed);
		if (!difs_pwrite(file->fd, packed, sizeof(packed), 0) || !store->sync(store, file->fd, &mend->error))
		{
			(void) lost(mend, "header");
			return;
		}
	}
	mend->forget = !difs_group_check_index(file, NULL);
}

static void
mend_segment(Mend *mend)
{
	const DifsRequest *request = mend->request;
	DifsIndex index = {0};

	if (difs_segment_verify(request->control, 0, request->payload, request->segment.stored_length, &mend->error) &&
		difs_group_check_index(mend->file, &mend->error) && (mend->known || find_place(mend, &index)) && write_record(mend))
		(void) (mend->known ? update_index(mend) : renew_index(mend, &index));
	difs_index_free(&index);
}

/* A sealed group has lost the segment: fills index with its entries and one more, and mend->entry with that one.  An unreadable place
 * may be too short for it, unless the file ends there; and a full group has no room behind its end, so what is mended may
 * exceed the capacity, within bounds. */
static bool
find_place(Mend *mend, DifsIndex *index)
{
	const DifsSegment *segment = &mend->request->segment;
	const DifsIndexMap *map = &mend->file->map;
	uint64_t size = difs_record_size(segment->stored_length);
	DifsListEntry entry;

	mend->entry = (DifsListEntry){
		.segment = segment->segment,
		.xid = segment->xid,
		.stored_length = segment->stored_length,
	};
	for (uint32_t i = 0; i < map->count; i++)
	{
		difs_index_map_entry(map, i, &entry);
		if (entry.segment == 0 && mend->entry.offset == 0 &&
			(entry.stored_length >= size || entry.offset + entry.stored_length >= mend->header.file_bytes))
		{
			mend->entry.offset = entry.offset;
			if (entry.stored_length <= size)
				continue;
			entry.offset += size;
			entry.stored_length -= (uint32_t) size;
		}
		difs_index_append(index, &entry);
	}
	if (mend->entry.offset == 0)
		mend->entry.offset = (mend->header.file_bytes + DIFS_RECORD_ALIGNMENT - 1) / DIFS_RECORD_ALIGNMENT *
			DIFS_RECORD_ALIGNMENT;
	if (mend->entry.offset + size > mend->header.file_bytes)
	{
		if (mend->entry.offset + size > 2 * mend->file->header.capacity || map->count >= DIFS_GROUP_MAX_SEGMENTS)
			return difs_error_set(&mend->error, DIFS_ERROR_FULL, "block group %016llx has no room for segment %llu",
								  (unsigned long long) mend->group->id, (unsigned long long) segment->segment);
		mend->header.file_bytes = mend->entry.offset + size;
	}
	difs_index_append(index, &mend->entry);
	difs_index_sort(index);
	return true;
}

/* All that is in front of a record was durable before it, so that is what it says, too. */
static bool
write_record(Mend *mend)
{
	static const uint8_t zeros[DIFS_RECORD_ALIGNMENT];
	DifsStore *store = mend->server->store;
	const DifsRequest *request = mend->request;
	uint32_t stored_length = request->segment.stored_length;
	size_t packed_size = difs_segment_packed_size(stored_length);
	uint64_t offset = mend->entry.offset;
	struct iovec vector[3] = {
		{request->control, packed_size},
		{request->payload, stored_length},
		{(void *) (uintptr_t) zeros, difs_record_size(stored_length) - packed_size - stored_length},
	};

	difs_record_pack(&request->segment, mend->file->header.salt, offset, offset, request->control);
	if (!difs_pwritev(mend->file->fd, vector, vector[2].iov_len > 0 ? 3 : 2, offset))
	{
		if (!difs_lacks_room(errno))
			return lost(mend, "segment");
		difs_error_set(&mend->error, DIFS_ERROR_IO, "could not write segment");
		mend->error.code = DIFS_ERROR_FULL;
		return false;
	}
	DIFS_FAULT("chunkd.mend.written");
	if (!store->sync(store, mend->file->fd, &mend->error))
		return lost(mend, "segment");
	DIFS_FAULT("chunkd.mend.synced");
	return true;
}

/* The entry says that the segment is live and right. */
static bool
update_index(Mend *mend)
{
	DifsStore *store = mend->server->store;
	const DifsIndexMap *map = &mend->file->map;

	if (mend->entry.flags & DIFS_LIST_DEAD)
	{
		uint64_t size = difs_record_size(mend->entry.stored_length);

		mend->header.live_segments++;
		mend->header.live_bytes += mend->entry.stored_length;
		mend->header.dead_bytes -= mend->header.dead_bytes < size ? mend->header.dead_bytes : size;
	}
	mend->entry.flags = 0;
	if (map->fd < 0)
		return true;
	return (difs_index_map_flags(map, difs_index_map_position(map, mend->entry.segment), 0, &mend->error) &&
			difs_index_map_header(map, &mend->header, &mend->error) &&
			store->sync(store, map->fd, &mend->error)) ||
		lost(mend, "index");
}

static bool
renew_index(Mend *mend, DifsIndex *index)
{
	DifsStore *store = mend->server->store;
	DifsGroupFile *renewed = difs_alloc(sizeof(*renewed));
	char path[DIFS_PATH_SIZE];
	bool ok;

	*renewed = (DifsGroupFile){.refs = 1, .fd = -1, .map.fd = -1, .header = mend->file->header};
	mend->renewed = renewed;
	mend->header.live_segments++;
	mend->header.live_bytes += mend->entry.stored_length;
	difs_group_path(mend->group, ".index", path);
	ok = difs_index_write(store, path, &mend->header, index, &mend->error) &&
		difs_index_map(store, path, &renewed->header, false, &renewed->map, &mend->header, &mend->error);
	difs_group_path(mend->group, ".group", path);
	renewed->fd = ok ? store->open(store, path, &mend->error) : -1;
	/* If not, which index is in place is not known. */
	mend->forget = renewed->fd < 0;
	return !mend->forget;
}

static bool
lost(Mend *mend, const char *what)
{
	if (mend->error.code == DIFS_OK)
		difs_error_set(&mend->error, DIFS_ERROR_IO, "could not write %s", what);
	mend->failed = true;
	return false;
}

static void
mend_done(DifsJob *job)
{
	Mend *mend = (Mend *) job;
	DifsGroup *group = mend->group;

	if (mend->failed)
		difs_group_fail(group, &mend->error);
	else if (mend->error.code == DIFS_OK)
		take_over(mend);
	if (mend->error.code == DIFS_OK)
		difs_request_reply(mend->request, NULL, 0, NULL, 0);
	else
		difs_request_fail(mend->request, &mend->error);
	difs_group_set_allocated(group, mend->allocated_bytes);
	if (mend->forget && !mend->failed)
		forget_index(group);
	difs_group_file_release(mend->renewed);
	difs_group_file_release(mend->file);
	free(mend);
	difs_group_idle(group);
	if (!group->busy && !STAILQ_EMPTY(&group->opening))
		difs_group_open(group);
}

/* The group is as after a start.  Who waits in a queue waits for it to be open again; nobody puts into a sealed one. */
static void
forget_index(DifsGroup *group)
{
	DifsRequestQueue waiting = STAILQ_HEAD_INITIALIZER(waiting);
	DifsRequest *request;

	group->known = false;
	difs_group_close(group);
	STAILQ_CONCAT(&waiting, &group->deletes);
	STAILQ_CONCAT(&waiting, &group->mends);
	while ((request = STAILQ_FIRST(&waiting)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&waiting, next);
		difs_group_when_open(group, request, request->resume);
	}
}

static void
take_over(Mend *mend)
{
	DifsGroup *group = mend->group;

	if (mend->of_group)
		difs_log(DIFS_LOG_INFO, "group %016llx: header is right%s", (unsigned long long) group->id,
				 mend->forget ? ", index is going to be made anew" : "");
	else
		difs_log(DIFS_LOG_INFO, "group %016llx: segment %llu is mended", (unsigned long long) group->id,
				 (unsigned long long) mend->entry.segment);
	if (mend->of_group)
		return;
	group->live_segments = mend->header.live_segments;
	group->live_bytes = mend->header.live_bytes;
	group->dead_bytes = mend->header.dead_bytes;
	group->file_bytes = mend->header.file_bytes;
	if (mend->renewed != NULL)
		difs_group_set_file(group, difs_group_file_hold(mend->renewed));
	else if (mend->file->map.fd < 0)
		difs_index_find(&group->index, mend->entry.segment)->flags = 0;
}
