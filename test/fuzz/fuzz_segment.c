/*
 * fuzz_segment.c - packed segment headers, the check of blocks, and decompression.
 *
 * An input is a packed header with a stored form behind it.  It is tried as it is,
 * and once more with its checksums made right, because no mutation gets past them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "segment.h"

#define MAX_RAW_LENGTH (1024 * 1024)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

/* Makes magic, number of blocks, and checksums those that the rest asks for, as far as there are bytes for them. */
static void
repair(uint8_t *data, size_t size)
{
	uint32_t stored_length;
	uint32_t crc = 0;
	size_t packed_size;

	if (size < DIFS_SEGMENT_HEADER_SIZE)
		return;
	if (difs_get32(data) != DIFS_SEGMENT_MAGIC_DEAD)
		difs_put32(data, DIFS_SEGMENT_MAGIC);
	stored_length = difs_get32(data + 44);
	packed_size = difs_segment_packed_size(stored_length);
	if (stored_length > DIFS_MAX_SEGMENT_SIZE || packed_size > size)
		return;
	difs_put16(data + 52, (uint16_t) difs_segment_blocks(stored_length));
	for (uint32_t block = 0, left = stored_length; left > 0; block++)
	{
		uint32_t length = left < DIFS_BLOCK_SIZE ? left : DIFS_BLOCK_SIZE;

		crc = difs_crc32c_combine(crc, difs_segment_block_crc(data, block), length);
		left -= length;
	}
	difs_put32(data + 48, crc);
	difs_put32(data + 4, difs_crc32c(0, data + 8, packed_size - 8));
}

/* Whatever is accepted is within its bounds, and is packed into the same bytes again. */
static void
try_header(const uint8_t *data, size_t size)
{
	static uint8_t again[DIFS_MAX_PACKED_SIZE];
	DifsSegment segment;
	DifsError error;
	size_t packed_size;
	uint32_t length;

	if (!difs_segment_unpack(data, size, &segment, &error))
	{
		require(error.code == DIFS_ERROR_CORRUPT || (error.code == DIFS_ERROR_VERSION && data[55] != DIFS_SEGMENT_FORMAT));
		return;
	}
	require(segment.segment != 0 && segment.raw_length >= 1 && segment.raw_length <= DIFS_MAX_SEGMENT_SIZE);
	require(segment.stored_length >= 1 && segment.stored_length <= segment.raw_length);
	packed_size = difs_segment_packed_size(segment.stored_length);
	require(packed_size <= size && packed_size <= DIFS_MAX_PACKED_SIZE);
	memcpy(again + DIFS_SEGMENT_HEADER_SIZE, data + DIFS_SEGMENT_HEADER_SIZE, packed_size - DIFS_SEGMENT_HEADER_SIZE);
	difs_segment_pack(&segment, NULL, again);
	require(memcmp(data, again, packed_size) == 0);

	length = (uint32_t) (size - packed_size);
	for (uint32_t block = 0; block <= difs_segment_blocks(segment.stored_length); block++)
	{
		if (difs_segment_verify(data, block, data + packed_size, length, &error))
			require(block < difs_segment_blocks(segment.stored_length) && length <= segment.stored_length);
		else
			require(error.code == DIFS_ERROR_CORRUPT);
	}
}

/* Decompresses what stands behind the fixed part of the header, believing only its codec and raw length. */
static void
try_decode(const uint8_t *data, size_t size)
{
	uint32_t raw_length;
	uint8_t *out;
	DifsError error;

	if (size < DIFS_SEGMENT_HEADER_SIZE)
		return;
	raw_length = difs_get32(data + 40) % MAX_RAW_LENGTH + 1;
	out = malloc(raw_length);
	require(out != NULL);
	if (!difs_segment_decode((DifsCodec) data[54], data + DIFS_SEGMENT_HEADER_SIZE + 4,
							 size < DIFS_SEGMENT_HEADER_SIZE + 4 ? 0 : (uint32_t) size - DIFS_SEGMENT_HEADER_SIZE - 4,
							 out, raw_length, &error))
		require(error.code == DIFS_ERROR_CORRUPT);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	require(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	try_header(data, size);
	try_decode(data, size);
	repair(copy, size);
	try_header(copy, size);
	free(copy);
	return 0;
}
