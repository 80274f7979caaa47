/*
 * pull_copy.c - makes the file of a pulled group, in a pool thread (pull.h).
 *
 *	1. every source that answers lists its segments; a segment that any of them knows as dead is not wanted
 *	2. each source in turn is asked for what is wanted and has not come yet; what comes is checked and written
 *	3. what no source has right is an error, or, if that is allowed, leaves a hole that the index lists as damaged
 *
 * A source that breaks half-way is followed by the next one.  What could have come from one that broke is never taken for
 * lost: the pull fails then.
 *
 * State: the file <group>.pull.new, which nobody looks at before it is installed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fault.h"
#include "file_io.h"
#include "log.h"
#include "memory.h"
#include "pull.h"
#include "server.h"

typedef struct Copy
{
	DifsGroupPull *pull;
	DifsSource sources[DIFS_PULL_MAX_SOURCES];
	DifsPullItem *items;
	uint32_t count;
	DifsError write_error; /* code not DIFS_OK: writing has failed, no source can help */
} Copy;

static bool make_file(Copy *copy);
static bool list_sources(Copy *copy);
static void merge(Copy *copy, int number, const DifsIndex *entries);
static DifsPullItem make_item(const DifsListEntry *entry, int number);
static int compare_offsets(const void *a, const void *b);
static bool fetch_all(Copy *copy);
static bool take(void *context, DifsPullItem *item, DifsSegment *segment, uint8_t *packed, const uint8_t *payload);
static bool settle_rest(Copy *copy);
static bool make_index(Copy *copy);
static bool write_failed(DifsError *error);

void
difs_pull_copy(DifsJob *job)
{
	DifsGroupPull *pull = (DifsGroupPull *) job;
	Copy *copy = difs_alloc(sizeof(*copy));

	copy->pull = pull;
	pull->ok = make_file(copy);
	for (int i = 0; i < pull->asked.count; i++)
		difs_source_close(&copy->sources[i]);
	free(copy->items);
	free(copy);
}

bool
difs_pull_stopped(const DifsGroupPull *pull)
{
	return atomic_load(&pull->given_up) || atomic_load(&pull->server->stopping);
}

static bool
make_file(Copy *copy)
{
	DifsGroupPull *pull = copy->pull;
	DifsStore *store = pull->server->store;
	uint8_t header[DIFS_GROUP_HEADER_SIZE];
	char path[DIFS_PATH_SIZE];

	if (!list_sources(copy))
		return false;
	snprintf(path, sizeof(path), "%s/%016llx" DIFS_PULL_SUFFIX, pull->tenant->directory,
			 (unsigned long long) pull->asked.group);
	if (!difs_random(&pull->file->header.salt, sizeof(pull->file->header.salt), &pull->error))
		return false;
	pull->file->fd = store->create(store, path, &pull->error);
	if (pull->file->fd < 0)
		return false;
	difs_group_header_pack(&pull->file->header, header);
	if (!difs_pwrite(pull->file->fd, header, sizeof(header), 0))
		return write_failed(&pull->error);
	pull->file_bytes = DIFS_GROUP_HEADER_SIZE;
	return fetch_all(copy) && settle_rest(copy) && make_index(copy);
}

/* One that answers is enough to begin. */
static bool
list_sources(Copy *copy)
{
	DifsGroupPull *pull = copy->pull;
	uint64_t total = 0;
	int answered = 0;

	for (int i = 0; i < pull->asked.count; i++)
	{
		DifsIndex entries = {0};

		if (difs_source_open(&copy->sources[i], pull, i) && difs_source_list(&copy->sources[i], &entries))
		{
			answered++;
			merge(copy, i, &entries);
		}
		else
			pull->error = copy->sources[i].error;
		difs_index_free(&entries);
	}
	for (uint32_t i = 0; i < copy->count; i++)
		total += copy->items[i].settled ? 0 : copy->items[i].entry.stored_length;
	if (copy->count > 1)
		qsort(copy->items, copy->count, sizeof(DifsPullItem), compare_offsets);
	atomic_store(&pull->total, total);
	return answered > 0;
}

/* Both are sorted by segment. */
static void
merge(Copy *copy, int number, const DifsIndex *entries)
{
	DifsPullItem *items = difs_alloc(((size_t) copy->count + entries->count + 1) * sizeof(DifsPullItem));
	uint32_t count = 0;
	uint32_t i = 0;
	uint32_t j = 0;

	while (i < copy->count || j < entries->count)
	{
		if (j == entries->count || (i < copy->count && copy->items[i].entry.segment < entries->entries[j].segment))
			items[count++] = copy->items[i++];
		else if (i == copy->count || copy->items[i].entry.segment > entries->entries[j].segment)
			items[count++] = make_item(&entries->entries[j++], number);
		else
		{
			DifsPullItem other = make_item(&entries->entries[j++], number);

			items[count] = copy->items[i++];
			/* Of two lengths, one is wrong, and the header tells which. */
			if (items[count].sources == 0 && other.sources != 0)
				items[count].entry = other.entry;
			items[count].sources |= other.sources;
			items[count++].settled |= other.settled;
		}
	}
	free(copy->items);
	copy->items = items;
	copy->count = count;
}

