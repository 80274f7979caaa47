/*
 * test_common_wire.c - frame headers and the bodies of all messages.
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
#include "wire.h"

#define FRAME_CONTROL "the control of a frame"

static void
refresh_crc(uint8_t *frame)
{
	difs_put32(frame + 20, difs_crc32c(difs_crc32c(0, frame, 20), frame + 24, difs_get32(frame)));
}

static void
frames_round_trip(void **state)
{
	DifsFrame frame = {
		.control_length = sizeof(FRAME_CONTROL),
		.payload_length = 1000,
		.request = UINT64_C(0x1122334455667788),
		.message = DIFS_MESSAGE_GET | DIFS_WIRE_REPLY,
	};
	DifsFrame again;
	uint8_t header[DIFS_WIRE_HEADER_SIZE];
	DifsError error;

	(void) state;
	difs_wire_pack(&frame, (const uint8_t *) FRAME_CONTROL, header);
	assert_true(difs_wire_unpack(header, sizeof(FRAME_CONTROL), 1000, &again, &error));
	assert_true(difs_wire_check(header, (const uint8_t *) FRAME_CONTROL, &error));
	assert_true(again.control_length == frame.control_length && again.payload_length == 1000);
	assert_true(again.request == frame.request && again.message == frame.message && again.status == DIFS_OK);

	/* the layout never changes */
	assert_int_equal(difs_get32(header), sizeof(FRAME_CONTROL));
	assert_int_equal(difs_get32(header + 4), 1000);
	assert_memory_equal(header + 8, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
	assert_int_equal(header[16], 14 + 128);
	assert_int_equal(header[17], 0);
	assert_int_equal(difs_get16(header + 18), 0);

	/* without control, which may then be NULL */
	frame.control_length = 0;
	difs_wire_pack(&frame, NULL, header);
	assert_true(difs_wire_unpack(header, 0, 1000, &again, &error));
	assert_true(difs_wire_check(header, NULL, &error));
}

static void
frame_bounds(void **state)
{
	DifsFrame frame = {.control_length = 100, .payload_length = 200, .message = DIFS_MESSAGE_PUT};
	uint8_t bytes[DIFS_WIRE_HEADER_SIZE + 100] = {0};
	DifsFrame again;
	DifsError error;

	(void) state;
	difs_wire_pack(&frame, bytes + DIFS_WIRE_HEADER_SIZE, bytes);
	assert_true(difs_wire_unpack(bytes, 100, 200, &again, &error));
	assert_false(difs_wire_unpack(bytes, 99, 200, &again, &error));
	assert_int_equal(error.code, DIFS_ERROR_PROTOCOL);
	assert_false(difs_wire_unpack(bytes, 100, 199, &again, &error));
	assert_int_equal(error.code, DIFS_ERROR_PROTOCOL);
	difs_put32(bytes, UINT32_MAX);
	assert_false(difs_wire_unpack(bytes, DIFS_WIRE_MAX_CONTROL, DIFS_MAX_SEGMENT_SIZE, &again, &error));

	/* a request with a status, and a reply with an error and a payload */
	frame.status = DIFS_ERROR_FULL;
	difs_wire_pack(&frame, bytes + DIFS_WIRE_HEADER_SIZE, bytes);
	assert_false(difs_wire_unpack(bytes, 100, 200, &again, &error));
	frame.message |= DIFS_WIRE_REPLY;
	difs_wire_pack(&frame, bytes + DIFS_WIRE_HEADER_SIZE, bytes);
	assert_false(difs_wire_unpack(bytes, 100, 200, &again, &error));
	frame.payload_length = 0;
	difs_wire_pack(&frame, bytes + DIFS_WIRE_HEADER_SIZE, bytes);
	assert_true(difs_wire_unpack(bytes, 100, 200, &again, &error));

	/* reserved bytes, under a checksum that is right */
	bytes[19] = 1;
	refresh_crc(bytes);
	assert_false(difs_wire_unpack(bytes, 100, 200, &again, &error));
	assert_int_equal(error.code, DIFS_ERROR_PROTOCOL);
}

