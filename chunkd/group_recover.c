/*
 * group_recover.c - finds out what a group file holds by walking the headers of
 * its records.
 *
 * Each record says how many bytes of the file were durable when it was written. So
 * the records themselves tell the two kinds of damage apart: let S be the greatest
 * such number of all records that are found.
 *
 *	0      header    records known to be durable           S   last commit, perhaps torn     end
 *	|--------|----------------|XXX|-------------------------|---------|XXXX|---------|XXXXXXX|
 *	                          bit rot: listed as damaged              torn           cut off
 *
 * Below S nothing is ever cut: a place without a valid record is bit rot; it is
 * logged, listed and skipped to the next valid record of this group, which is
 * looked for at every multiple of 64 bytes.
 *
 * From S on are the records of the last commit, of which nobody knows whether it
 * was acknowledged.  Their bytes are checked, and the file ends behind the last
 * one that is right.  One that is wrong in front of that is kept and listed as
 * damaged if its header can be read: it is either nobody's or somebody's whose
 * bytes rotted.
 *
 * What cannot be read is neither torn nor rotten: an open group fails then, and its
 * file is left as it is, so that nothing is cut, and no index is written that leaves
 * out what can be read the next time.
 *
 * The check of the tail reads the disk and not what the page cache believes: what
 * a process before us wrote is synced first, then dropped from the cache.
 *
 * A crash in the middle is repeated by the next recovery: nothing is changed but
 * the end of the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/bytes.h"
#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "memory.h"

#define MAX_DAMAGED_PLACES	1024	/* more are counted, but not listed */
#define SCAN_SIZE			(1024 * 1024)
#define VERIFY_SIZE			(16 * DIFS_BLOCK_SIZE)

typedef struct Walk
{
	int			fd;
	const DifsGroupHeader *header;
	DifsRecovery *recovery;
	DifsError  *error;
	bool		writable;
	uint64_t	file_bytes;
	uint64_t	synced;			/* S */
	bool		unreadable;		/* the disk has refused a read */
	DifsListEntry places[MAX_DAMAGED_PLACES];	/* without a valid record */
	uint32_t	place_count;
	uint8_t		packed[DIFS_MAX_PACKED_SIZE];
	uint8_t		buffer[SCAN_SIZE];
} Walk;

static bool walk_records(Walk *walk);
static bool read_record(Walk *walk, uint64_t offset, DifsSegment *segment, bool *valid);
static bool next_record(Walk *walk, uint64_t offset, uint64_t *found);
static uint64_t dead_bytes(const Walk *walk, uint64_t offset, uint32_t stored_length);
static void add_place(Walk *walk, uint64_t offset, uint64_t end);
static void remove_repeated(Walk *walk);
static bool check_tail(Walk *walk, uint64_t *end);
static bool check_bytes(Walk *walk, const DifsListEntry *entry, bool *right);
static bool cut_tail(Walk *walk, DifsStore *store, uint64_t end);
static void list_places(Walk *walk);

bool
difs_group_recover(DifsStore *store, int fd, const DifsGroupHeader *header, bool writable, DifsRecovery *recovery,
				   DifsError *error)
{
	Walk	   *walk = difs_alloc(sizeof(*walk));
	uint64_t	allocated;
	uint64_t	end;
	bool		ok;

	*recovery = (DifsRecovery) {0};
	walk->fd = fd;
	walk->header = header;
	walk->recovery = recovery;
	walk->error = error;
	walk->writable = writable;
	walk->synced = DIFS_GROUP_HEADER_SIZE;

	ok = difs_file_size(fd, &walk->file_bytes, &allocated, error) && walk_records(walk);
	end = walk->file_bytes;
	if (ok && writable)
	{
		ok = store->sync(store, fd, error) && check_tail(walk, &end);
		DIFS_FAULT("chunkd.recover.checked");
		ok = ok && cut_tail(walk, store, end);
		DIFS_FAULT("chunkd.recover.cut");
	}
	if (ok)
	{
		recovery->cut_bytes = walk->file_bytes - end;
		recovery->file_bytes = end;
		list_places(walk);
		difs_index_sort(&recovery->index);
		remove_repeated(walk);
	}
	else
		difs_index_free(&recovery->index);
	free(walk);
	return ok;
}

