/*
 * test_chunkd_mend.c - VERIFY_GROUP finds what has rotted, MEND puts it right; neither harms what is good.
 */
#include "chunkd_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"

#define SEGMENTS 8
#define LENGTH 100000
#define CAPACITY (4096 + SEGMENTS * 100096) /* a group that is full with them */

static void
flip_bit(const char *suffix, uint64_t offset)
{
	char path[256];

	group_path(&server, GROUP, suffix, path);
	flip_bits(path, offset, 0x10);
}

static void
make_group(Client *client, bool sealed)
{
	assert_int_equal(create_group(client, GROUP, CAPACITY), DIFS_OK);
	put_segments(client, GROUP, 1, SEGMENTS, LENGTH);
	if (sealed)
		assert_int_equal(seal_group(client, GROUP), DIFS_OK);
}

static uint64_t
offset_of(Client *client, uint64_t segment)
{
	uint64_t offset = list_segment(client, GROUP, segment).offset;

	assert_true(offset > 0);
	return offset;
}

/* Verifies the whole group; returns the number of bad entries and the last of them. */
static uint32_t
verify_group(Client *client, DifsListEntry *last)
{
	uint8_t control[16];
	uint64_t cursor = 0;
	uint32_t bad = 0;

	do
	{
		uint64_t read_bytes;
		Reply reply;
		uint64_t id = client_send(client, DIFS_MESSAGE_VERIFY_GROUP, control,
								  difs_pair_pack(GROUP, cursor, control), NULL, 0);

		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.request, id);
		assert_int_equal(reply.status, DIFS_OK);
		assert_true(difs_pair_unpack(reply.control, reply.control_length, &cursor, &read_bytes, NULL));
		assert_true(read_bytes < 2 * DIFS_VERIFY_BYTES);
		for (uint32_t at = 0; at < reply.payload_length; at += DIFS_LIST_ENTRY_SIZE, bad++)
			difs_list_entry_unpack(reply.payload + at, last);
		reply_free(&reply);
	} while (cursor != 0);
	return bad;
}

static DifsErrorCode
mend(Client *client, uint64_t segment, uint32_t length)
{
	uint8_t *bytes = malloc(length);
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	size_t packed_size;
	DifsErrorCode status;
	Reply reply;

	fill(segment, bytes, length);
	packed_size = pack_put(GROUP, segment, bytes, length, packed);
	client_send(client, DIFS_MESSAGE_MEND, packed, packed_size, bytes, length);
	assert_true(client_receive(client, &reply));
	status = reply.status;
	reply_free(&reply);
	free(bytes);
	return status;
}

static DifsErrorCode
mend_group(Client *client)
{
	uint8_t control[8];
	Reply reply;

	return call(client, DIFS_MESSAGE_MEND, control, difs_group_pack(GROUP, control), &reply);
}

/* All is there, now and after a restart. */
static void
expect_good(Client *client)
{
	DifsListEntry bad;

	for (int round = 0; round < 2; round++)
	{
		DifsServerStatus status;

		assert_int_equal(verify_group(client, &bad), 0);
		get_segments(client, GROUP, 1, SEGMENTS, LENGTH);
		get_status(client, &status);
		assert_int_equal(status.segments, SEGMENTS);
		client_close(client);
		server_end(&server, SIGKILL);
		server_start(&server, NULL);
		client = client_connect(&server);
	}
	client_close(client);
}

static void
flips_are_found_and_mended(bool sealed)
{
	Client *client = client_connect(&server);
	uint64_t record;
	DifsListEntry bad;

	make_group(client, sealed);
	assert_int_equal(verify_group(client, &bad), 0);
	record = offset_of(client, 3);
	/* Magic, id, xid, lengths, crc, a block's crc; the first and the last byte. */
	for (uint64_t at = 0; at < 72; at += 4)
	{
		if (at == 4 || at == 60)
			continue;
		flip_bit(".group", record + at);
		assert_int_equal(verify_group(client, &bad), 1);
		assert_int_equal(bad.segment, 3);
		assert_true(bad.flags & DIFS_LIST_DAMAGED);
		assert_int_equal(mend(client, 3, LENGTH), DIFS_OK);
		assert_int_equal(verify_group(client, &bad), 0);
	}
	flip_bit(".group", record + 72);
	flip_bit(".group", record + 71 + LENGTH);
	assert_int_equal(verify_group(client, &bad), 1);
	assert_int_equal(mend(client, 3, LENGTH), DIFS_OK);
	/* Padding is not data: 72 + 100000 is not a multiple of 64, and nobody minds what is behind it. */
	flip_bit(".group", record + 72 + LENGTH);
	assert_int_equal(verify_group(client, &bad), 0);
	expect_good(client);
}

