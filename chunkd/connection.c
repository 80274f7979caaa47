/*
 * connection.c - a connection's life: accepting, the clock, closing.
 *
 * A connection is freed when it is closed, none of its requests is unanswered
 * and no job reads for it.
 */
#include "connection.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "log.h"
#include "memory.h"
#include "server.h"

#define GREETING_MS 10000
#define STALL_MS 30000
#define STALL_BYTES (64 * 1024) /* fewer in STALL_MS, in the middle of a frame, are no progress */
#define REVOKED_MS 2000			/* for a peer whose key was removed to come to a pause */
#define KEEPALIVE_SECONDS 60

static bool has_unread(DifsConnection *connection);
static void name_connection(DifsConnection *connection);
static void on_closed(uv_handle_t *handle);

void
difs_connection_accept(DifsServer *server, uv_stream_t *listener)
{
	DifsConnection *connection = difs_alloc(sizeof(*connection));

	connection->server = server;
	connection->tcp.data = connection;
	connection->write.data = connection;
	connection->greeting = difs_alloc(sizeof(*connection->greeting));
	STAILQ_INIT(&connection->replies);
	connection->accepted_ms = connection->progress_ms = uv_now(server->loop);
	(void) uv_tcp_init(server->loop, &connection->tcp);
	TAILQ_INSERT_TAIL(&server->connections, connection, link);
	server->connection_count++;

	if (uv_accept(listener, (uv_stream_t *) &connection->tcp) != 0)
	{
		difs_connection_close(connection, "could not be accepted");
		return;
	}
	name_connection(connection);
	server->counts.accepted++;
	connection->surplus = server->connection_count > server->options->max_connections;
	if (server->connection_count > server->options->max_connections + DIFS_SURPLUS_CONNECTIONS)
	{
		difs_count_refusal(&server->counts, DIFS_ERROR_FULL);
		difs_connection_close(connection, "refused, far too many connections");
		return;
	}
	/* Without either the connection only works less well. */
	(void) uv_tcp_nodelay(&connection->tcp, 1);
	(void) uv_tcp_keepalive(&connection->tcp, 1, KEEPALIVE_SECONDS);
	difs_log(DIFS_LOG_INFO, "connection %s accepted", connection->label);
	difs_connection_update(connection);
}

void
difs_connection_close(DifsConnection *connection, const char *reason)
{
	if (connection->closing)
		return;
	connection->closing = true;
	if (reason != NULL)
		difs_log(DIFS_LOG_INFO, "connection %s closed: %s", connection->label, reason);
	TAILQ_REMOVE(&connection->server->connections, connection, link);
	connection->server->connection_count--;
	difs_budget_forget(&connection->server->budget, connection);
	difs_connection_drop_receiving(connection);
	uv_close((uv_handle_t *) &connection->tcp, on_closed);
}

void
difs_connection_finish(DifsConnection *connection)
{
	connection->close_when_sent = true;
	difs_connection_update(connection);
}

void
difs_connection_revoke(DifsConnection *connection)
{
	if (connection->revoked_ms != 0)
		return;
	connection->revoked_ms = uv_now(connection->server->loop);
	if (connection->phase == DIFS_PHASE_READY)
		difs_connection_update(connection);
	else
		difs_connection_close(connection, "its key was removed");
}

void
difs_connection_tick(DifsConnection *connection, uint64_t now_ms)
{
	bool inside_frame = connection->stage != DIFS_RECEIVE_HEADER || connection->received > 0;

	if (connection->revoked_ms != 0 && now_ms - connection->revoked_ms >= REVOKED_MS)
	{
		/* It never paused: what is under way is answered, no other request is read. */
		difs_connection_finish(connection);
		return;
	}
	if (connection->phase < DIFS_PHASE_ATTACHING && now_ms - connection->accepted_ms >= GREETING_MS)
	{
		difs_connection_close(connection, "did not finish its greeting in time");
		return;
	}
	/* Time in which we do not read is not the peer's. */
	if (!connection->reading || !inside_frame)
	{
		connection->progress_ms = now_ms;
		connection->progress_bytes = 0;
	}
	else if (now_ms - connection->progress_ms >= STALL_MS)
	{
		if (connection->progress_bytes < STALL_BYTES)
			difs_connection_close(connection, "stopped in the middle of a frame");
		connection->progress_ms = now_ms;
		connection->progress_bytes = 0;
	}
}

void
difs_connection_update(DifsConnection *connection)
{
	bool idle;

	if (connection->closing)
	{
		if (uv_handle_get_data((uv_handle_t *) &connection->tcp) == NULL && connection->in_flight == 0 &&
			!connection->fetching)
		{
			difs_connection_drop_replies(connection);
			if (connection->greeting != NULL)
				explicit_bzero(connection->greeting, sizeof(*connection->greeting));
			free(connection->greeting);
			difs_tls_destroy(connection->tls);
			difs_gather_forget_connection(&connection->server->gather, connection);
			free(connection->ahead);
			free(connection->sealed);
			free(connection);
		}
		return;
	}
	if (connection->tls != NULL)
		difs_connection_tls_pump(connection);
	else
		difs_connection_pump(connection);
	if (connection->closing)
		return;
	idle = connection->in_flight == 0 && STAILQ_EMPTY(&connection->replies);
	if (connection->close_when_sent && idle)
	{
		difs_connection_close(connection, NULL);
		return;
	}
	if (connection->revoked_ms != 0 && idle && connection->stage == DIFS_RECEIVE_HEADER && connection->received == 0 &&
		!has_unread(connection))
	{
		difs_connection_close(connection, "its key was removed");
		return;
	}
	difs_connection_read_or_pause(connection);
}

static bool
has_unread(DifsConnection *connection)
{
	int fd;
	int bytes = 0;

	if (connection->ahead_at < connection->ahead_end)
		return true;
	return uv_fileno((uv_handle_t *) &connection->tcp, &fd) == 0 && ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

static void
name_connection(DifsConnection *connection)
{
	struct sockaddr_storage address;
	int length = sizeof(address);
	char host[64] = "unknown";
	unsigned port = 0;

	if (uv_tcp_getpeername(&connection->tcp, (struct sockaddr *) &address, &length) == 0)
	{
		if (address.ss_family == AF_INET6)
		{
			const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) &address;

			(void) uv_ip6_name(in6, host, sizeof(host));
			port = ntohs(in6->sin6_port);
		}
		else
		{
			const struct sockaddr_in *in4 = (const struct sockaddr_in *) &address;

			(void) uv_ip4_name(in4, host, sizeof(host));
			port = ntohs(in4->sin_port);
		}
	}
	snprintf(connection->label, sizeof(connection->label), "%s:%u", host, port);
}

/* The handle's data is NULL from now on: the mark that difs_connection_update() may free it. */
static void
on_closed(uv_handle_t *handle)
{
	DifsConnection *connection = handle->data;

	uv_handle_set_data(handle, NULL);
	difs_connection_update(connection);
}
