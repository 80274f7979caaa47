/*
 * test_common_conn_greeting.c - connecting, and the handshake with servers that are right, wrong, or hostile.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "played_server.h"

extern int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
							  struct addrinfo **found);
extern int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
							  struct addrinfo **found);

static uint16_t unused_port;

/* Takes a port that nobody listens on, and that nobody else gets before the socket is closed. */
static int
take_unused_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *) &address, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &size), 0);
	unused_port = ntohs(address.sin_port);
	return fd;
}

static void
greets(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	char label[64];

	(void) state;
	snprintf(label, sizeof(label), "/storage01 (127.0.0.1:%u)", port);
	assert_string_equal(difs_conn_label(conn), label);
	close(make_ready(conn));
	assert_false(difs_conn_wants_write(conn));
	difs_conn_destroy(conn);
	difs_conn_destroy(NULL);
}

static void
takes_any_server_when_no_name_is_wanted(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "", right_key);
	char label[64];

	(void) state;
	snprintf(label, sizeof(label), "127.0.0.1:%u", port);
	assert_string_equal(difs_conn_label(conn), label);
	close(make_ready(conn));
	snprintf(label, sizeof(label), "/storage01 (127.0.0.1:%u)", port);
	assert_string_equal(difs_conn_label(conn), label);
	difs_conn_destroy(conn);
}

/* Stands in for getaddrinfo() (by the linker): "two.addresses" is a name with an address where nobody listens, and then
 * the server's. */
int
__wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	char dead_port[8];
	int rc;

	if (strcmp(host, "two.addresses") != 0)
		return __real_getaddrinfo(host, service, hints, found);
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	snprintf(dead_port, sizeof(dead_port), "%u", unused_port);
	rc = __real_getaddrinfo("127.0.0.1", dead_port, hints, found);
	return rc != 0 ? rc : __real_getaddrinfo("127.0.0.1", service, hints, &(*found)->ai_next);
}

static void
tries_every_address(void **state)
{
	int fd = take_unused_port();
	DifsConn *conn = connect_to("two.addresses", "/storage01", right_key);

	(void) state;
	close(make_ready(conn));
	difs_conn_destroy(conn);
	close(fd);
}

static void
resolves_names(void **state)
{
	DifsConn *conn = connect_to("localhost", "/storage01", right_key);

	(void) state;
	close(make_ready(conn));
	difs_conn_destroy(conn);
}

static void
reports_what_cannot_be_reached(void **state)
{
	uint16_t right_port = port;
	int fd = take_unused_port();
	DifsConn *conn;

	(void) state;
	port = unused_port;
	conn = connect_to("127.0.0.1", "/storage01", right_key);
	port = right_port;
	send_get(conn, 1);
	assert_broken(conn, DIFS_ERROR_NETWORK, "could not connect: Connection refused");
	assert_int_equal(difs_conn_error(conn)->system_errno, ECONNREFUSED);
	send_get(conn, 2);
	difs_conn_destroy(conn);
	close(fd);

	conn = connect_to("no such host", "/storage01", right_key);
	assert_broken(conn, DIFS_ERROR_NETWORK, "could not find host \"no such host\"");
	difs_conn_destroy(conn);
}

static void
refuses_a_server_with_a_wrong_key(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	Server server = accept_hello(conn);

	(void) state;
	send_challenge(&server, "/storage01", wrong_key, DIFS_WIRE_VERSION);
	assert_broken(conn, DIFS_ERROR_REFUSED, "could not prove");
	assert_closed_without_a_word(server.fd);
	difs_conn_destroy(conn);
}

static void
refuses_a_wrong_proof(void **state)
{
	(void) state;
	for (size_t byte = 0; byte < DIFS_PROOF_SIZE; byte += 31)
	{
		DifsConn *conn = connect_to("127.0.0.1", "", right_key);
		Server server = accept_hello(conn);
		uint8_t out[DIFS_WIRE_MAX_GREETING];
		size_t length = make_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION, out);

		out[2 + DIFS_NONCE_SIZE + byte] ^= 1;
		send_reply(server.fd, REPLY(DIFS_MESSAGE_HELLO), DIFS_OK, 0, out, length);
		assert_broken(conn, DIFS_ERROR_REFUSED, "could not prove");
		assert_closed_without_a_word(server.fd);
		difs_conn_destroy(conn);
	}
}

/* What one side proved is no proof of the other. */
static void
refuses_its_own_proof(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	Server server = accept_hello(conn);
	uint8_t out[DIFS_WIRE_MAX_GREETING];

	(void) state;
	make_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION, out);
	assert_true(difs_auth_proof(right_key, DIFS_SIDE_CLIENT, server.hello, server.hello_length, &server.challenge, NULL,
								server.challenge.proof));
	send_reply(server.fd, REPLY(DIFS_MESSAGE_HELLO), DIFS_OK, 0, out, difs_challenge_pack(&server.challenge, out));
	assert_broken(conn, DIFS_ERROR_REFUSED, "could not prove");
	assert_closed_without_a_word(server.fd);
	difs_conn_destroy(conn);
}

