/*
 * test_chunkd_reserve.c - room for small commits: what it adds to a group file, what it must not, and what is left of it.
 */
#include "chunkd_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../chunkd/disk_format.h"

#define RESERVE (256 * 1024)
#define SMALL 5000
#define LARGE (70 * 1024)

static const char *const memory_tier[] = {"--tier", "memory", NULL};
static const char *const little_capacity[] = {"--capacity", "8MB", NULL};

static uint64_t
records(uint64_t count, uint32_t length)
{
	return DIFS_GROUP_HEADER_SIZE + count * difs_record_size(length);
}

/* Starts it with a group; path gets that of its file. */
static Client *
begin(const char *const *options, uint64_t capacity, char path[256])
{
	Client *client;

	server_start(&server, options);
	group_path(&server, GROUP, ".group", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, capacity), DIFS_OK);
	return client;
}

static void
small_puts_write_over_zeros(void **state)
{
	char path[256];
	Client *client = begin(NULL, GROUP_BYTES, path);
	DifsServerStatus status;
	uint64_t length;

	(void) state;
	put_segments(client, GROUP, 1, 1, SMALL);
	length = file_bytes(path);
	assert_int_equal(length, records(1, SMALL) + RESERVE);
	get_status(client, &status);
	assert_true(status.used_bytes >= records(1, SMALL) && status.used_bytes < records(1, SMALL) + RESERVE / 4);
	/* All that fit into it, and one more. */
	for (uint64_t id = 2; records(id, SMALL) <= length; id++)
	{
		put_segments(client, GROUP, id, id, SMALL);
		assert_int_equal(file_bytes(path), length);
		if (records(id + 1, SMALL) > length)
		{
			put_segments(client, GROUP, id + 1, id + 1, SMALL);
			assert_int_equal(file_bytes(path), records(id + 1, SMALL) + RESERVE);
			get_segments(client, GROUP, 1, id + 1, SMALL);
			get_status(client, &status);
			assert_true(status.used_bytes >= records(id + 1, SMALL) && status.used_bytes < records(id + 1, SMALL) + RESERVE / 4);
		}
	}
	client_close(client);
}

static void
large_puts_reserve_nothing(void **state)
{
	char path[256];
	Client *client = begin(NULL, GROUP_BYTES, path);

	(void) state;
	for (uint64_t id = 1; id <= 10; id++)
	{
		put_segments(client, GROUP, id, id, LARGE);
		assert_int_equal(file_bytes(path), records(id, LARGE));
	}
	client_close(client);
}

static void
nothing_is_reserved_where_it_would_not_help(void **state)
{
	char path[256];
	Client *client = begin(*state, GROUP_BYTES, path);

	put_segments(client, GROUP, 1, 3, SMALL);
	get_segments(client, GROUP, 1, 3, SMALL);
	/* the memory tier has no file there */
	assert_int_equal(file_bytes(path), *state == memory_tier ? 0 : records(3, SMALL));
	client_close(client);
}

static void
capacity_of_the_group_is_not_exceeded(void **state)
{
	const uint64_t capacity = 1024 * 1024;
	char path[256];
	Client *client = begin(NULL, capacity, path);
	uint64_t id = 1;

	(void) state;
	for (; records(id, SMALL) <= capacity; id++)
	{
		put_segments(client, GROUP, id, id, SMALL);
		assert_true(file_bytes(path) <= capacity);
	}
	assert_int_equal(put(client, GROUP, id, SMALL), DIFS_ERROR_FULL);
	get_segments(client, GROUP, 1, id - 1, SMALL);
	client_close(client);
}

static void
sealing_cuts_it_off(void **state)
{
	char path[256];
	Client *client = begin(NULL, GROUP_BYTES, path);

	(void) state;
	put_segments(client, GROUP, 1, 3, SMALL);
	assert_int_equal(file_bytes(path), records(1, SMALL) + RESERVE);
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	assert_int_equal(file_bytes(path), records(3, SMALL));
	get_segments(client, GROUP, 1, 3, SMALL);
	client_close(client);
}

static void
recovery_cuts_it_off_and_does_not_call_it_torn(void **state)
{
	char path[256];
	Client *client = begin(NULL, GROUP_BYTES, path);

	(void) state;
	put_segments(client, GROUP, 1, 3, SMALL);
	client_close(client);
	for (int round = 1; round <= 3; round++)
	{
		server_end(&server, SIGKILL);
		assert_true(file_bytes(path) >= records(2 + (uint64_t) round, SMALL) + RESERVE / 2);
		server_start(&server, NULL);
		client = client_connect(&server);
		get_segments(client, GROUP, 1, 2 + (uint64_t) round, SMALL);
		expect_log(&server, "0 bytes of torn tail cut off, 0 damaged places");
		assert_int_equal(file_bytes(path), records(2 + (uint64_t) round, SMALL));
		put_segments(client, GROUP, 3 + (uint64_t) round, 3 + (uint64_t) round, SMALL);
		assert_int_equal(file_bytes(path), records(3 + (uint64_t) round, SMALL) + RESERVE);
		client_close(client);
	}
}

/* Who reads does not wait for somebody's syncs, and who writes small segments does not wait for another thread: either way all is right. */
static void
small_puts_between_gets(void **state)
{
	char path[256];
	Client *client = begin(NULL, GROUP_BYTES, path);
	Client *other = client_connect(&server);

	(void) state;
	for (uint64_t id = 1; id <= 300; id++)
	{
		put_segments(client, GROUP, id, id, SMALL);
		if (id % 100 < 50)
			get_segments(other, GROUP, id, id, SMALL);
		if (id % 100 == 99)
			pause_ms(600); /* it is quiet again after half a second */
	}
	client_close(other);
	client_close(client);
	server_end(&server, SIGKILL);
	server_start(&server, NULL);
	client = client_connect(&server);
	get_segments(client, GROUP, 1, 300, SMALL);
	client_close(client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(small_puts_write_over_zeros, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(large_puts_reserve_nothing, server_set_up_stopped, server_tear_down),
		{"memory: nothing_is_reserved_where_it_would_not_help", nothing_is_reserved_where_it_would_not_help, server_set_up_stopped,
		 server_tear_down, (void *) (uintptr_t) memory_tier},
		{"little capacity: nothing_is_reserved_where_it_would_not_help", nothing_is_reserved_where_it_would_not_help,
		 server_set_up_stopped, server_tear_down, (void *) (uintptr_t) little_capacity},
		cmocka_unit_test_setup_teardown(capacity_of_the_group_is_not_exceeded, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(sealing_cuts_it_off, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(recovery_cuts_it_off_and_does_not_call_it_torn, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(small_puts_between_gets, server_set_up_stopped, server_tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("chunkd reserve", tests, NULL, NULL);
}
