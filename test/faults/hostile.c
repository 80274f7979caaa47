/*
 * hostile.c - peers that must not be obeyed.
 *
 *	hostile PORT KEY-FILE FRAMES SEED
 *
 * Sends FRAMES frames of the kinds in attacks[], a seeded mix: strangers without the key, replays, superseded and foreign owners, and
 * holders of the key whose frames break a rule.  After every batch, an honest client finds its group, epoch and segments as they were
 * and is served.  Prints what it did; ends with 0 if nothing was obeyed.
 */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"

#define EPOCH 5
#define GROUP 1
#define LENGTH 5000
#define BATCH 500
#define FRAME_SIZE (DIFS_WIRE_HEADER_SIZE + DIFS_WIRE_MAX_CONTROL + LENGTH)

typedef struct Frame
{
	uint8_t bytes[FRAME_SIZE];
	size_t size;
	size_t head; /* header and control */
} Frame;

typedef void (*Attack)(void);

static void garbage(void);
static void before_hello(void);
static void unknown_key(void);
static void wrong_proof(void);
static void reflected_proof(void);
static void replayed(void);
static void malformed_hello(void);
static void superseded(void);
static void foreign(void);
static void malformed(void);
static void bad_put(void);
static void cut_off(void);

static const struct
{
	const char *name;
	Attack attack;
} attacks[] = {
	{"garbage", garbage},
	{"requests before the greeting", before_hello},
	{"unknown key", unknown_key},
	{"wrong proof", wrong_proof},
	{"reflected proof", reflected_proof},
	{"replayed greeting", replayed},
	{"malformed hello", malformed_hello},
	{"superseded epoch", superseded},
	{"foreign cluster", foreign},
	{"malformed frames", malformed},
	{"PUT of bytes that do not match", bad_put},
	{"cut off", cut_off},
};
#define ATTACKS (sizeof(attacks) / sizeof(attacks[0]))

static DifsPeer honest;
static uint64_t seed;
static uint64_t frames = 0;
static uint64_t obeyed = 0;
static uint64_t hung = 0;
static const char *under_way;

static uint64_t
pick(uint64_t limit)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (seed >> 33) % limit;
}

static void
note_obeyed(int message)
{
	if (obeyed++ < 10)
		printf("%s: message %d was obeyed\n", under_way, message);
}

static void
make_frame(Frame *frame, uint8_t message, const uint8_t *control, size_t control_length, const uint8_t *payload,
		   size_t payload_length)
{
	DifsFrame head = {
		.control_length = (uint32_t) control_length,
		.payload_length = (uint32_t) payload_length,
		.request = 1 + pick(1000),
		.message = message,
	};

	difs_wire_pack(&head, control, frame->bytes);
	memcpy(frame->bytes + DIFS_WIRE_HEADER_SIZE, control, control_length);
	if (payload_length > 0)
		memcpy(frame->bytes + DIFS_WIRE_HEADER_SIZE + control_length, payload, payload_length);
	frame->head = DIFS_WIRE_HEADER_SIZE + control_length;
	frame->size = frame->head + payload_length;
}

/* A request that would change something, if it were obeyed. */
static void
make_request(Frame *frame, uint64_t group, uint64_t segment)
{
	static uint8_t control[DIFS_MAX_PACKED_SIZE];
	uint8_t bytes[LENGTH];
	DifsCreateGroup create = {.group = 1000 + pick(1000), .epoch = EPOCH, .capacity = 1024 * 1024};

	switch (pick(5))
	{
		case 0:
			make_frame(frame, DIFS_MESSAGE_CREATE_GROUP, control, difs_create_group_pack(&create, control), NULL, 0);
			break;
		case 1:
			make_frame(frame, DIFS_MESSAGE_SEAL_GROUP, control, difs_group_pack(group, control), NULL, 0);
			break;
		case 2:
			make_frame(frame, DIFS_MESSAGE_DROP_GROUP, control, difs_pair_pack(group, UINT64_MAX, control), NULL, 0);
			break;
		case 3:
			make_frame(frame, DIFS_MESSAGE_DELETE, control, difs_delete_pack(group, &segment, 1, control), NULL, 0);
			break;
		default:
			make_frame(frame, DIFS_MESSAGE_PUT, control, client_pack_put(group, 100 + pick(100000), LENGTH, bytes, control),
					   bytes, LENGTH);
	}
}

/* A socket on which recv() waits, for a while. */
static void
make_waiting(int fd)
{
	struct timeval limit = {.tv_sec = 10};

	if (fd < 0 || fcntl(fd, F_SETFL, 0) != 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0)
	{
		perror("socket");
		exit(1);
	}
}

static int
open_socket(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(honest.port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	make_waiting(fd);
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		perror("connect");
		exit(1);
	}
	return fd;
}

