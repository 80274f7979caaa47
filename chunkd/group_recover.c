/*
 * group_recover.c - finds out what a group file holds by walking the headers of
 * its records.
 *
 * Each record says how many bytes of the file were durable when it was written, and
 * the file's header how many the last recovery found durable. That tells the two kinds
 * of damage apart: let S be the greatest such number of all that are found.
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
 * damaged: it is either nobody's or somebody's whose bytes rotted.
 *
 * Zeros at the end of an open group may be a reserve (group_reserve.c): they are cut off like what is torn, but not called so.  In one
 * that has failed nothing is cut, and they are no damage.
 *
 * What is cut off may have been all that said S.  So before anything is cut, the end
 * goes into the header, durably: whatever rots in front of it from now on is rot, after
 * the next crash too.  A file that is shorter than its header says has lost its end,
 * which is listed like any other place; an open one gets its length back, so that
 * nothing new is written there.
 *
 * What cannot be read is neither torn nor rotten: an open group fails then, and its
 * file is left as it is, so that nothing is cut.  In one that is sealed or has failed,
 * a record whose header can still be read is listed as damaged, and where none can, the
 * place is; "unreadable" then says that another attempt may find more.
 *
 * The check of the tail reads the disk and not what the page cache believes: what
 * a process before us wrote is synced first, then dropped from the cache.
 *
 * A crash in the middle is repeated by the next recovery: nothing is changed but
 * the header and the end of the file.
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

#define MAX_DAMAGED_PLACES 1024 /* more are counted, but not listed */
#define SCAN_SIZE (1024 * 1024)
#define VERIFY_SIZE (16 * DIFS_BLOCK_SIZE)

typedef struct Walk
{
	int fd;
	DifsGroupHeader *header;
	DifsRecovery *recovery;
	DifsError *error;
	DifsRecoveryOf group;
	uint64_t file_bytes;					  /* or S, if that is more */
	uint64_t synced;						  /* S */
	uint64_t unreadable_at;					  /* the last record read ended here, as the disk refused to give more; or UINT64_MAX */
	DifsListEntry places[MAX_DAMAGED_PLACES]; /* without a valid record */
	uint32_t place_count;
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint8_t buffer[SCAN_SIZE];
} Walk;

static bool walk_records(Walk *walk);
static bool read_record(Walk *walk, uint64_t offset, DifsSegment *segment, bool *valid);
static ssize_t read_pages(Walk *walk, uint64_t offset);
static bool next_record(Walk *walk, uint64_t offset, uint64_t *found);
static uint64_t dead_bytes(const Walk *walk, uint64_t offset, uint32_t stored_length);
static void add_place(Walk *walk, uint64_t offset, uint64_t end);
static void remove_repeated(Walk *walk);
static bool check_tail(Walk *walk, uint64_t *end);
static bool check_bytes(Walk *walk, const DifsListEntry *entry, bool *right);
static bool mark_end(Walk *walk, DifsStore *store, uint64_t end);
static bool cut_tail(Walk *walk, DifsStore *store, uint64_t length, uint64_t end);
static uint64_t last_byte(Walk *walk, uint64_t offset, uint64_t end);
static void list_places(Walk *walk, uint64_t end);

bool
difs_group_recover(DifsStore *store, int fd, DifsGroupHeader *header, DifsRecoveryOf group, DifsRecovery *recovery,
				   DifsError *error)
{
	Walk *walk = difs_alloc(sizeof(*walk));
	uint64_t length = 0;
	uint64_t allocated;
	uint64_t end;
	bool ok;

	*recovery = (DifsRecovery){0};
	walk->fd = fd;
	walk->header = header;
	walk->recovery = recovery;
	walk->error = error;
	walk->group = group;
	walk->synced = header->synced > DIFS_GROUP_HEADER_SIZE ? header->synced : DIFS_GROUP_HEADER_SIZE;

	ok = difs_file_size(fd, &length, &allocated, error);
	walk->file_bytes = header->synced > length ? header->synced : length;
	ok = ok && walk_records(walk);
	end = length;
	if (ok && group == DIFS_RECOVERY_OF_OPEN)
	{
		ok = store->sync(store, fd, error) && check_tail(walk, &end);
		DIFS_FAULT("chunkd.recover.checked");
		recovery->torn_bytes = ok && length > end ? last_byte(walk, end, length) - end : 0;
		ok = ok && mark_end(walk, store, end);
		DIFS_FAULT("chunkd.recover.marked");
		ok = ok && cut_tail(walk, store, length, end);
		DIFS_FAULT("chunkd.recover.cut");
	}
	if (ok)
	{
		recovery->cut_bytes = length > end ? length - end : 0;
		recovery->file_bytes = end;
		list_places(walk, end);
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
	uint64_t offset = DIFS_GROUP_HEADER_SIZE;
	uint64_t found;
	DifsSegment segment;
	bool valid;

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
		difs_index_append(&walk->recovery->index, &(DifsListEntry){
													  .segment = segment.segment,
													  .xid = segment.xid,
													  .offset = offset,
													  .stored_length = segment.stored_length,
													  .flags = segment.dead ? DIFS_LIST_DEAD : 0,
												  });
		if (!segment.dead && walk->unreadable_at < offset + difs_record_size(segment.stored_length))
		{
			walk->recovery->index.entries[walk->recovery->index.count - 1].flags |= DIFS_LIST_DAMAGED;
			walk->recovery->damaged++;
		}
		if (segment.synced > walk->synced)
			walk->synced = segment.synced;
		if (segment.dead)
			walk->recovery->dead_bytes += dead_bytes(walk, offset, segment.stored_length);
		offset += difs_record_size(segment.stored_length);
	}
	return true;
}

