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
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "token.h"

#define SEGMENT 10
#define LENGTH 5000
#define NEW_GROUP (GROUP + 1)

/* What a peer that has proved the key may do with a message. */
typedef enum Right
{
	GREETING, /* only in the greeting */
	READ,
	WRITE /* needs the claim */
} Right;

typedef struct Body
{
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	size_t control_length;
	uint8_t payload[LENGTH];
	size_t payload_length;
} Body;

static const struct Row
{
	uint8_t message;
	Right right;
} table[] = {
	{DIFS_MESSAGE_HELLO, GREETING},
	{DIFS_MESSAGE_PROOF, GREETING},
	{DIFS_MESSAGE_HELLO_TOKEN, GREETING},
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
	Client *owner;

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

/* A token that is good, but for what `change` does to it; change may be NULL. */
static void
make_token(DifsOperation operation, uint64_t segment, void (*change)(DifsToken *token), uint8_t out[DIFS_TOKEN_SIZE])
{
	DifsToken token = {
		.operation = operation,
		.epoch = server.peer.epoch,
		.group = GROUP,
		.segment = segment,
		.xid = segment + 1000,
		.upload = 3,
		.number = 4,
		.max_bytes = LENGTH,
		.expires = (uint64_t) time(NULL) + 600,
	};

	memcpy(token.cluster, server.peer.cluster, DIFS_UUID_SIZE);
	memcpy(token.claim, server.peer.claim, DIFS_CLAIM_SIZE);
	if (change != NULL)
		change(&token);
	assert_true(difs_token_sign(&token, server.peer.key, out));
}

/* A body for which the owner gets something else than a refusal. */
static void
make_body(uint8_t message)
{
	DifsCreateGroup create = {.group = NEW_GROUP, .epoch = 1, .capacity = GROUP_BYTES};
	DifsGet get = {.group = GROUP, .segment = SEGMENT};
	DifsPull pull = {.group = NEW_GROUP + 1, .epoch = 9, .capacity = GROUP_BYTES, .count = 1};
	DifsHello hello = {.version = DIFS_WIRE_VERSION};
	DifsHelloToken hello_token = {.version = DIFS_WIRE_VERSION};
	uint8_t token[DIFS_TOKEN_SIZE];
	uint64_t segment = SEGMENT;

	strcpy(pull.sources[0].host, "127.0.0.1");
	pull.sources[0].port = 1; /* nobody: that is its answer */
	body.control_length = body.payload_length = 0;
	switch (message)
	{
		case DIFS_MESSAGE_HELLO:
			assert_true(difs_key_id(server.peer.key, hello.key_id));
			body.control_length = difs_hello_pack(&hello, body.control);
			break;
		case DIFS_MESSAGE_HELLO_TOKEN:
			make_token(DIFS_OPERATION_READ, SEGMENT, NULL, token);
			memcpy(hello_token.token, token, DIFS_TOKEN_BODY_SIZE);
			body.control_length = difs_hello_token_pack(&hello_token, body.control);
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
	Reply reply;
	int status;

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
	DifsPeer reader = server.peer;
	Client *client;
	DifsGroupEntry entry;
	DifsServerStatus status;
	uint32_t count;

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
		bool listed = false;

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
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

static void
send_raw(int fd, uint8_t message)
{
	DifsFrame frame = {
		.control_length = (uint32_t) body.control_length,
		.payload_length = (uint32_t) body.payload_length,
		.request = 3,
		.message = message,
	};
	uint8_t header[DIFS_WIRE_HEADER_SIZE];

	difs_wire_pack(&frame, body.control, header);
	(void) send(fd, header, sizeof(header), MSG_NOSIGNAL);
	(void) send(fd, body.control, body.control_length, MSG_NOSIGNAL);
	(void) send(fd, body.payload, body.payload_length, MSG_NOSIGNAL);
}

/* The next reply's status, or -1 at the end of the connection. */
static int
receive_raw(int fd)
{
	uint8_t header[DIFS_WIRE_HEADER_SIZE];
	DifsFrame frame;
	ssize_t got = recv(fd, header, sizeof(header), MSG_WAITALL);

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
		assert_int_equal(receive_raw(fd), -1); /* nobody who might send payload would not be known */
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
		int fd;

		if (table[i].message != DIFS_MESSAGE_HELLO && table[i].message != DIFS_MESSAGE_HELLO_TOKEN)
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

/* The version comes first in both greetings, and is looked at before anything else. */
static void
newer_greetings_are_refused_as_such(void **state)
{
	static const uint8_t greetings[] = {DIFS_MESSAGE_HELLO, DIFS_MESSAGE_HELLO_TOKEN};

	(void) state;
	for (size_t i = 0; i < sizeof(greetings); i++)
	{
		int fd = connect_raw();

		make_body(greetings[i]);
		difs_put16(body.control, DIFS_WIRE_VERSION + 1);
		send_raw(fd, greetings[i]);
		assert_int_equal(receive_raw(fd), DIFS_ERROR_VERSION);
		expect_text(greetings[i], "version 2 of the protocol is not understood, only 1");
		assert_int_equal(receive_raw(fd), -1);
		close(fd);
	}
}

/* A peer that has proved the key, and holds no claim, or not any more. */
static void
expect_read_only(const DifsPeer *peer, const char *why)
{
	for (size_t i = 0; i < ROWS; i++)
	{
		uint8_t message = table[i].message;
		Client *client = client_connect_as(peer);
		int status = ask(client, message);

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
			Reply reply;

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
	DifsPeer reader = server.peer;

	(void) state;
	memset(reader.claim, 0, sizeof(reader.claim));
	expect_read_only(&reader, "this connection holds no claim and may only read");
	reader.epoch = 99;
	expect_read_only(&reader, "this connection holds no claim and may only read");
}

static void
another_claim_may_only_read(void **state)
{
	DifsPeer copy = server.peer;

	(void) state;
	memset(copy.claim, 9, sizeof(copy.claim));
	expect_read_only(&copy, "epoch 1 has been claimed by another");
}

static void
an_old_epoch_may_only_read(void **state)
{
	DifsPeer newer = server.peer;

	(void) state;
	newer.epoch = 5;
	memset(newer.claim, 5, sizeof(newer.claim));
	client_close(client_connect_as(&newer));
	expect_read_only(&server.peer, "epoch 1 has been superseded by epoch 5");
}

/* The body of a message with the use of a token behind its control. */
static int
ask_by_token(Client *client, uint8_t message, const uint8_t token[DIFS_TOKEN_SIZE])
{
	Reply reply;
	int status;

	make_body(message);
	body.control_length += difs_token_use_pack(token, difs_conn_session(client->conn), body.control + body.control_length);
	client_send(client, message, body.control, body.control_length, body.payload, body.payload_length);
	if (!client_receive(client, &reply))
		return -1;
	status = (int) reply.status;
	memcpy(body.control, reply.control, reply.control_length);
	body.control[reply.control_length] = '\0';
	body.control_length = reply.control_length;
	reply_free(&reply);
	return status;
}

static Client *
connect_by_token(const uint8_t token[DIFS_TOKEN_SIZE])
{
	DifsPeer peer = server.peer;

	memset(peer.key, 0, sizeof(peer.key));
	peer.token = token;
	return client_connect_as(&peer);
}

/* With a token of either kind: everything but PUT and GET is refused, and these, too, without the use of a token. */
static void
tokens_allow_two_messages(void **state)
{
	uint8_t token[DIFS_TOKEN_SIZE];

	(void) state;
	for (size_t i = 0; i < 2 * ROWS; i++)
	{
		uint8_t message = table[i % ROWS].message;
		bool of_token = message == DIFS_MESSAGE_PUT || message == DIFS_MESSAGE_GET;
		Client *client;
		int status;

		make_token(i < ROWS ? DIFS_OPERATION_READ : DIFS_OPERATION_WRITE, SEGMENT, NULL, token);
		client = connect_by_token(token);
		status = of_token ? ask(client, message) : ask_by_token(client, message, token);
		if (status != (table[i % ROWS].right == GREETING ? DIFS_ERROR_PROTOCOL : DIFS_ERROR_REFUSED))
			fail_msg("%s: %d", difs_message_name(message), status);
		if (status == DIFS_ERROR_REFUSED)
		{
			/* what follows it is served */
			make_token(DIFS_OPERATION_READ, SEGMENT, NULL, token);
			assert_int_equal(ask_by_token(client, DIFS_MESSAGE_GET, token), DIFS_OK);
		}
		client_close(client);
	}
	expect_unchanged();
}

/* clang-format off */
static void expire(DifsToken *token) { token->expires = (uint64_t) time(NULL); }
static void change_cluster(DifsToken *token) { token->cluster[0]++; }
static void change_group(DifsToken *token) { token->group++; }
static void change_epoch(DifsToken *token) { token->epoch--; }
static void raise_epoch(DifsToken *token) { token->epoch++; }
static void change_claim(DifsToken *token) { token->claim[0]++; }
static void change_segment(DifsToken *token) { token->segment++; }
static void change_xid(DifsToken *token) { token->xid++; }
static void shorten(DifsToken *token) { token->max_bytes--; }
static void read_only(DifsToken *token) { token->operation = DIFS_OPERATION_READ; }
static void write_only(DifsToken *token) { token->operation = DIFS_OPERATION_WRITE; }
/* clang-format on */

/* A use of a good connection, of a token that is not for this. */
static void
tokens_allow_what_they_say(void **state)
{
	static const struct
	{
		const char *what;
		void (*change)(DifsToken *token);
		uint8_t message;
		DifsErrorCode status;
	} wrong[] = {
		{"expired", expire, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"other cluster", change_cluster, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"other group", change_group, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"old epoch", change_epoch, DIFS_MESSAGE_PUT, DIFS_ERROR_FENCED},
		{"future epoch", raise_epoch, DIFS_MESSAGE_PUT, DIFS_ERROR_FENCED},
		{"other claim", change_claim, DIFS_MESSAGE_PUT, DIFS_ERROR_FENCED},
		{"other segment", change_segment, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"other transaction", change_xid, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"too large", shorten, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"to read", read_only, DIFS_MESSAGE_PUT, DIFS_ERROR_REFUSED},
		{"expired", expire, DIFS_MESSAGE_GET, DIFS_ERROR_REFUSED},
		{"other cluster", change_cluster, DIFS_MESSAGE_GET, DIFS_ERROR_REFUSED},
		{"other group", change_group, DIFS_MESSAGE_GET, DIFS_ERROR_REFUSED},
		{"other segment", change_segment, DIFS_MESSAGE_GET, DIFS_ERROR_REFUSED},
		{"to write", write_only, DIFS_MESSAGE_GET, DIFS_ERROR_REFUSED},
	};
	uint8_t good[DIFS_TOKEN_SIZE];
	uint8_t token[DIFS_TOKEN_SIZE];
	Client *client;
	Client *second;
	Reply reply;

	(void) state;
	make_token(DIFS_OPERATION_READ, SEGMENT, NULL, good);
	client = connect_by_token(good);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		bool is_put = wrong[i].message == DIFS_MESSAGE_PUT;
		int status;

		make_token(is_put ? DIFS_OPERATION_WRITE : DIFS_OPERATION_READ, is_put ? SEGMENT + 1 : SEGMENT, wrong[i].change, token);
		status = ask_by_token(client, wrong[i].message, token);
		if (status != (int) wrong[i].status)
			fail_msg("%s, %s: %d", difs_message_name(wrong[i].message), wrong[i].what, status);
	}
	/* a forged one, and the use of a good one on another connection */
	make_token(DIFS_OPERATION_READ, SEGMENT, NULL, token);
	token[DIFS_TOKEN_BODY_SIZE]++;
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_GET, token), DIFS_ERROR_REFUSED);
	second = connect_by_token(good);
	make_body(DIFS_MESSAGE_GET);
	body.control_length += difs_token_use_pack(good, difs_conn_session(second->conn), body.control + body.control_length);
	assert_int_equal(call(client, DIFS_MESSAGE_GET, body.control, body.control_length, &reply), DIFS_ERROR_REFUSED);
	reply_free(&reply);
	client_close(second);
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_GET, good), DIFS_OK);
	client_close(client);
	expect_unchanged();
}

