/*
 * test_chunkd_tls.c - difsd with TLS: who is served, who is refused and hears why, and what somebody in between can do.
 */
#include "chunkd_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "certificates.h"
#include "token.h"

#define LARGE (5 * 1024 * 1024 + 77)
#define COUNT 40

static Authority authority;
static Authority other;
static char paths[16][96];
static int path_count = 0;

static const char *
file(const char *name)
{
	char *path = paths[path_count++ % 16];

	snprintf(path, sizeof(paths[0]), "%s/%s", server.directory, name);
	return path;
}

static int
set_up(void **state)
{
	server_set_up_stopped(state);
	authority = make_authority("right", file("ca.crt"));
	other = make_authority("other", file("other.crt"));
	make_certificate(&authority, "IP:127.0.0.1", false, file("server"));
	make_certificate(&authority, "DNS:database", false, file("client"));
	make_certificate(&other, "IP:127.0.0.1", false, file("rogue"));
	return 0;
}

static int
tear_down(void **state)
{
	server_tear_down(state);
	free_authority(&authority);
	free_authority(&other);
	return 0;
}

static void
start(const char *mode)
{
	char certificate[96];
	char key[96];
	char ca[96];
	const char *options[] = {"--tls", mode, "--tls-cert", certificate, "--tls-key", key, "--tls-ca", ca, NULL};

	strcpy(certificate, file("server.crt"));
	strcpy(key, file("server.key"));
	strcpy(ca, file("ca.crt"));
	server_start(&server, mode != NULL ? options : NULL);
}

static DifsTlsContext *
context(DifsTlsMode mode, const char *ca, const char *stem)
{
	char certificate[32];
	char key[32];
	DifsTlsFiles files = {.ca = file(ca)};
	DifsTlsContext *made;

	if (stem != NULL)
	{
		snprintf(certificate, sizeof(certificate), "%s.crt", stem);
		snprintf(key, sizeof(key), "%s.key", stem);
		files.certificate = file(certificate);
		files.key = file(key);
	}
	made = difs_tls_client_context(mode, &files, NULL);
	assert_non_null(made);
	return made;
}

static Client *
connect_with(DifsTlsMode mode, const char *ca, const char *stem)
{
	DifsPeer peer = server.peer;
	Client *client;

	peer.tls = mode != DIFS_TLS_OFF ? context(mode, ca, stem) : NULL;
	client = client_connect_as(&peer);
	difs_tls_context_release(peer.tls);
	return client;
}

/* Connects, and must hear this. */
static void
expect_refusal(DifsTlsMode mode, const char *ca, const char *stem, const char *text)
{
	DifsPeer peer = server.peer;
	uint64_t deadline = now_ms() + DEADLINE_MS;
	DifsConn *conn;
	DifsFrame frame;

	peer.tls = mode != DIFS_TLS_OFF ? context(mode, ca, stem) : NULL;
	conn = difs_conn_create(&peer);
	difs_tls_context_release(peer.tls);
	while (difs_conn_advance(conn, &frame) == DIFS_EVENT_NONE && difs_conn_state(conn) != DIFS_CONN_READY)
	{
		struct pollfd pollfd = {.fd = difs_conn_fd(conn), .events = POLLIN};

		if (difs_conn_wants_write(conn))
			pollfd.events |= POLLOUT;
		assert_true(poll(&pollfd, 1, 1000) >= 0 && now_ms() < deadline);
	}
	assert_int_equal(difs_conn_state(conn), DIFS_CONN_BROKEN);
	if (strstr(difs_conn_error(conn)->text, text) == NULL || strstr(difs_conn_error(conn)->text, "/storage01 (127.0.0.1:") == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, difs_conn_error(conn)->text);
	difs_conn_destroy(conn);
}