/* The server may have closed already, so what the socket says does not matter. */
static void
send_bytes(int fd, const void *bytes, size_t size)
{
	(void) send(fd, bytes, size, MSG_NOSIGNAL);
}

static bool
receive_all(int fd, void *bytes, size_t size)
{
	ssize_t got = size == 0 ? 0 : recv(fd, bytes, size, MSG_WAITALL);

	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		hung++;
	return got == (ssize_t) size;
}

/* One reply; false at the end of the connection. */
static bool
receive_reply(int fd, DifsFrame *reply, uint8_t *control)
{
	static uint8_t payload[1024 * 1024];
	uint8_t header[DIFS_WIRE_HEADER_SIZE];

	return receive_all(fd, header, sizeof(header)) &&
		difs_wire_unpack(header, DIFS_WIRE_MAX_CONTROL, sizeof(payload), reply, NULL) &&
		receive_all(fd, control, reply->control_length) && receive_all(fd, payload, reply->payload_length);
}

/* Hears what the server has to say until it closes: nothing of it may be a success. */
static void
expect_refusal(int fd)
{
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	DifsFrame reply;

	make_waiting(fd);
	shutdown(fd, SHUT_WR);
	while (receive_reply(fd, &reply, control))
	{
		if (reply.status == DIFS_OK && reply.message != (DIFS_MESSAGE_HELLO | DIFS_WIRE_REPLY))
			note_obeyed(reply.message);
	}
	close(fd);
}

static void
garbage(void)
{
	uint8_t bytes[600];
	size_t size = 1 + pick(sizeof(bytes));
	int fd = open_socket();

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t) pick(256);
	if (pick(2) == 0)
		memset(bytes, 0, size < 20 ? size : 20);
	send_bytes(fd, bytes, size);
	frames++;
	expect_refusal(fd);
}

static void
before_hello(void)
{
	Frame frame;
	int fd = open_socket();

	make_request(&frame, GROUP, 1);
	send_bytes(fd, frame.bytes, frame.size);
	frames++;
	expect_refusal(fd);
}

static void
make_hello(Frame *frame, const uint8_t key[DIFS_KEY_SIZE])
{
	DifsHello hello = {.version = DIFS_WIRE_VERSION, .epoch = EPOCH + pick(3) * 1000};
	uint8_t control[DIFS_WIRE_MAX_GREETING];

	difs_key_id(key, hello.key_id);
	memcpy(hello.cluster, honest.cluster, DIFS_UUID_SIZE);
	memcpy(hello.claim, honest.claim, DIFS_CLAIM_SIZE);
	for (int i = 0; i < DIFS_NONCE_SIZE; i++)
		hello.nonce[i] = (uint8_t) pick(256);
	make_frame(frame, DIFS_MESSAGE_HELLO, control, difs_hello_pack(&hello, control), NULL, 0);
}

static void
unknown_key(void)
{
	Frame frame;
	uint8_t key[DIFS_KEY_SIZE];
	int fd = open_socket();

	for (int i = 0; i < DIFS_KEY_SIZE; i++)
		key[i] = (uint8_t) pick(256);
	make_hello(&frame, key);
	send_bytes(fd, frame.bytes, frame.size);
	make_request(&frame, GROUP, 1);
	send_bytes(fd, frame.bytes, frame.size);
	frames += 2;
	expect_refusal(fd);
}

/* HELLO, and the challenge that answers it. */
static int
begin_greeting(DifsChallenge *challenge)
{
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	Frame frame;
	DifsFrame reply;
	int fd = open_socket();

	make_hello(&frame, honest.key);
	send_bytes(fd, frame.bytes, frame.size);
	frames++;
	if (!receive_reply(fd, &reply, control) || !difs_challenge_unpack(control, reply.control_length, challenge, NULL))
		printf("%s: no challenge\n", under_way);
	return fd;
}

static void
send_proof(int fd, const uint8_t *proof)
{
	Frame frame;

	make_frame(&frame, DIFS_MESSAGE_PROOF, proof, DIFS_PROOF_SIZE, NULL, 0);
	send_bytes(fd, frame.bytes, frame.size);
	make_request(&frame, GROUP, 1);
	send_bytes(fd, frame.bytes, frame.size);
	frames += 2;
	expect_refusal(fd);
}

static void
wrong_proof(void)
{
	DifsChallenge challenge;
	uint8_t proof[DIFS_PROOF_SIZE];
	int fd = begin_greeting(&challenge);

	for (int i = 0; i < DIFS_PROOF_SIZE; i++)
		proof[i] = (uint8_t) pick(256);
	send_proof(fd, proof);
}

static void
reflected_proof(void)
{
	DifsChallenge challenge;
	int fd = begin_greeting(&challenge);

	send_proof(fd, challenge.proof);
}

