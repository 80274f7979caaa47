/*
 * conn.c - a connection's life: connecting, the order of events, breaking.
 *
 * State: one DifsConn, which belongs to one owner and is touched by nobody else;
 * nothing of it is shared or durable, so when its process dies, only the server
 * has anything to clean up.  The parts are listed in conn_private.h.
 */
#include "conn_private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>

static bool resolve(DifsConn *conn);
static bool dial(DifsConn *conn);
static int open_socket(const struct addrinfo *address);
static bool finish_connecting(DifsConn *conn);

DifsConn *
difs_conn_create(const DifsPeer *peer)
{
	DifsConn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->peer = *peer;
	conn->peer.name[sizeof(conn->peer.name) - 1] = '\0';
	conn->peer.host[sizeof(conn->peer.host) - 1] = '\0';
	conn->peer.token = NULL;
	if (peer->token != NULL)
	{
		conn->by_token = true;
		memcpy(conn->token, peer->token, DIFS_TOKEN_BODY_SIZE);
		memcpy(conn->peer.key, peer->token + DIFS_TOKEN_BODY_SIZE, DIFS_KEY_SIZE);
	}
	conn->fd = -1;
	conn->state = DIFS_CONN_CONNECTING;
	difs_conn_make_label(conn);
	if (peer->tls != NULL)
	{
		DifsError error;

		conn->peer.tls = NULL;
		conn->tls = difs_tls_create(peer->tls, conn->peer.host, &error);
		if (conn->tls == NULL)
			difs_conn_break_with(conn, &error);
	}
	if (conn->state != DIFS_CONN_BROKEN && difs_conn_hello(conn) && resolve(conn))
		dial(conn);
	return conn;
}

void
difs_conn_destroy(DifsConn *conn)
{
	if (conn == NULL)
		return;
	if (conn->fd >= 0)
		close(conn->fd);
	if (conn->addresses != NULL)
		freeaddrinfo(conn->addresses);
	while (conn->first != NULL)
	{
		Outgoing *request = conn->first;

		conn->first = request->next;
		free(request);
	}
	difs_tls_destroy(conn->tls);
	free(conn->sealed);
	OPENSSL_cleanse(conn->peer.key, sizeof(conn->peer.key));
	free(conn);
}

int
difs_conn_fd(const DifsConn *conn)
{
	return conn->fd;
}

DifsConnState
difs_conn_state(const DifsConn *conn)
{
	return conn->state;
}

const DifsError *
difs_conn_error(const DifsConn *conn)
{
	return &conn->error;
}

const char *
difs_conn_label(const DifsConn *conn)
{
	return conn->label;
}

const char *
difs_conn_name(const DifsConn *conn)
{
	return conn->peer.name;
}

const DifsServerStatus *
difs_conn_status(const DifsConn *conn)
{
	return &conn->status;
}

const uint8_t *
difs_conn_session(const DifsConn *conn)
{
	return conn->by_token && conn->state == DIFS_CONN_READY ? conn->session : NULL;
}

uint64_t
difs_conn_moved(const DifsConn *conn)
{
	return conn->moved;
}

DifsEvent
difs_conn_advance(DifsConn *conn, DifsFrame *frame)
{
	for (;;)
	{
		DifsEvent event;

		if (conn->state == DIFS_CONN_CONNECTING && !finish_connecting(conn))
			return conn->state == DIFS_CONN_BROKEN ? DIFS_EVENT_BROKEN : DIFS_EVENT_NONE;
		if (conn->state == DIFS_CONN_SECURING && !difs_conn_secure(conn))
			return conn->state == DIFS_CONN_BROKEN ? DIFS_EVENT_BROKEN : DIFS_EVENT_NONE;
		if (conn->state == DIFS_CONN_BROKEN || (!conn->socket_full && !difs_conn_flush(conn)))
			return DIFS_EVENT_BROKEN;

		event = difs_conn_receive(conn);
		if (event == DIFS_EVENT_NONE)
			conn->socket_full = false; /* the owner waits now, and the next call tries again */
		if (event == DIFS_EVENT_FRAME && conn->state == DIFS_CONN_GREETING)
		{
			event = difs_conn_greet(conn);
			if (event == DIFS_EVENT_NONE)
				continue;
		}
		*frame = conn->frame;
		return event;
	}
}

