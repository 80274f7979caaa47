/*
 * conn_greeting.c - the client's side of the handshake of auth.h.
 *
 * State: the greeting fields of DifsConn.  HELLO stands in conn->greeting from the
 * beginning; when CHALLENGE has come and the server has proved itself, PROOF takes
 * its place.  A server that refuses says why in an error reply to either.
 */
#include "conn_private.h"

#include <errno.h>
#include <string.h>

static bool hello_by_token(DifsConn *conn);
static bool take_challenge(DifsConn *conn);
static bool take_welcome(DifsConn *conn);
static void put_greeting(DifsConn *conn, DifsMessage message, size_t control_length);

bool
difs_conn_hello(DifsConn *conn)
{
	DifsHello hello = {.version = DIFS_WIRE_VERSION, .epoch = conn->peer.epoch};
	DifsError error;

	if (conn->by_token)
		return hello_by_token(conn);
	if (!difs_random(hello.nonce, sizeof(hello.nonce), &error))
		return difs_conn_break_with(conn, &error);
	if (!difs_key_id(conn->peer.key, hello.key_id))
		return difs_conn_break(conn, DIFS_ERROR_MEMORY, "could not compute the id of the key");
	memcpy(hello.cluster, conn->peer.cluster, sizeof(hello.cluster));
	memcpy(hello.claim, conn->peer.claim, sizeof(hello.claim));
	memcpy(hello.name, conn->peer.name, sizeof(hello.name));
	put_greeting(conn, DIFS_MESSAGE_HELLO, difs_hello_pack(&hello, conn->greeting + DIFS_WIRE_HEADER_SIZE));
	return true;
}

static bool
hello_by_token(DifsConn *conn)
{
	DifsHelloToken hello = {.version = DIFS_WIRE_VERSION};
	DifsError error;

	if (!difs_random(hello.nonce, sizeof(hello.nonce), &error))
		return difs_conn_break_with(conn, &error);
	memcpy(hello.token, conn->token, sizeof(hello.token));
	memcpy(hello.name, conn->peer.name, sizeof(hello.name));
	put_greeting(conn, DIFS_MESSAGE_HELLO_TOKEN, difs_hello_token_pack(&hello, conn->greeting + DIFS_WIRE_HEADER_SIZE));
	return true;
}

DifsEvent
difs_conn_greet(DifsConn *conn)
{
	uint8_t hello = conn->by_token ? DIFS_MESSAGE_HELLO_TOKEN : DIFS_MESSAGE_HELLO;
	uint8_t expected = (conn->challenged ? DIFS_MESSAGE_PROOF : hello) | DIFS_WIRE_REPLY;
	DifsFrame *frame = &conn->frame;

	errno = 0;
	if (frame->message != expected || frame->request != 0 || conn->greeting_sent < conn->greeting_length)
		difs_conn_break(conn, DIFS_ERROR_PROTOCOL, "unexpected %s frame in the greeting",
						difs_message_name(frame->message));
	else if (frame->status != DIFS_OK)
		difs_conn_break(conn, (DifsErrorCode) frame->status, "%.*s", (int) frame->control_length,
						(const char *) difs_conn_control(conn));
	else if (!conn->challenged)
	{
		if (take_challenge(conn))
			return DIFS_EVENT_NONE;
	}
	else if (take_welcome(conn))
		return DIFS_EVENT_READY;
	return DIFS_EVENT_BROKEN;
}

/* Checks that this is the server that is meant, and that it holds the key, before it gets a proof from us. */
static bool
take_challenge(DifsConn *conn)
{
	uint8_t *control = conn->greeting + DIFS_WIRE_HEADER_SIZE;
	size_t hello_length = conn->greeting_length - DIFS_WIRE_HEADER_SIZE;
	DifsChallenge challenge;
	DifsError error;
	uint8_t server_proof[DIFS_PROOF_SIZE];
	uint8_t client_proof[DIFS_PROOF_SIZE];

	if (!difs_challenge_unpack(difs_conn_control(conn), conn->frame.control_length, &challenge, &error))
		return difs_conn_break_with(conn, &error);
	if (challenge.version != DIFS_WIRE_VERSION)
		return difs_conn_break(conn, DIFS_ERROR_VERSION, "server speaks version %u of the protocol instead of %d",
							   challenge.version, DIFS_WIRE_VERSION);
	if (conn->peer.name[0] != '\0' && strcmp(conn->peer.name, challenge.name) != 0)
		return difs_conn_break(conn, DIFS_ERROR_REFUSED, "server says that it is \"%.60s\"", challenge.name);
	if (!difs_auth_proof(conn->peer.key, DIFS_SIDE_SERVER, control, hello_length, &challenge, conn->binding,
						 server_proof) ||
		!difs_auth_proof(conn->peer.key, DIFS_SIDE_CLIENT, control, hello_length, &challenge, conn->binding,
						 client_proof) ||
		(conn->by_token && !difs_auth_session(conn->peer.key, control, hello_length, &challenge, conn->binding, conn->session)))
		return difs_conn_break(conn, DIFS_ERROR_MEMORY, "could not compute a proof");
	if (!difs_auth_equal(server_proof, challenge.proof))
		return difs_conn_break(conn, DIFS_ERROR_REFUSED, "server could not prove that it holds the cluster key%s",
							   conn->by_token ? " that the token was made with" : "");

	if (conn->peer.name[0] == '\0')
	{
		memcpy(conn->peer.name, challenge.name, sizeof(conn->peer.name));
		difs_conn_make_label(conn);
	}
	memcpy(control, client_proof, DIFS_PROOF_SIZE);
	put_greeting(conn, DIFS_MESSAGE_PROOF, DIFS_PROOF_SIZE);
	conn->challenged = true;
	return true;
}

static bool
take_welcome(DifsConn *conn)
{
	DifsError error;

	if (!difs_status_unpack(difs_conn_control(conn), conn->frame.control_length, &conn->status, &error))
		return difs_conn_break_with(conn, &error);
	conn->state = DIFS_CONN_READY;
	return true;
}

/* Makes a frame of the control that stands behind the header's place. */
static void
put_greeting(DifsConn *conn, DifsMessage message, size_t control_length)
{
	DifsFrame frame = {.control_length = (uint32_t) control_length, .message = (uint8_t) message};

	difs_wire_pack(&frame, conn->greeting + DIFS_WIRE_HEADER_SIZE, conn->greeting);
	conn->greeting_length = DIFS_WIRE_HEADER_SIZE + control_length;
	conn->greeting_sent = 0;
}
