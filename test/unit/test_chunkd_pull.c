/*
 * test_chunkd_pull.c - PULL between real servers: what is copied, what is refused, who may die.
 */
#include "test_chunkd_harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVERS 3
#define SEGMENTS 60
#define LENGTH 200000
#define SLOW (2 * 1024 * 1024) /* bytes a second: all segments take six seconds */

static Server servers[SERVERS];
static Client *clients[SERVERS];

/* All have the key of the first. */
static void
share_key(Server *server)
{
	char from[256];
	char to[256];
	char text[256];
	ssize_t length;
	int fd;

	snprintf(from, sizeof(from), "%s/key", servers[0].directory);
	snprintf(to, sizeof(to), "%s/key", server->directory);
	fd = open(from, O_RDONLY);
	length = read(fd, text, sizeof(text));
	close(fd);
	fd = open(to, O_WRONLY | O_TRUNC);
	assert_true(length > 0 && write(fd, text, (size_t) length) == length);
	close(fd);
	memcpy(server->peer.key, servers[0].peer.key, DIFS_KEY_SIZE);
}

static int
set_up(void **state)
{
	(void) state;
	for (int i = 0; i < SERVERS; i++)
	{
		server_prepare(&servers[i], NULL);
		if (i > 0)
			share_key(&servers[i]);
		server_start(&servers[i], NULL);
		clients[i] = client_connect(&servers[i]);
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void) state;
	for (int i = 0; i < SERVERS; i++)
	{
		client_close(clients[i]);
		server_remove(&servers[i]);
	}
	return 0;
}

static void
restart(int number, int signal_number)
{
	client_close(clients[number]);
	server_end(&servers[number], signal_number);
	server_start(&servers[number], NULL);
	clients[number] = client_connect(&servers[number]);
}

static void
fill_group(int number, uint64_t first, uint64_t last)
{
	assert_int_equal(create_group(clients[number], GROUP, GROUP_BYTES), DIFS_OK);
	for (uint64_t segment = first; segment <= last; segment++)
		assert_int_equal(put(clients[number], GROUP, segment, LENGTH), DIFS_OK);
}

static DifsPull
make_pull(uint64_t epoch, int first, int second)
{
	DifsPull pull = {.group = GROUP, .epoch = epoch, .capacity = GROUP_BYTES, .count = second < 0 ? 1 : 2};
	const int numbers[] = {first, second};

	for (int i = 0; i < pull.count; i++)
	{
		strcpy(pull.sources[i].name, servers[numbers[i]].peer.name);
		strcpy(pull.sources[i].host, servers[numbers[i]].peer.host);
		pull.sources[i].port = servers[numbers[i]].peer.port;
	}
	return pull;
}

/* One request. */
static DifsErrorCode
pull_once(Client *client, const DifsPull *pull, DifsPullProgress *progress)
{
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	static Reply reply;
	DifsErrorCode code = call(client, DIFS_MESSAGE_PULL, control, difs_pull_pack(pull, control), &reply);

	*progress = (DifsPullProgress){0};
	if (code == DIFS_OK)
		assert_true(difs_pull_progress_unpack(reply.control, reply.control_length, progress, NULL));
	reply_free(&reply);
	return code;
}

/* Until it is done or has failed. */
static DifsErrorCode
pull_all(Client *client, const DifsPull *pull, DifsPullProgress *progress)
{
	uint64_t deadline = now_ms() + DEADLINE_MS;
	DifsErrorCode code;

	while ((code = pull_once(client, pull, progress)) == DIFS_OK && !progress->done)
		assert_true(now_ms() < deadline);
	return code;
}

static void
expect_copy(int number, uint64_t epoch, uint64_t first, uint64_t last)
{
	DifsGroupEntry entry;

	assert_true(find_group(clients[number], GROUP, &entry));
	assert_int_equal(entry.epoch, epoch);
	assert_int_equal(entry.state, DIFS_GROUP_SEALED);
	assert_int_equal(entry.live_bytes, (last - first + 1) * LENGTH);
	for (uint64_t segment = first; segment <= last; segment++)
	{
		assert_int_equal(get(clients[number], GROUP, segment, LENGTH), DIFS_OK);
		assert_int_equal(verify(clients[number], GROUP, segment), DIFS_OK);
	}
	assert_int_equal(get(clients[number], GROUP, last + 1, LENGTH), DIFS_ERROR_NO_SEGMENT);
}