/* A greeting that was heard, said again word by word: made here with the key, as its holder would. */
static void
replayed(void)
{
	static Frame hello;
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	static uint8_t proof[DIFS_PROOF_SIZE];
	DifsChallenge challenge;
	DifsFrame reply;
	int fd;

	if (hello.size == 0)
	{
		fd = open_socket();
		make_hello(&hello, honest.key);
		send_bytes(fd, hello.bytes, hello.size);
		if (!receive_reply(fd, &reply, control) || !difs_challenge_unpack(control, reply.control_length, &challenge, NULL) ||
			!difs_auth_proof(honest.key, DIFS_SIDE_CLIENT, hello.bytes + DIFS_WIRE_HEADER_SIZE,
							 hello.size - DIFS_WIRE_HEADER_SIZE, &challenge, NULL, proof))
			exit(1);
		close(fd);
	}
	fd = open_socket();
	send_bytes(fd, hello.bytes, hello.size);
	frames++;
	(void) receive_reply(fd, &reply, control);
	send_proof(fd, proof);
}

static void
malformed_hello(void)
{
	Frame frame;
	int fd = open_socket();
	size_t at;

	make_hello(&frame, honest.key);
	at = pick(frame.size);
	if (pick(2) == 0) /* its checksum is wrong */
		frame.bytes[at] ^= (uint8_t) (1 << pick(8));
	else /* its length is */
		make_frame(&frame, DIFS_MESSAGE_HELLO, frame.bytes + DIFS_WIRE_HEADER_SIZE, pick(frame.size - DIFS_WIRE_HEADER_SIZE),
				   NULL, 0);
	send_bytes(fd, frame.bytes, frame.size);
	make_request(&frame, GROUP, 1);
	send_bytes(fd, frame.bytes, frame.size);
	frames += 2;
	expect_refusal(fd);
}

/* Connections that pass the greeting: a raw descriptor behind a client. */
static bool
enter(Client *client, const DifsPeer *peer)
{
	if (client_connect(client, peer))
		return true;
	printf("%s: %s\n", under_way, difs_conn_error(client->conn)->text);
	client_close(client);
	return false;
}

static void
ask_in_vain(const DifsPeer *peer, DifsErrorCode expected)
{
	Client client;
	Frame frame;
	DifsFrame head;

	if (!enter(&client, peer))
		return;
	for (int i = 0; i < 20; i++)
	{
		int status;

		make_request(&frame, GROUP, 1 + pick(2));
		difs_wire_unpack(frame.bytes, DIFS_WIRE_MAX_CONTROL, LENGTH, &head, NULL);
		if (expected == DIFS_ERROR_NO_GROUP && head.message == DIFS_MESSAGE_CREATE_GROUP)
			continue; /* of its own it may have as many as it likes */
		status = client_call(&client, head.message, frame.bytes + DIFS_WIRE_HEADER_SIZE, head.control_length,
							 frame.bytes + frame.head, head.payload_length);
		frames++;
		if (status == DIFS_OK)
			note_obeyed(head.message);
		else if (status != (int) expected)
			printf("%s: message %d was answered with %d\n", under_way, head.message, status);
	}
	client_close(&client);
}

static void
superseded(void)
{
	DifsPeer peer = honest;

	peer.epoch = 1 + pick(EPOCH - 1);
	ask_in_vain(&peer, DIFS_ERROR_FENCED);
}

static void
foreign(void)
{
	DifsPeer peer = honest;

	memset(peer.cluster, 2, DIFS_UUID_SIZE);
	ask_in_vain(&peer, DIFS_ERROR_NO_GROUP);
}

/* Makes the header's checksum right again, so that what is wrong is found by other means. */
static void
seal_header(Frame *frame)
{
	difs_put32(frame->bytes + 20, difs_crc32c(difs_crc32c(0, frame->bytes, 20), frame->bytes + DIFS_WIRE_HEADER_SIZE, frame->head - DIFS_WIRE_HEADER_SIZE));
}

static void
malformed(void)
{
	Client client;
	Frame frame;

	if (!enter(&client, &honest))
		return;
	make_request(&frame, GROUP, 1);
	switch (pick(6))
	{
		case 0: /* a bit that the checksum covers */
			frame.bytes[pick(frame.head)] ^= (uint8_t) (1 << pick(8));
			break;
		case 1:
			difs_put32(frame.bytes, (uint32_t) (DIFS_WIRE_MAX_CONTROL + 1 + pick(1u << 30)));
			break;
		case 2:
			difs_put32(frame.bytes + 4, (uint32_t) (DIFS_MAX_SEGMENT_SIZE + 1 + pick(1u << 30)));
			break;
		case 3: /* no such message, or a reply */
			frame.bytes[16] = (uint8_t) (20 + pick(230));
			seal_header(&frame);
			break;
		case 4: /* reserved bytes, or a status in a request */
			frame.bytes[17 + pick(3)] = (uint8_t) (1 + pick(255));
			seal_header(&frame);
			break;
		default: /* a body that is cut */
			make_frame(&frame, frame.bytes[16], frame.bytes + DIFS_WIRE_HEADER_SIZE, pick(8), NULL, 0);
	}
	send_bytes(difs_conn_fd(client.conn), frame.bytes, frame.size);
	frames++;
	expect_refusal(dup(difs_conn_fd(client.conn)));
	client_close(&client);
}

