/*
 * disk_format.c - packing and unpacking of what disk_format.h describes.
 *
 * No state.  Everything read from a disk is checked here before it is used.
 */
#include "disk_format.h"

#include "../common/bytes.h"
#include "../common/crc32c.h"

#define CRC_AT 12
#define GROUP_AT 16	 /* the group's description, in both headers */
#define SYNCED_AT 72 /* behind it, in a group header */

#define MAGIC_BYTES 8
static const char group_magic[MAGIC_BYTES] = {'D', 'I', 'F', 'S', 'G', 'R', 'P', '1'};
static const char index_magic[MAGIC_BYTES] = {'D', 'I', 'F', 'S', 'I', 'D', 'X', '1'};

static uint32_t header_crc(const uint8_t *header, size_t size);
static bool check_header(const uint8_t *in, size_t size, const char *magic, const char *label, DifsError *error);
static void pack_group(const DifsGroupHeader *header, uint8_t *at);
static void unpack_group(const uint8_t *at, DifsGroupHeader *header);

void
difs_group_header_pack(const DifsGroupHeader *header, uint8_t out[DIFS_GROUP_HEADER_SIZE])
{
	memset(out, 0, DIFS_GROUP_HEADER_SIZE);
	memcpy(out, group_magic, MAGIC_BYTES);
	difs_put32(out + 8, DIFS_DISK_VERSION);
	pack_group(header, out + GROUP_AT);
	difs_put64(out + SYNCED_AT, header->synced);
	difs_put32(out + CRC_AT, header_crc(out, DIFS_GROUP_HEADER_SIZE));
}

bool
difs_group_header_unpack(const uint8_t in[DIFS_GROUP_HEADER_SIZE], const char *label, DifsGroupHeader *header,
						 DifsError *error)
{
	if (!check_header(in, DIFS_GROUP_HEADER_SIZE, group_magic, label, error))
		return false;
	unpack_group(in + GROUP_AT, header);
	header->synced = difs_get64(in + SYNCED_AT);
	return true;
}

void
difs_index_header_pack(const DifsIndexHeader *header, uint8_t out[DIFS_INDEX_HEADER_SIZE])
{
	memset(out, 0, DIFS_INDEX_HEADER_SIZE);
	memcpy(out, index_magic, MAGIC_BYTES);
	difs_put32(out + 8, DIFS_DISK_VERSION);
	pack_group(&header->group, out + GROUP_AT);
	difs_put64(out + 72, header->count);
	difs_put64(out + 80, header->file_bytes);
	difs_put64(out + 88, header->live_segments);
	difs_put64(out + 96, header->live_bytes);
	difs_put64(out + 104, header->dead_bytes);
	difs_put32(out + 112, header->entries_crc);
	difs_put32(out + 116, header->incomplete);
	difs_put32(out + CRC_AT, header_crc(out, DIFS_INDEX_HEADER_SIZE));
}

bool
difs_index_header_unpack(const uint8_t in[DIFS_INDEX_HEADER_SIZE], const char *label, DifsIndexHeader *header,
						 DifsError *error)
{
	if (!check_header(in, DIFS_INDEX_HEADER_SIZE, index_magic, label, error))
		return false;
	unpack_group(in + GROUP_AT, &header->group);
	header->count = difs_get64(in + 72);
	header->file_bytes = difs_get64(in + 80);
	header->live_segments = difs_get64(in + 88);
	header->live_bytes = difs_get64(in + 96);
	header->dead_bytes = difs_get64(in + 104);
	header->entries_crc = difs_get32(in + 112);
	header->incomplete = difs_get32(in + 116) != 0;
	return true;
}

uint32_t
difs_index_entries_crc(uint32_t crc, const uint8_t *entries, uint64_t count)
{
	static const uint8_t no_flags[4];
	const size_t flags_at = DIFS_LIST_ENTRY_SIZE - sizeof(no_flags);

	for (uint64_t i = 0; i < count; i++)
	{
		crc = difs_crc32c(crc, entries + i * DIFS_LIST_ENTRY_SIZE, flags_at);
		crc = difs_crc32c(crc, no_flags, sizeof(no_flags));
	}
	return crc;
}

/* The finaliser of splitmix64, over both: every bit of the result depends on every bit of the offset. */
uint64_t
difs_record_mask(uint64_t salt, uint64_t offset)
{
	uint64_t mask = salt + offset * 0x9E3779B97F4A7C15;

	mask = (mask ^ (mask >> 30)) * 0xBF58476D1CE4E5B9;
	mask = (mask ^ (mask >> 27)) * 0x94D049BB133111EB;
	return mask ^ (mask >> 31);
}

void
difs_record_pack(const DifsSegment *segment, uint64_t salt, uint64_t offset, uint64_t synced, uint8_t *packed)
{
	DifsSegment record = *segment;

	record.synced = synced ^ difs_record_mask(salt, offset);
	difs_segment_pack(&record, NULL, packed);
}

bool
difs_record_unpack(const uint8_t *packed, size_t size, const DifsGroupHeader *header, uint64_t offset,
				   DifsSegment *segment, DifsError *error)
{
	if (!difs_segment_unpack(packed, size, segment, error))
		return false;
	if (segment->group != header->group)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "record of block group %016llx in block group %016llx",
							  (unsigned long long) segment->group, (unsigned long long) header->group);
	segment->synced ^= difs_record_mask(header->salt, offset);
	if (segment->synced < DIFS_GROUP_HEADER_SIZE || segment->synced > offset)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "record of segment %llu is not at its place",
							  (unsigned long long) segment->segment);
	return true;
}

static uint32_t
header_crc(const uint8_t *header, size_t size)
{
	return difs_crc32c(difs_crc32c(0, header, CRC_AT), header + GROUP_AT, size - GROUP_AT);
}

static bool
check_header(const uint8_t *in, size_t size, const char *magic, const char *label, DifsError *error)
{
	if (memcmp(in, magic, MAGIC_BYTES) != 0 || difs_get32(in + CRC_AT) != header_crc(in, size))
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "header of %s is damaged", label);
	if (difs_get32(in + 8) != DIFS_DISK_VERSION)
		return difs_error_set(error, DIFS_ERROR_VERSION, "%s is of version %u, not %u", label,
							  difs_get32(in + 8), DIFS_DISK_VERSION);
	return true;
}

static void
pack_group(const DifsGroupHeader *header, uint8_t *at)
{
	memcpy(at, header->cluster, DIFS_UUID_SIZE);
	difs_put64(at + 16, header->group);
	difs_put64(at + 24, header->epoch);
	difs_put64(at + 32, header->capacity);
	difs_put64(at + 40, header->salt);
	difs_put64(at + 48, header->generation);
}

static void
unpack_group(const uint8_t *at, DifsGroupHeader *header)
{
	memcpy(header->cluster, at, DIFS_UUID_SIZE);
	header->group = difs_get64(at + 16);
	header->epoch = difs_get64(at + 24);
	header->capacity = difs_get64(at + 32);
	header->salt = difs_get64(at + 40);
	header->generation = difs_get64(at + 48);
	header->synced = 0;
}