/* A PUT gives a receipt that says what was stored; the same token again writes nothing. */
static void
a_put_gives_a_receipt_or_says_why_not(void **state)
{
	uint8_t token[DIFS_TOKEN_SIZE];
	DifsKeyring ring = {.count = 1};
	DifsReceipt receipt;
	DifsError error;
	Client *client;
	Client *owner;
	uint32_t deleted;

	(void) state;
	memcpy(ring.key[0], server.peer.key, DIFS_KEY_SIZE);
	assert_true(difs_key_id(ring.key[0], ring.id[0]));
	make_token(DIFS_OPERATION_WRITE, SEGMENT + 1, NULL, token);
	client = connect_by_token(token);
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_PUT, token), DIFS_OK);
	assert_true(difs_receipt_open(body.control, body.control_length, &ring, &receipt, &error));
	assert_int_equal(receipt.segment, SEGMENT + 1);
	assert_int_equal(receipt.group, GROUP);
	assert_int_equal(receipt.upload, 3);
	assert_int_equal(receipt.number, 4);
	assert_int_equal(receipt.raw_length, LENGTH);
	assert_int_equal(receipt.xid, SEGMENT + 1 + 1000);
	assert_string_equal(receipt.server, difs_conn_name(client->conn));
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_PUT, token), DIFS_ERROR_EXISTS);
	owner = client_connect(&server);
	assert_int_equal(get(owner, GROUP, SEGMENT + 1, LENGTH), DIFS_OK);

	/* a group that takes no more says so, in a way that tells the client to ask for another */
	assert_int_equal(delete_segments(owner, GROUP, &(uint64_t){SEGMENT + 1}, 1, &deleted), DIFS_OK);
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_PUT, token), DIFS_ERROR_EXISTS); /* the id stays taken */
	assert_int_equal(seal_group(owner, GROUP), DIFS_OK);
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_PUT, token), DIFS_ERROR_SEALED);
	assert_int_equal(drop_group(owner, GROUP), DIFS_OK);
	assert_int_equal(create_group(owner, GROUP, DIFS_BLOCK_SIZE / 16), DIFS_OK);
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_PUT, token), DIFS_ERROR_FULL);
	assert_int_equal(drop_group(owner, GROUP), DIFS_OK);
	assert_int_equal(ask_by_token(client, DIFS_MESSAGE_PUT, token), DIFS_ERROR_NO_GROUP);
	client_close(owner);
	client_close(client);
}

