/*
 * connection_receive.c - frames, in from the peer.
 *
 * A frame is received in three stages: header, control, payload.  A payload that is
 * not small is received straight to where it belongs; anything else first into a
 * buffer of AHEAD_SIZE, since small frames come many at a time.  What has been read
 * ahead stays there while the connection is paused, which it can be at any byte; so it
 * keeps at most one such buffer, beside the server's memory.  It is paused
 *
 *	- in a payload or before a control, while the server's memory for requests is used up (memory.c);
 *	- before a frame, while it has MAX_IN_FLIGHT requests unanswered, or more than
 *	  MAX_OUTGOING bytes of replies that it has not taken.
 *
 * A payload is charged to the budget in steps as it arrives, so a peer that
 * announces much and sends nothing keeps nothing from others.
 */
#include "connection.h"

#include <stdlib.h>
#include <string.h>

#include "greeting.h"
#include "memory.h"
#include "requests.h"
#include "server.h"

#define MAX_IN_FLIGHT 256
#define MAX_OUTGOING (4 * 1024 * 1024)
#define AHEAD_SIZE (64 * 1024)
#define DIRECT_SIZE (16 * 1024) /* from here on a copy costs more than a system call */
#define FIRST_GRANT (64 * 1024)
#define MAX_GRANT (4 * 1024 * 1024)

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);
static bool reads_ahead(const DifsConnection *connection, size_t lacks);
static void take_encrypted(DifsConnection *connection, size_t count);
static void advance(DifsConnection *connection);
static bool take_header(DifsConnection *connection);
static bool take_control(DifsConnection *connection);
static bool take_payload(DifsConnection *connection);
static bool grant_more(DifsConnection *connection);
static void dispatch(DifsConnection *connection);

void
difs_connection_read_or_pause(DifsConnection *connection)
{
	if (difs_connection_wants_bytes(connection) == connection->reading)
		return;
	connection->reading = !connection->reading;
	if (!connection->reading)
		(void) uv_read_stop((uv_stream_t *) &connection->tcp);
	else if (uv_read_start((uv_stream_t *) &connection->tcp, on_alloc, on_read) != 0)
		difs_connection_close(connection, "could not be read");
}

void
difs_connection_drop_receiving(DifsConnection *connection)
{
	DifsRequest *request = connection->receiving;

	if (request == NULL)
		return;
	connection->receiving = NULL;
	difs_budget_give(&connection->server->budget, request);
	difs_request_free(request);
}

void
difs_request_free(DifsRequest *request)
{
	free(request->control);
	free(request->payload);
	free(request->permit);
	free(request->receipt);
	free(request);
}

void
difs_connection_memory_granted(DifsConnection *connection)
{
	if (connection->stage == DIFS_RECEIVE_PAYLOAD)
		connection->granted = (uint32_t) connection->receiving->charged_bytes -
			connection->receiving->frame.control_length;
	difs_connection_update(connection);
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	DifsConnection *connection = handle->data;
	size_t room;

	(void) suggested;
	if (connection->tls == NULL)
	{
		*buffer = difs_connection_place(connection);
		if (!reads_ahead(connection, buffer->len))
			return;
		if (connection->ahead == NULL)
			connection->ahead = difs_alloc(AHEAD_SIZE);
		*buffer = uv_buf_init((char *) connection->ahead, AHEAD_SIZE);
	}
	else
	{
		buffer->base = (char *) difs_tls_room(connection->tls, &room);
		buffer->len = room;
	}
}

/* Not before it is known what the connection is.  All that has been read ahead is taken before more is read. */
static bool
reads_ahead(const DifsConnection *connection, size_t lacks)
{
	return connection->phase == DIFS_PHASE_READY && lacks < DIRECT_SIZE;
}

/* Never more than the stage lacks, and never none, as advance() goes on to the next stage. */
uv_buf_t
difs_connection_place(DifsConnection *connection)
{
	DifsRequest *request = connection->receiving;
	uint8_t *base = connection->header;
	uint32_t size = DIFS_WIRE_HEADER_SIZE;

	if (connection->stage == DIFS_RECEIVE_CONTROL)
	{
		base = request->control;
		size = request->frame.control_length;
	}
	else if (connection->stage == DIFS_RECEIVE_PAYLOAD)
	{
		base = request->payload;
		size = connection->granted;
	}
	return uv_buf_init((char *) base + connection->received, size - connection->received);
}

static void
on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	DifsConnection *connection = stream->data;

	if (count == UV_EOF)
		difs_connection_close(connection,
							  connection->phase == DIFS_PHASE_READY ? NULL : "peer left during the greeting");
	else if (count < 0)
		difs_connection_close(connection, uv_strerror((int) count));
	else if (count > 0)
	{
		connection->progress_bytes += (uint64_t) count;
		if (connection->tls != NULL)
			take_encrypted(connection, (size_t) count);
		else if (buffer->base == (char *) connection->ahead)
		{
			connection->ahead_at = 0;
			connection->ahead_end = (uint32_t) count;
		}
		else
			difs_connection_received(connection, (uint32_t) count);
		difs_connection_update(connection);
	}
}

