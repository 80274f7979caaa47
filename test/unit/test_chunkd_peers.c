/*
 * test_chunkd_peers.c - many peers, strange peers, and one honest peer that must not notice them.
 */
#include "chunkd_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"

#define LENGTH 20000
#define UNDISTURBED_MS 20000 /* less than it takes the server to close whoever disturbs */

/* A socket that says nothing yet. */
static int
connect_raw(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server.peer.port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	return fd;
}

/* Whether the server closes the connection within ms; what it sends before is of no interest. */
static bool
closed_within(int fd, uint64_t ms)
{
	uint64_t deadline = now_ms() + ms;
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	char bytes[4096];

	for (uint64_t now = now_ms(); now < deadline; now = now_ms())
	{
		ssize_t got;

		if (poll(&pollfd, 1, (int) (deadline - now)) <= 0)
			continue;
		got = recv(fd, bytes, sizeof(bytes), 0);
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return true;
	}
	return false;
}

static void
send_raw(int fd, const void *bytes, size_t size)
{
	assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

static void
honest_work(Client *client, uint64_t *next)
{
	assert_int_equal(put(client, GROUP, *next, LENGTH), DIFS_OK);
	assert_int_equal(get(client, GROUP, *next, LENGTH), DIFS_OK);
	(*next)++;
}

static void
idle_and_busy_connections(void **state)
{
	enum
	{
		IDLE = 1000,
		BUSY = 100,
		EACH = 20,
	};
	static Client *idle[IDLE];
	static Client *busy[BUSY];
	static uint8_t bytes[BUSY][LENGTH];
	struct rlimit limit;
	Reply reply;

	(void) state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < IDLE; i++)
		idle[i] = client_connect(&server);
	for (int i = 0; i < BUSY; i++)
		busy[i] = client_connect(&server);
	assert_int_equal(create_group(busy[0], GROUP, GROUP_BYTES), DIFS_OK);
	for (uint32_t round = 0; round < EACH; round++)
	{
		for (uint32_t i = 0; i < BUSY; i++)
			send_put(busy[i], GROUP, 1 + round * BUSY + i, LENGTH, bytes[i]);
		for (uint32_t i = 0; i < BUSY; i++)
		{
			assert_true(client_receive(busy[i], &reply));
			assert_int_equal(reply.status, DIFS_OK);
		}
		for (uint32_t i = 0; i < BUSY; i++)
			assert_int_equal(get(busy[i], GROUP, 1 + round * BUSY + (i * 7) % BUSY, LENGTH), DIFS_OK);
	}
	for (int i = 0; i < IDLE; i++)
	{
		DifsServerStatus status;

		get_status(idle[i], &status);
		assert_int_equal(status.puts, BUSY * EACH);
		client_close(idle[i]);
	}
	for (int i = 0; i < BUSY; i++)
		client_close(busy[i]);
}

static const char *const few_connections[] = {"--max-connections", "3", NULL};

static void
too_many_connections_are_told_so(void **state)
{
	Client *clients[3];
	uint64_t next = 1;

	(void) state;
	for (int i = 0; i < 3; i++)
		clients[i] = client_connect(&server);
	assert_int_equal(connect_fails(&server.peer), DIFS_ERROR_FULL);
	assert_int_equal(create_group(clients[0], GROUP, GROUP_BYTES), DIFS_OK);
	honest_work(clients[0], &next);
	client_close(clients[2]);
	/* The server may take a moment to notice. */
	while (connect_fails(&server.peer) == DIFS_ERROR_FULL)
		pause_ms(2);
	client_close(clients[0]);
	client_close(clients[1]);
}

