/*
 * conn_receive.c - bytes from the socket, frames out of them.
 *
 * State: the buffer fields of DifsConn.  Headers and controls are looked at in the
 * buffer, where one recv() may bring many of them.  Of a payload, what came along
 * with its head is copied; the rest goes straight into the owner's place, and the
 * same call fills the buffer with what comes behind it.  The head of a frame stays
 * in the buffer until the owner has seen the whole frame.
 */
#include "conn_private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static DifsEvent parse_head(DifsConn *conn);
static void take_buffered(DifsConn *conn);
static bool fill(DifsConn *conn);
static void make_room(DifsConn *conn);

const uint8_t *
difs_conn_control(const DifsConn *conn)
{
	return conn->buffer + conn->frame_at + DIFS_WIRE_HEADER_SIZE;
}

void
difs_conn_payload_into(DifsConn *conn, void *buffer)
{
	conn->payload_into = buffer;
}

DifsEvent
difs_conn_receive(DifsConn *conn)
{
	if (conn->phase == RECEIVE_DONE)
	{
		conn->frame_at = conn->unread;
		conn->phase = RECEIVE_HEAD;
	}
	do
	{
		if (conn->phase == RECEIVE_HEAD)
		{
			DifsEvent event = parse_head(conn);

			if (event != DIFS_EVENT_NONE)
				return event;
		}
		else
		{
			take_buffered(conn);
			if (conn->payload_left == 0)
			{
				conn->phase = RECEIVE_DONE;
				return DIFS_EVENT_FRAME;
			}
		}
	} while (fill(conn));
	return conn->state == DIFS_CONN_BROKEN ? DIFS_EVENT_BROKEN : DIFS_EVENT_NONE;
}

/* Looks at the head of the next frame, if it is there.  Its lengths are checked before the rest is waited for. */
static DifsEvent
parse_head(DifsConn *conn)
{
	bool greeting = conn->state == DIFS_CONN_GREETING;
	const uint8_t *header = conn->buffer + conn->frame_at;
	size_t available = conn->end - conn->frame_at;
	DifsError error;

	if (available < DIFS_WIRE_HEADER_SIZE)
		return DIFS_EVENT_NONE;
	if (!difs_wire_unpack(header, greeting ? DIFS_WIRE_MAX_GREETING : DIFS_WIRE_MAX_CONTROL,
						  greeting ? 0 : DIFS_MAX_SEGMENT_SIZE, &conn->frame, &error))
	{
		difs_conn_break_with(conn, &error);
		return DIFS_EVENT_BROKEN;
	}
	conn->head_length = DIFS_WIRE_HEADER_SIZE + conn->frame.control_length;
	if (available < conn->head_length)
		return DIFS_EVENT_NONE;
	if (!difs_wire_check(header, header + DIFS_WIRE_HEADER_SIZE, &error))
	{
		difs_conn_break_with(conn, &error);
		return DIFS_EVENT_BROKEN;
	}
	if ((conn->frame.message & DIFS_WIRE_REPLY) == 0)
	{
		difs_conn_break(conn, DIFS_ERROR_PROTOCOL, "server sent a %s request", difs_message_name(conn->frame.message));
		return DIFS_EVENT_BROKEN;
	}

	conn->unread = conn->frame_at + conn->head_length;
	conn->payload_left = conn->frame.payload_length;
	conn->payload_into = NULL;
	conn->phase = conn->payload_left > 0 ? RECEIVE_PAYLOAD : RECEIVE_DONE;
	return conn->payload_left > 0 ? DIFS_EVENT_HEAD : DIFS_EVENT_FRAME;
}

/* Moves what the buffer has of the payload to where it belongs. */
static void
take_buffered(DifsConn *conn)
{
	size_t available = conn->end - conn->unread;
	size_t length = available < conn->payload_left ? available : conn->payload_left;

	if (conn->payload_into != NULL && length > 0)
	{
		memcpy(conn->payload_into, conn->buffer + conn->unread, length);
		conn->payload_into += length;
	}
	conn->unread += length;
	conn->payload_left -= (uint32_t) length;
}

/* Receives more.  False if there is nothing without waiting, or if the connection broke.  A recv() that got less than
 * it asked for has emptied the socket, so it is not asked again before the owner has waited. */
static bool
fill(DifsConn *conn)
{
	struct iovec iov[2];
	struct msghdr message = {.msg_iov = iov};
	size_t direct = 0;
	size_t room;
	ssize_t got;

	if (conn->socket_empty)
	{
		conn->socket_empty = false;
		return false;
	}
	make_room(conn);
	room = CONN_BUFFER_SIZE - conn->end;
	if (conn->phase == RECEIVE_PAYLOAD && conn->payload_into != NULL)
	{
		direct = conn->payload_left;
		iov[message.msg_iovlen++] = (struct iovec){conn->payload_into, direct};
	}
	iov[message.msg_iovlen++] = (struct iovec){conn->buffer + conn->end, room};
	if (conn->tls != NULL)
		got = difs_conn_tls_receive(conn, iov, (int) message.msg_iovlen);
	else
	{
		do
			got = recvmsg(conn->fd, &message, 0);
		while (got < 0 && errno == EINTR);
	}
	if (got == CONN_IS_BROKEN)
		return false;
	if (got < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? false :
														 difs_conn_break(conn, DIFS_ERROR_NETWORK, "could not receive");
	if (got == 0)
	{
		errno = 0;
		return difs_conn_break(conn, DIFS_ERROR_NETWORK, "server closed the connection");
	}

	conn->moved += (size_t) got;
	conn->socket_empty = (size_t) got < direct + room;
	if (direct > (size_t) got)
		direct = (size_t) got;
	if (direct > 0)
	{
		conn->payload_into += direct;
		conn->payload_left -= (uint32_t) direct;
	}
	conn->end += (size_t) got - direct;
	return true;
}

/* Moves what must be kept to the beginning of the buffer, if the largest head would not fit where it is, or if a
 * payload is being received: of that, everything in the buffer has been taken, so only its head is kept. */
static void
make_room(DifsConn *conn)
{
	bool payload = conn->phase == RECEIVE_PAYLOAD;
	size_t keep = payload ? conn->head_length : conn->end - conn->frame_at;

	if (!payload && keep > 0 && CONN_BUFFER_SIZE - conn->frame_at >= DIFS_WIRE_HEADER_SIZE + DIFS_WIRE_MAX_CONTROL)
		return;
	if (keep > 0 && conn->frame_at > 0)
		memmove(conn->buffer, conn->buffer + conn->frame_at, keep);
	conn->frame_at = 0;
	conn->unread = conn->end = keep;
}
