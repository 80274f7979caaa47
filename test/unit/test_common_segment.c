/*
 * test_common_segment.c - packed headers, checksums of blocks, and the codecs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "crc32c.h"
#include "segment.h"

/* A segment in all its forms. */
typedef struct Sample
{
	DifsSegment segment;
	uint8_t *stored;
	uint32_t block_crc[DIFS_MAX_BLOCKS];
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	size_t packed_size;
} Sample;

static uint8_t *
noise(size_t length)
{
	uint8_t *data = malloc(length);
	uint32_t state = 99;

	assert_non_null(data);
	for (size_t i = 0; i < length; i++)
	{
		state = state * 1664525 + 1013904223;
		data[i] = (uint8_t) (state >> 24);
	}
	return data;
}

static Sample *
make_sample(uint32_t stored_length)
{
	Sample *sample = calloc(1, sizeof(*sample));

	assert_non_null(sample);
	sample->stored = noise(stored_length);
	sample->segment = (DifsSegment){
		.segment = UINT64_C(0x1122334455667788),
		.xid = 42,
		.group = 7,
		.synced = 4096,
		.raw_length = stored_length,
		.stored_length = stored_length,
		.codec = DIFS_CODEC_RAW,
	};
	difs_segment_checksum(sample->stored, stored_length, sample->block_crc, &sample->segment.crc);
	difs_segment_pack(&sample->segment, sample->block_crc, sample->packed);
	sample->packed_size = difs_segment_packed_size(stored_length);
	return sample;
}

static void
free_sample(Sample *sample)
{
	free(sample->stored);
	free(sample);
}

/* Makes the header's own checksum right again, after a test has changed a field. */
static void
reseal(Sample *sample)
{
	difs_put32(sample->packed + 4, difs_crc32c(0, sample->packed + 8, sample->packed_size - 8));
}

static void
assert_refused(Sample *sample)
{
	DifsSegment segment;
	DifsError error;

	assert_false(difs_segment_unpack(sample->packed, sample->packed_size, &segment, &error));
	assert_int_equal(error.code, DIFS_ERROR_CORRUPT);
}

static void
round_trips(void **state)
{
	const uint32_t lengths[] = {1, 2, 4096, 65535, 65536, 65537, 131072, 1048579};

	(void) state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		Sample *sample = make_sample(lengths[i]);
		DifsSegment segment;
		DifsError error;

		assert_int_equal(sample->segment.crc, difs_crc32c(0, sample->stored, lengths[i]));
		assert_true(difs_segment_unpack(sample->packed, sizeof(sample->packed), &segment, &error));
		assert_true(segment.segment == sample->segment.segment && segment.xid == 42 && segment.group == 7);
		assert_true(segment.synced == 4096 && segment.raw_length == lengths[i] && segment.stored_length == lengths[i]);
		assert_true(segment.crc == sample->segment.crc && segment.codec == DIFS_CODEC_RAW && !segment.dead);
		for (uint32_t block = 0; block < difs_segment_blocks(lengths[i]); block++)
			assert_int_equal(difs_segment_block_crc(sample->packed, block), sample->block_crc[block]);
		free_sample(sample);
	}
}