static void
refuses_another_server(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage02", right_key);
	Server server = accept_hello(conn);

	(void) state;
	send_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION);
	assert_broken(conn, DIFS_ERROR_REFUSED, "server says that it is \"/storage01\"");
	assert_closed_without_a_word(server.fd);
	difs_conn_destroy(conn);
}

static void
refuses_another_version(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	Server server = accept_hello(conn);

	(void) state;
	send_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION + 1);
	assert_broken(conn, DIFS_ERROR_VERSION, "version 2");
	assert_closed_without_a_word(server.fd);
	difs_conn_destroy(conn);
}

static void
says_why_a_server_refuses(void **state)
{
	static const char hello_text[] = "no key\nwith this id \xff";
	static const char proof_text[] = "proof is wrong";
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	Server server = accept_hello(conn);

	(void) state;
	send_reply(server.fd, REPLY(DIFS_MESSAGE_HELLO), DIFS_ERROR_REFUSED, 0, hello_text, sizeof(hello_text) - 1);
	close(server.fd);
	assert_broken(conn, DIFS_ERROR_REFUSED, "): no key?with this id ?");
	difs_conn_destroy(conn);

	conn = connect_to("127.0.0.1", "/storage01", right_key);
	server = accept_hello(conn);
	send_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION);
	wait_for_bytes(conn, DIFS_WIRE_HEADER_SIZE);
	send_all(conn);
	expect_proof(&server);
	send_reply(server.fd, REPLY(DIFS_MESSAGE_PROOF), DIFS_ERROR_VERSION, 0, proof_text, sizeof(proof_text) - 1);
	close(server.fd);
	assert_broken(conn, DIFS_ERROR_VERSION, "proof is wrong");
	difs_conn_destroy(conn);
}

/* Frames that have no place in a greeting, among them WELCOME for somebody who has proved nothing yet. */
static void
refuses_nonsense_in_the_greeting(void **state)
{
	static const struct
	{
		uint8_t message;
		uint64_t request;
		size_t length;
		const char *text;
	} replies[] = {
		{REPLY(DIFS_MESSAGE_PROOF), 0, 81, "unexpected PROOF"},
		{REPLY(DIFS_MESSAGE_GET), 0, 10, "unexpected GET"},
		{DIFS_MESSAGE_HELLO, 0, 10, "sent a HELLO request"},
		{REPLY(DIFS_MESSAGE_HELLO), 1, 78, "unexpected HELLO"},
		{REPLY(DIFS_MESSAGE_HELLO), 0, 0, "impossible length of 0"},
		{REPLY(DIFS_MESSAGE_HELLO), 0, DIFS_WIRE_MAX_GREETING, "impossible length of 512"},
		{REPLY(DIFS_MESSAGE_HELLO), 0, DIFS_WIRE_MAX_GREETING + 1, "513 bytes of control, more than 512"},
	};
	uint8_t zeros[DIFS_WIRE_MAX_GREETING + 1] = {0};

	(void) state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
	{
		DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
		Server server = accept_hello(conn);

		send_reply(server.fd, replies[i].message, DIFS_OK, replies[i].request, zeros, replies[i].length);
		assert_broken(conn, DIFS_ERROR_PROTOCOL, replies[i].text);
		assert_closed_without_a_word(server.fd);
		difs_conn_destroy(conn);
	}
}

static void
notices_a_server_that_goes_away_in_the_greeting(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	Server server = accept_hello(conn);

	(void) state;
	close(server.fd);
	assert_broken(conn, DIFS_ERROR_NETWORK, "server closed the connection");
	difs_conn_destroy(conn);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greets),
		cmocka_unit_test(takes_any_server_when_no_name_is_wanted),
		cmocka_unit_test(resolves_names),
		cmocka_unit_test(tries_every_address),
		cmocka_unit_test(reports_what_cannot_be_reached),
		cmocka_unit_test(refuses_a_server_with_a_wrong_key),
		cmocka_unit_test(refuses_a_wrong_proof),
		cmocka_unit_test(refuses_its_own_proof),
		cmocka_unit_test(refuses_another_server),
		cmocka_unit_test(refuses_another_version),
		cmocka_unit_test(says_why_a_server_refuses),
		cmocka_unit_test(refuses_nonsense_in_the_greeting),
		cmocka_unit_test(notices_a_server_that_goes_away_in_the_greeting),
	};

	return cmocka_run_group_tests_name("common/conn_greeting", tests, start_listening, stop_listening);
}