static void
strangers_are_refused(void **state)
{
	DifsPeer peer = server.peer;

	(void) state;
	peer.key[5] ^= 1;
	assert_int_equal(connect_fails(&peer), DIFS_ERROR_REFUSED);
	expect_log(&server, "refused: the key is not one of this server's");
	peer = server.peer;
	strcpy(peer.name, "/storage02");
	assert_int_equal(connect_fails(&peer), DIFS_ERROR_REFUSED);
	expect_log(&server, "refused: this is storage \"/storage01\", not \"/storage02\"");
	/* The right key's id, but not the key. */
	{
		DifsHello hello = {.version = DIFS_WIRE_VERSION, .epoch = 99, .claim = {99}};
		uint8_t control[DIFS_WIRE_MAX_GREETING];
		uint8_t header[DIFS_WIRE_HEADER_SIZE];
		DifsFrame frame = {.message = DIFS_MESSAGE_HELLO};
		uint8_t proof[DIFS_PROOF_SIZE] = {1, 2, 3};
		Client *client;
		int fd = connect_raw();

		assert_true(difs_key_id(server.peer.key, hello.key_id));
		memcpy(hello.cluster, server.peer.cluster, DIFS_UUID_SIZE);
		frame.control_length = (uint32_t) difs_hello_pack(&hello, control);
		difs_wire_pack(&frame, control, header);
		send_raw(fd, header, sizeof(header));
		send_raw(fd, control, frame.control_length);
		frame = (DifsFrame){.message = DIFS_MESSAGE_PROOF, .control_length = sizeof(proof)};
		difs_wire_pack(&frame, proof, header);
		send_raw(fd, header, sizeof(header));
		send_raw(fd, proof, sizeof(proof));
		assert_true(closed_within(fd, DEADLINE_MS));
		close(fd);
		expect_log(&server, "refused: the proof is wrong");
		/* What an unproved HELLO says of epochs counts for nothing. */
		client = client_connect(&server);
		assert_int_equal(difs_conn_status(client->conn)->epoch, 1);
		client_close(client);
	}
}

/* Each of these closes its own connection, at once; an honest one works between them. */
static void
garbage_closes_only_its_own_connection(void **state)
{
	Client *honest = client_connect(&server);
	uint64_t next = 1;
	uint8_t bytes[DIFS_WIRE_HEADER_SIZE + 600];

	(void) state;
	assert_int_equal(create_group(honest, GROUP, GROUP_BYTES), DIFS_OK);
	for (int kind = 0; kind < 6; kind++)
	{
		DifsFrame frame = {.message = DIFS_MESSAGE_HELLO, .control_length = 100};
		int fd = connect_raw();

		fill((uint64_t) kind, bytes, sizeof(bytes));
		if (kind == 1)
			frame.control_length = DIFS_WIRE_MAX_GREETING + 1;
		else if (kind == 2)
			frame.payload_length = DIFS_MAX_SEGMENT_SIZE;
		else if (kind == 3)
			frame.message = DIFS_MESSAGE_GET;
		else if (kind == 4)
			frame.message = DIFS_MESSAGE_HELLO | DIFS_WIRE_REPLY;
		if (kind > 0)
			difs_wire_pack(&frame, bytes + DIFS_WIRE_HEADER_SIZE, bytes);
		if (kind == 5)
			bytes[30] ^= 1;
		send_raw(fd, bytes, DIFS_WIRE_HEADER_SIZE + 100);
		assert_true(closed_within(fd, 5000));
		close(fd);
		honest_work(honest, &next);
	}
	client_close(honest);
}