/* Wherever one bit flips, either a bound or the checksum tells. */
static void
every_flipped_bit_is_found(void **state)
{
	const size_t size = DIFS_WIRE_HEADER_SIZE + sizeof(FRAME_CONTROL);
	uint8_t *bytes = calloc(1, DIFS_WIRE_HEADER_SIZE + DIFS_WIRE_MAX_CONTROL);
	DifsFrame frame = {.control_length = sizeof(FRAME_CONTROL), .request = 5, .message = DIFS_MESSAGE_STAT};

	(void) state;
	assert_non_null(bytes);
	memcpy(bytes + DIFS_WIRE_HEADER_SIZE, FRAME_CONTROL, sizeof(FRAME_CONTROL));
	difs_wire_pack(&frame, bytes + DIFS_WIRE_HEADER_SIZE, bytes);
	for (size_t bit = 0; bit < 8 * size; bit++)
	{
		DifsFrame again;
		DifsError error;

		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		assert_false(difs_wire_unpack(bytes, DIFS_WIRE_MAX_CONTROL, DIFS_MAX_SEGMENT_SIZE, &again, &error) &&
					 difs_wire_check(bytes, bytes + DIFS_WIRE_HEADER_SIZE, &error));
		assert_int_equal(error.code, DIFS_ERROR_PROTOCOL);
		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	free(bytes);
}

/* Calls UNPACK with each length but the right one, on memory that ends there, and expects a refusal. */
#define assert_other_lengths_refused(bytes, right, max, unpack)   \
	for (size_t length = 0; length <= (max); length++)            \
	{                                                             \
		uint8_t *in = malloc(length > 0 ? length : 1);            \
		DifsError error = {.code = DIFS_OK};                      \
		assert_non_null(in);                                      \
		memset(in, 0, length > 0 ? length : 1);                   \
		memcpy(in, (bytes), length < (right) ? length : (right)); \
		if (length != (right))                                    \
		{                                                         \
			assert_false(unpack);                                 \
			assert_int_equal(error.code, DIFS_ERROR_PROTOCOL);    \
		}                                                         \
		free(in);                                                 \
	}

static void
hello_round_trips(void **state)
{
	DifsHello hello = {.version = 1, .epoch = UINT64_C(1) << 40, .name = "/storage01"};
	DifsHello again;
	DifsError problem;
	uint8_t out[DIFS_WIRE_MAX_CONTROL];
	size_t size;

	(void) state;
	memset(hello.key_id, 1, sizeof(hello.key_id));
	memset(hello.cluster, 2, sizeof(hello.cluster));
	memset(hello.claim, 4, sizeof(hello.claim));
	memset(hello.nonce, 3, sizeof(hello.nonce));
	size = difs_hello_pack(&hello, out);
	assert_int_equal(size, 82 + 10);
	memset(&again, 0, sizeof(again));
	assert_true(difs_hello_unpack(out, size, &again, &problem));
	assert_memory_equal(&hello, &again, sizeof(hello));
	for (size_t cut = 0; cut < 82; cut++)
		assert_false(difs_hello_unpack(out, cut, &again, &problem));

	/* any server */
	hello.name[0] = '\0';
	assert_true(difs_hello_unpack(out, difs_hello_pack(&hello, out), &again, &problem));
	assert_string_equal(again.name, "");

	/* the longest name, and one byte more */
	memset(hello.name, 'n', sizeof(hello.name));
	size = difs_hello_pack(&hello, out);
	assert_int_equal(size, 82 + 255);
	assert_true(size <= DIFS_WIRE_MAX_GREETING);
	assert_true(difs_hello_unpack(out, size, &again, &problem));
	assert_int_equal(strlen(again.name), 255);
	out[size] = 'n';
	assert_false(difs_hello_unpack(out, size + 1, &again, &problem));
	assert_int_equal(problem.code, DIFS_ERROR_PROTOCOL);

	/* terminators and control characters in it */
	out[86] = '\0';
	assert_false(difs_hello_unpack(out, size, &again, &problem));
	out[86] = '\n';
	assert_false(difs_hello_unpack(out, size, &again, &problem));
}

static void
challenge_round_trips(void **state)
{
	DifsChallenge challenge = {.version = 1, .name = "/storage01"};
	DifsChallenge again;
	DifsError problem;
	uint8_t out[DIFS_WIRE_MAX_CONTROL];
	size_t size;

	(void) state;
	memset(challenge.nonce, 4, sizeof(challenge.nonce));
	memset(challenge.proof, 5, sizeof(challenge.proof));
	size = difs_challenge_pack(&challenge, out);
	assert_int_equal(size, 68 + 10);
	memset(&again, 0, sizeof(again));
	assert_true(difs_challenge_unpack(out, size, &again, &problem));
	assert_memory_equal(&challenge, &again, sizeof(challenge));
	assert_other_lengths_refused(out, size, 400, difs_challenge_unpack(in, length, &again, &error));

	memset(challenge.name, 'n', sizeof(challenge.name));
	size = difs_challenge_pack(&challenge, out);
	assert_true(difs_challenge_unpack(out, size, &again, &problem));
	assert_true(size <= DIFS_WIRE_MAX_GREETING);
	difs_put16(out + 66, 256);
	out[size] = 'n';
	assert_false(difs_challenge_unpack(out, size + 1, &again, &problem));
	difs_put16(out + 66, 255);
	out[80] = '\0';
	assert_false(difs_challenge_unpack(out, size, &again, &problem));
}

static void
status_round_trips(void **state)
{
	DifsServerStatus status;
	DifsServerStatus again;
	DifsError problem;
	uint8_t out[DIFS_WIRE_MAX_CONTROL];
	size_t size;

	(void) state;
	memset(&status, 0, sizeof(status));
	memset(&again, 0, sizeof(again));
	status.epoch = 1;
	status.capacity_bytes = 2;
	status.used_bytes = 3;
	status.free_bytes = 4;
	status.groups = 5;
	status.segments = 6;
	status.dead_bytes = 7;
	status.puts = 8;
	status.gets = 9;
	status.syncs = UINT64_MAX;
	status.sync_us = 10;
	status.tier = 1;
	memset(status.claim, 11, sizeof(status.claim));
	memset(status.storage, 12, sizeof(status.storage));
	size = difs_status_pack(&status, out);
	assert_int_equal(size, 121);
	assert_true(difs_status_unpack(out, size, &again, &problem));
	assert_memory_equal(&status, &again, sizeof(status));
	assert_other_lengths_refused(out, 113, size - 1, difs_status_unpack(in, length, &again, &error));

	/* of an older server, and of a newer one */
	assert_true(difs_status_unpack(out, 113, &again, &problem));
	assert_int_equal(again.syncs, UINT64_MAX);
	assert_int_equal(again.sync_us, 0);
	memset(out + size, 0xff, 8);
	assert_true(difs_status_unpack(out, size + 8, &again, &problem));
	assert_memory_equal(&status, &again, sizeof(status));
	out[80] = 2;
	assert_false(difs_status_unpack(out, size, &again, &problem));
	assert_int_equal(problem.code, DIFS_ERROR_PROTOCOL);
}

static void
group_bodies_round_trip(void **state)
{
	DifsCreateGroup create = {.group = 1, .epoch = 2, .capacity = UINT64_MAX};
	DifsCreateGroup again;
	DifsError problem;
	uint64_t first;
	uint64_t second;
	uint8_t out[DIFS_WIRE_MAX_CONTROL];
	size_t size = difs_create_group_pack(&create, out);

	(void) state;
	assert_int_equal(size, 24);
	assert_true(difs_create_group_unpack(out, size, &again, &problem));
	assert_memory_equal(&create, &again, sizeof(create));
	assert_other_lengths_refused(out, size, 50, difs_create_group_unpack(in, length, &again, &error));

	size = difs_group_pack(77, out);
	assert_int_equal(size, 8);
	assert_true(difs_group_unpack(out, size, &first, &problem));
	assert_int_equal(first, 77);
	assert_other_lengths_refused(out, size, 20, difs_group_unpack(in, length, &first, &error));

	size = difs_pair_pack(78, UINT64_MAX, out);
	assert_int_equal(size, 16);
	assert_true(difs_pair_unpack(out, size, &first, &second, &problem));
	assert_true(first == 78 && second == UINT64_MAX);
	assert_other_lengths_refused(out, size, 40, difs_pair_unpack(in, length, &first, &second, &error));
}

static void
get_round_trips(void **state)
{
	DifsGet get = {.group = 1, .segment = 2, .offset = 65536, .length = 10};
	DifsGet again;
	DifsError problem;
	uint8_t out[DIFS_WIRE_MAX_CONTROL];
	size_t size = difs_get_pack(&get, out);

	(void) state;
	assert_int_equal(size, 24);
	assert_true(difs_get_unpack(out, size, &again, &problem));
	assert_memory_equal(&get, &again, sizeof(get));
	assert_other_lengths_refused(out, size, 50, difs_get_unpack(in, length, &again, &error));

	get.offset = DIFS_MAX_SEGMENT_SIZE - 1;
	get.length = 1;
	assert_true(difs_get_unpack(out, difs_get_pack(&get, out), &again, &problem));
	get.length = 2;
	assert_false(difs_get_unpack(out, difs_get_pack(&get, out), &again, &problem));
	assert_int_equal(problem.code, DIFS_ERROR_PROTOCOL);
	get.length = UINT32_MAX;
	assert_false(difs_get_unpack(out, difs_get_pack(&get, out), &again, &problem));
	get.offset = DIFS_MAX_SEGMENT_SIZE;
	get.length = 0;
	assert_false(difs_get_unpack(out, difs_get_pack(&get, out), &again, &problem));
}

static void
delete_round_trips(void **state)
{
	uint64_t ids[DIFS_WIRE_MAX_DELETE];
	uint8_t *out = calloc(1, DIFS_WIRE_MAX_CONTROL);
	DifsDelete delete;
	DifsError problem;
	size_t size;

	(void) state;
	assert_non_null(out);
	for (size_t i = 0; i < DIFS_WIRE_MAX_DELETE; i++)
		ids[i] = i * UINT64_C(0x123456789);
	size = difs_delete_pack(9, ids, DIFS_WIRE_MAX_DELETE, out);
	assert_true(size <= DIFS_WIRE_MAX_CONTROL);
	assert_true(difs_delete_unpack(out, size, &delete, &problem));
	assert_true(delete.group == 9 && delete.count == DIFS_WIRE_MAX_DELETE);
	for (size_t i = 0; i < DIFS_WIRE_MAX_DELETE; i++)
		assert_int_equal(difs_get64(delete.ids + 8 * i), ids[i]);

	assert_false(difs_delete_unpack(out, size + 8, &delete, &problem));
	assert_false(difs_delete_unpack(out, size - 1, &delete, &problem));
	assert_true(difs_delete_unpack(out, 16, &delete, &problem));
	assert_int_equal(delete.count, 1);
	for (size_t length = 0; length < 16; length++)
		assert_false(difs_delete_unpack(out, length, &delete, &problem));
	assert_int_equal(problem.code, DIFS_ERROR_PROTOCOL);
	free(out);
}

static void
pull_round_trips(void **state)
{
	static DifsPull pull = {.group = 9, .epoch = 8, .capacity = 7, .rate = 6, .flags = DIFS_PULL_DAMAGED};
	static DifsPull again;
	uint8_t *out = calloc(1, DIFS_WIRE_MAX_CONTROL);
	DifsError problem;
	size_t size;

	(void) state;
	assert_non_null(out);
	pull.count = DIFS_PULL_MAX_SOURCES;
	for (int i = 0; i < DIFS_PULL_MAX_SOURCES; i++)
	{
		pull.sources[i].port = (uint16_t) (65535 - i);
		memset(pull.sources[i].name, 'n', (size_t) i);
		memset(pull.sources[i].host, 'h', sizeof(pull.sources[i].host) - 1);
	}
	size = difs_pull_pack(&pull, out);
	assert_true(difs_pull_unpack(out, size, &again, &problem));
	assert_memory_equal(&pull, &again, sizeof(pull));

	/* What is cut short, goes on, or says more than there is, is refused. */
	for (size_t length = 0; length < size; length++)
		assert_false(difs_pull_unpack(out, length, &again, &problem));
	assert_false(difs_pull_unpack(out, size + 1, &again, &problem));
	assert_int_equal(problem.code, DIFS_ERROR_PROTOCOL);
	out[33] = DIFS_PULL_MAX_SOURCES + 1;
	assert_false(difs_pull_unpack(out, size, &again, &problem));
	out[33] = 0;
	assert_false(difs_pull_unpack(out, 34, &again, &problem));
	out[33] = DIFS_PULL_MAX_SOURCES;
	out[32] = 2;
	assert_false(difs_pull_unpack(out, size, &again, &problem));
	free(out);
}

static void
pull_progress_round_trips(void **state)
{
	DifsPullProgress progress = {.segments = 1, .bytes = 2, .total = 3, .damaged = 4, .done = true};
	DifsPullProgress again = {0};
	uint8_t out[64];
	DifsError problem;
	size_t size = difs_pull_progress_pack(&progress, out);

	(void) state;
	assert_true(difs_pull_progress_unpack(out, size, &again, &problem));
	assert_true(again.segments == 1 && again.bytes == 2 && again.total == 3 && again.damaged == 4 && again.done);
	assert_false(difs_pull_progress_unpack(out, size - 1, &again, &problem));
	assert_false(difs_pull_progress_unpack(out, size + 1, &again, &problem));
	out[28] = 2;
	assert_false(difs_pull_progress_unpack(out, size, &again, &problem));
	assert_int_equal(problem.code, DIFS_ERROR_PROTOCOL);
}

static void
entries_round_trip(void **state)
{
	DifsListEntry entry = {1, 2, 3, 4, DIFS_LIST_DEAD | DIFS_LIST_DAMAGED};
	DifsListEntry entry_again;
	DifsGroupEntry group = {1, 2, 3, 4, DIFS_GROUP_SEALED};
	DifsGroupEntry group_again;
	uint8_t out[DIFS_GROUP_ENTRY_SIZE];

	(void) state;
	difs_list_entry_pack(&entry, out);
	difs_list_entry_unpack(out, &entry_again);
	assert_memory_equal(&entry, &entry_again, sizeof(entry));
	assert_int_equal(difs_get32(out + 28), 3);
	difs_group_entry_pack(&group, out);
	difs_group_entry_unpack(out, &group_again);
	assert_memory_equal(&group, &group_again, sizeof(group));
	assert_int_equal(difs_get64(out + 32), 1);
}

static void
messages_have_names(void **state)
{
	(void) state;
	assert_string_equal(difs_message_name(DIFS_MESSAGE_PUT), "PUT");
	assert_string_equal(difs_message_name(DIFS_MESSAGE_PUT | DIFS_WIRE_REPLY), "PUT");
	assert_string_equal(difs_message_name(DIFS_MESSAGE_VERIFY), "VERIFY");
	assert_string_equal(difs_message_name(77), "unknown");
	for (int message = 0; message < 256; message++)
		assert_non_null(difs_message_name((uint8_t) message));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_round_trip),
		cmocka_unit_test(frame_bounds),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(hello_round_trips),
		cmocka_unit_test(challenge_round_trips),
		cmocka_unit_test(status_round_trips),
		cmocka_unit_test(group_bodies_round_trip),
		cmocka_unit_test(get_round_trips),
		cmocka_unit_test(delete_round_trips),
		cmocka_unit_test(pull_round_trips),
		cmocka_unit_test(pull_progress_round_trips),
		cmocka_unit_test(entries_round_trip),
		cmocka_unit_test(messages_have_names),
	};

	return cmocka_run_group_tests_name("common/wire", tests, NULL, NULL);
}
