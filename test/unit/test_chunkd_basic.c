/*
 * test_chunkd_basic.c - what each message does, for both tiers; starting and ending.
 */
#include "chunkd_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"

static const char *const memory_tier[] = {"--tier", "memory", NULL};
static const char *const exit_with_stdin[] = {"--exit-with-stdin", NULL};

static const char *const *tier;

static int
set_up(void **state)
{
	tier = *state;
	return server_set_up(state);
}

static void
segments_come_back(void **state)
{
	static const uint32_t lengths[] = {1, 63, 4096, 65535, 65536, 65537, 300000, 5 * 1024 * 1024 + 1};
	Client *client = client_connect(&server);

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		assert_int_equal(put(client, GROUP, 10 + i, lengths[i]), DIFS_OK);
	for (int sealed = 0; sealed < 2; sealed++)
	{
		for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		{
			assert_int_equal(get(client, GROUP, 10 + i, lengths[i]), DIFS_OK);
			assert_int_equal(verify(client, GROUP, 10 + i), DIFS_OK);
		}
		assert_int_equal(get(client, GROUP, 99, 1), DIFS_ERROR_NO_SEGMENT);
		assert_int_equal(verify(client, GROUP, 99), DIFS_ERROR_NO_SEGMENT);
		assert_int_equal(get(client, GROUP + 1, 10, 1), DIFS_ERROR_NO_GROUP);
		assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	}
	client_close(client);
}

static void
ranges_are_widened_to_blocks(void **state)
{
	const uint32_t length = 5 * 1024 * 1024 + 100;
	static const struct
	{
		uint32_t offset, length, first_block, bytes;
	} ranges[] = {
		{0, 1, 0, 65536},
		{65535, 2, 0, 131072},
		{65536, 65536, 1, 65536},
		{5 * 1024 * 1024, 0, 80, 100},
		{65536, 0, 1, 5 * 1024 * 1024 + 100 - 65536},
		{100, DIFS_MAX_SEGMENT_SIZE - 100, 0, 5 * 1024 * 1024 + 100},
	};
	Client *client = client_connect(&server);
	uint8_t *bytes = malloc(length);
	uint8_t control[64];
	DifsError error;
	Reply reply;

	(void) state;
	fill(10, bytes, length);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 10, length), DIFS_OK);
	for (uint32_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
	{
		DifsGet request = {GROUP, 10, ranges[i].offset, ranges[i].length};

		assert_int_equal(call(client, DIFS_MESSAGE_GET, control, difs_get_pack(&request, control), &reply), DIFS_OK);
		assert_int_equal(difs_get32(reply.control), ranges[i].first_block);
		assert_int_equal(reply.payload_length, ranges[i].bytes);
		assert_memory_equal(reply.payload, bytes + ranges[i].first_block * 65536, ranges[i].bytes);
		assert_true(difs_segment_verify(reply.control + 4, ranges[i].first_block, reply.payload, reply.payload_length,
										&error));
		reply_free(&reply);
	}
	assert_int_equal(call(client, DIFS_MESSAGE_GET, control,
						  difs_get_pack(&(DifsGet){GROUP, 10, length, 1}, control), &reply),
					 DIFS_ERROR_ARGUMENT);
	free(bytes);
	client_close(client);
}

/* A compressed segment is of no use in part. */
static void
compressed_segments_are_read_whole(void **state)
{
	uint8_t raw[200000];
	uint8_t stored[200000];
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint8_t out[200000];
	uint8_t control[64];
	uint32_t block_crc[8];
	DifsEncoder *encoder = difs_encoder_create();
	DifsSegment header = {.segment = 7, .xid = 1, .group = GROUP, .raw_length = sizeof(raw)};
	DifsCodec codec;
	DifsError error;
	Client *client = client_connect(&server);
	Reply reply;

	(void) state;
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t) (i / 100 * 7 + (i % 3));
	header.stored_length = difs_segment_encode(encoder, raw, sizeof(raw), 1, stored, &codec);
	header.codec = (uint8_t) codec;
	assert_int_equal(codec, DIFS_CODEC_ZSTD);
	difs_segment_checksum(stored, header.stored_length, block_crc, &header.crc);
	difs_segment_pack(&header, block_crc, packed);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	client_send(client, DIFS_MESSAGE_PUT, packed, difs_segment_packed_size(header.stored_length), stored,
				header.stored_length);
	assert_true(client_receive(client, &reply));
	assert_int_equal(reply.status, DIFS_OK);
	assert_int_equal(call(client, DIFS_MESSAGE_GET, control,
						  difs_get_pack(&(DifsGet){GROUP, 7, 1, 1}, control), &reply),
					 DIFS_OK);
	assert_int_equal(reply.payload_length, header.stored_length);
	assert_true(difs_segment_decode(codec, reply.payload, reply.payload_length, out, sizeof(raw), &error));
	assert_memory_equal(out, raw, sizeof(raw));
	reply_free(&reply);
	difs_encoder_destroy(encoder);
	client_close(client);
}