static void
flips_in_an_open_group(void **state)
{
	(void) state;
	flips_are_found_and_mended(false);
}

static void
flips_in_a_sealed_group(void **state)
{
	(void) state;
	flips_are_found_and_mended(true);
}

static void
mending_needs_the_same_segment(void **state)
{
	Client *client = client_connect(&server);
	uint8_t bytes[LENGTH];
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	size_t packed_size;
	Reply reply;

	(void) state;
	make_group(client, true);
	assert_int_equal(mend(client, 3, LENGTH - 1), DIFS_ERROR_ARGUMENT);
	fill(3, bytes, LENGTH);
	packed_size = pack_put(GROUP, 3, bytes, LENGTH, packed);
	bytes[LENGTH / 2] ^= 1;
	client_send(client, DIFS_MESSAGE_MEND, packed, packed_size, bytes, LENGTH);
	assert_true(client_receive(client, &reply));
	assert_int_equal(reply.status, DIFS_ERROR_CORRUPT);
	reply_free(&reply);
	/* Good over good does no harm. */
	assert_int_equal(mend(client, 3, LENGTH), DIFS_OK);
	expect_good(client);
}

static void
an_older_epoch_mends_nothing(void **state)
{
	Client *client = client_connect(&server);
	DifsPeer peer = server.peer;
	Client *newer;
	DifsListEntry bad;

	(void) state;
	make_group(client, true);
	peer.epoch++;
	newer = client_connect_as(&peer);
	assert_int_equal(mend(client, 3, LENGTH), DIFS_ERROR_FENCED);
	assert_int_equal(mend_group(client), DIFS_ERROR_FENCED);
	assert_int_equal(verify_group(client, &bad), 0);
	assert_int_equal(mend(newer, 3, LENGTH), DIFS_OK);
	client_close(newer);
	client_close(client);
}

static void
a_dead_segment_lives_again(void **state)
{
	Client *client = client_connect(&server);
	uint64_t id = 5;
	uint32_t deleted;

	(void) state;
	make_group(client, true);
	assert_int_equal(delete_segments(client, GROUP, &id, 1, &deleted), DIFS_OK);
	assert_int_equal(deleted, 1);
	assert_int_equal(get(client, GROUP, id, LENGTH), DIFS_ERROR_NO_SEGMENT);
	assert_int_equal(mend(client, id, LENGTH), DIFS_OK);
	expect_good(client);
}

/* Without index and with two headers gone, the server does not know what was there. */
static void
a_lost_segment_finds_its_place(void **state)
{
	Client *client = client_connect(&server);
	char path[256];
	uint64_t size;
	DifsListEntry bad;

	(void) state;
	make_group(client, true);
	flip_bit(".group", offset_of(client, 3) + 20);
	flip_bit(".group", offset_of(client, 4) + 20);
	group_path(&server, GROUP, ".group", path);
	size = file_bytes(path);
	client_close(client);
	server_end(&server, SIGKILL);
	flip_bit(".index", 300);
	server_start(&server, NULL);
	client = client_connect(&server);

	assert_int_equal(get(client, GROUP, 3, LENGTH), DIFS_ERROR_NO_SEGMENT);
	assert_int_equal(verify_group(client, &bad), 1);
	assert_int_equal(bad.segment, 0);
	assert_int_equal(mend(client, 4, LENGTH), DIFS_OK);
	assert_int_equal(mend(client, 3, LENGTH), DIFS_OK);
	assert_int_equal(file_bytes(path), size);
	expect_good(client);
}

/* An open group that was cut, and a sealed one that has forgotten: what is missing comes behind the end, even if that is behind the
 * capacity, as a place is too short. */
