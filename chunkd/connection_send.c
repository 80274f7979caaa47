/*
 * connection_send.c - replies, out to the peer.
 *
 * Replies stand in one queue for each connection.  What the socket takes at once is
 * written at once; at most one write runs for the rest.  Either takes what has
 * queued, up to and including the first reply whose payload is still partly in a file.  When that write is done, the next piece of that payload is
 * read into the same buffer, and so on, so a peer that reads slowly holds one
 * piece and not a segment.  A piece that cannot be read closes the connection: the
 * reply's header has gone out already, and the peer asks another server.
 */
#include "connection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file_io.h"
#include "group.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

#define MAX_REPLIES_AT_ONCE 32
#define MAX_AT_ONCE (1024 * 1024)		 /* without letting other connections have their turn */
#define MAX_SEALED_AT_ONCE (1024 * 1024) /* encrypted bytes are a copy */

struct DifsReply
{
	STAILQ_ENTRY(DifsReply) next;
	uint8_t *piece; /* payload at hand */
	uint32_t piece_length;
	uint32_t remaining; /* payload bytes after the piece, in the file */
	DifsGroupFile *file;
	uint64_t offset;
	uint32_t charged_bytes; /* of the connection's outgoing_bytes */
	uint32_t head_length;	/* 0 once it is sent */
	uint8_t head[];			/* frame header and control */
};

typedef struct Fetch
{
	DifsJob job;
	DifsConnection *connection;
	DifsReply *reply;
	bool ok;
	DifsError error;
} Fetch;

static void answer(DifsRequest *request, DifsErrorCode status, const void *control, uint32_t control_length,
				   uint8_t *piece, uint32_t piece_length, DifsGroupFile *file, uint64_t offset, uint32_t remaining);
static bool write_some(DifsConnection *connection, size_t *at_once);
static unsigned take_at_once(DifsConnection *connection, uv_buf_t *buffers, unsigned count);
static void on_written(uv_write_t *write, int status);
static void replies_written(DifsConnection *connection);
static void fetch_next(DifsConnection *connection, DifsReply *reply);
static void fetch_run(DifsJob *job);
static void fetch_done(DifsJob *job);
static void remove_first(DifsConnection *connection);

void
difs_request_reserve(DifsRequest *request, uint32_t bytes)
{
	request->reserved_bytes += bytes;
	request->connection->outgoing_bytes += bytes;
}

void
difs_request_reply(DifsRequest *request, const void *control, uint32_t control_length, uint8_t *payload,
				   uint32_t payload_length)
{
	answer(request, DIFS_OK, control, control_length, payload, payload_length, NULL, 0, 0);
}

void
difs_request_reply_file(DifsRequest *request, const void *control, uint32_t control_length, uint8_t *piece,
						uint32_t piece_length, DifsGroupFile *file, uint64_t offset, uint32_t remaining)
{
	answer(request, DIFS_OK, control, control_length, piece, piece_length, file, offset, remaining);
}

void
difs_request_fail(DifsRequest *request, const DifsError *error)
{
	uint32_t length = (uint32_t) strnlen(error->text, DIFS_ERROR_TEXT_SIZE);

	answer(request, error->code, error->text, length, NULL, 0, NULL, 0, 0);
}

void
difs_request_refuse(DifsRequest *request, DifsErrorCode code, const char *format, ...)
{
	char text[DIFS_ERROR_TEXT_SIZE];
	DifsError error;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* It is not about a system call. */
	errno = 0;
	difs_error_set(&error, code, "%s", text);
	difs_request_fail(request, &error);
}

void
difs_connection_drop_replies(DifsConnection *connection)
{
	while (!STAILQ_EMPTY(&connection->replies))
		remove_first(connection);
}

static void
answer(DifsRequest *request, DifsErrorCode status, const void *control, uint32_t control_length, uint8_t *piece,
	   uint32_t piece_length, DifsGroupFile *file, uint64_t offset, uint32_t remaining)
{
	DifsConnection *connection = request->connection;
	DifsReply *reply = difs_alloc(sizeof(*reply) + DIFS_WIRE_HEADER_SIZE + control_length);
	DifsFrame frame = {
		.control_length = control_length,
		.payload_length = piece_length + remaining,
		.request = request->frame.request,
		.message = request->frame.message | DIFS_WIRE_REPLY,
		.status = (uint8_t) status,
	};

	if (control_length > 0)
		memcpy(reply->head + DIFS_WIRE_HEADER_SIZE, control, control_length);
	difs_wire_pack(&frame, reply->head + DIFS_WIRE_HEADER_SIZE, reply->head);
	reply->head_length = DIFS_WIRE_HEADER_SIZE + control_length;
	reply->piece = piece;
	reply->piece_length = piece_length;
	reply->offset = offset;
	reply->remaining = remaining;
	if (remaining > 0)
		reply->file = difs_group_file_hold(file);
	reply->charged_bytes = reply->head_length + piece_length;
	STAILQ_INSERT_TAIL(&connection->replies, reply, next);

	difs_count_request(&connection->server->counts, request, &frame);
	connection->outgoing_bytes += reply->charged_bytes;
	connection->outgoing_bytes -= request->reserved_bytes;
	connection->in_flight--;
	connection->server->in_flight--;
	if (request->writes)
		difs_tenant_write_done(connection->tenant);
	difs_budget_give(&connection->server->budget, request);
	difs_request_free(request);

	difs_gather_connection(&connection->server->gather, connection);
	difs_connection_update(connection);
}