static void
puts_that_cannot_be_are_refused(void **state)
{
	Client *client = client_connect(&server);
	uint8_t bytes[400000];
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint32_t count;
	Reply reply;

	(void) state;
	assert_int_equal(create_group(client, GROUP, 1024 * 1024), DIFS_OK);
	assert_int_equal(create_group(client, GROUP, 1024 * 1024), DIFS_ERROR_EXISTS);
	assert_int_equal(create_group(client, GROUP + 1, 10), DIFS_ERROR_ARGUMENT);
	assert_int_equal(put(client, GROUP + 1, 10, 5000), DIFS_ERROR_NO_GROUP);
	assert_int_equal(put(client, GROUP, 10, 5000), DIFS_OK);
	assert_int_equal(put(client, GROUP, 10, 5000), DIFS_ERROR_EXISTS);
	assert_int_equal(put(client, GROUP, 11, 1024 * 1024), DIFS_ERROR_FULL);

	/* Bytes that do not match their checksums: found on the loop thread if few, in the job if many. */
	for (uint32_t length = 5000; length <= sizeof(bytes); length += sizeof(bytes) - 5000)
	{
		size_t size;

		fill(12, bytes, length);
		size = pack_put(GROUP, 12, bytes, length, packed);
		bytes[length - 1] ^= 1;
		client_send(client, DIFS_MESSAGE_PUT, packed, size, bytes, length);
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, DIFS_ERROR_CORRUPT);
	}
	free(list_group(client, GROUP, &count));
	assert_int_equal(count, 1);
	assert_int_equal(put(client, GROUP, 12, 5000), DIFS_OK);

	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	assert_int_equal(put(client, GROUP, 13, 5000), DIFS_ERROR_SEALED);
	client_close(client);
}

static void
lists_are_complete_and_sorted(void **state)
{
	enum
	{
		SEGMENTS = 2 * DIFS_LIST_MAX_ENTRIES + 10,
	};
	static uint8_t bytes[SEGMENTS][64];
	Client *client = client_connect(&server);
	DifsListEntry *entries;
	DifsGroupEntry group;
	uint32_t count;
	Reply reply;

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	/* Not in the order of their ids. */
	for (uint32_t i = 0; i < SEGMENTS; i++)
		send_put(client, GROUP, 100 + (i ^ 5), 64, bytes[i]);
	for (uint32_t i = 0; i < SEGMENTS; i++)
	{
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, DIFS_OK);
	}
	for (int sealed = 0; sealed < 2; sealed++)
	{
		entries = list_group(client, GROUP, &count);
		assert_int_equal(count, SEGMENTS);
		for (uint32_t i = 0; i < count; i++)
		{
			assert_true(i == 0 || entries[i].segment > entries[i - 1].segment);
			assert_int_equal(entries[i].xid, entries[i].segment + 1000);
			assert_int_equal(entries[i].stored_length, 64);
			assert_int_equal(entries[i].flags, 0);
		}
		free(entries);
		assert_true(find_group(client, GROUP, &group));
		assert_int_equal(group.state, sealed ? DIFS_GROUP_SEALED : DIFS_GROUP_OPEN);
		assert_int_equal(group.live_bytes, SEGMENTS * 64);
		assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	}
	client_close(client);
}

/* Pipelined PUTs share syncs. */
static void
commits_are_shared(void **state)
{
	enum
	{
		SEGMENTS = 200,
	};
	static uint8_t bytes[SEGMENTS][5000];
	Client *client = client_connect(&server);
	DifsServerStatus status;
	Reply reply;

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		send_put(client, GROUP, 1 + i, sizeof(bytes[i]), bytes[i]);
	for (uint32_t i = 0; i < SEGMENTS; i++)
	{
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, DIFS_OK);
	}
	get_status(client, &status);
	assert_int_equal(status.puts, SEGMENTS);
	assert_true(status.syncs < SEGMENTS / 2);
	assert_int_equal(status.segments, SEGMENTS);
	assert_int_equal(status.groups, 1);
	assert_true(status.used_bytes >= SEGMENTS * sizeof(bytes[0]));
	client_close(client);
}

