/*
 * segment.c - packed segment headers and the checksums in them.
 *
 * No state.  Bytes that reach difs_segment_unpack() come from a disk or a peer,
 * so nothing in them is believed before it has been compared with its bound.
 */
#include "segment.h"

#include <inttypes.h>

#include "bytes.h"
#include "crc32c.h"

enum
{
	AT_MAGIC = 0,
	AT_HEADER_CRC = 4,
	AT_SEGMENT = 8,
	AT_XID = 16,
	AT_GROUP = 24,
	AT_SYNCED = 32,
	AT_RAW_LENGTH = 40,
	AT_STORED_LENGTH = 44,
	AT_CRC = 48,
	AT_BLOCKS = 52,
	AT_CODEC = 54,
	AT_FORMAT = 55,
	AT_RESERVED64 = 56,
	AT_BLOCK_CRC = DIFS_SEGMENT_HEADER_SIZE,
};

static bool check_values(const uint8_t *packed, const DifsSegment *segment, DifsError *error);
static uint32_t combined_crc(const uint8_t *packed, uint32_t stored_length);
static uint32_t block_length(uint32_t stored_length, uint32_t block);

void
difs_segment_checksum(const void *stored, uint32_t stored_length, uint32_t *block_crc, uint32_t *crc)
{
	const uint8_t *at = stored;
	uint32_t blocks = difs_segment_blocks(stored_length);

	*crc = 0;
	for (uint32_t block = 0; block < blocks; block++)
	{
		uint32_t length = block_length(stored_length, block);

		block_crc[block] = difs_crc32c(0, at, length);
		*crc = difs_crc32c_combine(*crc, block_crc[block], length);
		at += length;
	}
}

void
difs_segment_pack(const DifsSegment *segment, const uint32_t *block_crc, uint8_t *out)
{
	uint32_t blocks = difs_segment_blocks(segment->stored_length);
	size_t packed_size = difs_segment_packed_size(segment->stored_length);

	difs_put32(out + AT_MAGIC, segment->dead ? DIFS_SEGMENT_MAGIC_DEAD : DIFS_SEGMENT_MAGIC);
	difs_put64(out + AT_SEGMENT, segment->segment);
	difs_put64(out + AT_XID, segment->xid);
	difs_put64(out + AT_GROUP, segment->group);
	difs_put64(out + AT_SYNCED, segment->synced);
	difs_put32(out + AT_RAW_LENGTH, segment->raw_length);
	difs_put32(out + AT_STORED_LENGTH, segment->stored_length);
	difs_put32(out + AT_CRC, segment->crc);
	difs_put16(out + AT_BLOCKS, (uint16_t) blocks);
	out[AT_CODEC] = segment->codec;
	out[AT_FORMAT] = 0;
	difs_put64(out + AT_RESERVED64, 0);
	if (block_crc != NULL)
	{
		for (uint32_t block = 0; block < blocks; block++)
			difs_put32(out + AT_BLOCK_CRC + 4 * block, block_crc[block]);
	}
	difs_put32(out + AT_HEADER_CRC, difs_crc32c(0, out + AT_SEGMENT, packed_size - AT_SEGMENT));
}

bool
difs_segment_unpack(const uint8_t *packed, size_t size, DifsSegment *segment, DifsError *error)
{
	uint32_t magic;
	size_t packed_size;

	if (size < DIFS_SEGMENT_HEADER_SIZE)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment header is cut short: %zu bytes", size);
	magic = difs_get32(packed + AT_MAGIC);
	if (magic != DIFS_SEGMENT_MAGIC && magic != DIFS_SEGMENT_MAGIC_DEAD)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment header has the wrong magic number 0x%08" PRIx32,
							  magic);

	segment->segment = difs_get64(packed + AT_SEGMENT);
	segment->xid = difs_get64(packed + AT_XID);
	segment->group = difs_get64(packed + AT_GROUP);
	segment->synced = difs_get64(packed + AT_SYNCED);
	segment->raw_length = difs_get32(packed + AT_RAW_LENGTH);
	segment->stored_length = difs_get32(packed + AT_STORED_LENGTH);
	segment->crc = difs_get32(packed + AT_CRC);
	segment->codec = packed[AT_CODEC];
	segment->dead = magic == DIFS_SEGMENT_MAGIC_DEAD;
	if (!check_values(packed, segment, error))
		return false;

	packed_size = difs_segment_packed_size(segment->stored_length);
	if (size < packed_size)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "header of segment %" PRIu64 " is cut short: %zu of %zu bytes",
							  segment->segment, size, packed_size);
	if (difs_get32(packed + AT_HEADER_CRC) != difs_crc32c(0, packed + AT_SEGMENT, packed_size - AT_SEGMENT))
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "header of segment %" PRIu64 " does not match its checksum",
							  segment->segment);
	if (packed[AT_FORMAT] != DIFS_SEGMENT_FORMAT)
		return difs_error_set(error, DIFS_ERROR_VERSION, "header of segment %" PRIu64 " is of format %u, not %u", segment->segment,
							  packed[AT_FORMAT], DIFS_SEGMENT_FORMAT);
	if (segment->crc != combined_crc(packed, segment->stored_length))
		return difs_error_set(error, DIFS_ERROR_CORRUPT,
							  "checksums of the blocks of segment %" PRIu64 " do not combine to that of the whole",
							  segment->segment);
	return true;
}