/* A token proves itself within TLS as the key does, and its use is bound to that connection. */
static void
tokens_are_for_their_connection(void **state)
{
	DifsToken token = {
		.operation = DIFS_OPERATION_READ,
		.group = GROUP,
		.segment = 10,
		.expires = (uint64_t) time(NULL) + 600,
	};
	DifsGet wanted = {.group = GROUP, .segment = 10};
	uint8_t bytes[DIFS_TOKEN_SIZE];
	uint8_t control[64 + DIFS_TOKEN_USE_SIZE];
	DifsPeer peer;
	Client *owner;
	Client *plain;
	Client *sealed;
	Reply reply;
	size_t length;

	(void) state;
	start("optional");
	owner = connect_with(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL);
	assert_int_equal(create_group(owner, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(owner, GROUP, 10, 3000), DIFS_OK);
	memcpy(token.cluster, server.peer.cluster, DIFS_UUID_SIZE);
	assert_true(difs_token_sign(&token, server.peer.key, bytes));
	peer = server.peer;
	memset(peer.key, 0, sizeof(peer.key));
	peer.token = bytes;
	plain = client_connect_as(&peer);
	peer.tls = context(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL);
	sealed = client_connect_as(&peer);
	difs_tls_context_release(peer.tls);
	for (int i = 0; i < 3; i++)
	{
		/* on the TLS connection, by its own session, by that of the plain one, and by its own again */
		length = difs_get_pack(&wanted, control);
		length += difs_token_use_pack(bytes, difs_conn_session((i == 1 ? plain : sealed)->conn), control + length);
		assert_int_equal(call(sealed, DIFS_MESSAGE_GET, control, length, &reply), i == 1 ? DIFS_ERROR_REFUSED : DIFS_OK);
		reply_free(&reply);
	}
	client_close(sealed);
	client_close(plain);
	client_close(owner);
}

static void
serves_small_and_large(void **state)
{
	static uint8_t bytes[COUNT][LARGE / 10];
	Client *client;
	Reply reply;

	(void) state;
	start("required");
	client = connect_with(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 1, 1), DIFS_OK);
	assert_int_equal(put(client, GROUP, 2, LARGE), DIFS_OK);
	for (uint32_t i = 0; i < COUNT; i++)
		send_put(client, GROUP, 10 + i, sizeof(bytes[i]), bytes[i]);
	for (uint32_t i = 0; i < COUNT; i++)
	{
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, DIFS_OK);
	}
	assert_int_equal(get(client, GROUP, 1, 1), DIFS_OK);
	assert_int_equal(get(client, GROUP, 2, LARGE), DIFS_OK);
	/* All at once: the server may send no more than is taken. */
	for (uint32_t i = 0; i < COUNT; i++)
	{
		DifsGet ask = {.group = GROUP, .segment = 10 + i};
		uint8_t control[64];

		client_send(client, DIFS_MESSAGE_GET, control, difs_get_pack(&ask, control), NULL, 0);
	}
	for (uint32_t i = 0; i < COUNT; i++)
	{
		assert_true(client_receive(client, &reply));
		assert_int_equal(reply.status, DIFS_OK);
		assert_true(reply.payload_length == sizeof(bytes[0]));
		reply_free(&reply);
	}
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(get(client, GROUP, 10 + i, sizeof(bytes[i])), DIFS_OK);
	client_close(client);
}

static void
refuses_what_its_mode_says(void **state)
{
	(void) state;
	start("required");
	expect_refusal(DIFS_TLS_OFF, NULL, NULL, "this server takes connections with TLS only: set difs.tls");
	expect_log(&server, "refused: this server takes connections with TLS only");
	expect_refusal(DIFS_TLS_VERIFY_CA, "other.crt", NULL,
				   "the peer's certificate was not accepted: unable to get local issuer certificate");
	expect_log(&server, "alert unknown ca");
	client_close(connect_with(DIFS_TLS_REQUIRE, NULL, NULL));
	server_end(&server, SIGTERM);

	start("optional");
	client_close(connect_with(DIFS_TLS_OFF, NULL, NULL));
	client_close(connect_with(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL));
	server_end(&server, SIGTERM);

	start("mutual");
	expect_refusal(DIFS_TLS_OFF, NULL, NULL, "this server takes connections with TLS only");
	expect_refusal(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL, "certificate required");
	expect_log(&server, "peer did not return a certificate");
	expect_refusal(DIFS_TLS_VERIFY_FULL, "ca.crt", "rogue", "unknown ca");
	client_close(connect_with(DIFS_TLS_VERIFY_FULL, "ca.crt", "client"));
	server_end(&server, SIGTERM);

	start(NULL);
	expect_refusal(DIFS_TLS_REQUIRE, NULL, NULL, "in the TLS handshake: has the server been started with --tls-cert?");
	expect_log(&server, "it wants TLS, and there is no --tls-cert");
	client_close(connect_with(DIFS_TLS_OFF, NULL, NULL));
}

