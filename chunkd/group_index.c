/*
 * group_index.c - see group_index.h.
 *
 * Segment ids grow with time, so an insertion is nearly always an append, and a
 * sorted array does what a tree would, in 32 bytes for each segment and in the very
 * order that the index file has.  Ids that come in any order cost a memmove each.
 *
 * The index file is written once, when the group is sealed, compacted or its
 * index is found damaged: as .tmp, synced, renamed.  After that only flags and the
 * header change, in place, by pwrite() and never through the mapping.
 */
#include "group_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../common/bytes.h"
#include "../common/fault.h"
#include "file_io.h"
#include "memory.h"

#define FLAGS_AT (DIFS_LIST_ENTRY_SIZE - 4)

static uint32_t position_of(const DifsIndex *index, uint64_t segment);
static void make_room(DifsIndex *index);
static int compare_entries(const void *a, const void *b);
static bool check_header(const char *path, const DifsGroupHeader *group, DifsIndexMap *map, DifsIndexHeader *header,
						 DifsError *error);
static bool check_all_entries(const char *path, const DifsIndexMap *map, const DifsIndexHeader *header,
							  DifsError *error);
static void add_to_totals(const DifsListEntry *entry, DifsIndexTotals *totals);

DifsListEntry *
difs_index_find(const DifsIndex *index, uint64_t segment)
{
	uint32_t position = position_of(index, segment);

	if (position == index->count || index->entries[position].segment != segment)
		return NULL;
	return &index->entries[position];
}

void
difs_index_insert(DifsIndex *index, const DifsListEntry *entry)
{
	uint32_t position = position_of(index, entry->segment);

	make_room(index);
	memmove(index->entries + position + 1, index->entries + position,
			(index->count - position) * sizeof(DifsListEntry));
	index->entries[position] = *entry;
	index->count++;
}

void
difs_index_remove(DifsIndex *index, uint64_t segment)
{
	uint32_t position = position_of(index, segment);

	index->count--;
	memmove(index->entries + position, index->entries + position + 1,
			(index->count - position) * sizeof(DifsListEntry));
}

void
difs_index_append(DifsIndex *index, const DifsListEntry *entry)
{
	make_room(index);
	index->entries[index->count++] = *entry;
}

void
difs_index_sort(DifsIndex *index)
{
	if (index->count > 1)
		qsort(index->entries, index->count, sizeof(DifsListEntry), compare_entries);
}

void
difs_index_copy(const DifsIndex *from, DifsIndex *to)
{
	to->count = to->allocated = from->count;
	to->entries = difs_alloc((from->count + 1) * sizeof(DifsListEntry));
	if (from->count > 0)
		memcpy(to->entries, from->entries, from->count * sizeof(DifsListEntry));
}

void
difs_index_free(DifsIndex *index)
{
	free(index->entries);
	*index = (DifsIndex){0};
}

void
difs_index_count(const DifsIndex *index, DifsIndexTotals *totals)
{
	*totals = (DifsIndexTotals){0};
	for (uint32_t i = 0; i < index->count; i++)
		add_to_totals(&index->entries[i], totals);
}

bool
difs_index_write(DifsStore *store, const char *path, DifsIndexHeader *header, const DifsIndex *index, DifsError *error)
{
	size_t size = DIFS_INDEX_HEADER_SIZE + (size_t) index->count * DIFS_LIST_ENTRY_SIZE;
	uint8_t *bytes = difs_alloc(size);
	uint8_t *entries = bytes + DIFS_INDEX_HEADER_SIZE;
	char temporary[DIFS_PATH_SIZE];
	int fd;
	bool ok;

	for (uint32_t i = 0; i < index->count; i++)
		difs_list_entry_pack(&index->entries[i], entries + (size_t) i * DIFS_LIST_ENTRY_SIZE);
	header->count = index->count;
	header->entries_crc = difs_index_entries_crc(0, entries, index->count);
	difs_index_header_pack(header, bytes);

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	fd = store->create(store, temporary, error);
	if (fd < 0)
	{
		free(bytes);
		return false;
	}
	ok = difs_pwrite(fd, bytes, size, 0) ||
		difs_error_set(error, DIFS_ERROR_IO, "could not write file \"%s\"", temporary);
	DIFS_FAULT("chunkd.index.written");
	ok = ok && store->publish(store, fd, temporary, path, error);
	close(fd);
	free(bytes);
	return ok;
}

