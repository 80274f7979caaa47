/*
 * group_compact.c - rewrites a sealed group of which much is dead and cannot be
 * given back by punching holes.
 *
 *	1. live records are copied to <group>.group.new, with the next generation in its header
 *	2. it is synced and renamed to <group>.group
 *	3. an index of that generation is written and renamed
 *
 * A crash before the rename in 2 leaves a .new file, removed at start.  A crash
 * between 2 and 3 leaves an index of the old generation, which is noticed by that
 * and made anew when the group is opened.  Until the loop thread takes the new
 * files over, reads go to the old ones, which live on while anyone holds them;
 * deletions wait.
 *
 * If the directory's sync fails in 2, a power cut may bring the old file back, without the deletions that the new one would get: the
 * group has failed.
 *
 * Bytes that do not match their checksums are copied as they are: what the reader
 * finds wrong stays wrong.  Dead segments and unreadable places are left behind,
 * so an id that was dead is unknown afterwards.
 *
 * One group at a time is compacted; server->compactions are those that wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

#define COPY_SIZE (16 * DIFS_BLOCK_SIZE)

typedef struct Compact
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	DifsGroupFile *old;
	DifsGroupFile *file;
	DifsIndex index; /* of the live segments, at their new offsets */
	uint64_t file_bytes;
	uint64_t allocated_bytes;
	uint32_t corrupt;
	bool renamed;  /* the new group file is in place, or may be */
	bool doubtful; /* and a power cut may bring the old one back */
	bool ok;
	DifsError error;
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint8_t buffer[COPY_SIZE];
} Compact;

static void compact_run(DifsJob *job);
static bool is_complete(Compact *compact);
static void collect_live(Compact *compact);
static int compare_offsets(const void *a, const void *b);
static bool write_group(Compact *compact);
static bool copy_record(Compact *compact, DifsListEntry *entry);
static bool copy_bytes(Compact *compact, DifsListEntry *entry, uint64_t done, bool check);
static bool write_index(Compact *compact);
static void compact_done(DifsJob *job);

void
difs_group_consider_compaction(DifsGroup *group)
{
	if (group->dead_bytes > group->live_bytes)
		difs_group_want_compaction(group);
}

void
difs_group_want_compaction(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);

	if (!group->sealed || group->failed || group->dropping || group->compaction_queued || server->stopping)
		return;
	if (group->dead_bytes <= group->compaction_failed_at)
		return;
	group->compaction_queued = true;
	TAILQ_INSERT_TAIL(&server->compactions, group, compaction_link);
	difs_group_next_compaction(server);
}

void
difs_group_next_compaction(DifsServer *server)
{
	DifsGroup *group = TAILQ_FIRST(&server->compactions);

	if (server->compacting || server->stopping || group == NULL)
		return;
	TAILQ_REMOVE(&server->compactions, group, compaction_link);
	server->compacting = true;
	group->compaction_due = true;
	difs_group_schedule(group);
}

void
difs_group_forget_compaction(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);

	if (!group->compaction_queued)
		return;
	if (group->compaction_due)
		server->compacting = false;
	else
		TAILQ_REMOVE(&server->compactions, group, compaction_link);
	group->compaction_queued = group->compaction_due = false;
	difs_group_next_compaction(server);
}

void
difs_group_compact(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Compact *compact = difs_alloc(sizeof(*compact));

	group->busy = true;
	compact->group = group;
	compact->server = server;
	compact->old = difs_group_file_hold(group->file);
	compact->file = difs_alloc(sizeof(*compact->file));
	*compact->file = (DifsGroupFile){.refs = 1, .fd = -1, .map.fd = -1, .header = group->file->header};
	compact->file->header.generation++;
	compact->file->header.synced = 0;
	difs_job_start(&server->pool, DIFS_LANE_SLOW, &compact->job, compact_run, compact_done);
}