/* The layout is on disks: it never changes. */
static void
layout(void **state)
{
	Sample *sample = make_sample(65537);
	uint8_t *p = sample->packed;

	(void) state;
	assert_int_equal(sample->packed_size, 72);
	assert_memory_equal(p, "DSEG", 4);
	assert_int_equal(difs_get32(p + 4), difs_crc32c(0, p + 8, 64));
	assert_memory_equal(p + 8, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
	assert_int_equal(difs_get64(p + 16), 42);
	assert_int_equal(difs_get64(p + 24), 7);
	assert_int_equal(difs_get64(p + 32), 4096);
	assert_int_equal(difs_get32(p + 40), 65537);
	assert_int_equal(difs_get32(p + 44), 65537);
	assert_int_equal(difs_get32(p + 48), sample->segment.crc);
	assert_int_equal(difs_get16(p + 52), 2);
	assert_int_equal(p[54], 0);
	assert_int_equal(p[55], 0);
	assert_int_equal(difs_get64(p + 56), 0);
	assert_int_equal(difs_get32(p + 68), difs_crc32c(0, sample->stored + 65536, 1));
	free_sample(sample);
}

static void
block_crcs_in_place(void **state)
{
	Sample *sample = make_sample(200000);
	uint8_t packed[DIFS_MAX_PACKED_SIZE];

	(void) state;
	memcpy(packed, sample->packed, sample->packed_size);
	memset(packed, 0xee, DIFS_SEGMENT_HEADER_SIZE);
	difs_segment_pack(&sample->segment, NULL, packed);
	assert_memory_equal(packed, sample->packed, sample->packed_size);
	free_sample(sample);
}

/* A deletion writes the magic number and nothing else. */
static void
dead_headers(void **state)
{
	Sample *sample = make_sample(1000);
	DifsSegment segment;

	(void) state;
	difs_put32(sample->packed, DIFS_SEGMENT_MAGIC_DEAD);
	assert_true(difs_segment_unpack(sample->packed, sample->packed_size, &segment, NULL));
	assert_true(segment.dead);
	sample->segment.dead = true;
	difs_segment_pack(&sample->segment, sample->block_crc, sample->packed);
	assert_memory_equal(sample->packed, "DEAD", 4);
	free_sample(sample);
}

static void
largest(void **state)
{
	Sample *sample = make_sample(1);
	DifsSegment segment;
	DifsError error;

	(void) state;
	sample->segment.raw_length = sample->segment.stored_length = DIFS_MAX_SEGMENT_SIZE;
	sample->segment.crc = 0;
	for (uint32_t block = 0; block < DIFS_MAX_BLOCKS; block++)
	{
		sample->block_crc[block] = block * 2654435761u;
		sample->segment.crc = difs_crc32c_combine(sample->segment.crc, sample->block_crc[block], DIFS_BLOCK_SIZE);
	}
	difs_segment_pack(&sample->segment, sample->block_crc, sample->packed);
	assert_true(difs_segment_unpack(sample->packed, DIFS_MAX_PACKED_SIZE, &segment, &error));
	assert_int_equal(segment.stored_length, DIFS_MAX_SEGMENT_SIZE);
	assert_false(difs_segment_unpack(sample->packed, DIFS_MAX_PACKED_SIZE - 1, &segment, &error));
	free_sample(sample);
}

static void
every_truncation_is_found(void **state)
{
	Sample *sample = make_sample(150000);

	(void) state;
	for (size_t size = 0; size < sample->packed_size; size++)
	{
		uint8_t *cut = malloc(size > 0 ? size : 1);
		DifsSegment segment;
		DifsError error;

		assert_non_null(cut);
		memcpy(cut, sample->packed, size);
		assert_false(difs_segment_unpack(cut, size, &segment, &error));
		assert_int_equal(error.code, DIFS_ERROR_CORRUPT);
		free(cut);
	}
	free_sample(sample);
}

static void
every_flipped_bit_is_found(void **state)
{
	Sample *sample = make_sample(150000);

	(void) state;
	for (size_t bit = 0; bit < 8 * sample->packed_size; bit++)
	{
		sample->packed[bit / 8] ^= (uint8_t) (1 << bit % 8);
		assert_refused(sample);
		sample->packed[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	free_sample(sample);
}

/* Headers whose checksum is right and whose values are not: a peer can make those. */
static void
every_bound_is_kept(void **state)
{
	static const struct
	{
		size_t at;
		size_t size;
		uint64_t value;
	} changes[] = {
		{8, 8, 0},	   /* id */
		{40, 4, 0},	   /* raw_length */
		{40, 4, 999},  /* shorter than the stored form */
		{40, 4, 1001}, /* not that of a raw segment */
		{40, 4, DIFS_MAX_SEGMENT_SIZE + 1},
		{44, 4, 0}, /* stored_length */
		{44, 4, 1001},
		{44, 4, 0xffffffff},
		{52, 2, 0}, /* blocks */
		{52, 2, 2},
		{54, 1, 2},		/* codec */
		{56, 8, 1},		/* reserved */
		{48, 4, 12345}, /* crc */
		{64, 4, 12345}, /* block_crc */
	};

	(void) state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		Sample *sample = make_sample(1000);
		uint8_t value[8];

		reseal(sample);
		assert_true(difs_segment_unpack(sample->packed, sample->packed_size, &sample->segment, NULL));
		difs_put64(value, changes[i].value);
		memcpy(sample->packed + changes[i].at, value, changes[i].size);
		reseal(sample);
		assert_refused(sample);
		free_sample(sample);
	}
}

/* As a newer difs would make it. */
static void
a_newer_format_is_refused_as_such(void **state)
{
	Sample *sample = make_sample(1000);
	DifsSegment segment;
	DifsError error;

	(void) state;
	sample->packed[55] = DIFS_SEGMENT_FORMAT + 1;
	reseal(sample);
	assert_false(difs_segment_unpack(sample->packed, sample->packed_size, &segment, &error));
	assert_int_equal(error.code, DIFS_ERROR_VERSION);
	assert_non_null(strstr(error.text, "is of format 1, not 0"));
	free_sample(sample);
}

static void
verifies_ranges(void **state)
{
	const uint32_t length = 3 * DIFS_BLOCK_SIZE + 100;
	Sample *sample = make_sample(length);
	const uint8_t *stored = sample->stored;
	const uint8_t *packed = sample->packed;
	DifsError error;

	(void) state;
	assert_true(difs_segment_verify(packed, 0, stored, length, &error));
	assert_true(difs_segment_verify(packed, 0, stored, DIFS_BLOCK_SIZE, &error));
	assert_true(difs_segment_verify(packed, 1, stored + DIFS_BLOCK_SIZE, 2 * DIFS_BLOCK_SIZE, &error));
	assert_true(difs_segment_verify(packed, 3, stored + 3 * DIFS_BLOCK_SIZE, 100, &error));

	/* not what was asked for */
	assert_false(difs_segment_verify(packed, 0, stored + DIFS_BLOCK_SIZE, DIFS_BLOCK_SIZE, &error));
	assert_int_equal(error.code, DIFS_ERROR_CORRUPT);
	assert_false(difs_segment_verify(packed, 0, stored, 0, &error));
	assert_false(difs_segment_verify(packed, 0, stored, DIFS_BLOCK_SIZE - 1, &error));
	assert_false(difs_segment_verify(packed, 0, stored, DIFS_BLOCK_SIZE + 1, &error));
	assert_false(difs_segment_verify(packed, 3, stored + 3 * DIFS_BLOCK_SIZE, 99, &error));
	assert_false(difs_segment_verify(packed, 3, stored, 200, &error));
	assert_false(difs_segment_verify(packed, 4, stored, 100, &error));
	assert_false(difs_segment_verify(packed, 4, stored, 0, &error));
	assert_false(difs_segment_verify(packed, UINT32_MAX, stored, 100, &error));

	sample->stored[2 * DIFS_BLOCK_SIZE] ^= 1;
	assert_false(difs_segment_verify(packed, 0, stored, length, &error));
	assert_string_equal(error.text, "block 2 of segment 1234605616436508552 does not match its checksum");
	assert_true(difs_segment_verify(packed, 0, stored, 2 * DIFS_BLOCK_SIZE, &error));
	free_sample(sample);
}

static void
encode_and_decode(DifsEncoder *encoder, const uint8_t *raw, uint32_t raw_length, int level, DifsCodec expected)
{
	uint8_t *stored = malloc(raw_length);
	uint8_t *out = malloc(raw_length);
	DifsError error;
	DifsCodec codec;
	uint32_t stored_length;

	assert_true(stored != NULL && out != NULL);
	stored_length = difs_segment_encode(encoder, raw, raw_length, level, stored, &codec);
	assert_int_equal(codec, expected);
	if (codec == DIFS_CODEC_RAW)
		assert_int_equal(stored_length, raw_length);
	else
		assert_true(stored_length >= 1 && raw_length - stored_length >= (raw_length + 15) / 16);
	assert_true(difs_segment_decode(codec, stored, stored_length, out, raw_length, &error));
	assert_memory_equal(raw, out, raw_length);
	free(stored);
	free(out);
}

static void
codecs_round_trip(void **state)
{
	const uint32_t lengths[] = {1000, 4096, 65536, 1000003};
	const int levels[] = {1, 3, 19};
	DifsEncoder *encoder = difs_encoder_create();
	uint8_t *random = noise(1000003);
	uint8_t *text = calloc(1, 1000003);

	(void) state;
	assert_true(encoder != NULL && text != NULL);
	for (size_t i = 0; i < 1000003; i++)
		text[i] = (uint8_t) ("segments never change "[i % 22] + i / 5000 % 7);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		encode_and_decode(encoder, text, lengths[i], 0, DIFS_CODEC_RAW);
		for (size_t j = 0; j < sizeof(levels) / sizeof(levels[0]); j++)
		{
			encode_and_decode(encoder, text, lengths[i], levels[j], DIFS_CODEC_ZSTD);
			encode_and_decode(encoder, random, lengths[i], levels[j], DIFS_CODEC_RAW);
		}
	}
	for (uint32_t length = 1; length <= 16; length++)
		encode_and_decode(encoder, random, length, 3, DIFS_CODEC_RAW);
	encode_and_decode(NULL, text, 1000, 0, DIFS_CODEC_RAW);

	/* a saving of a thirtieth is not worth it, one of an eighth is */
	memset(random, 0, 2200);
	encode_and_decode(encoder, random, 65536, 3, DIFS_CODEC_RAW);
	memset(random, 0, 8192);
	encode_and_decode(encoder, random, 65536, 3, DIFS_CODEC_ZSTD);
	difs_encoder_destroy(encoder);
	difs_encoder_destroy(NULL);
	difs_segment_thread_end();
	free(random);
	free(text);
}

static void
decode_believes_nothing(void **state)
{
	DifsEncoder *encoder = difs_encoder_create();
	uint8_t raw[3000];
	uint8_t stored[3000];
	uint8_t out[3001];
	DifsError error;
	DifsCodec codec;
	uint32_t length;

	(void) state;
	assert_non_null(encoder);
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t) (i / 16);
	length = difs_segment_encode(encoder, raw, sizeof(raw), 3, stored, &codec);
	assert_int_equal(codec, DIFS_CODEC_ZSTD);

	for (uint32_t cut = 0; cut < length; cut++)
	{
		assert_false(difs_segment_decode(codec, stored, cut, out, sizeof(raw), &error));
		assert_int_equal(error.code, DIFS_ERROR_CORRUPT);
	}
	assert_false(difs_segment_decode(codec, stored, length, out, sizeof(raw) - 1, &error));
	assert_false(difs_segment_decode(codec, stored, length, out, sizeof(raw) + 1, &error));
	assert_false(difs_segment_decode(codec, raw, sizeof(raw), out, sizeof(raw), &error));
	assert_false(difs_segment_decode(DIFS_CODEC_RAW, raw, sizeof(raw), out, sizeof(raw) + 1, &error));
	assert_false(difs_segment_decode((DifsCodec) 77, raw, sizeof(raw), out, sizeof(raw), &error));
	assert_int_equal(error.code, DIFS_ERROR_CORRUPT);

	/* the context survives all that */
	assert_true(difs_segment_decode(codec, stored, length, out, sizeof(raw), &error));
	assert_memory_equal(out, raw, sizeof(raw));
	difs_encoder_destroy(encoder);
	difs_segment_thread_end();
	difs_segment_thread_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(layout),
		cmocka_unit_test(block_crcs_in_place),
		cmocka_unit_test(dead_headers),
		cmocka_unit_test(largest),
		cmocka_unit_test(every_truncation_is_found),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(every_bound_is_kept),
		cmocka_unit_test(a_newer_format_is_refused_as_such),
		cmocka_unit_test(verifies_ranges),
		cmocka_unit_test(codecs_round_trip),
		cmocka_unit_test(decode_believes_nothing),
	};

	return cmocka_run_group_tests_name("common/segment", tests, NULL, NULL);
}