/* Who comes with a token is let in by that token only, and has a server that knows it. */
static void
a_bad_token_does_not_connect(void **state)
{
	static void (*const changes[])(DifsToken * token) = {expire, NULL, NULL};
	uint8_t token[DIFS_TOKEN_SIZE];
	DifsPeer peer = server.peer;

	(void) state;
	peer.token = token;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		make_token(DIFS_OPERATION_READ, SEGMENT, changes[i], token);
		if (i == 1)
			token[DIFS_TOKEN_BODY_SIZE + 5]++; /* another secret than the server's: it is no server of ours, either */
		if (i == 2)
			token[60]++; /* another segment */
		assert_int_equal(connect_fails(&peer), DIFS_ERROR_REFUSED);
	}
	expect_unchanged();
}

/* Its own groups are others, whatever it asks about ours. */
static void
another_cluster_sees_nothing(void **state)
{
	DifsPeer foreign = server.peer;
	Client *client;

	(void) state;
	memset(foreign.cluster, 2, sizeof(foreign.cluster));
	client = client_connect_as(&foreign);
	for (size_t i = 0; i < ROWS; i++)
	{
		uint8_t message = table[i].message;
		bool of_a_group = message != DIFS_MESSAGE_CREATE_GROUP && message != DIFS_MESSAGE_LIST_GROUPS &&
			message != DIFS_MESSAGE_STAT && message != DIFS_MESSAGE_PULL;

		if (table[i].right == GREETING || !of_a_group)
			continue;
		if (ask(client, message) != DIFS_ERROR_NO_GROUP)
			fail_msg("%s: %s", difs_message_name(message), (char *) body.control);
	}
	assert_false(find_group(client, GROUP, &(DifsGroupEntry){0}));
	client_close(client);
	expect_unchanged();
}