void
difs_conn_reply_error(const DifsConn *conn, const DifsFrame *frame, DifsError *error)
{
	errno = 0;
	difs_error_set(error, (DifsErrorCode) frame->status, "%s: %.*s", conn->label,
				   (int) frame->control_length, (const char *) difs_conn_control(conn));
}

bool
difs_conn_break(DifsConn *conn, DifsErrorCode code, const char *format, ...)
{
	int saved_errno = errno;
	char text[DIFS_ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	errno = saved_errno;
	difs_error_set(&conn->error, code, "%s: %s", conn->label, text);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	conn->state = DIFS_CONN_BROKEN;
	return false;
}

bool
difs_conn_break_with(DifsConn *conn, const DifsError *error)
{
	errno = 0; /* the text has it already */
	difs_conn_break(conn, error->code, "%s", error->text);
	conn->error.system_errno = error->system_errno;
	return false;
}

/* Long names are cut, so that an error's text has room for what happened. */
void
difs_conn_make_label(DifsConn *conn)
{
	const DifsPeer *peer = &conn->peer;
	bool v6 = strchr(peer->host, ':') != NULL;

	snprintf(conn->label, sizeof(conn->label), "%.60s%s%s%.60s%s:%u%s",
			 peer->name, peer->name[0] != '\0' ? " (" : "",
			 v6 ? "[" : "", peer->host, v6 ? "]" : "", peer->port, peer->name[0] != '\0' ? ")" : "");
}

/* Finds the host's addresses.  A numeric one asks no resolver; a name does, and that alone can wait. */
static bool
resolve(DifsConn *conn)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	char port[8];
	int rc;

	snprintf(port, sizeof(port), "%u", conn->peer.port);
	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	rc = getaddrinfo(conn->peer.host, port, &hints, &conn->addresses);
	if (rc == EAI_NONAME)
	{
		hints.ai_flags = AI_NUMERICSERV;
		rc = getaddrinfo(conn->peer.host, port, &hints, &conn->addresses);
	}
	if (rc != 0)
	{
		conn->addresses = NULL;
		if (rc != EAI_SYSTEM)
			errno = 0;
		return difs_conn_break(conn, DIFS_ERROR_NETWORK, "could not find host \"%s\"%s%s", conn->peer.host,
							   rc != EAI_SYSTEM ? ": " : "", rc != EAI_SYSTEM ? gai_strerror(rc) : "");
	}
	conn->next_address = conn->addresses;
	return true;
}

/* Begins to connect to the next address that can be tried.  The new socket is opened before the old one is closed: they
 * must not have the same number, or an owner would not notice that there is another to wait for. */
static bool
dial(DifsConn *conn)
{
	int old_fd = conn->fd;
	int reason = errno;

	conn->fd = -1;
	while (conn->fd < 0 && conn->next_address != NULL)
	{
		conn->fd = open_socket(conn->next_address);
		reason = errno;
		conn->next_address = conn->next_address->ai_next;
	}
	if (old_fd >= 0)
		close(old_fd);
	if (conn->fd >= 0)
		return true;
	errno = reason;
	return difs_conn_break(conn, DIFS_ERROR_NETWORK, "could not connect");
}

/* A socket that is on its way to be connected, or -1 with errno. */
static int
open_socket(const struct addrinfo *address)
{
	int on = 1;
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0 &&
		(connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS || errno == EINTR))
		return fd;
	on = errno;
	close(fd);
	errno = on;
	return -1;
}

/* True once the connection stands.  False: not yet, or BROKEN because the last address failed. */
static bool
finish_connecting(DifsConn *conn)
{
	struct pollfd ready = {.fd = conn->fd, .events = POLLOUT};
	int reason = 0;
	socklen_t size = sizeof(reason);

	if (poll(&ready, 1, 0) <= 0)
		return false;
	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &reason, &size) != 0)
		reason = errno;
	if (reason != 0)
	{
		errno = reason;
		dial(conn);
		return false;
	}
	conn->state = conn->tls != NULL ? DIFS_CONN_SECURING : DIFS_CONN_GREETING;
	return true;
}
