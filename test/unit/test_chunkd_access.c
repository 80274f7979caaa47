/*
 * test_chunkd_access.c - who may send what: every row of the table in ARCHITECTURE.md.
 *
 * Each message is sent by each kind of peer, with a body that its owner is served for, so what is refused is refused for who
 * sends it.  After each refusal all is as it was.
 */
#include "chunkd_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"

#define SEGMENT		10
#define LENGTH		5000
#define NEW_GROUP	(GROUP + 1)

/* What a peer that has proved the key may do with a message. */
typedef enum Right
{
	GREETING,					/* only in the greeting */
	READ,
	WRITE						/* needs the claim */
} Right;

typedef struct Body
{
	uint8_t		control[DIFS_WIRE_MAX_CONTROL];
	size_t		control_length;
	uint8_t		payload[LENGTH];
	size_t		payload_length;
} Body;

static const struct Row
{
	uint8_t		message;
	Right		right;
}			table[] = {
	{DIFS_MESSAGE_HELLO, GREETING},
	{DIFS_MESSAGE_PROOF, GREETING},
	{DIFS_MESSAGE_CREATE_GROUP, WRITE},
	{DIFS_MESSAGE_SEAL_GROUP, WRITE},
	{DIFS_MESSAGE_DROP_GROUP, WRITE},
	{DIFS_MESSAGE_PUT, WRITE},
	{DIFS_MESSAGE_GET, READ},
	{DIFS_MESSAGE_DELETE, WRITE},
	{DIFS_MESSAGE_LIST, READ},
	{DIFS_MESSAGE_LIST_GROUPS, READ},
	{DIFS_MESSAGE_STAT, READ},
	{DIFS_MESSAGE_VERIFY, READ},
	{DIFS_MESSAGE_PULL, WRITE},
	{DIFS_MESSAGE_VERIFY_GROUP, READ},
	{DIFS_MESSAGE_MEND, WRITE},
};
#define ROWS (sizeof(table) / sizeof(table[0]))

static Body body;

static int
set_up(void **state)
{
	Client	   *owner;

	server_set_up(state);
	owner = client_connect(&server);
	assert_int_equal(create_group(owner, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(owner, GROUP, SEGMENT, LENGTH), DIFS_OK);
	client_close(owner);
	return 0;
}

static void
make_stored(uint64_t segment)
{
	fill(segment, body.payload, LENGTH);
	body.payload_length = LENGTH;
	body.control_length = pack_put(GROUP, segment, body.payload, LENGTH, body.control);
}

/* A body for which the owner gets something else than a refusal. */
static void
make_body(uint8_t message)
{
	DifsCreateGroup create = {.group = NEW_GROUP, .epoch = 1, .capacity = GROUP_BYTES};
	DifsGet		get = {.group = GROUP, .segment = SEGMENT};
	DifsPull	pull = {.group = NEW_GROUP + 1, .epoch = 9, .capacity = GROUP_BYTES, .count = 1};
	DifsHello	hello = {.version = DIFS_WIRE_VERSION};
	uint64_t	segment = SEGMENT;

	strcpy(pull.sources[0].host, "127.0.0.1");
	pull.sources[0].port = 1;	/* nobody: that is its answer */
	body.control_length = body.payload_length = 0;
	switch (message)
	{
		case DIFS_MESSAGE_HELLO:
			assert_true(difs_key_id(server.peer.key, hello.key_id));
			body.control_length = difs_hello_pack(&hello, body.control);
			break;
		case DIFS_MESSAGE_PROOF:
			body.control_length = DIFS_PROOF_SIZE;
			memset(body.control, 1, DIFS_PROOF_SIZE);
			break;
		case DIFS_MESSAGE_CREATE_GROUP:
			body.control_length = difs_create_group_pack(&create, body.control);
			break;
		case DIFS_MESSAGE_SEAL_GROUP:
			body.control_length = difs_group_pack(GROUP, body.control);
			break;
		case DIFS_MESSAGE_DROP_GROUP:
			body.control_length = difs_pair_pack(GROUP, UINT64_MAX, body.control);
			break;
		case DIFS_MESSAGE_LIST_GROUPS:
			body.control_length = difs_group_pack(0, body.control);
			break;
		case DIFS_MESSAGE_PUT:
			make_stored(SEGMENT + 1);
			break;
		case DIFS_MESSAGE_MEND:
			make_stored(SEGMENT);
			break;
		case DIFS_MESSAGE_GET:
			body.control_length = difs_get_pack(&get, body.control);
			break;
		case DIFS_MESSAGE_DELETE:
			body.control_length = difs_delete_pack(GROUP, &segment, 1, body.control);
			break;
		case DIFS_MESSAGE_LIST:
		case DIFS_MESSAGE_VERIFY_GROUP:
			body.control_length = difs_pair_pack(GROUP, 0, body.control);
			break;
		case DIFS_MESSAGE_VERIFY:
			body.control_length = difs_pair_pack(GROUP, SEGMENT, body.control);
			break;
		case DIFS_MESSAGE_PULL:
			body.control_length = difs_pull_pack(&pull, body.control);
			break;
	}
}

/* Sends a message and returns the status of its reply, whose text ends up in body.control; -1 if there is none. */
static int
ask(Client *client, uint8_t message)
{
	Reply		reply;
	int			status;

	make_body(message);
	client_send(client, message, body.control, body.control_length, body.payload, body.payload_length);
	if (!client_receive(client, &reply))
		return -1;
	status = (int) reply.status;
	memcpy(body.control, reply.control, reply.control_length);
	body.control[reply.control_length] = '\0';
	reply_free(&reply);
	return status;
}

static void
expect_text(uint8_t message, const char *text)
{
	if (strstr((char *) body.control, text) == NULL)
		fail_msg("%s: \"%s\" is not in \"%s\"", difs_message_name(message), text, (char *) body.control);
}

/* The one group, open, with the one segment. */
static void
expect_unchanged(void)
{
	DifsPeer	reader = server.peer;
	Client	   *client;
	DifsGroupEntry entry;
	DifsServerStatus status;
	uint32_t	count;

	memset(reader.claim, 0, sizeof(reader.claim));
	client = client_connect_as(&reader);
	get_status(client, &status);
	assert_int_equal(status.groups, 1);
	assert_int_equal(status.segments, 1);
	assert_true(find_group(client, GROUP, &entry));
	assert_int_equal(entry.state, DIFS_GROUP_OPEN);
	assert_int_equal(get(client, GROUP, SEGMENT, LENGTH), DIFS_OK);
	free(list_group(client, GROUP, &count));
	assert_int_equal(count, 1);
	client_close(client);
}

static void
the_table_is_complete(void **state)
{
	(void) state;
	for (int message = 0; message < DIFS_WIRE_REPLY; message++)
	{
		bool		listed = false;

		for (size_t i = 0; i < ROWS; i++)
			listed = listed || table[i].message == message;
		if (listed != (strcmp(difs_message_name((uint8_t) message), "unknown") != 0))
			fail_msg("message %d, \"%s\"", message, difs_message_name((uint8_t) message));
	}
}

static int
connect_raw(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server.peer.port)};
	struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

