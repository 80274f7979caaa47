/*
 * group_check.c - what is on the disk is what it should be: a record, a group's header, its index.
 *
 * For jobs.  The page cache is told to forget first, so that the disk is read; where
 * this is not possible, the check is weaker.  No state.
 */
#include <fcntl.h>
#include <string.h>

#include "file_io.h"
#include "group_jobs.h"

static bool check_record_header(const DifsGroupFile *file, const DifsListEntry *entry, DifsCheckRoom *room, DifsError *error);

bool
difs_group_check_record(const DifsGroupFile *file, const DifsListEntry *entry, DifsCheckRoom *room, DifsError *error)
{
	uint64_t at = entry->offset + difs_segment_packed_size(entry->stored_length);

	(void) posix_fadvise(file->fd, (off_t) entry->offset, (off_t) difs_record_size(entry->stored_length),
						 POSIX_FADV_DONTNEED);
	if (!check_record_header(file, entry, room, error))
		return false;
	for (uint64_t done = 0; done < entry->stored_length; done += DIFS_CHECK_BYTES)
	{
		uint64_t left = entry->stored_length - done;
		uint32_t length = left < DIFS_CHECK_BYTES ? (uint32_t) left : DIFS_CHECK_BYTES;

		if (!difs_pread_all(file->fd, room->bytes, length, at + done, error) ||
			!difs_segment_verify(room->packed, (uint32_t) (done / DIFS_BLOCK_SIZE), room->bytes, length, error))
			return false;
	}
	return true;
}

bool
difs_group_check_header(const DifsGroupFile *file, DifsError *error)
{
	uint8_t packed[DIFS_GROUP_HEADER_SIZE];
	uint8_t right[DIFS_GROUP_HEADER_SIZE];

	(void) posix_fadvise(file->fd, 0, sizeof(packed), POSIX_FADV_DONTNEED);
	difs_group_header_pack(&file->header, right);
	if (!difs_pread_all(file->fd, packed, sizeof(packed), 0, error))
		return false;
	return memcmp(packed, right, sizeof(packed)) == 0 ||
		difs_error_set(error, DIFS_ERROR_CORRUPT, "header of block group %016llx is damaged",
					   (unsigned long long) file->header.group);
}

/* Its flags are not looked at: they change, and the records know better. */
bool
difs_group_check_index(const DifsGroupFile *file, DifsError *error)
{
	uint8_t bytes[1024 * DIFS_LIST_ENTRY_SIZE];
	const DifsIndexMap *map = &file->map;
	DifsIndexHeader header;
	uint32_t crc = 0;

	if (map->fd < 0)
		return true;
	(void) posix_fadvise(map->fd, 0, 0, POSIX_FADV_DONTNEED);
	if (!difs_pread_all(map->fd, bytes, DIFS_INDEX_HEADER_SIZE, 0, error) ||
		!difs_index_header_unpack(bytes, "the index", &header, error))
		return false;
	for (uint64_t at = DIFS_INDEX_HEADER_SIZE; at < map->size; at += sizeof(bytes))
	{
		size_t size = map->size - at < sizeof(bytes) ? map->size - at : sizeof(bytes);

		if (!difs_pread_all(map->fd, bytes, size, at, error))
			return false;
		crc = difs_index_entries_crc(crc, bytes, size / DIFS_LIST_ENTRY_SIZE);
	}
	return crc == map->entries_crc ||
		difs_error_set(error, DIFS_ERROR_CORRUPT, "index of block group %016llx is damaged",
					   (unsigned long long) file->header.group);
}

static bool
check_record_header(const DifsGroupFile *file, const DifsListEntry *entry, DifsCheckRoom *room, DifsError *error)
{
	size_t packed_size = difs_segment_packed_size(entry->stored_length);
	DifsSegment segment;

	if (!difs_pread_all(file->fd, room->packed, packed_size, entry->offset, error) ||
		!difs_record_unpack(room->packed, packed_size, &file->header, entry->offset, &segment, error))
		return false;
	if (segment.segment != entry->segment || segment.stored_length != entry->stored_length || segment.xid != entry->xid)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "record of segment %llu is that of another",
							  (unsigned long long) entry->segment);
	if (segment.dead)
		return difs_error_set(error, DIFS_ERROR_NO_SEGMENT, "segment %llu has been deleted",
							  (unsigned long long) segment.segment);
	return true;
}
