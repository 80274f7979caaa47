/*
 * conn_send.c - the queue of requests, and its way into the socket.
 *
 * State: the queue fields of DifsConn.  The queue owns headers and controls; the
 * payloads stay the owner's.  Only its first request can have begun to leave.
 */
#include "conn_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static bool enqueue(DifsConn *conn, const DifsFrame *frame, const void *control, const void *payload);
static ssize_t send_plain(DifsConn *conn, struct iovec *iov, int count);
static int gather(const DifsConn *conn, struct iovec *iov, size_t *total);
static void took(DifsConn *conn, size_t length);
static bool add_rest(struct iovec *iov, const uint8_t *bytes, size_t length, size_t *skip);

uint64_t
difs_conn_send(DifsConn *conn, const DifsFrame *frame, const void *control, const void *payload)
{
	conn->last_number++;
	if (conn->state != DIFS_CONN_BROKEN && !enqueue(conn, frame, control, payload))
		difs_conn_break(conn, DIFS_ERROR_MEMORY, "no memory for %u requests in the queue", conn->queued + 1);
	return conn->last_number;
}

uint64_t
difs_conn_sent(const DifsConn *conn)
{
	return conn->sent_number;
}

bool
difs_conn_unsend(DifsConn *conn, uint64_t number)
{
	Outgoing *before = NULL;

	for (Outgoing *request = conn->first; request != NULL; before = request, request = request->next)
	{
		if (request->number != number)
			continue;
		if (request->sent > 0)
			return false;
		if (before == NULL)
			conn->first = request->next;
		else
			before->next = request->next;
		if (conn->last == request)
			conn->last = before;
		conn->queued--;
		free(request);
		return true;
	}
	return false;
}

bool
difs_conn_wants_write(const DifsConn *conn)
{
	switch (conn->state)
	{
		case DIFS_CONN_CONNECTING:
			return true;
		case DIFS_CONN_SECURING:
			return conn->sealed != NULL;
		case DIFS_CONN_GREETING:
			return conn->sealed != NULL || conn->greeting_sent < conn->greeting_length;
		case DIFS_CONN_READY:
			return conn->sealed != NULL || conn->first != NULL;
		case DIFS_CONN_BROKEN:
			break;
	}
	return false;
}

bool
difs_conn_flush(DifsConn *conn)
{
	if (conn->state == DIFS_CONN_CONNECTING || conn->state == DIFS_CONN_SECURING)
		return true;
	while (difs_conn_wants_write(conn))
	{
		struct iovec iov[CONN_MAX_IOVECS];
		size_t total;
		int count = gather(conn, iov, &total);
		ssize_t sent = conn->tls != NULL ? difs_conn_tls_send(conn, iov, count) : send_plain(conn, iov, count);

		if (sent == CONN_IS_BROKEN)
			return false;
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
			return difs_conn_break(conn, DIFS_ERROR_NETWORK, "could not send");
		if (sent > 0)
			took(conn, (size_t) sent);
		if (sent < 0 || (size_t) sent < total)
		{
			conn->socket_full = true;
			break;
		}
	}
	return conn->state != DIFS_CONN_BROKEN;
}

static bool
enqueue(DifsConn *conn, const DifsFrame *frame, const void *control, const void *payload)
{
	size_t head_length = DIFS_WIRE_HEADER_SIZE + (size_t) frame->control_length;
	Outgoing *request;

	if (conn->queued >= DIFS_CONN_MAX_QUEUE)
		return false;
	request = malloc(sizeof(*request) + head_length);
	if (request == NULL)
		return false;
	request->next = NULL;
	request->number = conn->last_number;
	request->payload = payload;
	request->payload_length = frame->payload_length;
	request->head_length = head_length;
	request->sent = 0;
	if (frame->control_length > 0)
		memcpy(request->head + DIFS_WIRE_HEADER_SIZE, control, frame->control_length);
	difs_wire_pack(frame, request->head + DIFS_WIRE_HEADER_SIZE, request->head);

	if (conn->last != NULL)
		conn->last->next = request;
	else
		conn->first = request;
	conn->last = request;
	conn->queued++;
	return true;
}

static ssize_t
send_plain(DifsConn *conn, struct iovec *iov, int count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t) count};
	ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);

	if (sent > 0)
		conn->moved += (size_t) sent;
	return sent;
}

/* What is to leave next, as many pieces as one call takes.  The greeting goes alone, and before all else. */
static int
gather(const DifsConn *conn, struct iovec *iov, size_t *total)
{
	int count = 0;
	size_t skip = conn->greeting_sent;

	*total = 0;
	if (conn->state == DIFS_CONN_GREETING)
		count += add_rest(&iov[0], conn->greeting, conn->greeting_length, &skip);
	else
	{
		for (Outgoing *request = conn->first; request != NULL && count + 2 <= CONN_MAX_IOVECS; request = request->next)
		{
			skip = request->sent;
			count += add_rest(&iov[count], request->head, request->head_length, &skip);
			count += add_rest(&iov[count], request->payload, request->payload_length, &skip);
		}
	}
	for (int i = 0; i < count; i++)
		*total += iov[i].iov_len;
	return count;
}

/* The part of a piece that is behind the skip bytes that have left already; false if there is none. */
static bool
add_rest(struct iovec *iov, const uint8_t *bytes, size_t length, size_t *skip)
{
	if (*skip >= length)
	{
		*skip -= length;
		return false;
	}
	iov->iov_base = (uint8_t *) bytes + *skip;
	iov->iov_len = length - *skip;
	*skip = 0;
	return true;
}

/* Notes that length more bytes have left. */
static void
took(DifsConn *conn, size_t length)
{
	if (conn->state == DIFS_CONN_GREETING)
	{
		conn->greeting_sent += length;
		return;
	}
	while (length > 0)
	{
		Outgoing *request = conn->first;
		size_t left = request->head_length + request->payload_length - request->sent;

		if (length < left)
		{
			request->sent += length;
			return;
		}
		length -= left;
		conn->sent_number = request->number;
		conn->first = request->next;
		if (conn->first == NULL)
			conn->last = NULL;
		conn->queued--;
		free(request);
	}
}