static void
send_raw(int fd, uint8_t message)
{
	DifsFrame	frame = {
		.control_length = (uint32_t) body.control_length, .payload_length = (uint32_t) body.payload_length, .request = 3,
		.message = message
	};
	uint8_t		header[DIFS_WIRE_HEADER_SIZE];

	difs_wire_pack(&frame, body.control, header);
	(void) send(fd, header, sizeof(header), MSG_NOSIGNAL);
	(void) send(fd, body.control, body.control_length, MSG_NOSIGNAL);
	(void) send(fd, body.payload, body.payload_length, MSG_NOSIGNAL);
}

/* The next reply's status, or -1 at the end of the connection. */
static int
receive_raw(int fd)
{
	uint8_t		header[DIFS_WIRE_HEADER_SIZE];
	DifsFrame	frame;
	ssize_t		got = recv(fd, header, sizeof(header), MSG_WAITALL);

	if (got <= 0)
	{
		assert_true(got == 0 || errno == ECONNRESET);
		return -1;
	}
	assert_int_equal(got, sizeof(header));
	assert_true(difs_wire_unpack(header, DIFS_WIRE_MAX_CONTROL, 0, &frame, NULL));
	assert_int_equal(recv(fd, body.control, frame.control_length, MSG_WAITALL), frame.control_length);
	body.control[frame.control_length] = '\0';
	return frame.status;
}

static void
expect_not_greeting(int fd, uint8_t message)
{
	make_body(message);
	send_raw(fd, message);
	if (body.payload_length > 0)
		assert_int_equal(receive_raw(fd), -1);	/* nobody who might send payload would not be known */
	else
	{
		assert_int_equal(receive_raw(fd), DIFS_ERROR_PROTOCOL);
		expect_text(message, "is not expected in a greeting");
		assert_int_equal(receive_raw(fd), -1);
	}
	close(fd);
}

/* Without any proof, and with half of a greeting. */
static void
strangers_may_only_greet(void **state)
{
	(void) state;
	for (size_t i = 0; i < ROWS; i++)
	{
		int			fd;

		if (table[i].message != DIFS_MESSAGE_HELLO)
			expect_not_greeting(connect_raw(), table[i].message);
		fd = connect_raw();
		make_body(DIFS_MESSAGE_HELLO);
		send_raw(fd, DIFS_MESSAGE_HELLO);
		assert_int_equal(receive_raw(fd), DIFS_OK);
		if (table[i].message != DIFS_MESSAGE_PROOF)
			expect_not_greeting(fd, table[i].message);
		else
		{
			make_body(DIFS_MESSAGE_PROOF);
			send_raw(fd, DIFS_MESSAGE_PROOF);
			assert_int_equal(receive_raw(fd), DIFS_ERROR_REFUSED);
			expect_text(DIFS_MESSAGE_PROOF, "the proof is wrong");
			assert_int_equal(receive_raw(fd), -1);
			close(fd);
		}
	}
	expect_unchanged();
}