/* The same with the key: frames that no client sends. */
static void
wrong_requests_close_only_their_own_connection(void **state)
{
	static const struct
	{
		uint8_t message;
		uint32_t control_length;
	} wrong[] = {
		{DIFS_MESSAGE_HELLO, 100},
		{DIFS_MESSAGE_PROOF, 32},
		{77, 0},
		{0, 0},
		{255, 0},
		{DIFS_MESSAGE_GET, 23},
		{DIFS_MESSAGE_DELETE, 8},
		{DIFS_MESSAGE_LIST, 7},
		{DIFS_MESSAGE_CREATE_GROUP, 0},
		{DIFS_MESSAGE_SEAL_GROUP, 1},
		{DIFS_MESSAGE_DROP_GROUP, 8},
		{DIFS_MESSAGE_LIST_GROUPS, 0},
		{DIFS_MESSAGE_VERIFY, 8},
		{DIFS_MESSAGE_VERIFY_GROUP, 8},
		{DIFS_MESSAGE_STAT, DIFS_WIRE_MAX_CONTROL},
	};
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint8_t bytes[LENGTH];
	Client *honest = client_connect(&server);
	uint64_t next = 1;
	Reply reply;

	(void) state;
	assert_int_equal(create_group(honest, GROUP, GROUP_BYTES), DIFS_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		Client *client = client_connect(&server);

		client_send(client, wrong[i].message, control, wrong[i].control_length, NULL, 0);
		if (wrong[i].message != DIFS_MESSAGE_STAT)
		{
			if (client_receive(client, &reply))
				assert_int_equal(reply.status, DIFS_ERROR_PROTOCOL);
			assert_false(client_receive(client, &reply));
		}
		client_close(client);
		honest_work(honest, &next);
	}

	/* A payload of another length than its header says, and one without a header. */
	for (int kind = 0; kind < 2; kind++)
	{
		Client *client = client_connect(&server);
		size_t size;

		fill(9999, bytes, LENGTH);
		size = pack_put(GROUP, 9999, bytes, LENGTH, packed);
		client_send(client, DIFS_MESSAGE_PUT, packed, kind == 0 ? size : 0, bytes, kind == 0 ? LENGTH - 1 : LENGTH);
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, kind == 0 ? DIFS_ERROR_PROTOCOL : DIFS_ERROR_CORRUPT);
		client_close(client);
		honest_work(honest, &next);
	}
	client_close(honest);
}

/* Peers that announce the largest segment and send little of it take nothing from others. */
static void
large_promises_take_no_memory(void **state)
{
	enum
	{
		PEERS = 20,
	};
	Client *clients[PEERS];
	Client *honest = client_connect(&server);
	static uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint8_t *bytes = calloc(1, DIFS_MAX_SEGMENT_SIZE);
	size_t size;
	uint64_t next = 1;
	uint64_t start = now_ms();

	(void) state;
	assert_int_equal(create_group(honest, GROUP, GROUP_BYTES), DIFS_OK);
	size = pack_put(GROUP, 1000, bytes, DIFS_MAX_SEGMENT_SIZE, packed);
	for (int i = 0; i < PEERS; i++)
	{
		DifsFrame frame = {
			.control_length = (uint32_t) size,
			.payload_length = DIFS_MAX_SEGMENT_SIZE,
			.message = DIFS_MESSAGE_PUT,
		};
		uint8_t header[DIFS_WIRE_HEADER_SIZE];

		clients[i] = client_connect(&server);
		difs_wire_pack(&frame, packed, header);
		send_raw(difs_conn_fd(clients[i]->conn), header, sizeof(header));
		send_raw(difs_conn_fd(clients[i]->conn), packed, size);
		send_raw(difs_conn_fd(clients[i]->conn), bytes, 1000);
	}
	for (int i = 0; i < 50; i++)
		honest_work(honest, &next);
	assert_true(now_ms() - start < UNDISTURBED_MS);
	for (int i = 0; i < PEERS; i++)
		client_close(clients[i]);
	client_close(honest);
	free(bytes);
}

/* More payload than the server has memory for, from many peers at once: all of it is stored. */
static void
more_payload_than_memory(void **state)
{
	enum
	{
		PEERS = 6,
		BYTES = 96 * 1024 * 1024,
	};
	Client *clients[PEERS];
	uint8_t *bytes[PEERS];
	int answered = 0;

	(void) state;
	for (int i = 0; i < PEERS; i++)
	{
		clients[i] = client_connect(&server);
		bytes[i] = malloc(BYTES);
	}
	assert_int_equal(create_group(clients[0], GROUP, 1024 * 1024 * 1024), DIFS_OK);
	for (int i = 0; i < PEERS; i++)
		send_put(clients[i], GROUP, 1 + (uint64_t) i, BYTES, bytes[i]);
	/* All of them have to be written to, in turn. */
	while (answered < PEERS)
	{
		struct pollfd pollfds[PEERS];

		for (int i = 0; i < PEERS; i++)
			pollfds[i] = (struct pollfd){
				.fd = clients[i] == NULL ? -1 : difs_conn_fd(clients[i]->conn),
				.events = (short) (clients[i] != NULL &&
										   difs_conn_wants_write(clients[i]->conn) ?
									   POLLIN | POLLOUT :
									   POLLIN),
			};
		assert_true(poll(pollfds, PEERS, DEADLINE_MS) > 0);
		for (int i = 0; i < PEERS; i++)
		{
			DifsFrame frame;

			if (pollfds[i].revents == 0)
				continue;
			switch (difs_conn_advance(clients[i]->conn, &frame))
			{
				case DIFS_EVENT_FRAME:
					assert_int_equal(frame.status, DIFS_OK);
					client_close(clients[i]);
					clients[i] = NULL;
					answered++;
					break;
				case DIFS_EVENT_NONE:
					break;
				default:
					fail_msg("%s", difs_conn_error(clients[i]->conn)->text);
			}
		}
	}
	clients[0] = client_connect(&server);
	for (int i = 0; i < PEERS; i++)
	{
		assert_int_equal(verify(clients[0], GROUP, 1 + (uint64_t) i), DIFS_OK);
		free(bytes[i]);
	}
	client_close(clients[0]);
}