static void
deleted_segments_are_gone(void **state)
{
	Client *client = client_connect(&server);
	uint64_t ids[] = {11, 12, 12, 77};
	uint32_t deleted;
	uint32_t count;
	DifsListEntry *entries;

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint64_t id = 10; id < 16; id++)
		assert_int_equal(put(client, GROUP, id, 10000), DIFS_OK);
	for (int sealed = 0; sealed < 2; sealed++)
	{
		assert_int_equal(delete_segments(client, GROUP, ids, 4, &deleted), DIFS_OK);
		assert_int_equal(deleted, 2);
		assert_int_equal(delete_segments(client, GROUP, ids, 4, &deleted), DIFS_OK);
		assert_int_equal(deleted, 0);
		assert_int_equal(get(client, GROUP, ids[0], 10000), DIFS_ERROR_NO_SEGMENT);
		assert_int_equal(get(client, GROUP, 10, 10000), DIFS_OK);
		assert_int_equal(put(client, GROUP, ids[0], 10000), sealed ? DIFS_ERROR_SEALED : DIFS_ERROR_EXISTS);
		entries = list_group(client, GROUP, &count);
		assert_int_equal(count, 6);
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(entries[i].flags & DIFS_LIST_DEAD,
							 entries[i].segment == 11 || entries[i].segment == 12 ||
									 (sealed && (entries[i].segment == 13 || entries[i].segment == 14)) ?
								 DIFS_LIST_DEAD :
								 0);
		free(entries);
		assert_int_equal(seal_group(client, GROUP), DIFS_OK);
		ids[0] = 13;
		ids[1] = ids[2] = 14;
	}
	client_close(client);
}

static void
dropped_groups_are_gone(void **state)
{
	Client *client = client_connect(&server);
	char path[256];
	DifsGroupEntry group;

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 10, 10000), DIFS_OK);
	assert_int_equal(drop_group(client, GROUP), DIFS_OK);
	assert_int_equal(drop_group(client, GROUP), DIFS_ERROR_NO_GROUP);
	assert_int_equal(get(client, GROUP, 10, 10000), DIFS_ERROR_NO_GROUP);
	assert_false(find_group(client, GROUP, &group));
	group_path(&server, GROUP, ".group", path);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(get(client, GROUP, 10, 10000), DIFS_ERROR_NO_SEGMENT);
	client_close(client);
}

/* One connection never waits for replies: each request finds what those before it did. */
static void
requests_can_be_pipelined(void **state)
{
	Client *client = client_connect(&server);
	DifsCreateGroup create = {.group = GROUP, .epoch = 1, .capacity = GROUP_BYTES};
	uint8_t control[64];
	static uint8_t bytes[100000];
	bool seen[4] = {false};
	Reply reply;

	(void) state;
	client_send(client, DIFS_MESSAGE_CREATE_GROUP, control, difs_create_group_pack(&create, control), NULL, 0);
	send_put(client, GROUP, 10, sizeof(bytes), bytes);
	client_send(client, DIFS_MESSAGE_SEAL_GROUP, control, difs_group_pack(GROUP, control), NULL, 0);
	for (int i = 0; i < 3; i++)
	{
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, DIFS_OK);
		assert_true(reply.request >= 1 && reply.request <= 3);
		seen[reply.request] = true;
	}
	assert_true(seen[1] && seen[2] && seen[3]);
	assert_int_equal(get(client, GROUP, 10, sizeof(bytes)), DIFS_OK);
	client_close(client);
}

/* More groups than have open descriptors at a time. */
static void
many_groups_take_turns(void **state)
{
	enum
	{
		GROUPS = 700,
	};
	Client *client = client_connect(&server);
	DifsServerStatus status;

	(void) state;
	for (uint64_t group = 1; group <= GROUPS; group++)
	{
		assert_int_equal(create_group(client, group, GROUP_BYTES), DIFS_OK);
		assert_int_equal(put(client, group, group, 1000), DIFS_OK);
		if (group % 2 == 0)
			assert_int_equal(seal_group(client, group), DIFS_OK);
	}
	for (int round = 0; round < 2; round++)
	{
		for (uint64_t group = 1; group <= GROUPS; group++)
			assert_int_equal(get(client, group, group, 1000), DIFS_OK);
		get_status(client, &status);
		assert_int_equal(status.groups, GROUPS);
		assert_int_equal(status.segments, GROUPS);
		client_close(client);
		server_end(&server, SIGKILL);
		server_start(&server, NULL);
		client = client_connect(&server);
	}
	for (uint64_t group = 1; group <= GROUPS; group++)
		assert_int_equal(put(client, group, 1000 + group, 1000), group % 2 == 0 ? DIFS_ERROR_SEALED : DIFS_OK);
	client_close(client);
}

