/*
 * test_chunkd_keys.c - a key that is removed from the key file: what becomes of connections that it had proved.
 */
#include "chunkd_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH 200000

static DifsPeer old_peer; /* with the key that goes */

static void
write_keys(const uint8_t *first, const uint8_t *second)
{
	const uint8_t *keys[] = {first, second};
	char path[256];
	char temporary[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/key", server.directory);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	assert_int_equal(unlink(path), 0);
	file = fopen(temporary, "w");
	assert_non_null(file);
	for (int i = 0; i < 2 && keys[i] != NULL; i++)
	{
		for (int j = 0; j < DIFS_KEY_SIZE; j++)
			fprintf(file, "%02x", keys[i][j]);
		fputc('\n', file);
	}
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(temporary, path), 0);
}

static void
hang_up(const char *expected)
{
	assert_int_equal(kill(server.pid, SIGHUP), 0);
	expect_log(&server, expected);
}

static int
set_up(void **state)
{
	Client *client;

	umask(077);
	server_set_up_stopped(state);
	old_peer = server.peer;
	memset(server.peer.key, 7, DIFS_KEY_SIZE);
	write_keys(old_peer.key, server.peer.key);
	server_start(&server, NULL);
	old_peer.port = server.peer.port;
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	client_close(client);
	return 0;
}

static void
idle_connections_end(void **state)
{
	Client *old = client_connect_as(&old_peer);
	Client *current = client_connect(&server);
	Reply reply;

	(void) state;
	/* The control: both keys stay. */
	hang_up("key file was read again: 2 keys");
	assert_int_equal(put(old, GROUP, 1, LENGTH), DIFS_OK);

	write_keys(server.peer.key, NULL);
	hang_up("key file was read again: 1 keys");
	assert_false(client_receive(old, &reply));
	expect_log(&server, "closed: its key was removed");
	assert_int_equal(connect_fails(&old_peer), DIFS_ERROR_REFUSED);
	assert_int_equal(put(current, GROUP, 2, LENGTH), DIFS_OK);
	client_close(old);
	client_close(current);
}

/* A request of which a part has arrived is received, answered, and the last. */
static void
what_is_under_way_is_finished(void **state)
{
	Client *old = client_connect_as(&old_peer);
	Client *current = client_connect(&server);
	uint8_t *bytes = malloc(LENGTH);
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	size_t size = pack_put(GROUP, 1, bytes, LENGTH, packed);
	uint8_t header[DIFS_WIRE_HEADER_SIZE];
	DifsFrame frame = {
		.control_length = (uint32_t) size,
		.payload_length = LENGTH,
		.request = 1,
		.message = DIFS_MESSAGE_PUT,
	};
	Reply reply;
	int fd = difs_conn_fd(old->conn);

	(void) state;
	fill(1, bytes, LENGTH);
	size = pack_put(GROUP, 1, bytes, LENGTH, packed);
	difs_wire_pack(&frame, packed, header);
	assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
	assert_int_equal(write(fd, packed, size), size);
	assert_int_equal(write(fd, bytes, LENGTH / 2), LENGTH / 2);
	/* It is in order behind what another connection asks for later. */
	assert_int_equal(put(current, GROUP, 2, LENGTH), DIFS_OK);

	write_keys(server.peer.key, NULL);
	hang_up("key file was read again: 1 keys");
	assert_int_equal(write(fd, bytes + LENGTH / 2, LENGTH - LENGTH / 2), LENGTH - LENGTH / 2);
	assert_true(client_receive(old, &reply));
	assert_int_equal(reply.status, DIFS_OK);
	assert_false(client_receive(old, &reply));
	assert_int_equal(get(current, GROUP, 1, LENGTH), DIFS_OK);
	client_close(old);
	client_close(current);
	free(bytes);
}

static bool
pass_on(Client *client, int fd, const uint8_t next[DIFS_WIRE_HEADER_SIZE], Reply *reply)
{
	if (send(fd, next, DIFS_WIRE_HEADER_SIZE, MSG_NOSIGNAL) < 0 || !client_receive(client, reply))
		return false;
	assert_int_equal(reply->status, DIFS_OK);
	reply_free(reply);
	return true;
}

/* One that has always begun to ask for more is cut off all the same. */
static void
nobody_goes_on_for_ever(void **state)
{
	Client *old = client_connect_as(&old_peer);
	uint64_t deadline = now_ms() + DEADLINE_MS;
	uint64_t answered = 0;
	uint8_t stat[DIFS_WIRE_HEADER_SIZE];
	uint8_t next[DIFS_WIRE_HEADER_SIZE];
	DifsFrame frame = {.request = 1, .message = DIFS_MESSAGE_STAT};
	Reply reply;
	int fd = difs_conn_fd(old->conn);

	(void) state;
	difs_wire_pack(&frame, NULL, stat);
	next[0] = stat[sizeof(stat) - 1]; /* the end of one, and all but the end of the next */
	memcpy(next + 1, stat, sizeof(stat) - 1);
	assert_int_equal(send(fd, stat, sizeof(stat) - 1, MSG_NOSIGNAL), sizeof(stat) - 1);
	pass_on(old, fd, next, &reply);
	write_keys(server.peer.key, NULL);
	hang_up("key file was read again: 1 keys");
	while (pass_on(old, fd, next, &reply))
	{
		answered++;
		assert_true(now_ms() < deadline);
	}
	print_message("%llu requests were answered meanwhile\n", (unsigned long long) answered);
	assert_true(answered > 0);
	assert_int_equal(connect_fails(&old_peer), DIFS_ERROR_REFUSED);
	client_close(old);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(idle_connections_end, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(what_is_under_way_is_finished, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(nobody_goes_on_for_ever, set_up, server_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
