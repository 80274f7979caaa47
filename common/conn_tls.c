/*
 * conn_tls.c - a connection's socket with TLS on it (tls.h).
 *
 * State: tls, sealed* and binding of DifsConn.  What is encrypted has been taken
 * from its owner for good, so it is done in steps of MAX_AHEAD, each only when the
 * one before has left.  What OpenSSL has to say on its own account (handshake,
 * alerts) leaves in the same way.
 */
#include "conn_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MAX_AHEAD (64 * 1024)

static bool send_sealed(DifsConn *conn);
static void pick_up(DifsConn *conn);
static bool seal(DifsConn *conn, const struct iovec *iov, int count, size_t skip, size_t *taken);
static ssize_t receive_raw(DifsConn *conn, bool *dry);
static bool break_handshake(DifsConn *conn, const char *what);

bool
difs_conn_secure(DifsConn *conn)
{
	DifsError error;

	for (;;)
	{
		DifsTlsResult result = difs_tls_handshake(conn->tls, &error);
		bool sent = send_sealed(conn); /* of a handshake that failed, the alert */
		bool dry;
		ssize_t got;

		if (result == DIFS_TLS_FAILED)
			return difs_conn_break_with(conn, &error);
		if (!sent && errno != EAGAIN && errno != EWOULDBLOCK)
			return break_handshake(conn, "could not send");
		if (result == DIFS_TLS_DONE)
		{
			if (!difs_tls_binding(conn->tls, conn->binding, &error))
				return difs_conn_break_with(conn, &error);
			conn->state = DIFS_CONN_GREETING;
			return true;
		}
		got = result == DIFS_TLS_CLOSED ? 0 : receive_raw(conn, &dry);
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return false;
		if (got < 0)
			return break_handshake(conn, "could not receive");
		if (got == 0)
		{
			errno = 0;
			return break_handshake(conn, "server closed the connection");
		}
	}
}

ssize_t
difs_conn_tls_send(DifsConn *conn, const struct iovec *iov, int count)
{
	size_t total = 0;
	size_t taken;

	do
	{
		if (!send_sealed(conn))
			return total > 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? (ssize_t) total : -1;
		if (!seal(conn, iov, count, total, &taken))
			return CONN_IS_BROKEN;
		total += taken;
	} while (taken > 0);
	return (ssize_t) total;
}

ssize_t
difs_conn_tls_receive(DifsConn *conn, const struct iovec *iov, int count)
{
	size_t total = 0;
	size_t at = 0;
	bool dry = false;

	for (int i = 0; i < count;)
	{
		DifsError error;
		size_t length = 0;
		ssize_t got;
		DifsTlsResult result = difs_tls_read(conn->tls, (uint8_t *) iov[i].iov_base + at, iov[i].iov_len - at, &length,
											 &error);

		if (result == DIFS_TLS_FAILED)
		{
			(void) send_sealed(conn); /* the alert, if it goes */
			difs_conn_break_with(conn, &error);
			return CONN_IS_BROKEN;
		}
		if (result == DIFS_TLS_CLOSED)
			return (ssize_t) total;
		if (result == DIFS_TLS_DONE)
		{
			total += length;
			at += length;
			if (at == iov[i].iov_len)
			{
				i++;
				at = 0;
			}
			continue;
		}
		errno = EAGAIN;
		got = dry ? -1 : receive_raw(conn, &dry);
		if (got <= 0)
		{
			/* What is wrong with the socket is told again when nothing is left to be handed out. */
			pick_up(conn);
			return total > 0 ? (ssize_t) total : got;
		}
	}
	return (ssize_t) total;
}

/* True if nothing is left to be sent; false with errno. */
static bool
send_sealed(DifsConn *conn)
{
	for (;;)
	{
		ssize_t sent;

		pick_up(conn);
		if (conn->sealed == NULL)
			return true;
		sent = send(conn->fd, conn->sealed + conn->sealed_sent, conn->sealed_length - conn->sealed_sent, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		conn->moved += (size_t) sent;
		conn->sealed_sent += (size_t) sent;
		if (conn->sealed_sent < conn->sealed_length)
			continue;
		free(conn->sealed);
		conn->sealed = NULL;
	}
}

/* Makes what OpenSSL wants to send the next to leave, if nothing is before it. */
static void
pick_up(DifsConn *conn)
{
	if (conn->sealed != NULL)
		return;
	conn->sealed = difs_tls_take(conn->tls, &conn->sealed_length);
	conn->sealed_sent = 0;
}

/* Encrypts up to MAX_AHEAD of what is behind the first skip bytes. */
static bool
seal(DifsConn *conn, const struct iovec *iov, int count, size_t skip, size_t *taken)
{
	DifsError error;

	*taken = 0;
	for (int i = 0; i < count && *taken < MAX_AHEAD; i++)
	{
		size_t length = iov[i].iov_len;
		size_t from = skip < length ? skip : length;

		skip -= from;
		length -= from;
		if (length > MAX_AHEAD - *taken)
			length = MAX_AHEAD - *taken;
		if (!difs_tls_write(conn->tls, (const uint8_t *) iov[i].iov_base + from, length, &error))
			return difs_conn_break_with(conn, &error);
		*taken += length;
	}
	return true;
}

/* What the socket has, into TLS.  dry: it has no more, as it gave less than it could. */
static ssize_t
receive_raw(DifsConn *conn, bool *dry)
{
	size_t room;
	uint8_t *into = difs_tls_room(conn->tls, &room);
	ssize_t got;

	do
		got = recv(conn->fd, into, room, 0);
	while (got < 0 && errno == EINTR);
	*dry = got >= 0 && (size_t) got < room;
	if (got > 0)
		difs_tls_arrived(conn->tls, (size_t) got);
	return got;
}

/* A server without TLS hangs up when it sees the first bytes, and cannot say why. */
static bool
break_handshake(DifsConn *conn, const char *what)
{
	return difs_conn_break(conn, DIFS_ERROR_NETWORK, "%s in the TLS handshake: has the server been started with --tls-cert?",
						   what);
}