static void
refuses_impossible_options(void **state)
{
	static const char *const bad[][5] = {
		{"--tls-cert", "/dev/null", NULL},
		{"--tls", "required", NULL},
		{"--tls", "perhaps", NULL},
		{"--tls-cert", "/dev/null", "--tls-key", "/dev/null", NULL},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_not_equal(server_start_fails(&server, bad[i]), 0);
	expect_log(&server, "--tls-cert and --tls-key go together");
	expect_log(&server, "\"perhaps\" is not one of optional, required, mutual");
	expect_log(&server, "could not load certificate file \"/dev/null\"");
}

static void
new_certificates_are_taken_at_sighup(void **state)
{
	Client *client;

	(void) state;
	start("required");
	client = connect_with(DIFS_TLS_VERIFY_CA, "ca.crt", NULL);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);

	/* What does not fit changes nothing. */
	make_certificate(&other, "IP:127.0.0.1", false, file("new"));
	assert_int_equal(rename(file("new.crt"), file("server.crt")), 0);
	assert_int_equal(kill(server.pid, SIGHUP), 0);
	expect_log(&server, "certificates were not read again, the former ones stay in force");
	client_close(connect_with(DIFS_TLS_VERIFY_CA, "ca.crt", NULL));

	assert_int_equal(rename(file("new.key"), file("server.key")), 0);
	assert_int_equal(kill(server.pid, SIGHUP), 0);
	expect_log(&server, "certificates were read again");
	client_close(connect_with(DIFS_TLS_VERIFY_CA, "other.crt", NULL));
	expect_refusal(DIFS_TLS_VERIFY_CA, "ca.crt", NULL, "was not accepted");
	assert_int_equal(put(client, GROUP, 1, 100000), DIFS_OK);
	client_close(client);
}

/* One end of a connection that somebody in between holds. */
typedef struct Side
{
	int fd;
	DifsTls *tls; /* NULL: plain */
} Side;

static void
give(Side *side)
{
	size_t length;
	uint8_t *bytes = difs_tls_take(side->tls, &length);

	if (bytes != NULL && send(side->fd, bytes, length, MSG_NOSIGNAL) != (ssize_t) length)
		_exit(1);
	free(bytes);
}

static void
hear(Side *side)
{
	size_t room;
	uint8_t *into = difs_tls_room(side->tls, &room);
	ssize_t got = recv(side->fd, into, room, 0);

	if (got <= 0)
		_exit(0);
	difs_tls_arrived(side->tls, (size_t) got);
}

static void
shake_hands(Side *side)
{
	while (difs_tls_handshake(side->tls, NULL) == DIFS_TLS_WAIT)
	{
		give(side);
		hear(side);
	}
	give(side);
}

/* Passes on what one side has said, as if it were said here. */
static void
pass_on(Side *from, Side *to)
{
	uint8_t bytes[4096];
	size_t length;

	while (difs_tls_read(from->tls, bytes, sizeof(bytes), &length, NULL) == DIFS_TLS_DONE)
		if (!difs_tls_write(to->tls, bytes, length, NULL))
			_exit(1);
	give(to);
}

static void
relay(Side *from, Side *to)
{
	uint8_t bytes[4096];
	ssize_t got;

	if (from->tls != NULL)
	{
		hear(from);
		pass_on(from, to);
		return;
	}
	got = recv(from->fd, bytes, sizeof(bytes), 0);
	if (got <= 0 || send(to->fd, bytes, (size_t) got, MSG_NOSIGNAL) != got)
		_exit(0);
}

