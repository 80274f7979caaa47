/*
 * group_read.c - GET and LIST.
 *
 * A GET first takes what is in the page cache, on the loop thread; what is not is
 * read by a job.  Either way the record's header is read and checked to be that of
 * the segment that was asked for; the payload's checksums are the reader's to
 * check. The reply begins with at most PIECE_BYTES of payload; connection_send.c
 * reads the others while the peer takes them.
 *
 * State: none but the job's.
 */
#include <stdlib.h>
#include <string.h>

#include "../common/bytes.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

#define PIECE_BYTES (1024 * 1024)

typedef struct Read
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsRequest *request;
	DifsGroupFile *file;
	DifsListEntry entry;
	DifsGet get;
	DifsSegment segment;
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint32_t first_block;
	uint32_t length; /* of the payload */
	uint64_t offset; /* of it, in the file */
	uint8_t *piece;	 /* room for piece_length */
	uint32_t piece_length;
	DifsError error; /* code DIFS_OK: it worked */
} Read;

typedef struct List
{
	DifsJob job;
	DifsGroup *group;
	DifsRequest *request;
	DifsGroupFile *file;
	uint64_t cursor;
	uint64_t next;
	uint8_t *entries;
	uint32_t count;
} List;

static bool check_range(DifsGroup *group, DifsGet *get, DifsListEntry *entry, DifsError *error);
static bool read_cached(Read *read);
static void read_run(DifsJob *job);
static bool check_header(Read *read);
static void widen(Read *read);
static void read_done(DifsJob *job);
static void list_run(DifsJob *job);
static void list_done(DifsJob *job);

void
difs_group_get(DifsRequest *request)
{
	DifsGroup *group = request->group;
	DifsServer *server = difs_group_server(group);
	DifsGet get;
	DifsListEntry entry;
	DifsError error;
	Read *read;

	/* It has been checked when it came. */
	(void) difs_get_unpack(request->control, request->frame.control_length, &get, NULL);
	if (!check_range(group, &get, &entry, &error))
	{
		difs_request_fail(request, &error);
		return;
	}
	read = difs_alloc(sizeof(*read));
	read->group = group;
	read->server = server;
	read->request = request;
	read->file = difs_group_file_hold(group->file);
	read->entry = entry;
	read->get = get;
	group->readers++;
	widen(read);
	if (read_cached(read))
		read_done(&read->job);
	else
	{
		free(read->piece); /* while it waits for its turn */
		read->piece = NULL;
		/* As much as the reply may need. */
		difs_request_reserve(request, entry.stored_length < PIECE_BYTES ? entry.stored_length : PIECE_BYTES);
		difs_job_start(&server->pool, DIFS_LANE_READ, &read->job, read_run, read_done);
	}
}

void
difs_group_list(DifsRequest *request)
{
	DifsGroup *group = request->group;
	DifsServer *server = difs_group_server(group);
	List *list = difs_alloc(sizeof(*list));
	uint64_t id;

	(void) difs_pair_unpack(request->control, request->frame.control_length, &id, &list->cursor, NULL);
	list->group = group;
	list->request = request;
	list->file = difs_group_file_hold(group->file);
	list->entries = difs_alloc(DIFS_LIST_MAX_ENTRIES * DIFS_LIST_ENTRY_SIZE);
	difs_request_reserve(request, DIFS_LIST_MAX_ENTRIES * DIFS_LIST_ENTRY_SIZE);
	group->readers++;
	/* An index in memory belongs to this thread; a mapped one may have to be read from the disk. */
	if (list->file->map.fd >= 0)
		difs_job_start(&server->pool, DIFS_LANE_READ, &list->job, list_run, list_done);
	else
	{
		list_run(&list->job);
		list_done(&list->job);
	}
}

static bool
check_range(DifsGroup *group, DifsGet *get, DifsListEntry *entry, DifsError *error)
{
	if (get->segment == 0 || !difs_group_find(group, get->segment, entry) || entry->flags & DIFS_LIST_DEAD)
		return difs_error_set(error, DIFS_ERROR_NO_SEGMENT, "block group %016llx has no segment %llu",
							  (unsigned long long) group->id, (unsigned long long) get->segment);
	if (get->offset >= entry->stored_length)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "segment %llu has %u bytes, none at %u",
							  (unsigned long long) get->segment, entry->stored_length, get->offset);
	if (get->length == 0 || get->length > entry->stored_length - get->offset)
		get->length = entry->stored_length - get->offset;
	return true;
}