/* A peer that asks for much and reads nothing is not read from any more; others do not notice. */
static void
peers_that_do_not_read(void **state)
{
	enum
	{
		PEERS = 10,
		REQUESTS = 200,
		BYTES = 2 * 1024 * 1024,
	};
	Client *clients[PEERS];
	Client *honest = client_connect(&server);
	uint8_t control[64];
	size_t size = difs_get_pack(&(DifsGet){.group = GROUP, .segment = 5000}, control);
	uint64_t next = 1;
	uint8_t *expected = malloc(BYTES);
	Reply reply;

	(void) state;
	assert_int_equal(create_group(honest, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(honest, GROUP, 5000, BYTES), DIFS_OK);
	for (int i = 0; i < PEERS; i++)
	{
		clients[i] = client_connect(&server);
		for (int j = 0; j < REQUESTS; j++)
			client_send(clients[i], DIFS_MESSAGE_GET, control, size, NULL, 0);
	}
	for (int i = 0; i < 50; i++)
		honest_work(honest, &next);
	/* Who begins to read after all gets everything. */
	fill(5000, expected, BYTES);
	for (int j = 0; j < REQUESTS; j++)
	{
		assert_true(client_receive(clients[0], &reply));
		assert_int_equal(reply.payload_length, BYTES);
		assert_memory_equal(reply.payload, expected, BYTES);
		reply_free(&reply);
	}
	for (int i = 0; i < PEERS; i++)
		client_close(clients[i]);
	client_close(honest);
	free(expected);
}

/* A greeting takes at most 10 s, a frame in which nothing moves 30 s. */
static void
slow_peers_are_closed(void **state)
{
	Client *honest = client_connect(&server);
	Client *stalled = client_connect(&server);
	int silent = connect_raw();
	int partial = connect_raw();
	uint64_t start = now_ms();
	uint64_t next = 1;
	uint8_t half[DIFS_WIRE_HEADER_SIZE / 2] = {0};

	(void) state;
	assert_int_equal(create_group(honest, GROUP, GROUP_BYTES), DIFS_OK);
	send_raw(partial, half, sizeof(half));
	send_raw(difs_conn_fd(stalled->conn), half, sizeof(half));
	assert_true(closed_within(silent, 15000));
	assert_true(closed_within(partial, 5000));
	assert_true(now_ms() - start >= 9000);
	honest_work(honest, &next);
	assert_true(closed_within(difs_conn_fd(stalled->conn), 35000));
	assert_true(now_ms() - start >= 29000);
	/* An honest one that is only idle stays. */
	honest_work(honest, &next);
	close(silent);
	close(partial);
	client_close(stalled);
	client_close(honest);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, server_set_up, server_tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(idle_and_busy_connections),
		{"too_many_connections_are_told_so", too_many_connections_are_told_so, server_set_up, server_tear_down,
		 (void *) (uintptr_t) few_connections},
		TEST(strangers_are_refused),
		TEST(garbage_closes_only_its_own_connection),
		TEST(wrong_requests_close_only_their_own_connection),
		TEST(large_promises_take_no_memory),
		TEST(more_payload_than_memory),
		TEST(peers_that_do_not_read),
		TEST(slow_peers_are_closed),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("chunkd peers", tests, NULL, NULL);
}