bool
difs_index_map(DifsStore *store, const char *path, const DifsGroupHeader *group, bool check_entries, DifsIndexMap *map,
			   DifsIndexHeader *header, DifsError *error)
{
	*map = (DifsIndexMap){.fd = store->open(store, path, error)};
	if (map->fd < 0)
		return false;
	if (check_header(path, group, map, header, error) &&
		(!check_entries || check_all_entries(path, map, header, error)))
	{
		map->bytes = mmap(NULL, map->size, PROT_READ, MAP_SHARED, map->fd, 0);
		if (map->bytes != MAP_FAILED)
			return true;
		map->bytes = NULL;
		difs_error_set(error, DIFS_ERROR_IO, "could not map file \"%s\"", path);
	}
	difs_index_unmap(map);
	return false;
}

void
difs_index_unmap(DifsIndexMap *map)
{
	if (map->bytes != NULL)
		munmap(map->bytes, map->size);
	if (map->fd >= 0)
		close(map->fd);
	*map = (DifsIndexMap){.fd = -1};
}

void
difs_index_map_count(const DifsIndexMap *map, DifsIndexTotals *totals)
{
	DifsListEntry entry;

	*totals = (DifsIndexTotals){0};
	for (uint32_t i = 0; i < map->count; i++)
	{
		difs_index_map_entry(map, i, &entry);
		add_to_totals(&entry, totals);
	}
}

void
difs_index_map_entry(const DifsIndexMap *map, uint32_t position, DifsListEntry *entry)
{
	difs_list_entry_unpack(map->bytes + DIFS_INDEX_HEADER_SIZE + (size_t) position * DIFS_LIST_ENTRY_SIZE, entry);
}