static void
older_epochs_may_only_read(void **state)
{
	DifsPeer newer = server.peer;
	Client *client = client_connect(&server);
	Client *owner;
	Client *late;
	DifsServerStatus status;
	uint64_t id = 10;
	uint32_t count;

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 10, 10000), DIFS_OK);

	newer.epoch = 5;
	memset(newer.claim, 5, sizeof(newer.claim));
	owner = client_connect_as(&newer);
	assert_int_equal(difs_conn_status(owner->conn)->epoch, 5);
	assert_int_equal(put(client, GROUP, 11, 10000), DIFS_ERROR_FENCED);
	assert_int_equal(create_group(client, GROUP + 1, GROUP_BYTES), DIFS_ERROR_FENCED);
	assert_int_equal(seal_group(client, GROUP), DIFS_ERROR_FENCED);
	assert_int_equal(drop_group(client, GROUP), DIFS_ERROR_FENCED);
	assert_int_equal(delete_segments(client, GROUP, &id, 1, &count), DIFS_ERROR_FENCED);
	assert_int_equal(get(client, GROUP, 10, 10000), DIFS_OK);
	assert_int_equal(put(owner, GROUP, 11, 10000), DIFS_OK);

	late = client_connect(&server);
	assert_int_equal(put(late, GROUP, 12, 10000), DIFS_ERROR_FENCED);
	client_close(late);
	client_close(client);
	client_close(owner);

	if (tier != NULL)
		return;
	server_end(&server, SIGKILL);
	server_start(&server, tier);
	late = client_connect(&server);
	assert_int_equal(put(late, GROUP, 12, 10000), DIFS_ERROR_FENCED);
	get_status(late, &status);
	assert_int_equal(status.epoch, 5);
	assert_int_equal(get(late, GROUP, 11, 10000), DIFS_OK);
	client_close(late);
}

/* Who brings an epoch first has it; another with the same epoch, and one that claims nothing, may only read. */
static void
one_claim_holds_an_epoch(void **state)
{
	DifsPeer copy = server.peer;
	DifsPeer reader = server.peer;
	Client *owner = client_connect(&server);
	Client *other;

	(void) state;
	memset(copy.claim, 9, sizeof(copy.claim));
	memset(reader.claim, 0, sizeof(reader.claim));
	reader.epoch = 99;
	assert_int_equal(create_group(owner, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(owner, GROUP, 10, 10000), DIFS_OK);

	other = client_connect_as(&copy);
	assert_memory_equal(difs_conn_status(other->conn)->claim, server.peer.claim, DIFS_CLAIM_SIZE);
	assert_int_equal(put(other, GROUP, 11, 10000), DIFS_ERROR_FENCED);
	assert_int_equal(drop_group(other, GROUP), DIFS_ERROR_FENCED);
	assert_int_equal(get(other, GROUP, 10, 10000), DIFS_OK);
	client_close(other);

	other = client_connect_as(&reader);
	assert_int_equal(difs_conn_status(other->conn)->epoch, 1);
	assert_int_equal(put(other, GROUP, 11, 10000), DIFS_ERROR_FENCED);
	assert_int_equal(get(other, GROUP, 10, 10000), DIFS_OK);
	client_close(other);

	assert_int_equal(put(owner, GROUP, 11, 10000), DIFS_OK);
	client_close(owner);
	if (tier != NULL)
		return;
	server_end(&server, SIGKILL);
	server_start(&server, tier);
	copy.port = server.peer.port;
	other = client_connect_as(&copy);
	assert_int_equal(create_group(other, GROUP + 1, GROUP_BYTES), DIFS_ERROR_FENCED);
	client_close(other);
	owner = client_connect(&server);
	assert_int_equal(create_group(owner, GROUP + 1, GROUP_BYTES), DIFS_OK);
	client_close(owner);
}

static void
clusters_do_not_see_each_other(void **state)
{
	DifsPeer other = server.peer;
	Client *client = client_connect(&server);
	Client *stranger;
	DifsServerStatus status;

	(void) state;
	memset(other.cluster, 2, sizeof(other.cluster));
	other.epoch = 9;
	stranger = client_connect_as(&other);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 10, 10000), DIFS_OK);
	assert_int_equal(get(stranger, GROUP, 10, 10000), DIFS_ERROR_NO_GROUP);
	assert_int_equal(drop_group(stranger, GROUP), DIFS_ERROR_NO_GROUP);
	get_status(stranger, &status);
	assert_int_equal(status.groups, 0);
	assert_int_equal(status.segments, 0);
	client_close(client);
	client_close(stranger);
}