static void
a_cut_group_grows_again(void **state)
{
	Client *client = client_connect(&server);
	char path[256];
	uint64_t cut;

	(void) state;
	for (int sealed = 0; sealed < 2; sealed++)
	{
		make_group(client, sealed == 1);
		cut = offset_of(client, 6) + (sealed == 1 ? 100 : 0);
		group_path(&server, GROUP, ".group", path);
		client_close(client);
		server_end(&server, SIGKILL);
		assert_int_equal(truncate(path, (off_t) cut), 0);
		if (sealed == 1)
			flip_bit(".index", 300);
		server_start(&server, NULL);
		client = client_connect(&server);
		assert_int_equal(get(client, GROUP, 7, LENGTH), DIFS_ERROR_NO_SEGMENT);
		for (uint64_t id = 8; id >= 6; id--)
			assert_int_equal(mend(client, id, LENGTH), DIFS_OK);
		expect_good(client);
		client = client_connect(&server);
		assert_int_equal(drop_group(client, GROUP), DIFS_OK);
	}
	client_close(client);
}

static void
header_and_index_are_mended(void **state)
{
	Client *client = client_connect(&server);
	DifsListEntry bad;

	(void) state;
	make_group(client, true);
	flip_bit(".group", 50);
	assert_int_equal(verify_group(client, &bad), 1);
	assert_int_equal(bad.segment, 0);
	assert_int_equal(bad.offset, 0);
	assert_int_equal(mend_group(client), DIFS_OK);
	assert_int_equal(verify_group(client, &bad), 0);
	flip_bit(".index", 128 + 3 * 32 + 16);
	assert_int_equal(verify_group(client, &bad), 1);
	assert_int_equal(bad.offset, 0);
	/* Where the index leads is not where to write. */
	assert_int_equal(mend(client, 4, LENGTH), DIFS_ERROR_CORRUPT);
	assert_int_equal(mend_group(client), DIFS_OK);
	expect_good(client);
}

/* The index is made anew while the disk refuses to read one header: that record's place is listed, the group is not compacted, which
 * would leave it behind, and the next start finds it. */
static void
nothing_is_forgotten_while_the_disk_refuses(void **state)
{
	char path[256];
	/* of the reads of one thread the first is of the group's header, then one for each record; the third is tried twice */
	const char *const under[] = {
		"strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=pread64",
		"-e", "inject=pread64:error=EIO:when=4..5", NULL};
	uint64_t ids[] = {1, 2, 5, 6, 7, 8};
	Client *client;
	DifsListEntry *entries;
	uint32_t count;
	uint32_t deleted;
	uint64_t offset;

	(void) state;
	if (!have_strace())
		skip();
	client = client_connect(&server);
	make_group(client, true);
	offset = offset_of(client, 3);
	client_close(client);
	server_end(&server, SIGTERM);
	flip_bit(".index", 200);

	group_path(&server, GROUP, ".group", path);
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	server_start_under(&server, under, NULL);
	unsetenv("ASAN_OPTIONS");
	client = client_connect(&server);
	entries = list_group(client, GROUP, &count);
	assert_int_equal(count, SEGMENTS);
	assert_int_equal(entries[0].segment, 0);
	assert_int_equal(entries[0].offset, offset);
	assert_int_equal(entries[0].flags, DIFS_LIST_DAMAGED);
	free(entries);
	assert_int_equal(get(client, GROUP, 3, LENGTH), DIFS_ERROR_NO_SEGMENT);
	assert_int_equal(get(client, GROUP, 4, LENGTH), DIFS_OK);
	assert_int_equal(delete_segments(client, GROUP, ids, 6, &deleted), DIFS_OK);
	assert_int_equal(deleted, 6);
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	expect_log(&server, "could not be compacted: some of the group file could not be read");
	client_close(client);
	server_end(&server, SIGKILL);

	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(get(client, GROUP, 3, LENGTH), DIFS_OK);
	assert_int_equal(get(client, GROUP, 4, LENGTH), DIFS_OK);
	client_close(client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(flips_in_an_open_group, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(flips_in_a_sealed_group, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(mending_needs_the_same_segment, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(an_older_epoch_mends_nothing, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_dead_segment_lives_again, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_lost_segment_finds_its_place, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_cut_group_grows_again, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(header_and_index_are_mended, server_set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_forgotten_while_the_disk_refuses, server_set_up, server_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
