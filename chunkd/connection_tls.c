/*
 * connection_tls.c - a peer that speaks TLS (../common/tls.h).
 *
 * State: connection->tls and what is about it.  A connection is plain until its first two bytes are those of a TLS
 * handshake, which no greeting begins with.  From then on what arrives is decrypted into the same places, in the same
 * stages and under the same limits as a plain frame: what a paused connection has got already waits, encrypted, and is
 * at most one buffer.  Everything is done on the loop thread.
 *
 * A peer whose handshake fails has sent more than was read, and a socket that is closed with unread bytes takes the
 * alert back that says why.  So what it sends is thrown away until it leaves or its time for the greeting is over.
 */
#include "connection.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memory.h"
#include "server.h"

#define TLS_HANDSHAKE 0x16 /* type of a record */
#define TLS_MAJOR 0x03

typedef struct OwnWrite
{
	uv_write_t write;
	uint8_t *bytes;
} OwnWrite;

static void send_own(DifsConnection *connection);
static void on_own_written(uv_write_t *write, int status);
static void fail(DifsConnection *connection, const DifsError *error);

bool
difs_connection_tls_begins(DifsConnection *connection)
{
	DifsServer *server = connection->server;
	DifsError error;
	size_t room;

	if (connection->phase != DIFS_PHASE_HELLO || connection->stage != DIFS_RECEIVE_HEADER || connection->received < 2 ||
		connection->header[0] != TLS_HANDSHAKE || connection->header[1] != TLS_MAJOR)
		return false;
	if (server->tls == NULL)
	{
		difs_log(DIFS_LOG_WARNING, "connection %s refused: it wants TLS, and there is no --tls-cert", connection->label);
		difs_connection_close(connection, NULL);
		return true;
	}
	connection->tls = difs_tls_create(server->tls, NULL, &error);
	if (connection->tls == NULL)
	{
		difs_connection_close(connection, error.text);
		return true;
	}
	memcpy(difs_tls_room(connection->tls, &room), connection->header, connection->received);
	difs_tls_arrived(connection->tls, connection->received);
	connection->received = 0;
	return true;
}

void
difs_connection_tls_pump(DifsConnection *connection)
{
	/* Handling a request may come back here. */
	if (connection->pumping || connection->tls_failed)
		return;
	connection->pumping = true;
	difs_gather_begin(&connection->server->gather);
	while (!connection->closing && difs_connection_wants_bytes(connection))
	{
		uv_buf_t place = difs_connection_place(connection);
		DifsTlsResult result;
		DifsError error;
		size_t got = 0;

		result = difs_tls_read(connection->tls, place.base, place.len, &got, &error);
		send_own(connection);
		if (result == DIFS_TLS_WAIT)
			break;
		if (result == DIFS_TLS_DONE)
			difs_connection_received(connection, (uint32_t) got);
		else if (result == DIFS_TLS_CLOSED)
			difs_connection_close(connection, NULL);
		else
		{
			fail(connection, &error);
			break;
		}
	}
	connection->pumping = false;
	difs_gather_end(&connection->server->gather);
}

bool
difs_connection_seal(DifsConnection *connection, uv_buf_t *buffers, unsigned *count)
{
	DifsError error;
	size_t length;

	for (unsigned i = 0; i < *count; i++)
	{
		if (difs_tls_write(connection->tls, buffers[i].base, buffers[i].len, &error))
			continue;
		difs_connection_close(connection, error.text);
		return false;
	}
	connection->sealed = difs_tls_take(connection->tls, &length);
	buffers[0] = uv_buf_init((char *) connection->sealed, (unsigned) length);
	*count = 1;
	return true;
}

/* What TLS says on its own account. */
static void
send_own(DifsConnection *connection)
{
	OwnWrite *own;
	uv_buf_t buffer;
	size_t length;
	uint8_t *bytes = difs_tls_take(connection->tls, &length);

	if (bytes == NULL)
		return;
	own = difs_alloc(sizeof(*own));
	own->bytes = bytes;
	buffer = uv_buf_init((char *) bytes, (unsigned) length);
	if (uv_write(&own->write, (uv_stream_t *) &connection->tcp, &buffer, 1, on_own_written) == 0)
		return;
	free(own->bytes);
	free(own);
	difs_connection_close(connection, "could not be written to");
}

/* If it failed, reading or the next write says so. */
static void
on_own_written(uv_write_t *write, int status)
{
	OwnWrite *own = (OwnWrite *) write;

	(void) status;
	free(own->bytes);
	free(own);
}

static void
fail(DifsConnection *connection, const DifsError *error)
{
	if (connection->phase != DIFS_PHASE_HELLO)
	{
		difs_connection_close(connection, error->text);
		return;
	}
	difs_log(DIFS_LOG_WARNING, "connection %s refused: %s", connection->label, error->text);
	connection->tls_failed = true;
}