/* False only if the disk cannot be read at all; a bad sector is an invalid record like any other damage, unless the record's
 * header lies in front of it. */
static bool
read_record(Walk *walk, uint64_t offset, DifsSegment *segment, bool *valid)
{
	ssize_t got = difs_pread(walk->fd, walk->packed, sizeof(walk->packed), offset);

	*valid = false;
	walk->unreadable_at = UINT64_MAX;
	if (got < 0 && errno == EIO)
	{
		walk->recovery->unreadable = true;
		got = read_pages(walk, offset);
	}
	if (got < 0)
		return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read group file");
	*valid = got > 0 && difs_record_unpack(walk->packed, (size_t) got, walk->header, offset, segment, NULL) &&
		difs_record_size(segment->stored_length) <= walk->file_bytes - offset;
	return true;
}

/* Reads into walk->packed what there is up to the first page that the disk refuses. */
static ssize_t
read_pages(Walk *walk, uint64_t offset)
{
	size_t done = 0;

	while (done < sizeof(walk->packed))
	{
		size_t page = DIFS_PAGE_BYTES - (offset + done) % DIFS_PAGE_BYTES;
		size_t size = sizeof(walk->packed) - done < page ? sizeof(walk->packed) - done : page;
		ssize_t got = difs_pread(walk->fd, walk->packed + done, size, offset + done);

		if (got < 0 && errno != EIO)
			return -1;
		if (got < 0)
			walk->unreadable_at = offset + done;
		else
			done += (size_t) got;
		if (got < (ssize_t) size)
			break;
	}
	return (ssize_t) done;
}

/* Looks for the next valid record; *found is the end of the file if there is none.  Where the disk refuses to read, it is asked
 * for one page at a time. */