static void
signals_end_it_cleanly(void **state)
{
	Client *client = client_connect(&server);
	static uint8_t bytes[50][20000];
	Reply reply;
	int status;

	(void) state;
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint32_t i = 0; i < 50; i++)
		send_put(client, GROUP, 1 + i, sizeof(bytes[i]), bytes[i]);
	assert_true(client_receive(client, &reply));
	status = server_end(&server, SIGTERM);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	expect_log(&server, "stopped");
	while (client_receive(client, &reply))
		assert_int_equal(reply.status, DIFS_OK);
	client_close(client);

	server_start(&server, exit_with_stdin);
	client = client_connect(&server);
	close(server.stdin_fd);
	server.stdin_fd = -1;
	status = server_wait(&server);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	client_close(client);
}

static void
a_directory_has_one_server_and_one_name(void **state)
{
	static const char *const other_name[] = {"--name", "/storage02", NULL};
	Server second = server;
	char text[64];

	(void) state;
	/* The second waits for the first, and gets the directory when that ends. */
	second.stdin_fd = -1;
	snprintf(text, sizeof(text), "is in use by process %d", (int) server.pid);
	assert_int_equal(server_start_fails(&second, NULL), 1);
	expect_log(&second, text);
	server_end(&server, SIGKILL);
	assert_int_equal(server_start_fails(&second, other_name), 1);
	expect_log(&second, "belongs to storage \"/storage01\" of tier disk");
	assert_int_equal(server_start_fails(&second, memory_tier), 1);
	server_start(&server, NULL);
}

static void
wrong_options_are_explained(void **state)
{
	static const char *const wrong[][3] = {
		{"--tier", "tape", NULL},
		{"--capacity", "12 apples", NULL},
		{"--listen", "nowhere", NULL},
		{"--max-connections", "0", NULL},
		{"--no-such-option", NULL, NULL},
		{"more", NULL, NULL},
	};
	static const char *const version[] = {"--version", NULL};

	(void) state;
	server_end(&server, SIGKILL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(server_start_fails(&server, wrong[i]), 2);
	expect_log(&server, "\"tape\" is not a tier");
	assert_int_equal(server_start_fails(&server, version), 0);
}

/* clang-format off */
#define ON_DISK(test)	{"disk: " #test, test, set_up, server_tear_down, NULL}
#define IN_MEMORY(test)	{"memory: " #test, test, set_up, server_tear_down, (void *) (uintptr_t) memory_tier}
/* clang-format on */

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_DISK(segments_come_back),
		ON_DISK(ranges_are_widened_to_blocks),
		ON_DISK(compressed_segments_are_read_whole),
		ON_DISK(puts_that_cannot_be_are_refused),
		ON_DISK(lists_are_complete_and_sorted),
		ON_DISK(commits_are_shared),
		ON_DISK(deleted_segments_are_gone),
		ON_DISK(dropped_groups_are_gone),
		ON_DISK(requests_can_be_pipelined),
		ON_DISK(many_groups_take_turns),
		ON_DISK(older_epochs_may_only_read),
		ON_DISK(one_claim_holds_an_epoch),
		ON_DISK(clusters_do_not_see_each_other),
		ON_DISK(signals_end_it_cleanly),
		ON_DISK(a_directory_has_one_server_and_one_name),
		ON_DISK(wrong_options_are_explained),
		IN_MEMORY(segments_come_back),
		IN_MEMORY(ranges_are_widened_to_blocks),
		IN_MEMORY(puts_that_cannot_be_are_refused),
		IN_MEMORY(lists_are_complete_and_sorted),
		IN_MEMORY(deleted_segments_are_gone),
		IN_MEMORY(dropped_groups_are_gone),
		IN_MEMORY(older_epochs_may_only_read),
		IN_MEMORY(one_claim_holds_an_epoch),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("chunkd basic", tests, NULL, NULL);
}