/* False if something has to be waited for.  Bytes from the first block on stand behind the header. */
static bool
read_cached(Read *read)
{
	size_t packed_size = difs_segment_packed_size(read->entry.stored_length);
	struct iovec both[] = {{read->packed, packed_size}, {read->piece, read->piece_length}};

	if (!difs_preadv_cached(read->file->fd, both, read->first_block == 0 ? 2 : 1, read->entry.offset))
		return false;
	return !check_header(read) || read->first_block == 0 ||
		difs_preadv_cached(read->file->fd, both + 1, 1, read->offset);
}

static void
read_run(DifsJob *job)
{
	Read *read = (Read *) job;
	size_t packed_size = difs_segment_packed_size(read->entry.stored_length);

	if (!difs_pread_all(read->file->fd, read->packed, packed_size, read->entry.offset, &read->error) ||
		!check_header(read))
		return;
	read->piece = difs_realloc(NULL, read->piece_length);
	(void) difs_pread_all(read->file->fd, read->piece, read->piece_length, read->offset, &read->error);
}

static bool
check_header(Read *read)
{
	size_t packed_size = difs_segment_packed_size(read->entry.stored_length);
	DifsSegment *segment = &read->segment;

	if (!difs_record_unpack(read->packed, packed_size, &read->file->header, read->entry.offset, segment, &read->error))
		return false;
	if (segment->segment != read->entry.segment || segment->stored_length != read->entry.stored_length)
		return difs_error_set(&read->error, DIFS_ERROR_CORRUPT, "record of segment %llu is that of another",
							  (unsigned long long) read->entry.segment);
	if (segment->dead)
		return difs_error_set(&read->error, DIFS_ERROR_NO_SEGMENT, "segment %llu has been deleted",
							  (unsigned long long) segment->segment);
	return true;
}

/* To whole blocks; and takes memory for the first piece.  The header has yet to confirm the length. */
static void
widen(Read *read)
{
	uint32_t stored_length = read->entry.stored_length;
	uint64_t end = (uint64_t) read->get.offset + read->get.length;

	read->first_block = read->get.offset / DIFS_BLOCK_SIZE;
	end = (end + DIFS_BLOCK_SIZE - 1) / DIFS_BLOCK_SIZE * DIFS_BLOCK_SIZE;
	if (end > stored_length)
		end = stored_length;
	read->length = (uint32_t) (end - (uint64_t) read->first_block * DIFS_BLOCK_SIZE);
	read->offset = read->entry.offset + difs_segment_packed_size(stored_length) +
		(uint64_t) read->first_block * DIFS_BLOCK_SIZE;
	read->piece_length = read->length < PIECE_BYTES ? read->length : PIECE_BYTES;
	read->piece = difs_realloc(NULL, read->piece_length);
}

static void
read_done(DifsJob *job)
{
	Read *read = (Read *) job;
	DifsGroup *group = read->group;

	group->readers--;
	if (read->error.code == DIFS_OK)
	{
		uint8_t control[4 + DIFS_MAX_PACKED_SIZE];
		size_t packed_size = difs_segment_packed_size(read->segment.stored_length);

		read->server->gets++;
		read->server->last_read_ms = uv_now(read->server->loop);
		read->segment.synced = 0;
		difs_segment_pack(&read->segment, NULL, read->packed);
		difs_put32(control, read->first_block);
		memcpy(control + 4, read->packed, packed_size);
		difs_request_reply_file(read->request, control, (uint32_t) (4 + packed_size), read->piece, read->piece_length,
								read->file, read->offset + read->piece_length, read->length - read->piece_length);
	}
	else
	{
		if (read->error.code != DIFS_ERROR_NO_SEGMENT)
			difs_log(DIFS_LOG_ERROR, "group %016llx: segment %llu cannot be read: %s", (unsigned long long) group->id,
					 (unsigned long long) read->entry.segment, read->error.text);
		if (read->error.code == DIFS_ERROR_CORRUPT)
			difs_group_mark_damaged(group, read->entry.segment);
		free(read->piece);
		difs_request_fail(read->request, &read->error);
	}
	difs_group_file_release(read->file);
	free(read);
	if (group->dropping)
		difs_group_schedule(group);
}

static void
list_run(DifsJob *job)
{
	List *list = (List *) job;

	list->count = difs_index_list(&list->group->index, &list->file->map, list->cursor, list->entries, &list->next);
}

static void
list_done(DifsJob *job)
{
	List *list = (List *) job;
	DifsGroup *group = list->group;
	uint8_t control[8];

	group->readers--;
	difs_put64(control, list->next);
	difs_request_reply(list->request, control, sizeof(control), list->entries, list->count * DIFS_LIST_ENTRY_SIZE);
	difs_group_file_release(list->file);
	free(list);
	if (group->dropping)
		difs_group_schedule(group);
}
