/*
 * test_common_tls.c - two ends of TLS without a socket between them: what gets through, and who is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include "certificates.h"

/* The two ends of a connection, and what each of them has come to. */
typedef struct Pair
{
	DifsTls *client;
	DifsTls *server;
	DifsTlsResult client_result;
	DifsTlsResult server_result;
	DifsError client_error;
	DifsError server_error;
} Pair;

static char directory[] = "/tmp/difs_tls_XXXXXX";
static char paths[32][64];
static int path_count = 0;
static size_t step = SIZE_MAX; /* bytes that arrive at a time */

static const char *
file(const char *name)
{
	char *path = paths[path_count++ % 32];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static int
make_files(void **state)
{
	Authority right;
	Authority other;

	(void) state;
	assert_non_null(mkdtemp(directory));
	right = make_authority("right", file("ca.crt"));
	other = make_authority("other", file("other_ca.crt"));
	make_certificate(&right, "DNS:storage.example,IP:127.0.0.1,IP:::1", false, file("server"));
	make_certificate(&right, "DNS:storage.example", true, file("expired"));
	make_certificate(&other, "DNS:storage.example", false, file("other"));
	make_certificate(&right, "DNS:database.example", false, file("client"));
	free_authority(&right);
	free_authority(&other);
	return 0;
}

static int
remove_files(void **state)
{
	static const char *const names[] = {
		"ca.crt",
		"other_ca.crt",
		"server.crt",
		"server.key",
		"expired.crt",
		"expired.key",
		"other.crt",
		"other.key",
		"client.crt",
		"client.key",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(unlink(file(names[i])), 0);
	return rmdir(directory);
}

/* Lets what one end has to say arrive at the other; false if it has nothing to say. */
static bool
carry(DifsTls *from, DifsTls *to, DifsTlsResult *result, DifsError *error)
{
	size_t length;
	uint8_t *bytes = difs_tls_take(from, &length);

	for (size_t at = 0; at < length;)
	{
		size_t room;
		uint8_t *into = difs_tls_room(to, &room);
		size_t some = length - at < room ? length - at : room;

		assert_true(room > 0);
		if (some > step)
			some = step;
		memcpy(into, bytes + at, some);
		difs_tls_arrived(to, some);
		at += some;
		if (*result == DIFS_TLS_WAIT)
			*result = difs_tls_handshake(to, error);
		if (*result == DIFS_TLS_FAILED)
			break;
	}
	free(bytes);
	return bytes != NULL;
}

static Pair
shake_hands(DifsTlsContext *client, DifsTlsContext *server, const char *host)
{
	Pair pair = {.client_result = DIFS_TLS_WAIT, .server_result = DIFS_TLS_WAIT};
	bool more;

	assert_non_null(client);
	assert_non_null(server);
	pair.client = difs_tls_create(client, host, NULL);
	pair.server = difs_tls_create(server, NULL, NULL);
	assert_non_null(pair.client);
	assert_non_null(pair.server);
	difs_tls_context_release(client);
	difs_tls_context_release(server);
	pair.client_result = difs_tls_handshake(pair.client, &pair.client_error);
	do
	{
		more = carry(pair.client, pair.server, &pair.server_result, &pair.server_error);
		more = carry(pair.server, pair.client, &pair.client_result, &pair.client_error) || more;
	} while (more);
	return pair;
}

static void
part(Pair *pair)
{
	difs_tls_destroy(pair->client);
	difs_tls_destroy(pair->server);
}

static DifsTlsContext *
client_of(DifsTlsMode mode, const char *ca, const char *stem)
{
	char certificate[128];
	char key[128];
	DifsTlsFiles files = {certificate, key, ca != NULL ? file(ca) : NULL};

	snprintf(certificate, sizeof(certificate), "%s/%s.crt", directory, stem != NULL ? stem : "");
	snprintf(key, sizeof(key), "%s/%s.key", directory, stem != NULL ? stem : "");
	if (stem == NULL)
		files.certificate = files.key = "";
	return difs_tls_client_context(mode, &files, NULL);
}

static DifsTlsContext *
server_of(const char *stem, bool clients_too)
{
	char certificate[128];
	char key[128];
	DifsTlsFiles files = {certificate, key, file("ca.crt")};

	snprintf(certificate, sizeof(certificate), "%s/%s.crt", directory, stem);
	snprintf(key, sizeof(key), "%s/%s.key", directory, stem);
	return difs_tls_server_context(&files, clients_too, NULL);
}

static void
assert_text(const DifsError *error, const char *text)
{
	if (strstr(error->text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, error->text);
}

static void
assert_fine(Pair *pair)
{
	if (pair->client_result != DIFS_TLS_DONE)
		fail_msg("client: %d %s", pair->client_result, pair->client_error.text);
	if (pair->server_result != DIFS_TLS_DONE)
		fail_msg("server: %d %s", pair->server_result, pair->server_error.text);
}

/* Sends length bytes one way and compares what arrives; some of what arrives is read before the rest has come. */
static void
send_across(DifsTls *from, DifsTls *to, size_t length)
{
	uint8_t *sent = malloc(length);
	uint8_t *got = malloc(length);
	size_t at = 0;
	size_t wire_length;
	uint8_t *wire;
	size_t carried = 0;

	for (size_t i = 0; i < length; i++)
		sent[i] = (uint8_t) (i * 7 + i / 251);
	assert_true(difs_tls_write(from, sent, length, NULL));
	wire = difs_tls_take(from, &wire_length);
	assert_true(wire_length > length);
	if (length >= 64) /* which is not there by accident */
		assert_null(memmem(wire, wire_length, sent, 64));
	while (at < length)
	{
		size_t some = 0;
		size_t room;
		uint8_t *into;

		switch (difs_tls_read(to, got + at, length - at < 5000 ? length - at : 5000, &some, NULL))
		{
			case DIFS_TLS_DONE:
				at += some;
				continue;
			case DIFS_TLS_WAIT:
				break;
			default:
				fail_msg("could not read");
		}
		into = difs_tls_room(to, &room);
		assert_true(room > 0 && carried < wire_length);
		some = wire_length - carried < room ? wire_length - carried : room;
		if (some > step)
			some = step;
		memcpy(into, wire + carried, some);
		difs_tls_arrived(to, some);
		carried += some;
	}
	assert_int_equal(carried, wire_length);
	assert_memory_equal(sent, got, length);
	free(wire);
	free(sent);
	free(got);
}

static void
carries_bytes(void **state)
{
	static const size_t steps[] = {1, 7, 1000, SIZE_MAX};

	(void) state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		Pair pair;
		size_t length;
		uint8_t byte;

		step = steps[i];
		pair = shake_hands(client_of(DIFS_TLS_VERIFY_FULL, "ca.crt", NULL), server_of("server", false), "storage.example");
		assert_fine(&pair);
		send_across(pair.client, pair.server, 1);
		send_across(pair.server, pair.client, 16384);
		send_across(pair.client, pair.server, 16385);
		send_across(pair.server, pair.client, step == 1 ? 50000 : 5000000);
		assert_int_equal(difs_tls_read(pair.client, &byte, 1, &length, NULL), DIFS_TLS_WAIT);
		assert_null(difs_tls_take(pair.client, &length));
		assert_int_equal(length, 0);
		part(&pair);
	}
	step = SIZE_MAX;
	difs_tls_destroy(NULL);
	difs_tls_context_release(NULL);
}

static void
bindings_tell_connections_apart(void **state)
{
	uint8_t client[2][DIFS_BINDING_SIZE];
	uint8_t server[2][DIFS_BINDING_SIZE];

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		Pair pair = shake_hands(client_of(DIFS_TLS_REQUIRE, NULL, NULL), server_of("server", false), "a");

		assert_fine(&pair);
		assert_true(difs_tls_binding(pair.client, client[i], NULL));
		assert_true(difs_tls_binding(pair.server, server[i], NULL));
		assert_memory_equal(client[i], server[i], DIFS_BINDING_SIZE);
		part(&pair);
	}
	assert_memory_not_equal(client[0], client[1], DIFS_BINDING_SIZE);
}

/* Each mode against each certificate: NULL for no objection. */
static void
modes_verify_what_they_say(void **state)
{
	static const struct
	{
		DifsTlsMode mode;
		const char *ca;
		const char *server;
		const char *host;
		const char *objection;
		const char *server_hears;
	} cases[] = {
		{DIFS_TLS_REQUIRE, NULL, "server", "elsewhere", NULL, NULL},
		{DIFS_TLS_REQUIRE, "ca.crt", "other", "elsewhere", NULL, NULL},
		{DIFS_TLS_REQUIRE, NULL, "expired", "elsewhere", NULL, NULL},
		{DIFS_TLS_VERIFY_CA, "ca.crt", "server", "elsewhere", NULL, NULL},
		{DIFS_TLS_VERIFY_CA, "ca.crt", "other", "storage.example", "unable to get local issuer certificate", "unknown ca"},
		{DIFS_TLS_VERIFY_CA, "other_ca.crt", "server", "storage.example", "unable to get local issuer certificate", "unknown ca"},
		{DIFS_TLS_VERIFY_CA, "ca.crt", "expired", "storage.example", "certificate has expired", "certificate expired"},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "server", "storage.example", NULL, NULL},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "server", "127.0.0.1", NULL, NULL},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "server", "::1", NULL, NULL},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "server", "elsewhere", "hostname mismatch", "bad certificate"},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "server", "127.0.0.2", "IP address mismatch", "bad certificate"},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "expired", "storage.example", "certificate has expired", "certificate expired"},
		{DIFS_TLS_VERIFY_FULL, "ca.crt", "other", "storage.example", "unable to get local issuer certificate", "unknown ca"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Pair pair = shake_hands(client_of(cases[i].mode, cases[i].ca, NULL), server_of(cases[i].server, false),
								cases[i].host);

		if (cases[i].objection == NULL)
			assert_fine(&pair);
		else
		{
			assert_int_equal(pair.client_result, DIFS_TLS_FAILED);
			assert_int_equal(pair.client_error.code, DIFS_ERROR_REFUSED);
			assert_text(&pair.client_error, "the peer's certificate was not accepted: ");
			assert_text(&pair.client_error, cases[i].objection);
			assert_int_equal(pair.server_result, DIFS_TLS_FAILED);
			assert_text(&pair.server_error, cases[i].server_hears);
		}
		part(&pair);
	}
}