/* Collects all valid records, in the order of the file, and the places without one. */
static bool
walk_records(Walk *walk)
{
	uint64_t	offset = DIFS_GROUP_HEADER_SIZE;
	uint64_t	found;
	DifsSegment segment;
	bool		valid;

	while (offset < walk->file_bytes)
	{
		if (!read_record(walk, offset, &segment, &valid))
			return false;
		if (!valid)
		{
			if (!next_record(walk, offset + DIFS_RECORD_ALIGNMENT, &found))
				return false;
			add_place(walk, offset, found);
			offset = found;
			continue;
		}
		difs_index_append(&walk->recovery->index, &(DifsListEntry) {
			.segment = segment.segment,
			.xid = segment.xid,
			.offset = offset,
			.stored_length = segment.stored_length,
			.flags = segment.dead ? DIFS_LIST_DEAD : 0
		});
		if (segment.synced > walk->synced)
			walk->synced = segment.synced;
		if (segment.dead)
			walk->recovery->dead_bytes += dead_bytes(walk, offset, segment.stored_length);
		offset += difs_record_size(segment.stored_length);
	}
	return true;
}

/* False only if the disk cannot be read at all; a bad sector is an invalid record like any other damage. */
static bool
read_record(Walk *walk, uint64_t offset, DifsSegment *segment, bool *valid)
{
	ssize_t		got = difs_pread(walk->fd, walk->packed, sizeof(walk->packed), offset);

	*valid = false;
	if (got < 0 && errno != EIO)
		return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read group file");
	if (got < 0)
	{
		walk->unreadable = true;
		got = difs_pread(walk->fd, walk->packed, DIFS_SEGMENT_HEADER_SIZE, offset);
	}
	*valid = got > 0 && difs_record_unpack(walk->packed, (size_t) got, walk->header, offset, segment, NULL) &&
		difs_record_size(segment->stored_length) <= walk->file_bytes - offset;
	return true;
}

/* Looks for the next valid record; *found is the end of the file if there is none. */
static bool
next_record(Walk *walk, uint64_t offset, uint64_t *found)
{
	DifsSegment segment;
	bool		valid;

	*found = walk->file_bytes;
	for (; offset < walk->file_bytes; offset += SCAN_SIZE)
	{
		ssize_t		got = difs_pread(walk->fd, walk->buffer, SCAN_SIZE, offset);

		if (got < 0 && errno == EIO)
		{
			walk->unreadable = true;
			continue;
		}
		if (got < 0)
			return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read group file");
		for (size_t at = 0; at + DIFS_SEGMENT_HEADER_SIZE <= (size_t) got; at += DIFS_RECORD_ALIGNMENT)
		{
			uint32_t	magic = difs_get32(walk->buffer + at);

			if (magic != DIFS_SEGMENT_MAGIC && magic != DIFS_SEGMENT_MAGIC_DEAD)
				continue;
			if (!read_record(walk, offset + at, &segment, &valid))
				return false;
			if (valid)
			{
				*found = offset + at;
				return true;
			}
		}
	}
	return true;
}

/* What a dead record still takes: less its pages if they are a hole. */
static uint64_t
dead_bytes(const Walk *walk, uint64_t offset, uint32_t stored_length)
{
	uint64_t	start;
	uint64_t	pages = difs_record_pages(offset, stored_length, &start);
	off_t		data = pages > 0 ? lseek(walk->fd, (off_t) start, SEEK_DATA) : -1;
	bool		hole = pages > 0 && (data < 0 ? errno == ENXIO : (uint64_t) data >= start + pages);

	return difs_record_size(stored_length) - (hole ? pages : 0);
}