static void
compact_run(DifsJob *job)
{
	Compact *compact = (Compact *) job;
	DifsStore *store = compact->server->store;
	char temporary[DIFS_PATH_SIZE];

	difs_group_path(compact->group, ".group.new", temporary);
	compact->ok = is_complete(compact);
	if (!compact->ok)
		return;
	collect_live(compact);
	compact->file->fd = store->create(store, temporary, &compact->error);
	compact->ok = compact->file->fd >= 0 && write_group(compact);
	if (compact->ok)
	{
		/* Should this fail, either name may hold the file. */
		compact->renamed = true;
		DIFS_FAULT("chunkd.compact.written");
		compact->ok = difs_group_publish(compact->group, compact->server, compact->file->fd, temporary, &compact->doubtful,
										 &compact->error);
		DIFS_FAULT("chunkd.compact.renamed");
		compact->ok = compact->ok && write_index(compact);
		DIFS_FAULT("chunkd.compact.indexed");
	}
	if (compact->ok)
		compact->allocated_bytes = difs_group_file_allocated(compact->file);
	else if (!compact->renamed)
	{
		const char *paths[] = {temporary, NULL};

		if (!store->remove(store, paths, NULL))
			difs_log(DIFS_LOG_WARNING, "file \"%s\" could not be removed", temporary);
	}
}

/* What could not be read may be readable the next time: it must not be left behind. */
static bool
is_complete(Compact *compact)
{
	return !compact->old->map.incomplete ||
		difs_error_set(&compact->error, DIFS_ERROR_IO, "some of the group file could not be read");
}

/* In the order of the file, as that is how they are read and written. */
static void
collect_live(Compact *compact)
{
	const DifsIndexMap *map = &compact->old->map;
	DifsListEntry entry;

	for (uint32_t i = 0; i < map->count; i++)
	{
		difs_index_map_entry(map, i, &entry);
		if (entry.segment != 0 && !(entry.flags & DIFS_LIST_DEAD))
			difs_index_append(&compact->index, &entry);
	}
	if (compact->index.count > 1)
		qsort(compact->index.entries, compact->index.count, sizeof(DifsListEntry), compare_offsets);
}