uint32_t
difs_segment_block_crc(const uint8_t *packed, uint32_t block)
{
	return difs_get32(packed + AT_BLOCK_CRC + 4 * (size_t) block);
}

bool
difs_segment_verify(const uint8_t *packed, uint32_t first_block, const void *bytes, uint32_t length, DifsError *error)
{
	uint64_t segment = difs_get64(packed + AT_SEGMENT);
	uint32_t stored_length = difs_get32(packed + AT_STORED_LENGTH);
	uint32_t blocks = difs_segment_blocks(stored_length);
	const uint8_t *at = bytes;
	uint32_t left = length;

	for (uint32_t block = first_block; left > 0 || block == first_block; block++)
	{
		uint32_t expected = block < blocks ? block_length(stored_length, block) : 0;

		if (expected == 0 || left < expected)
			return difs_error_set(error, DIFS_ERROR_CORRUPT,
								  "%" PRIu32 " bytes from block %" PRIu32 " of segment %" PRIu64 " on are not whole"
								  " blocks",
								  length, first_block, segment);
		if (difs_crc32c(0, at, expected) != difs_segment_block_crc(packed, block))
			return difs_error_set(error, DIFS_ERROR_CORRUPT,
								  "block %" PRIu32 " of segment %" PRIu64 " does not match its checksum",
								  block, segment);
		at += expected;
		left -= expected;
	}
	return true;
}

/* What can be told from the fixed part, so that the packed size can be relied on. */
static bool
check_values(const uint8_t *packed, const DifsSegment *segment, DifsError *error)
{
	bool lengths_fit = segment->raw_length >= 1 && segment->raw_length <= DIFS_MAX_SEGMENT_SIZE &&
		segment->stored_length >= 1 && segment->stored_length <= segment->raw_length;

	if (segment->segment == 0)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment header has the id 0");
	if (!lengths_fit || difs_get16(packed + AT_BLOCKS) != difs_segment_blocks(segment->stored_length))
		return difs_error_set(error, DIFS_ERROR_CORRUPT,
							  "header of segment %" PRIu64 " has impossible lengths: raw %" PRIu32 ", stored %" PRIu32,
							  segment->segment, segment->raw_length, segment->stored_length);
	if (segment->codec > DIFS_CODEC_ZSTD ||
		(segment->codec == DIFS_CODEC_RAW && segment->stored_length != segment->raw_length))
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "header of segment %" PRIu64 " has an impossible codec %u",
							  segment->segment, segment->codec);
	if (difs_get64(packed + AT_RESERVED64) != 0)
		return difs_error_set(error, DIFS_ERROR_CORRUPT,
							  "header of segment %" PRIu64 " has reserved bytes that are not 0", segment->segment);
	return true;
}

/* CRC of the whole stored form, from those of its blocks. */
static uint32_t
combined_crc(const uint8_t *packed, uint32_t stored_length)
{
	uint32_t blocks = difs_segment_blocks(stored_length);
	uint32_t crc = 0;

	for (uint32_t block = 0; block < blocks; block++)
		crc = difs_crc32c_combine(crc, difs_segment_block_crc(packed, block), block_length(stored_length, block));
	return crc;
}

static uint32_t
block_length(uint32_t stored_length, uint32_t block)
{
	uint32_t left = stored_length - block * DIFS_BLOCK_SIZE;

	return left < DIFS_BLOCK_SIZE ? left : DIFS_BLOCK_SIZE;
}