uint32_t
difs_index_map_position(const DifsIndexMap *map, uint64_t segment)
{
	uint32_t low = 0;
	uint32_t high = map->count;

	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;

		if (difs_get64(map->bytes + DIFS_INDEX_HEADER_SIZE + (size_t) middle * DIFS_LIST_ENTRY_SIZE) < segment)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
difs_index_map_flags(const DifsIndexMap *map, uint32_t position, uint32_t flags, DifsError *error)
{
	uint8_t bytes[4];

	difs_put32(bytes, flags);
	return difs_pwrite(map->fd, bytes, sizeof(bytes),
					   DIFS_INDEX_HEADER_SIZE + (uint64_t) position * DIFS_LIST_ENTRY_SIZE + FLAGS_AT) ||
		difs_error_set(error, DIFS_ERROR_IO, "could not write index");
}

bool
difs_index_map_header(const DifsIndexMap *map, const DifsIndexHeader *header, DifsError *error)
{
	uint8_t bytes[DIFS_INDEX_HEADER_SIZE];

	difs_index_header_pack(header, bytes);
	return difs_pwrite(map->fd, bytes, sizeof(bytes), 0) ||
		difs_error_set(error, DIFS_ERROR_IO, "could not write index");
}

uint32_t
difs_index_list(const DifsIndex *index, const DifsIndexMap *map, uint64_t cursor, uint8_t *out, uint64_t *next)
{
	bool mapped = map->fd >= 0;
	uint32_t count = mapped ? map->count : index->count;
	uint32_t position = 0;
	uint32_t listed = 0;
	DifsListEntry entry = {0};

	if (cursor == UINT64_MAX)
		position = count;
	else if (cursor > 0)
		position = mapped ? difs_index_map_position(map, cursor + 1) : position_of(index, cursor + 1);
	for (; position < count && listed < DIFS_LIST_MAX_ENTRIES; position++)
	{
		if (mapped)
			difs_index_map_entry(map, position, &entry);
		else
			entry = index->entries[position];
		if ((entry.flags & DIFS_ENTRY_PENDING) == 0)
			difs_list_entry_pack(&entry, out + (size_t) listed++ * DIFS_LIST_ENTRY_SIZE);
	}
	*next = position < count ? entry.segment : 0;
	return listed;
}

static uint32_t
position_of(const DifsIndex *index, uint64_t segment)
{
	uint32_t low = 0;
	uint32_t high = index->count;

	if (high > 0 && index->entries[high - 1].segment < segment)
		return high;
	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;

		if (index->entries[middle].segment < segment)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
make_room(DifsIndex *index)
{
	if (index->count < index->allocated)
		return;
	index->allocated = index->allocated == 0 ? 64 : 2 * index->allocated;
	index->entries = difs_realloc(index->entries, index->allocated * sizeof(DifsListEntry));
}

static int
compare_entries(const void *a, const void *b)
{
	const DifsListEntry *left = a;
	const DifsListEntry *right = b;

	if (left->segment != right->segment)
		return left->segment < right->segment ? -1 : 1;
	return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static bool
check_header(const char *path, const DifsGroupHeader *group, DifsIndexMap *map, DifsIndexHeader *header,
			 DifsError *error)
{
	uint8_t bytes[DIFS_INDEX_HEADER_SIZE];
	uint64_t length;
	uint64_t allocated;

	if (!difs_file_size(map->fd, &length, &allocated, error) ||
		!difs_pread_all(map->fd, bytes, sizeof(bytes), 0, error) ||
		!difs_index_header_unpack(bytes, path, header, error))
		return false;
	if (memcmp(header->group.cluster, group->cluster, DIFS_UUID_SIZE) != 0 || header->group.group != group->group ||
		header->group.salt != group->salt || header->group.generation != group->generation)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "file \"%s\" is the index of another group file", path);
	if (header->count > DIFS_GROUP_MAX_SEGMENTS ||
		length != DIFS_INDEX_HEADER_SIZE + header->count * DIFS_LIST_ENTRY_SIZE)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "file \"%s\" is not of the right length", path);
	map->size = length;
	map->count = (uint32_t) header->count;
	map->entries_crc = header->entries_crc;
	map->incomplete = header->incomplete;
	return true;
}

/* Reads them all once, not through a mapping, so that a disk that cannot read them is an error and not a signal. */
static bool
check_all_entries(const char *path, const DifsIndexMap *map, const DifsIndexHeader *header, DifsError *error)
{
	uint8_t entries[1024 * DIFS_LIST_ENTRY_SIZE];
	uint32_t crc = 0;

	for (uint64_t at = DIFS_INDEX_HEADER_SIZE; at < map->size; at += sizeof(entries))
	{
		size_t size = map->size - at < sizeof(entries) ? map->size - at : sizeof(entries);

		if (!difs_pread_all(map->fd, entries, size, at, error))
			return false;
		crc = difs_index_entries_crc(crc, entries, size / DIFS_LIST_ENTRY_SIZE);
	}
	return crc == header->entries_crc ||
		difs_error_set(error, DIFS_ERROR_CORRUPT, "entries of file \"%s\" are damaged", path);
}

static void
add_to_totals(const DifsListEntry *entry, DifsIndexTotals *totals)
{
	if (entry->flags & DIFS_LIST_DAMAGED)
		totals->damaged++;
	if (entry->segment == 0 || entry->flags & (DIFS_LIST_DEAD | DIFS_ENTRY_PENDING))
		return;
	totals->live_segments++;
	totals->live_bytes += entry->stored_length;
}