static void
servers_may_ask_for_certificates(void **state)
{
	Pair pair = shake_hands(client_of(DIFS_TLS_REQUIRE, NULL, "client"), server_of("server", true), "a");
	uint8_t byte;
	size_t got;

	(void) state;
	assert_fine(&pair);
	send_across(pair.client, pair.server, 100);
	part(&pair);

	pair = shake_hands(client_of(DIFS_TLS_REQUIRE, NULL, NULL), server_of("server", true), "a");
	assert_int_equal(pair.server_result, DIFS_TLS_FAILED);
	assert_text(&pair.server_error, "peer did not return a certificate");
	/* A client is done before it is looked at; it hears of it when it reads. */
	assert_int_equal(difs_tls_read(pair.client, &byte, 1, &got, &pair.client_error), DIFS_TLS_FAILED);
	assert_text(&pair.client_error, "certificate required");
	part(&pair);

	pair = shake_hands(client_of(DIFS_TLS_REQUIRE, NULL, "other"), server_of("server", true), "a");
	assert_int_equal(pair.server_result, DIFS_TLS_FAILED);
	assert_text(&pair.server_error, "the peer's certificate was not accepted: ");
	part(&pair);

	/* The control: one that does not ask. */
	pair = shake_hands(client_of(DIFS_TLS_REQUIRE, NULL, "other"), server_of("server", false), "a");
	assert_fine(&pair);
	part(&pair);
}

