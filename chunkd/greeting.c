/*
 * greeting.c - see greeting.h.
 *
 * Nothing is believed and nothing is changed before the peer's proof has been
 * checked: in particular HELLO's claim counts only after PROOF, and WELCOME goes
 * out only after it is durable.  Whoever fails hears why and is closed.
 */
#include "greeting.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../common/fault.h"
#include "../common/token.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

static void handle_hello(DifsRequest *request);
static void handle_hello_token(DifsRequest *request);
static bool may_greet(DifsRequest *request, uint16_t version, const char *name);
static void challenge_peer(DifsRequest *request);
static bool send_challenge(DifsRequest *request, DifsError *error);
static void handle_proof(DifsRequest *request);
static void refuse(DifsRequest *request, DifsErrorCode code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void
difs_greeting_handle(DifsRequest *request)
{
	DifsConnection *connection = request->connection;

	if (connection->phase == DIFS_PHASE_HELLO && request->frame.message == DIFS_MESSAGE_HELLO)
		handle_hello(request);
	else if (connection->phase == DIFS_PHASE_HELLO && request->frame.message == DIFS_MESSAGE_HELLO_TOKEN)
		handle_hello_token(request);
	else if (connection->phase == DIFS_PHASE_PROOF && request->frame.message == DIFS_MESSAGE_PROOF)
		handle_proof(request);
	else
		refuse(request, DIFS_ERROR_PROTOCOL, "%s is not expected in a greeting",
			   difs_message_name(request->frame.message));
}

void
difs_greeting_attached(DifsConnection *connection, const DifsError *error)
{
	DifsRequest *request = connection->greeting_request;
	DifsServerStatus status;
	uint8_t control[DIFS_WIRE_MAX_GREETING];
	char cluster[2 * DIFS_UUID_SIZE + 1];

	connection->greeting_request = NULL;
	if (error != NULL)
	{
		refuse(request, error->code, "%s", error->text);
		return;
	}
	connection->phase = DIFS_PHASE_READY;
	explicit_bzero(connection->greeting, sizeof(*connection->greeting));
	free(connection->greeting);
	connection->greeting = NULL;
	difs_tenant_hex(connection->tenant->cluster, cluster);
	difs_log(DIFS_LOG_INFO, "connection %s authenticated: cluster %s, epoch %llu%s", connection->label, cluster,
			 (unsigned long long) connection->epoch,
			 connection->by_token ? ", by token" :
									(difs_tenant_obeys(connection->tenant, connection) ? "" : ", may only read"));
	if (connection->by_token)
		memset(&status, 0, sizeof(status));
	else
		difs_tenant_status(connection->tenant, &status);
	difs_request_reply(request, control, (uint32_t) difs_status_pack(&status, control), NULL, 0);
}

static void
handle_hello(DifsRequest *request)
{
	DifsConnection *connection = request->connection;
	DifsGreeting *greeting = connection->greeting;
	DifsServer *server = connection->server;
	DifsHello hello;
	DifsError error;
	int key;

	if (!difs_hello_unpack(request->control, request->frame.control_length, &hello, &error))
	{
		refuse(request, error.code, "%s", error.text);
		return;
	}
	if (!may_greet(request, hello.version, hello.name))
		return;
	key = difs_keyring_find(&server->keyring, hello.key_id);
	if (key < 0)
	{
		refuse(request, DIFS_ERROR_REFUSED, "the key is not one of this server's");
		return;
	}
	memcpy(connection->key_id, hello.key_id, DIFS_KEY_ID_SIZE);
	memcpy(greeting->key, server->keyring.key[key], DIFS_KEY_SIZE);
	memcpy(greeting->cluster, hello.cluster, DIFS_UUID_SIZE);
	connection->epoch = hello.epoch;
	memcpy(connection->claim, hello.claim, DIFS_CLAIM_SIZE);
	challenge_peer(request);
}

/* The token's MAC, which the peer has to know, is the key of what follows. It claims nothing. */
static void
handle_hello_token(DifsRequest *request)
{
	DifsConnection *connection = request->connection;
	DifsGreeting *greeting = connection->greeting;
	DifsHelloToken hello;
	DifsToken token;
	DifsError error;

	if (!difs_hello_token_unpack(request->control, request->frame.control_length, &hello, &error))
	{
		refuse(request, error.code, "%s", error.text);
		return;
	}
	if (!may_greet(request, hello.version, hello.name))
		return;
	if (!difs_token_open(hello.token, &connection->server->keyring, &token, greeting->key, &error) ||
		!difs_token_is_valid(&token, (uint64_t) time(NULL), &error))
	{
		refuse(request, error.code, "%s", error.text);
		return;
	}
	memcpy(connection->key_id, token.key_id, DIFS_KEY_ID_SIZE);
	memcpy(greeting->cluster, token.cluster, DIFS_UUID_SIZE);
	connection->by_token = true;
	challenge_peer(request);
}

/* What concerns neither key nor token. False if the peer has been refused. */
static bool
may_greet(DifsRequest *request, uint16_t version, const char *name)
{
	DifsConnection *connection = request->connection;
	DifsServer *server = connection->server;
	DifsError error;

	if (connection->surplus)
		refuse(request, DIFS_ERROR_FULL, "too many connections, the limit is %d", server->options->max_connections);
	else if (version != DIFS_WIRE_VERSION)
		refuse(request, DIFS_ERROR_VERSION, "version %u of the protocol is not understood, only %u", version,
			   DIFS_WIRE_VERSION);
	else if (name[0] != '\0' && strcmp(name, server->options->name) != 0)
		refuse(request, DIFS_ERROR_REFUSED, "this is storage \"%.100s\", not \"%.100s\"", server->options->name, name);
	else if (connection->tls == NULL && server->options->tls != DIFS_TLS_OPTIONAL)
		refuse(request, DIFS_ERROR_REFUSED, "this server takes connections with TLS only: set difs.tls");
	else if (connection->tls != NULL && !difs_tls_binding(connection->tls, connection->binding, &error))
		refuse(request, error.code, "%s", error.text);
	else
		return true;
	return false;
}

static void
challenge_peer(DifsRequest *request)
{
	DifsGreeting *greeting = request->connection->greeting;
	DifsError error;

	memcpy(greeting->hello, request->control, request->frame.control_length);
	greeting->hello_length = request->frame.control_length;
	if (!send_challenge(request, &error))
		refuse(request, error.code, "%s", error.text);
}

static bool
send_challenge(DifsRequest *request, DifsError *error)
{
	DifsConnection *connection = request->connection;
	DifsGreeting *greeting = connection->greeting;
	DifsServer *server = connection->server;
	DifsChallenge *challenge = &greeting->challenge;
	uint8_t control[DIFS_WIRE_MAX_GREETING];

	challenge->version = DIFS_WIRE_VERSION;
	strcpy(challenge->name, server->options->name);
	if (!difs_random(challenge->nonce, sizeof(challenge->nonce), error))
		return false;
	if (!difs_auth_proof(greeting->key, DIFS_SIDE_SERVER, greeting->hello, greeting->hello_length,
						 challenge, connection->binding, challenge->proof))
		return difs_error_set(error, DIFS_ERROR_MEMORY, "could not compute a proof");
	if (connection->by_token &&
		!difs_auth_session(greeting->key, greeting->hello, greeting->hello_length, challenge, connection->binding,
						   connection->session))
		return difs_error_set(error, DIFS_ERROR_MEMORY, "could not compute a session");
	connection->phase = DIFS_PHASE_PROOF;
	difs_request_reply(request, control, (uint32_t) difs_challenge_pack(challenge, control), NULL, 0);
	return true;
}

static void
handle_proof(DifsRequest *request)
{
	DifsConnection *connection = request->connection;
	DifsGreeting *greeting = connection->greeting;
	uint8_t proof[DIFS_PROOF_SIZE];

	if (request->frame.control_length != DIFS_PROOF_SIZE ||
		!difs_auth_proof(greeting->key, DIFS_SIDE_CLIENT, greeting->hello,
						 greeting->hello_length, &greeting->challenge, connection->binding, proof) ||
		(!difs_auth_equal(proof, request->control) && !DIFS_FAULT_SKIP("chunkd.greeting.proof")))
	{
		refuse(request, DIFS_ERROR_REFUSED, "the proof is wrong");
		return;
	}
	connection->phase = DIFS_PHASE_ATTACHING;
	connection->greeting_request = request;
	difs_tenant_attach(connection, greeting->cluster);
}

static void
refuse(DifsRequest *request, DifsErrorCode code, const char *format, ...)
{
	DifsConnection *connection = request->connection;
	char text[DIFS_ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	difs_log(DIFS_LOG_WARNING, "connection %s refused: %s", connection->label, text);
	difs_count_refusal(&connection->server->counts, code);
	connection->close_when_sent = true;
	difs_request_refuse(request, code, "%s", text);
}
