/*
 * played_server.c - the server's part of a connection, as tests play it.  See the header.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "played_server.h"

int listener = -1;
uint16_t port;
const uint8_t right_key[DIFS_KEY_SIZE] = {1, 2, 3};
const uint8_t wrong_key[DIFS_KEY_SIZE] = {1, 2, 4};

int
start_listening(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	struct timeval limit = {.tv_sec = DEADLINE_S};

	(void) state;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *) &address, size) != 0 || listen(listener, 10) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &size) != 0 ||
		setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0)
		return -1;
	port = ntohs(address.sin_port);
	return 0;
}

int
stop_listening(void **state)
{
	(void) state;
	return close(listener);
}

DifsConn *
connect_to(const char *host, const char *name, const uint8_t *key)
{
	DifsPeer peer = {.port = port, .epoch = 7};
	DifsConn *conn;

	snprintf(peer.host, sizeof(peer.host), "%s", host);
	snprintf(peer.name, sizeof(peer.name), "%s", name);
	memset(peer.cluster, 0xcc, sizeof(peer.cluster));
	memcpy(peer.key, key, sizeof(peer.key));
	conn = difs_conn_create(&peer);
	assert_non_null(conn);
	return conn;
}

DifsEvent
next_event(DifsConn *conn, DifsFrame *frame)
{
	time_t deadline = time(NULL) + DEADLINE_S;

	for (;;)
	{
		DifsEvent event = difs_conn_advance(conn, frame);
		struct pollfd ready = {.fd = difs_conn_fd(conn), .events = POLLIN};

		if (event != DIFS_EVENT_NONE)
			return event;
		if (difs_conn_wants_write(conn))
			ready.events |= POLLOUT;
		if (time(NULL) > deadline || poll(&ready, 1, 1000) < 0)
			fail_msg("nothing happened");
	}
}

void
send_all(DifsConn *conn)
{
	time_t deadline = time(NULL) + DEADLINE_S;
	DifsFrame frame;

	do
	{
		struct pollfd ready = {.fd = difs_conn_fd(conn), .events = POLLOUT};

		assert_int_equal(difs_conn_advance(conn, &frame), DIFS_EVENT_NONE);
		if (time(NULL) > deadline || (difs_conn_wants_write(conn) && poll(&ready, 1, 1000) < 0))
			fail_msg("request did not leave");
	} while (difs_conn_wants_write(conn));
}

void
wait_for_bytes(DifsConn *conn, int wanted)
{
	time_t deadline = time(NULL) + DEADLINE_S;
	int there = 0;

	while (there < wanted)
	{
		assert_int_equal(ioctl(difs_conn_fd(conn), FIONREAD, &there), 0);
		if (time(NULL) > deadline)
			fail_msg("%d bytes instead of %d arrived", there, wanted);
	}
}

void
write_all(int fd, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	while (length > 0)
	{
		ssize_t done = send(fd, at, length, MSG_NOSIGNAL);

		assert_true(done > 0);
		at += done;
		length -= (size_t) done;
	}
}

void
read_all(int fd, void *bytes, size_t length)
{
	uint8_t *at = bytes;

	while (length > 0)
	{
		ssize_t done = recv(fd, at, length, 0);

		assert_true(done > 0);
		at += done;
		length -= (size_t) done;
	}
}

DifsFrame
read_request(int fd, uint8_t *control)
{
	uint8_t header[DIFS_WIRE_HEADER_SIZE];
	DifsFrame frame;
	DifsError error;

	read_all(fd, header, sizeof(header));
	assert_true(difs_wire_unpack(header, DIFS_WIRE_MAX_CONTROL, DIFS_MAX_SEGMENT_SIZE, &frame, &error));
	read_all(fd, control, frame.control_length);
	assert_true(difs_wire_check(header, control, &error));
	return frame;
}

uint8_t *
add_reply(uint8_t *at, uint8_t message, uint8_t status, uint64_t request,
		  const void *control, size_t control_length, const void *payload, size_t payload_length)
{
	DifsFrame frame = {
		.control_length = (uint32_t) control_length,
		.payload_length = (uint32_t) payload_length,
		.request = request,
		.message = message,
		.status = status,
	};

	if (control_length > 0)
		memcpy(at + DIFS_WIRE_HEADER_SIZE, control, control_length);
	difs_wire_pack(&frame, at + DIFS_WIRE_HEADER_SIZE, at);
	at += DIFS_WIRE_HEADER_SIZE + control_length;
	if (payload_length > 0)
		memcpy(at, payload, payload_length);
	return at + payload_length;
}

void
send_reply(int fd, uint8_t message, uint8_t status, uint64_t request, const void *control, size_t control_length)
{
	uint8_t out[DIFS_WIRE_HEADER_SIZE + 1024] = {0};

	write_all(fd, out, (size_t) (add_reply(out, message, status, request, control, control_length, NULL, 0) - out));
}

Server
accept_hello(DifsConn *conn)
{
	Server server = {0};
	struct timeval limit = {.tv_sec = DEADLINE_S};
	DifsHello hello;
	DifsFrame frame;
	uint8_t id[DIFS_KEY_ID_SIZE];

	send_all(conn);
	server.fd = accept(listener, NULL, NULL);
	assert_true(server.fd >= 0);
	assert_int_equal(setsockopt(server.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(server.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	frame = read_request(server.fd, server.hello);
	server.hello_length = frame.control_length;
	assert_int_equal(frame.message, DIFS_MESSAGE_HELLO);
	assert_int_equal(frame.payload_length, 0);
	assert_true(difs_hello_unpack(server.hello, server.hello_length, &hello, NULL));
	assert_int_equal(hello.version, DIFS_WIRE_VERSION);
	assert_int_equal(hello.epoch, 7);
	assert_int_equal(hello.cluster[15], 0xcc);
	assert_true(difs_key_id(right_key, id));
	assert_memory_equal(hello.key_id, id, sizeof(id));
	return server;
}

size_t
make_challenge(Server *server, const char *name, const uint8_t *key, uint16_t version, uint8_t *out)
{
	server->challenge = (DifsChallenge){.version = version};
	snprintf(server->challenge.name, sizeof(server->challenge.name), "%s", name);
	assert_true(difs_random(server->challenge.nonce, DIFS_NONCE_SIZE, NULL));
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, server->hello, server->hello_length, &server->challenge, NULL,
								server->challenge.proof));
	return difs_challenge_pack(&server->challenge, out);
}

void
send_challenge(Server *server, const char *name, const uint8_t *key, uint16_t version)
{
	uint8_t out[DIFS_WIRE_MAX_GREETING];

	send_reply(server->fd, REPLY(DIFS_MESSAGE_HELLO), DIFS_OK, 0, out, make_challenge(server, name, key, version, out));
}

void
expect_proof(Server *server)
{
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	uint8_t expected[DIFS_PROOF_SIZE];
	DifsFrame frame = read_request(server->fd, control);

	assert_int_equal(frame.message, DIFS_MESSAGE_PROOF);
	assert_int_equal(frame.control_length, DIFS_PROOF_SIZE);
	assert_true(difs_auth_proof(right_key, DIFS_SIDE_CLIENT, server->hello, server->hello_length, &server->challenge, NULL,
								expected));
	assert_memory_equal(control, expected, DIFS_PROOF_SIZE);
}

size_t
make_welcome(uint8_t *out)
{
	DifsServerStatus status = {.epoch = 7, .free_bytes = 1000, .tier = 1};

	return difs_status_pack(&status, out);
}

int
make_ready(DifsConn *conn)
{
	Server server = accept_hello(conn);
	DifsFrame frame;
	uint8_t out[DIFS_WIRE_MAX_GREETING];

	send_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION);
	wait_for_bytes(conn, DIFS_WIRE_HEADER_SIZE);
	send_all(conn);
	expect_proof(&server);
	send_reply(server.fd, REPLY(DIFS_MESSAGE_PROOF), DIFS_OK, 0, out, make_welcome(out));
	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_READY);
	assert_int_equal(difs_conn_state(conn), DIFS_CONN_READY);
	assert_int_equal(difs_conn_status(conn)->free_bytes, 1000);
	return server.fd;
}

void
assert_broken(DifsConn *conn, DifsErrorCode code, const char *text)
{
	DifsFrame frame;

	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_BROKEN);
	assert_int_equal(difs_conn_advance(conn, &frame), DIFS_EVENT_BROKEN);
	assert_int_equal(difs_conn_state(conn), DIFS_CONN_BROKEN);
	assert_int_equal(difs_conn_fd(conn), -1);
	assert_false(difs_conn_wants_write(conn));
	assert_int_equal(difs_conn_error(conn)->code, code);
	if (strstr(difs_conn_error(conn)->text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, difs_conn_error(conn)->text);
}

void
assert_closed_without_a_word(int fd)
{
	uint8_t byte;

	errno = 0;
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	assert_true(errno == 0 || errno == ECONNRESET);
	close(fd);
}

uint64_t
send_get(DifsConn *conn, uint64_t request)
{
	DifsGet get = {.group = 1, .segment = request, .offset = 0, .length = 0};
	uint8_t control[64];
	DifsFrame frame = {.request = request, .message = DIFS_MESSAGE_GET};

	frame.control_length = (uint32_t) difs_get_pack(&get, control);
	return difs_conn_send(conn, &frame, control, NULL);
}

uint8_t *
pattern(size_t length, uint8_t seed)
{
	uint8_t *bytes = malloc(length > 0 ? length : 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t) (i * 7 + i / 251 + seed);
	return bytes;
}