/* In a process of its own: takes one connection, and makes one to the server. */
static void
stand_between(int listener, bool with_tls)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server.peer.port)};
	Side client = {.fd = accept(listener, NULL, NULL)};
	Side behind = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
	DifsTlsFiles files = {file("rogue.crt"), file("rogue.key"), NULL};

	alarm(DEADLINE_MS / 1000);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (client.fd < 0 || connect(behind.fd, (struct sockaddr *) &address, sizeof(address)) != 0)
		_exit(1);
	if (with_tls)
	{
		client.tls = difs_tls_create(difs_tls_server_context(&files, false, NULL), NULL, NULL);
		behind.tls = difs_tls_create(difs_tls_client_context(DIFS_TLS_REQUIRE, &files, NULL), "127.0.0.1", NULL);
		shake_hands(&client);
		shake_hands(&behind);
		pass_on(&client, &behind); /* what came along with the handshake */
	}
	for (;;)
	{
		struct pollfd fds[2] = {{.fd = client.fd, .events = POLLIN}, {.fd = behind.fd, .events = POLLIN}};

		(void) poll(fds, 2, -1);
		if (fds[0].revents != 0)
			relay(&client, &behind);
		if (fds[1].revents != 0)
			relay(&behind, &client);
	}
}

/* Starts somebody in between; the port to connect to. */
static pid_t
hire(bool with_tls, uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	pid_t pid;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *) &address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *) &address, &size), 0);
	*port = ntohs(address.sin_port);
	pid = fork();
	if (pid == 0)
		stand_between(listener, with_tls);
	close(listener);
	return pid;
}

/* The client takes any certificate, and the one in between holds both ends; but the proofs are bound to the connections. */
static void
nobody_can_stand_between(void **state)
{
	uint16_t port = 0;
	uint16_t right_port;
	Client *client;
	pid_t pid;

	(void) state;
	start("optional");
	right_port = server.peer.port;
	pid = hire(true, &port);
	server.peer.port = port;
	expect_refusal(DIFS_TLS_REQUIRE, NULL, NULL, "server could not prove that it holds the cluster key");
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	/* The control: without TLS he passes everything on, and nobody notices. */
	server.peer.port = right_port;
	pid = hire(false, &port);
	server.peer.port = port;
	client = connect_with(DIFS_TLS_OFF, NULL, NULL);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	client_close(client);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Whoever does not finish the handshake is closed, and keeps nobody. */
static void
broken_handshakes_disturb_nobody(void **state)
{
	static const uint8_t hello[] = {0x16, 0x03, 0x01, 0x00, 0x40, 0x01};
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fds[20];
	Client *client;

	(void) state;
	start("required");
	address.sin_port = htons(server.peer.port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < 20; i++)
	{
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *) &address, sizeof(address)), 0);
		if (i % 4 == 0)
			continue;
		assert_true(send(fds[i], hello, i % 4 == 1 ? 1 : sizeof(hello), MSG_NOSIGNAL) > 0);
		if (i % 4 == 3)
			for (int j = 0; j < 100; j++) /* nonsense, and more than is read */
				(void) send(fds[i], paths, sizeof(paths), MSG_NOSIGNAL);
	}
	client = connect_with(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, 1, LARGE), DIFS_OK);
	for (int i = 0; i < 20; i++)
	{
		struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};
		uint8_t bytes[100];
		ssize_t got;

		assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
		do
			got = recv(fds[i], bytes, sizeof(bytes), 0);
		while (got > 0); /* an alert, if anything */
		assert_true(got == 0 || errno == ECONNRESET);
		close(fds[i]);
	}
	assert_int_equal(get(client, GROUP, 1, LARGE), DIFS_OK);
	client_close(client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tokens_are_for_their_connection, set_up, tear_down),
		cmocka_unit_test_setup_teardown(serves_small_and_large, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_what_its_mode_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_impossible_options, set_up, tear_down),
		cmocka_unit_test_setup_teardown(new_certificates_are_taken_at_sighup, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_can_stand_between, set_up, tear_down),
		cmocka_unit_test_setup_teardown(broken_handshakes_disturb_nobody, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