static void
bad_put(void)
{
	static uint8_t control[DIFS_MAX_PACKED_SIZE];
	uint8_t bytes[LENGTH];
	Client client;

	if (!enter(&client, &honest))
		return;
	for (int i = 0; i < 20; i++)
	{
		size_t size = client_pack_put(GROUP, 200000 + pick(100000), LENGTH, bytes, control);
		int status;

		if (pick(4) == 0) /* an id that is there */
			size = client_pack_put(GROUP, 1, LENGTH, bytes, control);
		else if (pick(2) == 0)
			bytes[pick(LENGTH)] ^= (uint8_t) (1 << pick(8));
		else
			control[4 + pick(size - 4)] ^= (uint8_t) (1 << pick(8));
		status = client_call(&client, DIFS_MESSAGE_PUT, control, size, bytes, LENGTH);
		frames++;
		if (status == DIFS_OK)
			note_obeyed(DIFS_MESSAGE_PUT);
		if (status == CLIENT_LOST || status == DIFS_ERROR_PROTOCOL)
			break;
	}
	client_close(&client);
}

static void
cut_off(void)
{
	Client client;
	Frame frame;

	if (!enter(&client, &honest))
		return;
	make_request(&frame, GROUP, 1);
	send_bytes(difs_conn_fd(client.conn), frame.bytes, pick(frame.size));
	frames++;
	expect_refusal(dup(difs_conn_fd(client.conn)));
	client_close(&client);
}

/* The honest client's view: epoch, group, segments; false if it is not what it was. */
static bool
all_is_well(void)
{
	Client client;
	DifsGroupEntry entry;
	uint8_t control[16];
	bool right[2];
	bool well = enter(&client, &honest);

	if (!well)
		return false;
	well = difs_conn_status(client.conn)->epoch == EPOCH && difs_conn_status(client.conn)->groups == 1 &&
		client_find(&client, GROUP, &entry) == DIFS_OK && entry.state == DIFS_GROUP_OPEN &&
		client_get(&client, GROUP, 1, LENGTH, &right[0]) == DIFS_OK && right[0] &&
		client_get(&client, GROUP, 2, LENGTH, &right[1]) == DIFS_OK && right[1] &&
		client_call(&client, DIFS_MESSAGE_LIST, control, difs_pair_pack(GROUP, 0, control), NULL, 0) == DIFS_OK &&
		client.payload_length == 2 * DIFS_LIST_ENTRY_SIZE;
	client_close(&client);
	return well;
}

int
main(int argc, char **argv)
{
	uint64_t wanted;
	uint64_t next_look = BATCH;
	uint64_t kind[ATTACKS] = {0};
	bool well = true;
	Client client;

	if (argc != 5)
		return 2;
	client_peer(&honest, argv[1], argv[2]);
	honest.epoch = EPOCH;
	wanted = strtoull(argv[3], NULL, 10);
	seed = strtoull(argv[4], NULL, 10);
	under_way = "the honest client";
	if (!enter(&client, &honest) || client_create(&client, GROUP, EPOCH) != DIFS_OK ||
		client_put(&client, GROUP, 1, LENGTH) != DIFS_OK || client_put(&client, GROUP, 2, LENGTH) != DIFS_OK)
		return 2;
	client_close(&client);

	while (frames < wanted && well)
	{
		size_t chosen = pick(ATTACKS);
		uint64_t before = frames;

		under_way = attacks[chosen].name;
		attacks[chosen].attack();
		kind[chosen] += frames - before;
		if (frames < next_look && frames < wanted)
			continue;
		under_way = "the honest client";
		next_look = frames + BATCH;
		well = all_is_well();
	}
	for (size_t i = 0; i < ATTACKS; i++)
		printf("%s: %llu frames\n", attacks[i].name, (unsigned long long) kind[i]);
	printf("%llu frames, %llu obeyed, %llu hung, the honest client %s\n", (unsigned long long) frames,
		   (unsigned long long) obeyed, (unsigned long long) hung, well ? "is served" : "finds something changed");
	return obeyed == 0 && hung == 0 && well ? 0 : 1;
}