static void
changed_bytes_are_noticed(void **state)
{
	Pair pair = shake_hands(client_of(DIFS_TLS_REQUIRE, NULL, NULL), server_of("server", false), "a");
	uint8_t bytes[1000] = {1};
	size_t length;
	size_t room;
	uint8_t *wire;

	(void) state;
	assert_fine(&pair);
	assert_true(difs_tls_write(pair.client, bytes, sizeof(bytes), NULL));
	wire = difs_tls_take(pair.client, &length);
	wire[500] ^= 1;
	memcpy(difs_tls_room(pair.server, &room), wire, length);
	difs_tls_arrived(pair.server, length);
	assert_int_equal(difs_tls_read(pair.server, bytes, sizeof(bytes), &length, &pair.server_error), DIFS_TLS_FAILED);
	assert_text(&pair.server_error, "bad record mac");
	free(wire);
	part(&pair);
}

static void
strangers_are_refused(void **state)
{
	static const char greeting[] = "\x16\x03\x01\x00\x20 this is not what it looks like";
	DifsTlsContext *context = server_of("server", false);
	DifsTls *server = difs_tls_create(context, NULL, NULL);
	SSL_CTX *old = SSL_CTX_new(TLS_client_method());
	DifsError error;
	size_t room;
	Pair pair;

	(void) state;
	assert_int_equal(difs_tls_handshake(server, &error), DIFS_TLS_WAIT);
	memcpy(difs_tls_room(server, &room), greeting, sizeof(greeting));
	difs_tls_arrived(server, sizeof(greeting));
	assert_int_equal(difs_tls_handshake(server, &error), DIFS_TLS_FAILED);
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	difs_tls_destroy(server);

	assert_true(SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION));
	pair = shake_hands(old, context, "a");
	assert_int_equal(pair.server_result, DIFS_TLS_FAILED);
	assert_text(&pair.server_error, "unsupported protocol");
	part(&pair);
}