/* No file but those that belong to a group, whatever it is called. */
static void
expect_no_leftover(int number)
{
	DIR *directory = opendir(servers[number].group_directory);
	struct dirent *entry;

	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
	{
		const char *dot = strrchr(entry->d_name, '.');

		if (dot != NULL && dot[1] != '\0' && entry->d_name[0] != '.' && strcmp(dot, ".group") != 0 &&
			strcmp(dot, ".index") != 0 && strcmp(dot, ".failed") != 0)
			fail_msg("\"%s\" is left in %s", entry->d_name, servers[number].group_directory);
	}
	closedir(directory);
}

static void
expect_nothing(int number)
{
	DifsGroupEntry entry;
	char path[256];

	assert_false(find_group(clients[number], GROUP, &entry));
	group_path(&servers[number], GROUP, ".group", path);
	assert_int_equal(access(path, F_OK), -1);
	expect_no_leftover(number);
}

/* Turns a bit in the stored form of a segment. */
static void
damage(int number, uint64_t segment)
{
	DifsListEntry entry = list_segment(clients[number], GROUP, segment);
	char path[256];

	assert_true(entry.offset > 0);
	group_path(&servers[number], GROUP, ".group", path);
	flip_bits(path, entry.offset + difs_segment_packed_size(LENGTH) + 70000, 4);
}

static void
copies_a_group(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(5, 0, -1);
	const uint64_t dead[] = {SEGMENTS + 1, SEGMENTS + 2};
	uint32_t deleted;

	(void) state;
	fill_group(0, 1, SEGMENTS + 2);
	assert_int_equal(delete_segments(clients[0], GROUP, dead, 2, &deleted), DIFS_OK);
	assert_int_equal(seal_group(clients[0], GROUP), DIFS_OK);

	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_OK);
	assert_int_equal(progress.segments, SEGMENTS);
	assert_int_equal(progress.bytes, SEGMENTS * LENGTH);
	assert_int_equal(progress.damaged, 0);
	expect_copy(1, 5, 1, SEGMENTS);

	/* It is there to stay, asked for again it is there already, and an older one is refused. */
	restart(1, SIGKILL);
	expect_copy(1, 5, 1, SEGMENTS);
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_OK);
	assert_true(progress.done);
	pull = make_pull(4, 0, -1);
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_EXISTS);

	/* It is a group like any other: segments can be deleted, and it can be dropped. */
	assert_int_equal(delete_segments(clients[1], GROUP, (const uint64_t[]){1}, 1, &deleted), DIFS_OK);
	assert_int_equal(deleted, 1);
	assert_int_equal(put(clients[1], GROUP, 1000, LENGTH), DIFS_ERROR_SEALED);
	assert_int_equal(drop_group(clients[1], GROUP), DIFS_OK);
	expect_nothing(1);
}