static int
compare_offsets(const void *a, const void *b)
{
	const DifsListEntry *left = a;
	const DifsListEntry *right = b;

	return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static bool
write_group(Compact *compact)
{
	uint8_t header[DIFS_GROUP_HEADER_SIZE];

	difs_group_header_pack(&compact->file->header, header);
	if (!difs_pwrite(compact->file->fd, header, sizeof(header), 0))
		return difs_error_set(&compact->error, DIFS_ERROR_IO, "could not write file");
	compact->file_bytes = DIFS_GROUP_HEADER_SIZE;
	for (uint32_t i = 0; i < compact->index.count; i++)
	{
		if (atomic_load(&compact->server->stopping))
			return difs_error_set(&compact->error, DIFS_ERROR_REFUSED, "server stops");
		if (!copy_record(compact, &compact->index.entries[i]))
			return false;
	}
	/* The padding of the last record. */
	if (ftruncate(compact->file->fd, (off_t) compact->file_bytes) != 0)
		return difs_error_set(&compact->error, DIFS_ERROR_IO, "could not set length of file");
	difs_index_sort(&compact->index);
	return true;
}

/* Copies one record and makes its entry that of the copy.  Only a failing disk is an error. */
static bool
copy_record(Compact *compact, DifsListEntry *entry)
{
	size_t packed_size = difs_segment_packed_size(entry->stored_length);
	uint64_t offset = compact->file_bytes;
	DifsSegment segment;
	bool valid;

	if (!difs_pread_all(compact->old->fd, compact->packed, packed_size, entry->offset, &compact->error))
		return false;
	valid = difs_record_unpack(compact->packed, packed_size, &compact->old->header, entry->offset, &segment, NULL) &&
		segment.segment == entry->segment && segment.stored_length == entry->stored_length;
	if (valid)
	{
		/* The index may not know of a deletion that a crash interrupted. */
		if (segment.dead)
			entry->flags |= DIFS_LIST_DEAD;
		difs_record_pack(&segment, compact->file->header.salt, offset, DIFS_GROUP_HEADER_SIZE, compact->packed);
	}
	if (!difs_pwrite(compact->file->fd, compact->packed, packed_size, offset))
		return difs_error_set(&compact->error, DIFS_ERROR_IO, "could not write file");
	if (!valid)
		entry->flags |= DIFS_LIST_DAMAGED;
	for (uint64_t done = 0; done < entry->stored_length; done += COPY_SIZE)
	{
		if (!copy_bytes(compact, entry, done, valid && !segment.dead))
			return false;
	}
	if (entry->flags & DIFS_LIST_DAMAGED)
	{
		difs_log(DIFS_LOG_WARNING, "group %016llx: segment %llu is damaged", (unsigned long long) compact->group->id,
				 (unsigned long long) entry->segment);
		compact->corrupt++;
	}
	entry->offset = offset;
	compact->file_bytes += difs_record_size(entry->stored_length);
	return true;
}

static bool
copy_bytes(Compact *compact, DifsListEntry *entry, uint64_t done, bool check)
{
	size_t packed_size = difs_segment_packed_size(entry->stored_length);
	uint32_t left = entry->stored_length - (uint32_t) done;
	uint32_t length = left < COPY_SIZE ? left : COPY_SIZE;

	if (!difs_pread_all(compact->old->fd, compact->buffer, length, entry->offset + packed_size + done, &compact->error))
		return false;
	if (check && !difs_segment_verify(compact->packed, (uint32_t) (done / DIFS_BLOCK_SIZE), compact->buffer, length, NULL))
		entry->flags |= DIFS_LIST_DAMAGED;
	return difs_pwrite(compact->file->fd, compact->buffer, length, compact->file_bytes + packed_size + done) ||
		difs_error_set(&compact->error, DIFS_ERROR_IO, "could not write file");
}

static bool
write_index(Compact *compact)
{
	DifsStore *store = compact->server->store;
	DifsIndexHeader header = {.group = compact->file->header, .file_bytes = compact->file_bytes};
	DifsIndexTotals totals;
	char path[DIFS_PATH_SIZE];

	difs_group_path(compact->group, ".index", path);
	difs_index_count(&compact->index, &totals);
	header.live_segments = totals.live_segments;
	header.live_bytes = totals.live_bytes;
	return difs_index_write(store, path, &header, &compact->index, &compact->error) &&
		difs_index_map(store, path, &compact->file->header, false, &compact->file->map, &header, &compact->error);
}

static void
compact_done(DifsJob *job)
{
	Compact *compact = (Compact *) job;
	DifsGroup *group = compact->group;
	DifsIndexTotals totals;

	if (compact->ok)
	{
		difs_index_count(&compact->index, &totals);
		difs_log(DIFS_LOG_INFO, "group %016llx compacted: %llu bytes became %llu, %u damaged segments",
				 (unsigned long long) group->id, (unsigned long long) group->file_bytes,
				 (unsigned long long) compact->file_bytes, compact->corrupt);
		group->file_bytes = compact->file_bytes;
		group->live_segments = totals.live_segments;
		group->live_bytes = totals.live_bytes;
		group->dead_bytes = 0;
		difs_group_set_file(group, difs_group_file_hold(compact->file));
		difs_group_set_allocated(group, compact->allocated_bytes);
	}
	else
	{
		difs_log(DIFS_LOG_WARNING, "group %016llx could not be compacted: %s", (unsigned long long) group->id,
				 compact->error.text);
		group->compaction_failed_at = group->dead_bytes;
		if (compact->doubtful)
			difs_group_fail(group, &compact->error);
		/* Group file and index may not belong together any more: opening them puts that right. */
		if (compact->renamed)
		{
			difs_group_close(group);
			group->known = false;
		}
	}
	difs_group_file_release(compact->file);
	difs_group_file_release(compact->old);
	difs_index_free(&compact->index);
	group->busy = false;
	difs_group_forget_compaction(group);
	free(compact);
	difs_group_schedule(group);
}