static void
wrong_files_are_named(void **state)
{
	DifsTlsFiles files = {file("server.crt"), file("server.key"), file("ca.crt")};
	DifsTlsFiles wrong;
	DifsTlsContext *context;
	DifsError error;

	(void) state;
	context = difs_tls_server_context(&files, true, &error);
	assert_non_null(context);
	difs_tls_context_release(difs_tls_context_hold(context));
	difs_tls_context_release(context);

	wrong = files;
	wrong.certificate = file("absent.crt");
	assert_null(difs_tls_server_context(&wrong, false, &error));
	assert_text(&error, "could not load certificate file \"/tmp/difs_tls_");
	assert_text(&error, "No such file");
	assert_int_equal(error.code, DIFS_ERROR_IO);
	wrong = files;
	wrong.key = file("absent.key");
	assert_null(difs_tls_server_context(&wrong, false, &error));
	assert_text(&error, "could not examine private key file");
	wrong = files;
	wrong.key = NULL;
	assert_null(difs_tls_server_context(&wrong, false, &error));
	assert_text(&error, "TLS needs both a certificate and its private key");
	wrong = files;
	wrong.key = file("other.key");
	assert_null(difs_tls_server_context(&wrong, false, &error));
	assert_text(&error, "key values mismatch");
	wrong = files;
	wrong.certificate = file("server.key");
	assert_null(difs_tls_server_context(&wrong, false, &error));
	assert_text(&error, "could not load certificate file");
	wrong = files;
	wrong.ca = file("server.key");
	assert_null(difs_tls_server_context(&wrong, true, &error));
	assert_text(&error, "could not load CA file");
	assert_null(difs_tls_client_context(DIFS_TLS_VERIFY_CA, &wrong, &error));
	wrong.ca = NULL;
	assert_null(difs_tls_client_context(DIFS_TLS_VERIFY_FULL, &wrong, &error));
	assert_text(&error, "there is no file with CA certificates");

	assert_int_equal(chmod(files.key, 0644), 0);
	assert_null(difs_tls_server_context(&files, false, &error));
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	assert_text(&error, "must be a file that only its owner may read or write");
	assert_int_equal(chmod(files.key, 0600), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_bytes),
		cmocka_unit_test(bindings_tell_connections_apart),
		cmocka_unit_test(modes_verify_what_they_say),
		cmocka_unit_test(servers_may_ask_for_certificates),
		cmocka_unit_test(changed_bytes_are_noticed),
		cmocka_unit_test(strangers_are_refused),
		cmocka_unit_test(wrong_files_are_named),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