static void
add_place(Walk *walk, uint64_t offset, uint64_t end)
{
	uint64_t	length = end - offset;

	if (walk->place_count == MAX_DAMAGED_PLACES)
	{
		walk->recovery->damaged++;
		return;
	}
	walk->places[walk->place_count++] = (DifsListEntry) {
		.offset = offset,
		.stored_length = length > UINT32_MAX ? UINT32_MAX : (uint32_t) length,
		.flags = DIFS_LIST_DAMAGED
	};
}

/* Checks the bytes of the records from S on, and sets *end to where the last right one ends. */
static bool
check_tail(Walk *walk, uint64_t *end)
{
	DifsIndex  *index = &walk->recovery->index;
	uint32_t	first = index->count;
	uint32_t	keep;

	/* Without it the check would be weaker, not wrong. */
	(void) posix_fadvise(walk->fd, (off_t) walk->synced, 0, POSIX_FADV_DONTNEED);
	*end = walk->synced < walk->file_bytes ? walk->synced : walk->file_bytes;
	while (first > 0 && index->entries[first - 1].offset >= walk->synced)
		first--;
	keep = first;
	for (uint32_t i = first; i < index->count; i++)
	{
		DifsListEntry *entry = &index->entries[i];
		bool		right = true;

		if (!(entry->flags & DIFS_LIST_DEAD) && !check_bytes(walk, entry, &right))
			return false;
		if (!right)
		{
			entry->flags |= DIFS_LIST_DAMAGED;
			continue;
		}
		keep = i + 1;
		*end = entry->offset + difs_record_size(entry->stored_length);
	}
	if (walk->unreadable)
	{
		errno = EIO;
		return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read all of the group file");
	}
	index->count = keep;
	for (uint32_t i = first; i < keep; i++)
	{
		if (index->entries[i].flags & DIFS_LIST_DAMAGED)
			walk->recovery->damaged++;
	}
	return true;
}

static bool
check_bytes(Walk *walk, const DifsListEntry *entry, bool *right)
{
	DifsSegment segment;
	uint64_t	at = entry->offset + difs_segment_packed_size(entry->stored_length);

	if (!read_record(walk, entry->offset, &segment, right))
		return false;
	if (DIFS_FAULT_SKIP("chunkd.recover.checksum"))
		return true;
	for (uint32_t done = 0; *right && done < entry->stored_length; done += VERIFY_SIZE)
	{
		uint32_t	length = entry->stored_length - done < VERIFY_SIZE ? entry->stored_length - done : VERIFY_SIZE;
		ssize_t		got = difs_pread(walk->fd, walk->buffer, length, at + done);

		if (got < 0)
			return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read group file");
		*right = got == (ssize_t) length &&
			difs_segment_verify(walk->packed, done / DIFS_BLOCK_SIZE, walk->buffer, length, NULL);
	}
	return true;
}

static bool
cut_tail(Walk *walk, DifsStore *store, uint64_t end)
{
	if (end == walk->file_bytes)
		return true;
	if (ftruncate(walk->fd, (off_t) end) != 0)
		return difs_error_set(walk->error, DIFS_ERROR_IO, "could not cut off the torn tail");
	return store->sync(store, walk->fd, walk->error);
}

/* Bit rot is listed; what a crash tore is nobody's.  A group that is not open has no last commit: all of it was
 * durable. */
static void
list_places(Walk *walk)
{
	for (uint32_t i = 0; i < walk->place_count; i++)
	{
		if (walk->writable && walk->places[i].offset >= walk->synced)
			continue;
		difs_index_append(&walk->recovery->index, &walk->places[i]);
		walk->recovery->damaged++;
	}
}

/* An id is never written twice; should a disk say so, the first one counts. */
static void
remove_repeated(Walk *walk)
{
	DifsIndex  *index = &walk->recovery->index;
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < index->count; i++)
	{
		if (kept > 0 && index->entries[i].segment != 0 && index->entries[i].segment == index->entries[kept - 1].segment)
		{
			walk->recovery->damaged++;
			continue;
		}
		index->entries[kept++] = index->entries[i];
	}
	index->count = kept;
}