static void
replaces_an_older_copy(void **state)
{
	DifsPullProgress progress;
	DifsPull pull;
	char path[256];

	(void) state;
	fill_group(0, 1, SEGMENTS);
	fill_group(1, 1, 3); /* open, and with less in it */
	fill_group(2, 1, 5); /* sealed, and failed */
	assert_int_equal(seal_group(clients[2], GROUP), DIFS_OK);
	group_path(&servers[2], GROUP, ".failed", path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	restart(2, SIGTERM);

	for (int number = 1; number < SERVERS; number++)
	{
		pull = make_pull(2, 0, -1);
		assert_int_equal(pull_all(clients[number], &pull, &progress), DIFS_OK);
		expect_copy(number, 2, 1, SEGMENTS);
		restart(number, SIGKILL);
		expect_copy(number, 2, 1, SEGMENTS);
	}
}

static void
takes_a_bad_segment_from_another(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(2, 0, 1);

	(void) state;
	fill_group(0, 1, SEGMENTS);
	fill_group(1, 1, SEGMENTS);
	damage(0, 7);
	damage(1, 8);
	assert_int_equal(pull_all(clients[2], &pull, &progress), DIFS_OK);
	assert_int_equal(progress.damaged, 0);
	expect_copy(2, 2, 1, SEGMENTS);
}

static void
never_spreads_bad_bytes(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(2, 0, 1);
	DifsListEntry *entries;
	uint32_t count;
	uint32_t damaged = 0;

	(void) state;
	fill_group(0, 1, SEGMENTS);
	fill_group(1, 1, SEGMENTS);
	damage(0, 7);
	damage(1, 7);
	assert_int_equal(pull_all(clients[2], &pull, &progress), DIFS_ERROR_CORRUPT);
	expect_nothing(2);

	/* If it is allowed, all but that segment is copied, and that is marked; the place is found again without an index. */
	pull.flags = DIFS_PULL_DAMAGED;
	pull.epoch = 3;
	assert_int_equal(pull_all(clients[2], &pull, &progress), DIFS_OK);
	for (int again = 0; again < 2; again++)
	{
		for (uint64_t segment = 1; segment <= SEGMENTS; segment++)
		{
			if (segment != 7)
				assert_int_equal(get(clients[2], GROUP, segment, LENGTH), DIFS_OK);
		}
		entries = list_group(clients[2], GROUP, &count);
		for (uint32_t i = 0; i < count; i++)
			damaged += (entries[i].flags & DIFS_LIST_DAMAGED) != 0;
		free(entries);
		assert_int_equal(count, SEGMENTS);
		assert_int_equal(damaged, again + 1);
		if (again == 0)
		{
			char path[256];

			assert_int_equal(get(clients[2], GROUP, 7, LENGTH), DIFS_ERROR_CORRUPT);
			group_path(&servers[2], GROUP, ".index", path);
			assert_int_equal(truncate(path, 100), 0);
			restart(2, SIGKILL);
		}
	}
}

static void
a_source_dies(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(2, 0, 1);

	(void) state;
	fill_group(0, 1, SEGMENTS);
	fill_group(1, 1, SEGMENTS);

	/* The other one goes on. */
	pull.rate = SLOW;
	assert_int_equal(pull_once(clients[2], &pull, &progress), DIFS_OK);
	assert_false(progress.done);
	assert_int_equal(progress.total, SEGMENTS * LENGTH);
	restart(0, SIGKILL);
	assert_int_equal(pull_all(clients[2], &pull, &progress), DIFS_OK);
	expect_copy(2, 2, 1, SEGMENTS);
	expect_log(&servers[2], "goes on without a source");

	/* There is no other one: it fails, the copy that was there stays, and the next try, from another, succeeds. */
	pull = make_pull(3, 0, -1);
	pull.rate = SLOW;
	assert_int_equal(pull_once(clients[2], &pull, &progress), DIFS_OK);
	assert_false(progress.done);
	restart(0, SIGKILL);
	assert_int_equal(pull_all(clients[2], &pull, &progress), DIFS_ERROR_NETWORK);
	expect_copy(2, 2, 1, SEGMENTS);
	pull = make_pull(4, 1, -1);
	assert_int_equal(pull_all(clients[2], &pull, &progress), DIFS_OK);
	expect_copy(2, 4, 1, SEGMENTS);
}

static void
the_target_dies(void **state)
{
	uint64_t epoch = 2;

	(void) state;
	fill_group(0, 1, SEGMENTS);
	assert_int_equal(seal_group(clients[0], GROUP), DIFS_OK);
	for (int round = 0; round < 20; round++)
	{
		uint8_t control[DIFS_WIRE_MAX_CONTROL];
		DifsPullProgress progress;
		DifsGroupEntry entry;
		DifsPull pull = make_pull(epoch, 0, -1);

		client_send(clients[1], DIFS_MESSAGE_PULL, control, difs_pull_pack(&pull, control), NULL, 0);
		(void) difs_conn_flush(clients[1]->conn);
		pause_ms(round * 4);
		restart(1, SIGKILL);
		expect_no_leftover(1);
		/* Before and after, all of a copy is there, or none. */
		if (find_group(clients[1], GROUP, &entry))
		{
			for (uint64_t segment = 1; segment <= SEGMENTS; segment++)
				assert_int_equal(get(clients[1], GROUP, segment, LENGTH), DIFS_OK);
		}
		if (round % 4 == 3)
		{
			pull = make_pull(++epoch, 0, -1);
			assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_OK);
			expect_copy(1, epoch, 1, SEGMENTS);
		}
		epoch++;
	}
}

