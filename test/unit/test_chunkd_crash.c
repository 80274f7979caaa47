/*
 * test_chunkd_crash.c - a difsd that is killed, whose files are damaged, or whose disk fails.
 */
#include "chunkd_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../chunkd/disk_format.h"

#define LENGTH 5000

static void
restart(void)
{
	server_end(&server, SIGKILL);
	server_start(&server, NULL);
}

static uint8_t *
read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY);
	uint8_t *bytes;

	assert_true(fd >= 0);
	*size = file_bytes(path);
	bytes = malloc(*size + 1);
	assert_int_equal(read(fd, bytes, *size), *size);
	close(fd);
	return bytes;
}

static void
write_file(const char *path, const uint8_t *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

/* In each round, PUTs are in flight when the server is killed; whatever was acknowledged in any round is there. */
static void
what_is_acknowledged_survives_kill(void **state)
{
	enum
	{
		ROUNDS = 8,
		IN_FLIGHT = 64,
	};
	static uint8_t bytes[IN_FLIGHT][70000];
	uint64_t acknowledged[4096];
	uint32_t count = 0;
	uint64_t next = 1;

	(void) state;
	server_start(&server, NULL);
	for (int round = 0; round < ROUNDS; round++)
	{
		Client *client = client_connect(&server);
		DifsErrorCode status = create_group(client, GROUP, 1024 * 1024 * 1024);
		uint64_t first = next;
		Reply reply;

		assert_int_equal(status, round == 0 ? DIFS_OK : DIFS_ERROR_EXISTS);
		for (int i = 0; i < IN_FLIGHT; i++)
			send_put(client, GROUP, next++, 100 + (uint32_t) i * 1000, bytes[i]);
		/* Another number of replies each time; the kill meets the others anywhere. */
		for (int i = 0; i < 1 + round * 7; i++)
		{
			assert_true(client_receive(client, &reply));
			assert_int_equal(reply.status, DIFS_OK);
			acknowledged[count++] = first + reply.request - 2;
		}
		server_end(&server, SIGKILL);
		while (client_receive(client, &reply))
			acknowledged[count++] = first + reply.request - 2;
		client_close(client);

		server_start(&server, NULL);
		client = client_connect(&server);
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(get(client, GROUP, acknowledged[i],
								 100 + (uint32_t) ((acknowledged[i] - 1) % IN_FLIGHT) * 1000),
							 DIFS_OK);
		client_close(client);
	}
}

static void
torn_tail_is_cut_and_written_over(void **state)
{
	Client *client;
	char path[256];
	uint64_t size;

	(void) state;
	server_start(&server, NULL);
	group_path(&server, GROUP, ".group", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	put_segments(client, GROUP, 1, 4, LENGTH);
	client_close(client);
	server_end(&server, SIGKILL);
	size = DIFS_GROUP_HEADER_SIZE + 4 * difs_record_size(LENGTH);
	assert_int_equal(truncate(path, (off_t) size - 1000), 0);
	server_start(&server, NULL);
	client = client_connect(&server);
	get_segments(client, GROUP, 1, 3, LENGTH);
	assert_int_equal(get(client, GROUP, 4, LENGTH), DIFS_ERROR_NO_SEGMENT);
	expect_log(&server, "recovered: 3 segments, 4120 bytes of torn tail cut off, 0 damaged places");
	assert_int_equal(put(client, GROUP, 4, LENGTH), DIFS_OK);
	assert_int_equal(put(client, GROUP, 5, LENGTH), DIFS_OK);
	client_close(client);
	restart();
	client = client_connect(&server);
	get_segments(client, GROUP, 1, 5, LENGTH);
	client_close(client);
}

static void
rot_keeps_what_is_behind_it(void **state)
{
	Client *client;
	char path[256];
	uint64_t offset;

	(void) state;
	server_start(&server, NULL);
	group_path(&server, GROUP, ".group", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	put_segments(client, GROUP, 1, 5, LENGTH);
	offset = list_segment(client, GROUP, 2).offset;
	client_close(client);
	server_end(&server, SIGKILL);
	flip_bits(path, offset + 20, 1);
	server_start(&server, NULL);
	client = client_connect(&server);
	for (int sealed = 0; sealed < 2; sealed++)
	{
		assert_int_equal(get(client, GROUP, 2, LENGTH), DIFS_ERROR_NO_SEGMENT);
		assert_int_equal(list_segment(client, GROUP, 0).flags, DIFS_LIST_DAMAGED);
		assert_int_equal(list_segment(client, GROUP, 0).offset, offset);
		get_segments(client, GROUP, 3, 5, LENGTH);
		assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	}
	client_close(client);
}

static void
rot_in_a_sealed_group_is_found(void **state)
{
	Client *client;
	char path[256];
	uint64_t offsets[4];

	(void) state;
	server_start(&server, NULL);
	group_path(&server, GROUP, ".group", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	put_segments(client, GROUP, 1, 3, LENGTH);
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	for (uint64_t id = 1; id <= 3; id++)
		offsets[id] = list_segment(client, GROUP, id).offset;
	flip_bits(path, offsets[1] + 1000, 1);
	flip_bits(path, offsets[2] + 20, 1);
	assert_int_equal(verify(client, GROUP, 1), DIFS_ERROR_CORRUPT);
	assert_int_equal(verify(client, GROUP, 2), DIFS_ERROR_CORRUPT);
	assert_int_equal(get(client, GROUP, 2, LENGTH), DIFS_ERROR_CORRUPT);
	assert_int_equal(verify(client, GROUP, 3), DIFS_OK);
	assert_int_equal(list_segment(client, GROUP, 1).flags, DIFS_LIST_DAMAGED);
	assert_int_equal(list_segment(client, GROUP, 2).flags, DIFS_LIST_DAMAGED);
	assert_int_equal(list_segment(client, GROUP, 3).flags, 0);
	client_close(client);
}

static void
damaged_index_is_made_anew(void **state)
{
	Client *client;
	char path[256];
	uint64_t dead = 2;
	uint32_t deleted;
	uint64_t size;

	(void) state;
	server_start(&server, NULL);
	group_path(&server, GROUP, ".index", path);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	put_segments(client, GROUP, 1, 9, LENGTH);
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	assert_int_equal(delete_segments(client, GROUP, &dead, 1, &deleted), DIFS_OK);
	client_close(client);
	size = file_bytes(path);
	assert_int_equal(size, 128 + 9 * 32);
	/* In the header, in an entry, cut, empty. */
	for (int damage = 0; damage < 4; damage++)
	{
		server_end(&server, SIGKILL);
		if (damage < 2)
			flip_bits(path, damage == 0 ? 50 : 128 + 3 * 32 + 16, 1);
		else
			assert_int_equal(truncate(path, damage == 2 ? (off_t) size - 1 : 0), 0);
		server_start(&server, NULL);
		client = client_connect(&server);
		for (uint64_t id = 1; id <= 9; id++)
			assert_int_equal(get(client, GROUP, id, LENGTH), id == dead ? DIFS_ERROR_NO_SEGMENT : DIFS_OK);
		assert_int_equal(put(client, GROUP, 10, LENGTH), DIFS_ERROR_SEALED);
		assert_int_equal(file_bytes(path), size);
		client_close(client);
	}
	expect_log(&server, "index is made anew");
}

static void
what_a_crash_left_is_removed(void **state)
{
	static const char *const suffixes[] = {".group.tmp", ".group.new", ".index.tmp", ".index", ".failed"};
	Client *client;
	DifsGroupEntry entry;
	char path[256];

	(void) state;
	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 1, LENGTH), DIFS_OK);
	client_close(client);
	server_end(&server, SIGKILL);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
	{
		group_path(&server, GROUP + 1, suffixes[i], path);
		write_file(path, (const uint8_t *) "x", 1);
	}
	server_start(&server, NULL);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
	{
		group_path(&server, GROUP + 1, suffixes[i], path);
		assert_int_not_equal(access(path, F_OK), 0);
	}
	client = client_connect(&server);
	assert_false(find_group(client, GROUP + 1, &entry));
	assert_int_equal(get(client, GROUP, 1, LENGTH), DIFS_OK);
	client_close(client);
}

/* A group file whose header is gone cannot be served, and harms no other. */
static void
lost_group_header_is_reported(void **state)
{
	Client *client;
	DifsGroupEntry entry;
	char path[256];

	(void) state;
	server_start(&server, NULL);
	client = client_connect(&server);
	for (uint64_t group = GROUP; group < GROUP + 2; group++)
	{
		assert_int_equal(create_group(client, group, GROUP_BYTES), DIFS_OK);
		assert_int_equal(put(client, group, 1, LENGTH), DIFS_OK);
	}
	client_close(client);
	server_end(&server, SIGKILL);
	group_path(&server, GROUP, ".group", path);
	flip_bits(path, 33, 1);
	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(get(client, GROUP, 1, LENGTH), DIFS_ERROR_CORRUPT);
	assert_int_equal(put(client, GROUP, 2, LENGTH), DIFS_ERROR_CORRUPT);
	assert_true(find_group(client, GROUP, &entry));
	assert_int_equal(entry.state, DIFS_GROUP_FAILED);
	assert_int_equal(get(client, GROUP + 1, 1, LENGTH), DIFS_OK);
	assert_int_equal(drop_group(client, GROUP), DIFS_OK);
	client_close(client);
}

/* A sync of one group fails: nothing that waited for it is acknowledged, the group is read-only for ever, others go
 * on. */
static void
failed_sync_fails_the_group(void **state)
{
	char path[256];
	const char *const under[] = {
		"strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=fdatasync",
		"-e", "inject=fdatasync:error=EIO", NULL};
	Client *client;
	DifsGroupEntry entry;
	uint64_t id = 1;
	uint32_t count;

	(void) state;
	if (!have_strace())
		skip();
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	group_path(&server, GROUP, ".group", path);
	server_start_under(&server, under, NULL);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(create_group(client, GROUP + 1, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 1, LENGTH), DIFS_ERROR_IO);
	assert_int_equal(get(client, GROUP, 1, LENGTH), DIFS_ERROR_NO_SEGMENT);
	assert_int_equal(put(client, GROUP, 2, LENGTH), DIFS_ERROR_SEALED);
	assert_int_equal(seal_group(client, GROUP), DIFS_ERROR_IO);
	assert_int_equal(delete_segments(client, GROUP, &id, 1, &count), DIFS_ERROR_IO);
	assert_int_equal(put(client, GROUP + 1, 1, LENGTH), DIFS_OK);
	assert_true(find_group(client, GROUP, &entry));
	assert_int_equal(entry.state, DIFS_GROUP_FAILED);
	client_close(client);
	expect_log(&server, "failed and is read-only from now on");

	server_end(&server, SIGTERM);
	unsetenv("ASAN_OPTIONS");
	server_start(&server, NULL);
	client = client_connect(&server);
	assert_true(find_group(client, GROUP, &entry));
	assert_int_equal(entry.state, DIFS_GROUP_FAILED);
	assert_int_equal(put(client, GROUP, 3, LENGTH), DIFS_ERROR_SEALED);
	assert_int_equal(put(client, GROUP + 1, 2, LENGTH), DIFS_OK);
	assert_int_equal(drop_group(client, GROUP), DIFS_OK);
	client_close(client);
}

/* A new owner is welcome only when all that the older one had under way is done. */
static void
new_owner_waits_for_writes_of_the_old(void **state)
{
	char path[256];
	const char *const under[] = {
		"strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=fdatasync",
		"-e", "inject=fdatasync:delay_enter=300000", NULL};
	uint8_t bytes[LENGTH];
	DifsPeer newer = server.peer;
	Client *client;
	Client *owner;
	uint64_t welcomed_ms;
	Reply reply;

	(void) state;
	if (!have_strace())
		skip();
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	group_path(&server, GROUP, ".group", path);
	server_start_under(&server, under, NULL);
	unsetenv("ASAN_OPTIONS");
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	/* Two commits: the second is queued when the new owner comes. */
	send_put(client, GROUP, 1, LENGTH, bytes);
	send_put(client, GROUP, 2, LENGTH, bytes);
	newer.port = server.peer.port;
	newer.epoch = 2;
	owner = client_connect_as(&newer);
	/* Both PUTs came first, or were refused: nothing is done or answered later, which would take 300 ms. */
	welcomed_ms = now_ms();
	for (int i = 0; i < 2; i++)
	{
		assert_true(client_receive(client, &reply));
		assert_true(reply.status == DIFS_OK || reply.status == DIFS_ERROR_FENCED);
		assert_int_equal(get(owner, GROUP, reply.request - 1, LENGTH),
						 reply.status == DIFS_OK ? DIFS_OK : DIFS_ERROR_NO_SEGMENT);
	}
	assert_true(now_ms() - welcomed_ms < 150);
	assert_int_equal(put(client, GROUP, 3, LENGTH), DIFS_ERROR_FENCED);
	client_close(client);
	client_close(owner);
}

/* Brings the server to the rename that kills it: of the group file when it is made, of the index by sealing, of group file
 * and index by compaction. */
static void
run_into_rename(int step, uint64_t group, const char *const *under)
{
	DifsCreateGroup create = {.group = group, .epoch = 1, .capacity = GROUP_BYTES};
	uint64_t ids[30];
	uint32_t deleted;
	uint8_t control[64];
	Client *client;
	Reply reply;

	server_start_under(&server, step < 3 ? under : NULL, NULL);
	client = client_connect(&server);
	if (step == 0)
	{
		client_send(client, DIFS_MESSAGE_CREATE_GROUP, control, difs_create_group_pack(&create, control), NULL, 0);
		assert_false(client_receive(client, &reply));
		client_close(client);
		return;
	}
	assert_int_equal(create_group(client, group, GROUP_BYTES), DIFS_OK);
	for (uint64_t id = 1; id <= 30; id++)
	{
		assert_int_equal(put(client, group, id, LENGTH), DIFS_OK);
		ids[id - 1] = id;
	}
	if (step == 1)
	{
		client_send(client, DIFS_MESSAGE_SEAL_GROUP, control, difs_group_pack(group, control), NULL, 0);
		assert_false(client_receive(client, &reply));
		client_close(client);
		return;
	}
	assert_int_equal(seal_group(client, group), DIFS_OK);
	if (step == 3)
	{
		/* The index has been renamed before, by sealing; it is the next time that is meant. */
		client_close(client);
		server_end(&server, SIGKILL);
		server_start_under(&server, under, NULL);
		client = client_connect(&server);
	}
	assert_int_equal(delete_segments(client, group, ids, 28, &deleted), DIFS_OK);
	client_close(client);
}

/* Kills the server when it is about to rename a file: what went before is enough, or is as if it had never been. */
static void
killed_at_each_rename(void **state)
{
	static const char *const renames[] = {".group.tmp", ".index.tmp", ".group.new", ".index.tmp"};
	char path[256];
	const char *const under[] = {
		"strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=renameat,renameat2",
		"-e", "inject=renameat,renameat2:signal=KILL", NULL};
	Client *client;

	(void) state;
	if (!have_strace())
		skip();
	for (int step = 0; step < 4; step++)
	{
		uint64_t group = GROUP + (uint64_t) step;

		snprintf(path, sizeof(path), "01010101010101010101010101010101/%016llx%s", (unsigned long long) group,
				 renames[step]);
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
		run_into_rename(step, group, under);
		unsetenv("ASAN_OPTIONS");
		assert_true(WIFSIGNALED(server_wait(&server)));

		server_start(&server, NULL);
		client = client_connect(&server);
		if (step == 0)
			assert_int_equal(create_group(client, group, GROUP_BYTES), DIFS_OK);
		else
			assert_int_equal(put(client, group, 31, LENGTH), step == 1 ? DIFS_OK : DIFS_ERROR_SEALED);
		for (uint64_t id = 1; id <= 30; id++)
		{
			bool gone = step == 0 || (step > 1 && id <= 28);

			assert_int_equal(get(client, group, id, LENGTH), gone ? DIFS_ERROR_NO_SEGMENT : DIFS_OK);
		}
		client_close(client);
		server_end(&server, SIGKILL);
	}
}

/* An index that was written before a compaction says where nothing is any more. */
static void
index_of_another_generation_is_noticed(void **state)
{
	Client *client;
	char path[256];
	uint8_t *old;
	size_t size;
	uint64_t ids[30];
	uint32_t deleted;

	(void) state;
	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	for (uint64_t id = 1; id <= 30; id++)
	{
		assert_int_equal(put(client, GROUP, id, LENGTH), DIFS_OK);
		ids[id - 1] = id;
	}
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	group_path(&server, GROUP, ".index", path);
	old = read_file(path, &size);
	assert_int_equal(delete_segments(client, GROUP, ids, 28, &deleted), DIFS_OK);
	expect_log(&server, "compacted");
	client_close(client);
	server_end(&server, SIGKILL);
	write_file(path, old, size);
	free(old);
	server_start(&server, NULL);
	client = client_connect(&server);
	for (uint64_t id = 1; id <= 30; id++)
		assert_int_equal(get(client, GROUP, id, LENGTH), id <= 28 ? DIFS_ERROR_NO_SEGMENT : DIFS_OK);
	expect_log(&server, "is the index of another group file");
	client_close(client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_acknowledged_survives_kill, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(torn_tail_is_cut_and_written_over, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(rot_keeps_what_is_behind_it, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(rot_in_a_sealed_group_is_found, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(damaged_index_is_made_anew, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(what_a_crash_left_is_removed, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(lost_group_header_is_reported, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(failed_sync_fails_the_group, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(new_owner_waits_for_writes_of_the_old, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(killed_at_each_rename, server_set_up_stopped, server_tear_down),
		cmocka_unit_test_setup_teardown(index_of_another_generation_is_noticed, server_set_up_stopped, server_tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("chunkd crash", tests, NULL, NULL);
}