static bool
next_record(Walk *walk, uint64_t offset, uint64_t *found)
{
	DifsSegment segment;
	uint64_t pages_until = 0;
	size_t size;
	bool valid;

	*found = walk->file_bytes;
	for (; offset < walk->file_bytes; offset += size)
	{
		ssize_t got;

		size = offset < pages_until ? DIFS_PAGE_BYTES - offset % DIFS_PAGE_BYTES : SCAN_SIZE;
		got = difs_pread(walk->fd, walk->buffer, size, offset);
		if (got < 0 && errno == EIO)
		{
			walk->recovery->unreadable = true;
			if (size == SCAN_SIZE)
			{
				pages_until = offset + SCAN_SIZE;
				size = 0;
			}
			continue;
		}
		if (got < 0)
			return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read group file");
		if (got == 0)
			break;
		for (size_t at = 0; at + DIFS_SEGMENT_HEADER_SIZE <= (size_t) got; at += DIFS_RECORD_ALIGNMENT)
		{
			uint32_t magic = difs_get32(walk->buffer + at);

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
	uint64_t start;
	uint64_t pages = difs_record_pages(offset, stored_length, &start);
	off_t data = pages > 0 ? lseek(walk->fd, (off_t) start, SEEK_DATA) : -1;
	bool hole = pages > 0 && (data < 0 ? errno == ENXIO : (uint64_t) data >= start + pages);

	return difs_record_size(stored_length) - (hole ? pages : 0);
}

static void
add_place(Walk *walk, uint64_t offset, uint64_t end)
{
	uint64_t length = end - offset;

	if (walk->place_count == MAX_DAMAGED_PLACES)
	{
		walk->recovery->damaged++;
		return;
	}
	walk->places[walk->place_count++] = (DifsListEntry){
		.offset = offset,
		.stored_length = length > UINT32_MAX ? UINT32_MAX : (uint32_t) length,
		.flags = DIFS_LIST_DAMAGED,
	};
}

/* Checks the bytes of the records from S on, and sets *end to where the last right one ends. S lies between two records, unless
 * one of those that say so is false: then the one that reaches beyond it stays whole. */
static bool
check_tail(Walk *walk, uint64_t *end)
{
	DifsIndex *index = &walk->recovery->index;
	uint32_t first = index->count;
	uint32_t keep;

	/* Without it the check would be weaker, not wrong. */
	(void) posix_fadvise(walk->fd, (off_t) walk->synced, 0, POSIX_FADV_DONTNEED);
	*end = walk->synced < walk->file_bytes ? walk->synced : walk->file_bytes;
	while (first > 0 && index->entries[first - 1].offset >= walk->synced)
		first--;
	if (first > 0)
	{
		uint64_t before = index->entries[first - 1].offset + difs_record_size(index->entries[first - 1].stored_length);

		*end = before > *end ? before : *end;
	}
	keep = first;
	for (uint32_t i = first; i < index->count; i++)
	{
		DifsListEntry *entry = &index->entries[i];
		bool right = true;

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
	if (walk->recovery->unreadable)
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
	uint64_t at = entry->offset + difs_segment_packed_size(entry->stored_length);

	if (!read_record(walk, entry->offset, &segment, right))
		return false;
	if (DIFS_FAULT_SKIP("chunkd.recover.checksum"))
		return true;
	for (uint32_t done = 0; *right && done < entry->stored_length; done += VERIFY_SIZE)
	{
		uint32_t length = entry->stored_length - done < VERIFY_SIZE ? entry->stored_length - done : VERIFY_SIZE;
		ssize_t got = difs_pread(walk->fd, walk->buffer, length, at + done);

		if (got < 0)
			return difs_error_set(walk->error, DIFS_ERROR_IO, "could not read group file");
		*right = got == (ssize_t) length &&
			difs_segment_verify(walk->packed, done / DIFS_BLOCK_SIZE, walk->buffer, length, NULL);
	}
	return true;
}

/* All in front of the end has been synced; what of it was not known to be durable before has been checked. */
static bool
mark_end(Walk *walk, DifsStore *store, uint64_t end)
{
	DifsGroupHeader header = *walk->header;
	uint8_t packed[DIFS_GROUP_HEADER_SIZE];

	if (end == header.synced || end == DIFS_GROUP_HEADER_SIZE)
		return true;
	header.synced = end;
	difs_group_header_pack(&header, packed);
	if (!difs_pwrite(walk->fd, packed, sizeof(packed), 0))
		return difs_error_set(walk->error, DIFS_ERROR_IO, "could not write the header of the group file");
	if (!store->sync(store, walk->fd, walk->error))
		return false;
	*walk->header = header;
	return true;
}

/* Or gives a file that has lost its end its length back. */
static bool
cut_tail(Walk *walk, DifsStore *store, uint64_t length, uint64_t end)
{
	if (end == length)
		return true;
	if (ftruncate(walk->fd, (off_t) end) != 0)
		return difs_error_set(walk->error, DIFS_ERROR_IO, "could not cut off the torn tail");
	return store->sync(store, walk->fd, walk->error);
}

/* Where the last byte between the two ends that is not zero, or cannot be read; offset if there is none. */
static uint64_t
last_byte(Walk *walk, uint64_t offset, uint64_t end)
{
	uint64_t last = offset;

	while (offset < end)
	{
		size_t size = end - offset < SCAN_SIZE ? end - offset : SCAN_SIZE;
		ssize_t got = difs_pread(walk->fd, walk->buffer, size, offset);

		for (size_t at = 0; at < size; at++)
		{
			if (got < 0 || (at < (size_t) got && walk->buffer[at] != 0))
				last = offset + at + 1;
		}
		offset += size;
	}
	return last;
}

/* What a crash tore is nobody's, and has been cut off; what is left has rotted, or may have. */
static void
list_places(Walk *walk, uint64_t end)
{
	for (uint32_t i = 0; i < walk->place_count; i++)
	{
		const DifsListEntry *place = &walk->places[i];

		if (walk->group == DIFS_RECOVERY_OF_OPEN && place->offset >= end)
			continue;
		if (walk->group == DIFS_RECOVERY_OF_FAILED && place->offset >= walk->synced && place->offset + place->stored_length == walk->file_bytes &&
			last_byte(walk, place->offset, walk->file_bytes) == place->offset)
			continue;
		difs_index_append(&walk->recovery->index, place);
		walk->recovery->damaged++;
	}
}

/* An id is written twice only if it is mended while its record cannot be read: the first one that is right counts. */
static void
remove_repeated(Walk *walk)
{
	DifsIndex *index = &walk->recovery->index;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < index->count; i++)
	{
		if (kept > 0 && index->entries[i].segment != 0 && index->entries[i].segment == index->entries[kept - 1].segment)
		{
			if (index->entries[kept - 1].flags & DIFS_LIST_DAMAGED)
				index->entries[kept - 1] = index->entries[i];
			walk->recovery->damaged++;
			continue;
		}
		index->entries[kept++] = index->entries[i];
	}
	index->count = kept;
}