void
difs_connection_send(DifsConnection *connection)
{
	size_t at_once = MAX_AT_ONCE;

	while (write_some(connection, &at_once))
		;
}

/* Writes what is queued, if no write runs: what the socket takes at once, of which *at_once is taken off, and the rest by a write that runs.
 * True if there may be more to do. */
static bool
write_some(DifsConnection *connection, size_t *at_once)
{
	uv_buf_t buffers[2 * MAX_REPLIES_AT_ONCE];
	unsigned count = 0;
	unsigned first = 0;
	int replies = 0;
	size_t bytes = 0;
	DifsReply *reply;

	if (connection->closing || connection->writing > 0 || connection->fetching)
		return false;
	STAILQ_FOREACH (reply, &connection->replies, next)
	{
		if (reply->head_length > 0)
			buffers[count++] = uv_buf_init((char *) reply->head, reply->head_length);
		if (reply->piece_length > 0)
			buffers[count++] = uv_buf_init((char *) reply->piece, reply->piece_length);
		replies++;
		bytes += reply->head_length + reply->piece_length;
		if (reply->remaining > 0 || replies == MAX_REPLIES_AT_ONCE ||
			(connection->tls != NULL && bytes >= MAX_SEALED_AT_ONCE))
			break;
	}
	if (replies == 0 || (connection->tls != NULL && !difs_connection_seal(connection, buffers, &count)))
		return false;
	connection->writing = replies;
	if (bytes <= *at_once)
	{
		*at_once -= bytes;
		first = take_at_once(connection, buffers, count);
	}
	if (first == count)
		replies_written(connection);
	else if (uv_write(&connection->write, (uv_stream_t *) &connection->tcp, buffers + first, count - first, on_written) != 0)
	{
		connection->writing = 0;
		difs_connection_close(connection, "could not be written to");
	}
	return first == count;
}

/* How many of the buffers the socket took whole; of the next, what is left. An error is met again by the write that runs. */
static unsigned
take_at_once(DifsConnection *connection, uv_buf_t *buffers, unsigned count)
{
	int wrote = uv_try_write((uv_stream_t *) &connection->tcp, buffers, count);
	size_t left = wrote > 0 ? (size_t) wrote : 0;
	unsigned first = 0;

	while (first < count && left >= buffers[first].len)
		left -= buffers[first++].len;
	if (first < count)
		buffers[first] = uv_buf_init(buffers[first].base + left, (unsigned) (buffers[first].len - left));
	return first;
}

static void
on_written(uv_write_t *write, int status)
{
	DifsConnection *connection = write->data;

	if (status != 0)
		difs_connection_close(connection, status == UV_ECANCELED ? NULL : uv_strerror(status));
	replies_written(connection);
	difs_connection_send(connection);
	difs_connection_update(connection);
}

/* Those that the write covered are gone, but for one whose payload goes on. */
static void
replies_written(DifsConnection *connection)
{
	int replies = connection->writing;

	connection->writing = 0;
	free(connection->sealed);
	connection->sealed = NULL;
	for (; replies > 0; replies--)
	{
		DifsReply *reply = STAILQ_FIRST(&connection->replies);

		if (reply->remaining > 0 && !connection->closing)
			fetch_next(connection, reply);
		else
			remove_first(connection);
	}
}

/* Gets the next piece of the first reply; what is in memory comes at once. */
static void
fetch_next(DifsConnection *connection, DifsReply *reply)
{
	Fetch *fetch;

	reply->head_length = 0;
	if (reply->piece_length > reply->remaining)
		reply->piece_length = reply->remaining;
	if (difs_preadv_cached(reply->file->fd, &(struct iovec){reply->piece, reply->piece_length}, 1, reply->offset))
	{
		reply->offset += reply->piece_length;
		reply->remaining -= reply->piece_length;
		return;
	}
	fetch = difs_alloc(sizeof(*fetch));
	fetch->connection = connection;
	fetch->reply = reply;
	connection->fetching = true;
	difs_job_start(&connection->server->pool, DIFS_LANE_READ, &fetch->job, fetch_run, fetch_done);
}

static void
fetch_run(DifsJob *job)
{
	Fetch *fetch = (Fetch *) job;
	DifsReply *reply = fetch->reply;

	fetch->ok = difs_pread_all(reply->file->fd, reply->piece, reply->piece_length, reply->offset, &fetch->error);
}

static void
fetch_done(DifsJob *job)
{
	Fetch *fetch = (Fetch *) job;
	DifsConnection *connection = fetch->connection;

	connection->fetching = false;
	fetch->reply->offset += fetch->reply->piece_length;
	fetch->reply->remaining -= fetch->reply->piece_length;
	if (!fetch->ok)
	{
		difs_log(DIFS_LOG_ERROR, "reading for connection %s: %s", connection->label, fetch->error.text);
		difs_connection_close(connection, "its segment could not be read to the end");
	}
	free(fetch);
	difs_connection_send(connection);
	difs_connection_update(connection);
}

static void
remove_first(DifsConnection *connection)
{
	DifsReply *reply = STAILQ_FIRST(&connection->replies);

	STAILQ_REMOVE_HEAD(&connection->replies, next);
	connection->outgoing_bytes -= reply->charged_bytes;
	if (reply->file != NULL)
		difs_group_file_release(reply->file);
	free(reply->piece);
	free(reply);
}
