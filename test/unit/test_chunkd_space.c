/*
 * test_chunkd_space.c - space: given back by deletion and compaction, limited by --capacity, at its end on a full disk.
 */
#include "chunkd_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"

#define MEGABYTE (1024 * 1024)

static const char *const memory_tier[] = {"--tier", "memory", "--capacity", "8MB", NULL};

static void
wait_until_below(const char *path, uint64_t bytes)
{
	uint64_t deadline = now_ms() + DEADLINE_MS;

	while (allocated_bytes(path) >= bytes)
	{
		assert_true(now_ms() < deadline);
		pause_ms(5);
	}
}

static void
deletion_gives_large_segments_back(void **state)
{
	Client *client;
	char path[256];
	uint64_t ids[] = {1, 3, 5};
	uint32_t deleted;
	DifsServerStatus status;

	(void) state;
	server_start(&server, NULL);
	group_path(&server, GROUP, ".group", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	put_segments(client, GROUP, 1, 6, MEGABYTE);
	assert_true(allocated_bytes(path) >= 6 * MEGABYTE);
	/* Of an open group, then of a sealed one. */
	assert_int_equal(delete_segments(client, GROUP, ids, 1, &deleted), DIFS_OK);
	wait_until_below(path, 5 * MEGABYTE + 65536);
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	assert_int_equal(delete_segments(client, GROUP, ids + 1, 2, &deleted), DIFS_OK);
	wait_until_below(path, 3 * MEGABYTE + 65536);
	assert_true(file_bytes(path) > 6 * MEGABYTE);
	for (uint64_t id = 2; id <= 6; id += 2)
		assert_int_equal(get(client, GROUP, id, MEGABYTE), DIFS_OK);
	client_close(client);

	server_end(&server, SIGKILL);
	server_start(&server, NULL);
	client = client_connect(&server);
	get_status(client, &status);
	assert_int_equal(status.segments, 3);
	assert_true(status.used_bytes < 3 * MEGABYTE + 65536);
	assert_true(status.dead_bytes < 65536);
	client_close(client);
}

static void
compaction_gives_small_segments_back(void **state)
{
	enum
	{
		SEGMENTS = 500,
		LENGTH = 3000,
	};
	static uint8_t bytes[SEGMENTS][LENGTH];
	uint64_t ids[SEGMENTS];
	Client *client;
	char path[256];
	uint32_t deleted;
	uint32_t count;
	Reply reply;

	(void) state;
	server_start(&server, NULL);
	group_path(&server, GROUP, ".group", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		send_put(client, GROUP, 1 + i, LENGTH, bytes[i]);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		assert_true(client_receive(client, &reply));
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		ids[i] = 1 + i;
	/* Half is not enough, more is. */
	assert_int_equal(delete_segments(client, GROUP, ids, SEGMENTS / 2 - 10, &deleted), DIFS_OK);
	assert_int_equal(get(client, GROUP, SEGMENTS, LENGTH), DIFS_OK);
	assert_false(has_logged(&server, "compacted"));
	assert_int_equal(delete_segments(client, GROUP, ids, SEGMENTS - 50, &deleted), DIFS_OK);
	assert_int_equal(deleted, SEGMENTS / 2 - 40);
	expect_log(&server, "compacted");
	assert_int_equal(file_bytes(path), 4096 + 50 * 3072);
	for (int round = 0; round < 2; round++)
	{
		free(list_group(client, GROUP, &count));
		assert_int_equal(count, 50);
		for (uint32_t i = 0; i < SEGMENTS; i++)
			assert_int_equal(get(client, GROUP, ids[i], LENGTH), i < SEGMENTS - 50 ? DIFS_ERROR_NO_SEGMENT : DIFS_OK);
		for (uint32_t i = SEGMENTS - 50; i < SEGMENTS; i++)
			assert_int_equal(verify(client, GROUP, ids[i]), DIFS_OK);
		client_close(client);
		server_end(&server, SIGKILL);
		server_start(&server, NULL);
		client = client_connect(&server);
	}
	assert_int_equal(delete_segments(client, GROUP, ids, SEGMENTS, &deleted), DIFS_OK);
	assert_int_equal(deleted, 50);
	wait_until_below(path, 4097);
	assert_int_equal(file_bytes(path), 4096);
	client_close(client);
}

/* Readers are right at every moment of many compactions. */
static void
reading_goes_on_during_compaction(void **state)
{
	enum
	{
		SEGMENTS = 400,
		LENGTH = 20000,
	};
	uint64_t ids[SEGMENTS];
	Client *client;
	Client *reader;
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	uint32_t deleted;
	DifsErrorCode status;

	(void) state;
	server_start(&server, NULL);
	client = client_connect(&server);
	reader = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint32_t i = 0; i < SEGMENTS; i++)
	{
		ids[i] = 1 + i;
		assert_int_equal(put(client, GROUP, ids[i], LENGTH), DIFS_OK);
	}
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	for (uint32_t from = 0; from + 10 < SEGMENTS; from += 10)
	{
		client_send(client, DIFS_MESSAGE_DELETE, control, difs_delete_pack(GROUP, ids + from, 10, control), NULL, 0);
		for (uint32_t i = from; i < SEGMENTS; i += 17)
		{
			status = get(reader, GROUP, ids[i], LENGTH);
			assert_true(status == DIFS_OK || (i < from + 10 && status == DIFS_ERROR_NO_SEGMENT));
		}
	}
	assert_int_equal(delete_segments(reader, GROUP, ids, SEGMENTS - 10, &deleted), DIFS_OK);
	for (uint32_t i = SEGMENTS - 10; i < SEGMENTS; i++)
		assert_int_equal(get(reader, GROUP, ids[i], LENGTH), DIFS_OK);
	expect_log(&server, "compacted");
	client_close(client);
	client_close(reader);
}

static void
fill_up(Client *client, uint32_t length, uint64_t *stored)
{
	DifsErrorCode status = DIFS_OK;

	for (*stored = 0; status == DIFS_OK; *stored += status == DIFS_OK)
		status = put(client, GROUP, *stored + 1, length);
	assert_int_equal(status, DIFS_ERROR_FULL);
}

static void
capacity_is_not_exceeded(void **state)
{
	static const char *const options[] = {"--capacity", "8MB", NULL};
	bool memory = *state != NULL;
	Client *client;
	uint64_t stored;
	uint64_t ids[] = {1, 2};
	uint32_t deleted;
	DifsServerStatus status;

	server_start(&server, memory ? memory_tier : options);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	fill_up(client, 900000, &stored);
	assert_int_equal(stored, 9);
	get_status(client, &status);
	assert_int_equal(status.capacity_bytes, 8 * MEGABYTE);
	assert_true(status.used_bytes <= 8 * MEGABYTE);
	assert_true(status.free_bytes < 900000);
	assert_int_equal(status.tier, memory ? 1 : 0);
	assert_int_equal(delete_segments(client, GROUP, ids, 2, &deleted), DIFS_OK);
	/* A STAT after the deletion's second half. */
	do
		get_status(client, &status);
	while (status.free_bytes < 1000000);
	assert_int_equal(put(client, GROUP, 100, 900000), DIFS_OK);
	assert_int_equal(get(client, GROUP, 100, 900000), DIFS_OK);
	assert_int_equal(get(client, GROUP, 9, 900000), DIFS_OK);
	client_close(client);
}

/* No room at a write: nothing is acknowledged, what was before stays, and there is a way on. */
static void
use_full_disk(void)
{
	Client *client;
	uint64_t stored;
	uint64_t id = 1;
	uint32_t deleted;
	DifsGroupEntry entry;

	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	fill_up(client, 700000, &stored);
	assert_true(stored > 3);
	assert_true(find_group(client, GROUP, &entry));
	assert_int_equal(entry.state, DIFS_GROUP_OPEN);
	assert_int_equal(get(client, GROUP, stored + 1, 700000), DIFS_ERROR_NO_SEGMENT);
	for (uint64_t i = 1; i <= stored; i++)
		assert_int_equal(get(client, GROUP, i, 700000), DIFS_OK);
	assert_int_equal(put(client, GROUP, 1000, 1000), DIFS_OK);
	assert_int_equal(delete_segments(client, GROUP, &id, 1, &deleted), DIFS_OK);
	client_close(client);
	server_end(&server, SIGKILL);
}

static void
full_disk_is_survived(void **state)
{
	Client *client;

	(void) state;
	if (geteuid() != 0 || mkdir(server.data, 0700) != 0 || mount("tmpfs", server.data, "tmpfs", 0, "size=6m") != 0)
	{
		print_message("a small file system cannot be mounted here\n");
		skip();
	}
	server_start(&server, NULL);
	use_full_disk();
	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(get(client, GROUP, 2, 700000), DIFS_OK);
	assert_int_equal(get(client, GROUP, 1000, 1000), DIFS_OK);
	assert_int_equal(put(client, GROUP, 2000, 600000), DIFS_OK);
	client_close(client);
	server_end(&server, SIGKILL);
	assert_int_equal(umount(server.data), 0);
}

static void
file_size_limit_is_survived(void **state)
{
	struct rlimit before;
	struct rlimit limit;

	(void) state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 6 * MEGABYTE;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	server_start(&server, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	use_full_disk();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(deletion_gives_large_segments_back, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(compaction_gives_small_segments_back, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(reading_goes_on_during_compaction, server_set_up_stopped, server_tear_down),
		{"disk: capacity_is_not_exceeded", capacity_is_not_exceeded, server_set_up_stopped, server_tear_down, NULL},
		{"memory: capacity_is_not_exceeded", capacity_is_not_exceeded, server_set_up_stopped, server_tear_down,
		 (void *) (uintptr_t) memory_tier},
		cmocka_unit_test_setup_teardown(full_disk_is_survived, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(file_size_limit_is_survived, server_set_up_stopped, server_tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("chunkd space", tests, NULL, NULL);
}