/* A peer that has proved the key, and holds no claim, or not any more. */
static void
expect_read_only(const DifsPeer *peer, const char *why)
{
	for (size_t i = 0; i < ROWS; i++)
	{
		uint8_t		message = table[i].message;
		Client	   *client = client_connect_as(peer);
		int			status = ask(client, message);

		if (table[i].right == READ && status != DIFS_OK)
			fail_msg("%s: %d", difs_message_name(message), status);
		if (table[i].right == WRITE && status != DIFS_ERROR_FENCED)
			fail_msg("%s: %d instead of %d", difs_message_name(message), status, DIFS_ERROR_FENCED);
		if (table[i].right == WRITE)
		{
			DifsServerStatus still;

			expect_text(message, why);
			get_status(client, &still); /* it is not closed for that */
		}
		if (table[i].right == GREETING)
		{
			Reply		reply;

			assert_int_equal(status, DIFS_ERROR_PROTOCOL);
			expect_text(message, "is not expected");
			assert_false(client_receive(client, &reply));
		}
		client_close(client);
	}
	expect_unchanged();
}

static void
readers_may_only_read(void **state)
{
	DifsPeer	reader = server.peer;

	(void) state;
	memset(reader.claim, 0, sizeof(reader.claim));
	expect_read_only(&reader, "this connection holds no claim and may only read");
	reader.epoch = 99;
	expect_read_only(&reader, "this connection holds no claim and may only read");
}

static void
another_claim_may_only_read(void **state)
{
	DifsPeer	copy = server.peer;

	(void) state;
	memset(copy.claim, 9, sizeof(copy.claim));
	expect_read_only(&copy, "epoch 1 has been claimed by another");
}

static void
an_old_epoch_may_only_read(void **state)
{
	DifsPeer	newer = server.peer;

	(void) state;
	newer.epoch = 5;
	memset(newer.claim, 5, sizeof(newer.claim));
	client_close(client_connect_as(&newer));
	expect_read_only(&server.peer, "epoch 1 has been superseded by epoch 5");
}

/* Its own groups are others, whatever it asks about ours. */
static void
another_cluster_sees_nothing(void **state)
{
	DifsPeer	foreign = server.peer;
	Client	   *client;

	(void) state;
	memset(foreign.cluster, 2, sizeof(foreign.cluster));
	client = client_connect_as(&foreign);
	for (size_t i = 0; i < ROWS; i++)
	{
		uint8_t		message = table[i].message;
		bool		of_a_group = message != DIFS_MESSAGE_CREATE_GROUP && message != DIFS_MESSAGE_LIST_GROUPS &&
			message != DIFS_MESSAGE_STAT && message != DIFS_MESSAGE_PULL;

		if (table[i].right == GREETING || !of_a_group)
			continue;
		if (ask(client, message) != DIFS_ERROR_NO_GROUP)
			fail_msg("%s: %s", difs_message_name(message), (char *) body.control);
	}
	assert_false(find_group(client, GROUP, &(DifsGroupEntry) {0}));
	client_close(client);
	expect_unchanged();
}

/* The control: the same bodies, from whoever holds the claim. */
static void
the_owner_is_served(void **state)
{
	static const uint8_t order[] = {
		DIFS_MESSAGE_CREATE_GROUP, DIFS_MESSAGE_PUT, DIFS_MESSAGE_GET, DIFS_MESSAGE_LIST, DIFS_MESSAGE_LIST_GROUPS,
		DIFS_MESSAGE_STAT, DIFS_MESSAGE_VERIFY, DIFS_MESSAGE_VERIFY_GROUP, DIFS_MESSAGE_MEND, DIFS_MESSAGE_DELETE,
		DIFS_MESSAGE_SEAL_GROUP, DIFS_MESSAGE_DROP_GROUP
	};
	Client	   *client = client_connect(&server);

	(void) state;
	for (size_t i = 0; i < sizeof(order); i++)
		if (ask(client, order[i]) != DIFS_OK)
			fail_msg("%s: %s", difs_message_name(order[i]), (char *) body.control);
	assert_int_equal(ask(client, DIFS_MESSAGE_PULL), DIFS_ERROR_NETWORK);	/* it has tried */
	expect_text(DIFS_MESSAGE_PULL, "could not connect");
	client_close(client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_complete),
		cmocka_unit_test_setup_teardown(strangers_may_only_greet, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(readers_may_only_read, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(another_claim_may_only_read, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(an_old_epoch_may_only_read, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(another_cluster_sees_nothing, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(the_owner_is_served, set_up, server_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