/* The control: the same bodies, from whoever holds the claim. */
static void
the_owner_is_served(void **state)
{
	static const uint8_t order[] = {
		DIFS_MESSAGE_CREATE_GROUP,
		DIFS_MESSAGE_PUT,
		DIFS_MESSAGE_GET,
		DIFS_MESSAGE_LIST,
		DIFS_MESSAGE_LIST_GROUPS,
		DIFS_MESSAGE_STAT,
		DIFS_MESSAGE_VERIFY,
		DIFS_MESSAGE_VERIFY_GROUP,
		DIFS_MESSAGE_MEND,
		DIFS_MESSAGE_DELETE,
		DIFS_MESSAGE_SEAL_GROUP,
		DIFS_MESSAGE_DROP_GROUP,
	};
	Client *client = client_connect(&server);

	(void) state;
	for (size_t i = 0; i < sizeof(order); i++)
		if (ask(client, order[i]) != DIFS_OK)
			fail_msg("%s: %s", difs_message_name(order[i]), (char *) body.control);
	assert_int_equal(ask(client, DIFS_MESSAGE_PULL), DIFS_ERROR_NETWORK); /* it has tried */
	expect_text(DIFS_MESSAGE_PULL, "could not connect");
	client_close(client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_complete),
		cmocka_unit_test_setup_teardown(strangers_may_only_greet, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(newer_greetings_are_refused_as_such, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(readers_may_only_read, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(another_claim_may_only_read, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(an_old_epoch_may_only_read, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(tokens_allow_two_messages, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(tokens_allow_what_they_say, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_put_gives_a_receipt_or_says_why_not, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_bad_token_does_not_connect, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(another_cluster_sees_nothing, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(the_owner_is_served, set_up, server_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