void
difs_connection_pump(DifsConnection *connection)
{
	/* Handling a request may come back here. */
	if (connection->pumping || connection->ahead_at == connection->ahead_end)
		return;
	connection->pumping = true;
	difs_gather_begin(&connection->server->gather);
	while (!connection->closing && connection->ahead_at < connection->ahead_end && difs_connection_wants_bytes(connection))
	{
		uv_buf_t place = difs_connection_place(connection);
		uint32_t count = connection->ahead_end - connection->ahead_at;

		if (count > place.len)
			count = (uint32_t) place.len;
		memcpy(place.base, connection->ahead + connection->ahead_at, count);
		connection->ahead_at += count;
		difs_connection_received(connection, count);
	}
	connection->pumping = false;
	difs_gather_end(&connection->server->gather);
}

/* difs_connection_update() reads it. */
static void
take_encrypted(DifsConnection *connection, size_t count)
{
	if (!connection->tls_failed)
		difs_tls_arrived(connection->tls, count);
}

void
difs_connection_received(DifsConnection *connection, uint32_t count)
{
	connection->received += count;
	if (connection->tls != NULL || !difs_connection_tls_begins(connection))
		advance(connection);
}

/* Goes through the stages that are complete. */
static void
advance(DifsConnection *connection)
{
	bool more = true;

	while (more && !connection->closing && connection->memory_wanted == 0)
	{
		switch (connection->stage)
		{
			case DIFS_RECEIVE_HEADER:
				more = connection->received == DIFS_WIRE_HEADER_SIZE && take_header(connection);
				break;
			case DIFS_RECEIVE_CONTROL:
				more = connection->received == connection->receiving->frame.control_length && take_control(connection);
				break;
			case DIFS_RECEIVE_PAYLOAD:
				more = connection->received == connection->granted && take_payload(connection);
				break;
		}
	}
}

/* Checks the header's limits before any memory is taken.  Only an authenticated PUT or MEND has a payload. */
static bool
take_header(DifsConnection *connection)
{
	bool ready = connection->phase == DIFS_PHASE_READY;
	bool put = ready && (connection->header[16] == DIFS_MESSAGE_PUT || connection->header[16] == DIFS_MESSAGE_MEND);
	DifsFrame frame;
	DifsError error;
	DifsRequest *request;

	if (!difs_wire_unpack(connection->header, ready ? DIFS_WIRE_MAX_CONTROL : DIFS_WIRE_MAX_GREETING,
						  put ? DIFS_MAX_SEGMENT_SIZE : 0, &frame, &error))
	{
		difs_connection_close(connection, error.text);
		return false;
	}
	request = difs_alloc(sizeof(*request));
	request->connection = connection;
	request->frame = frame;
	request->control = difs_alloc(frame.control_length + 1);
	connection->receiving = request;
	connection->stage = DIFS_RECEIVE_CONTROL;
	connection->received = 0;
	/* A greeting is small, and has to be possible while the budget is used up. */
	return !ready || frame.control_length == 0 ||
		difs_budget_take(&connection->server->budget, request, frame.control_length);
}

static bool
take_control(DifsConnection *connection)
{
	DifsRequest *request = connection->receiving;
	DifsError error;

	if (!difs_wire_check(connection->header, request->control, &error))
	{
		difs_connection_close(connection, error.text);
		return false;
	}
	if (request->frame.payload_length == 0)
	{
		dispatch(connection);
		return true;
	}
	/* Pages of it are taken as they are written to. */
	request->payload = malloc(request->frame.payload_length);
	if (request->payload == NULL)
	{
		difs_connection_close(connection, "no memory for its payload");
		return false;
	}
	connection->stage = DIFS_RECEIVE_PAYLOAD;
	connection->received = 0;
	connection->granted = 0;
	return grant_more(connection);
}

static bool
take_payload(DifsConnection *connection)
{
	if (connection->received < connection->receiving->frame.payload_length)
		return grant_more(connection);
	dispatch(connection);
	return true;
}

/* Charges as much again as has arrived, at most MAX_GRANT.  Always false: more bytes are needed either way. */
static bool
grant_more(DifsConnection *connection)
{
	uint32_t left = connection->receiving->frame.payload_length - connection->granted;
	uint32_t step = connection->granted < FIRST_GRANT ? FIRST_GRANT : connection->granted;

	if (step > MAX_GRANT)
		step = MAX_GRANT;
	if (step > left)
		step = left;
	if (difs_budget_take(&connection->server->budget, connection->receiving, step))
		connection->granted += step;
	return false;
}

/* Hands a whole request on. */
static void
dispatch(DifsConnection *connection)
{
	DifsRequest *request = connection->receiving;

	connection->receiving = NULL;
	connection->stage = DIFS_RECEIVE_HEADER;
	connection->received = 0;
	connection->progress_ms = uv_now(connection->server->loop);
	connection->progress_bytes = 0;
	connection->in_flight++;
	connection->server->in_flight++;
	request->began_ns = uv_hrtime();
	if (connection->phase == DIFS_PHASE_READY)
		difs_requests_handle(request);
	else
		difs_greeting_handle(request);
}

bool
difs_connection_wants_bytes(const DifsConnection *connection)
{
	if (connection->memory_wanted > 0)
		return false;
	if (connection->stage != DIFS_RECEIVE_HEADER || connection->received > 0)
		return true;
	return !connection->close_when_sent && connection->phase != DIFS_PHASE_ATTACHING &&
		connection->in_flight < MAX_IN_FLIGHT && connection->outgoing_bytes <= MAX_OUTGOING;
}