static void
wrong_pulls_are_refused(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(2, 0, -1);
	DifsPeer later = servers[1].peer;
	Client *claimed;

	(void) state;
	/* The source does not have it, is another one, or is not there. */
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_NO_GROUP);
	expect_nothing(1);
	fill_group(0, 1, 1);
	strcpy(pull.sources[0].name, "/other");
	assert_int_not_equal(pull_all(clients[1], &pull, &progress), DIFS_OK);
	strcpy(pull.sources[0].name, "");
	pull.sources[0].port = 1;
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_NETWORK);
	expect_nothing(1);
	/* To sources by TLS, verified, it needs to know by which CA; unverified, these have none. */
	pull = make_pull(2, 0, -1);
	pull.flags = DIFS_TLS_VERIFY_FULL << DIFS_PULL_TLS_SHIFT;
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_ARGUMENT);
	pull.flags = DIFS_TLS_REQUIRE << DIFS_PULL_TLS_SHIFT;
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_NETWORK);
	expect_log(&servers[0], "it wants TLS, and there is no --tls-cert");

	pull = make_pull(2, 0, -1);
	pull.capacity = 1;
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_ARGUMENT);

	/* Two at once: the higher epoch wins. */
	pull = make_pull(2, 0, -1);
	pull.rate = 1;
	fill_group(2, 1, 20);
	pull.sources[0] = make_pull(2, 2, -1).sources[0];
	assert_int_equal(pull_once(clients[1], &pull, &progress), DIFS_OK);
	pull.epoch = 3;
	pull.rate = 0;
	while (pull_once(clients[1], &pull, &progress) == DIFS_ERROR_REFUSED)
		pause_ms(20);
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_OK);
	expect_copy(1, 3, 1, 20);

	/* Who has lost the claim must not pull. */
	later.epoch = 2;
	claimed = client_connect_as(&later);
	pull.epoch = 9;
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_ERROR_FENCED);
	client_close(claimed);
}

/* What an older owner has asked for is not put in place once a newer one is welcome, even if nobody asks about it any more. */
static void
an_older_owners_pull_is_given_up(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(2, 2, -1);
	DifsPeer later = servers[1].peer;
	Client *claimed;

	(void) state;
	fill_group(2, 1, 20);
	pull.rate = 20 * LENGTH / 2;
	assert_int_equal(pull_once(clients[1], &pull, &progress), DIFS_OK);
	assert_false(progress.done);
	later.epoch = 2;
	claimed = client_connect_as(&later);
	expect_log(&servers[1], "could not be pulled: epoch 1 has been superseded by epoch 2");
	expect_nothing(1);

	/* The same number, but not the same pull: from another server, with one segment. */
	fill_group(0, 1, 1);
	pull = make_pull(2, 0, -1);
	while (pull_once(claimed, &pull, &progress) == DIFS_ERROR_REFUSED)
		pause_ms(20);
	assert_int_equal(pull_all(claimed, &pull, &progress), DIFS_OK);
	expect_copy(1, 2, 1, 1);
	client_close(claimed);
}

/* DROP_GROUP that was decided before the copy was made anew comes after that. */
static void
a_late_drop_spares_the_new_copy(void **state)
{
	DifsPullProgress progress;
	DifsPull pull = make_pull(7, 0, -1);
	DifsGroupEntry old;

	(void) state;
	fill_group(0, 1, 5);
	fill_group(1, 1, 2);
	assert_true(find_group(clients[1], GROUP, &old));
	assert_int_equal(pull_all(clients[1], &pull, &progress), DIFS_OK);
	assert_int_equal(drop_group_up_to(clients[1], GROUP, old.epoch), DIFS_ERROR_EXISTS);
	assert_int_equal(drop_group_up_to(clients[1], GROUP, 6), DIFS_ERROR_EXISTS);
	expect_copy(1, 7, 1, 5);

	/* The same after a restart. */
	client_close(clients[1]);
	server_end(&servers[1], SIGKILL);
	server_start(&servers[1], NULL);
	clients[1] = client_connect(&servers[1]);
	assert_int_equal(drop_group_up_to(clients[1], GROUP, 6), DIFS_ERROR_EXISTS);
	expect_copy(1, 7, 1, 5);
	assert_int_equal(drop_group_up_to(clients[1], GROUP, 7), DIFS_OK);
	expect_nothing(1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(copies_a_group, set_up, tear_down),
		cmocka_unit_test_setup_teardown(replaces_an_older_copy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_a_bad_segment_from_another, set_up, tear_down),
		cmocka_unit_test_setup_teardown(never_spreads_bad_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_source_dies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_target_dies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(wrong_pulls_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_older_owners_pull_is_given_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_late_drop_spares_the_new_copy, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("chunkd/pull", tests, NULL, NULL);
}
