/*
 * test_common_crc32c.c - CRC-32C against published vectors and a bit-by-bit reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crc32c.h"

static uint32_t
reference(const uint8_t *data, size_t length)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < length; i++)
	{
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc & 1) ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

static uint8_t *
noise(size_t length)
{
	uint8_t *data = malloc(length);
	uint32_t state = 12345;

	assert_non_null(data);
	for (size_t i = 0; i < length; i++)
	{
		state = state * 1664525 + 1013904223;
		data[i] = (uint8_t) (state >> 24);
	}
	return data;
}

static void
published_vectors(void **state)
{
	uint8_t bytes[32];

	(void) state;
	assert_int_equal(difs_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(difs_crc32c(0, "", 0), 0);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(difs_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(difs_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t) i;
	assert_int_equal(difs_crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t) (31 - i);
	assert_int_equal(difs_crc32c(0, bytes, sizeof(bytes)), 0x113fdb5c);
}

static void
every_length_and_alignment(void **state)
{
	uint8_t *data = noise(1024);

	(void) state;
	for (size_t start = 0; start < 16; start++)
	{
		for (size_t length = 0; length <= 700; length++)
			assert_int_equal(difs_crc32c(0, data + start, length), reference(data + start, length));
	}
	free(data);
}

static void
continues(void **state)
{
	uint8_t *data = noise(5000);
	uint32_t whole = reference(data, 5000);

	(void) state;
	for (size_t cut = 0; cut <= 5000; cut += 7)
		assert_int_equal(difs_crc32c(difs_crc32c(0, data, cut), data + cut, 5000 - cut), whole);
	free(data);
}

static void
combines(void **state)
{
	const size_t lengths[] = {0, 1, 2, 3, 63, 64, 65, 4095, 65535, 65536, 65537, 200000};
	const size_t count = sizeof(lengths) / sizeof(lengths[0]);
	uint8_t *data = noise(400000);

	(void) state;
	for (size_t i = 0; i < count; i++)
	{
		for (size_t j = 0; j < count; j++)
		{
			uint32_t first = difs_crc32c(0, data, lengths[i]);
			uint32_t second = difs_crc32c(0, data + lengths[i], lengths[j]);

			assert_int_equal(difs_crc32c_combine(first, second, lengths[j]),
							 difs_crc32c(0, data, lengths[i] + lengths[j]));
		}
	}
	free(data);
}

/* Lengths that no test can hold in memory: appending n and then m bytes must be the same as appending n + m. */
static void
combines_huge_lengths(void **state)
{
	(void) state;
	for (int bit = 0; bit < 62; bit++)
	{
		uint64_t n = (UINT64_C(1) << bit) + 5;
		uint64_t m = (UINT64_C(1) << bit) - 1;
		uint32_t a = 0x12345678;
		uint32_t b = 0x9abcdef0;
		uint32_t c = 0x0fedcba9;

		assert_int_equal(difs_crc32c_combine(difs_crc32c_combine(a, b, n), c, m),
						 difs_crc32c_combine(a, difs_crc32c_combine(b, c, m), n + m));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(every_length_and_alignment),
		cmocka_unit_test(continues),
		cmocka_unit_test(combines),
		cmocka_unit_test(combines_huge_lengths),
	};

	return cmocka_run_group_tests_name("common/crc32c", tests, NULL, NULL);
}