static DifsPullItem
make_item(const DifsListEntry *entry, int number)
{
	return (DifsPullItem){
		.entry = *entry,
		.sources = entry->flags & (DIFS_LIST_DEAD | DIFS_LIST_DAMAGED) ? 0 : 1U << number,
		.settled = (entry->flags & DIFS_LIST_DEAD) != 0,
	};
}

/* As the sources' disks have them, roughly. */
static int
compare_offsets(const void *a, const void *b)
{
	const DifsPullItem *left = a;
	const DifsPullItem *right = b;

	return left->entry.offset < right->entry.offset ? -1 : left->entry.offset > right->entry.offset;
}

static bool
fetch_all(Copy *copy)
{
	DifsGroupPull *pull = copy->pull;

	for (int i = 0; i < pull->asked.count; i++)
	{
		DifsSource *source = &copy->sources[i];

		if (source->broken || difs_source_fetch(source, i, copy->items, copy->count, take, copy))
			continue;
		if (copy->write_error.code != DIFS_OK || difs_pull_stopped(pull))
		{
			pull->error = copy->write_error.code != DIFS_OK ? copy->write_error : source->error;
			return false;
		}
		difs_log(DIFS_LOG_WARNING, "pull of group %016llx goes on without a source: %s",
				 (unsigned long long) pull->asked.group, source->error.text);
	}
	return true;
}

static bool
take(void *context, DifsPullItem *item, DifsSegment *segment, uint8_t *packed, const uint8_t *payload)
{
	Copy *copy = context;
	DifsGroupPull *pull = copy->pull;
	size_t packed_size = difs_segment_packed_size(segment->stored_length);
	struct iovec vector[] = {
		{packed, packed_size},
		{(void *) (uintptr_t) payload, segment->stored_length},
	};

	difs_record_pack(segment, pull->file->header.salt, pull->file_bytes, DIFS_GROUP_HEADER_SIZE, packed);
	if (!difs_pwritev(pull->file->fd, vector, 2, pull->file_bytes))
		return write_failed(&copy->write_error);
	item->entry.offset = pull->file_bytes;
	item->entry.xid = segment->xid;
	item->entry.flags = 0;
	DIFS_FAULT("chunkd.pull.fetched");
	item->settled = item->taken = true;
	pull->file_bytes += difs_record_size(segment->stored_length);
	atomic_fetch_add(&pull->segments, 1);
	atomic_fetch_add(&pull->bytes, segment->stored_length);
	return true;
}

/* What is not there now: is it lost, or only out of reach? */
static bool
settle_rest(Copy *copy)
{
	DifsGroupPull *pull = copy->pull;

	for (uint32_t i = 0; i < copy->count; i++)
	{
		DifsPullItem *item = &copy->items[i];

		if (item->settled)
			continue;
		for (int j = 0; j < pull->asked.count; j++)
		{
			if (copy->sources[j].broken)
			{
				pull->error = copy->sources[j].error;
				return false;
			}
		}
		if (!(pull->asked.flags & DIFS_PULL_DAMAGED))
			return difs_error_set(&pull->error, DIFS_ERROR_CORRUPT, "no good copy of segment %llu of block group %016llx is left",
								  (unsigned long long) item->entry.segment, (unsigned long long) pull->asked.group);
		difs_log(DIFS_LOG_ERROR, "group %016llx: no good copy of segment %llu is left", (unsigned long long) pull->asked.group,
				 (unsigned long long) item->entry.segment);
		item->entry.offset = pull->file_bytes;
		item->entry.flags = DIFS_LIST_DAMAGED;
		item->settled = item->taken = true;
		pull->file_bytes += difs_record_size(item->entry.stored_length);
		atomic_fetch_add(&pull->damaged, 1);
	}
	return true;
}

static bool
make_index(Copy *copy)
{
	DifsGroupPull *pull = copy->pull;

	for (uint32_t i = 0; i < copy->count; i++)
	{
		if (copy->items[i].taken)
			difs_index_append(&pull->index, &copy->items[i].entry);
	}
	difs_index_sort(&pull->index);
	/* The padding of the last record. */
	return ftruncate(pull->file->fd, (off_t) pull->file_bytes) == 0 || write_failed(&pull->error);
}

static bool
write_failed(DifsError *error)
{
	int saved = errno;

	difs_error_set(error, DIFS_ERROR_IO, "could not write file");
	if (difs_lacks_room(saved))
		error->code = DIFS_ERROR_FULL;
	return false;
}
