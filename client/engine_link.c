/*
 * engine_link.c - the network thread's connections, one for each server.
 *
 * A server that cannot be reached, falls silent for ENGINE_PATIENCE_MS while it owes an answer, or breaks its connection fails all that it
 * had; the next task that names it makes a new connection.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine_net.h"

static bool parse_server(const char *server, DifsPeer *peer);

int
engine_find_link(Network *network, const char *server, const uint8_t *token)
{
	int unused = -1;
	DifsPeer peer = {.token = token, .tls = engine_tls(network->engine)};

	for (int i = 0; i < MAX_LINKS; i++)
	{
		if (network->links[i].conn != NULL && strcmp(network->links[i].server, server) == 0)
			return i;
		if (network->links[i].conn == NULL && unused < 0)
			unused = i;
	}
	if (unused < 0 || !parse_server(server, &peer))
		return -1;
	network->links[unused] = (Link){.conn = difs_conn_create(&peer), .moved_ms = engine_now_ms()};
	snprintf(network->links[unused].server, ENGINE_SERVER_SIZE, "%s", server);
	return network->links[unused].conn != NULL ? unused : -1;
}

static bool
parse_server(const char *server, DifsPeer *peer)
{
	const char *equals = strchr(server, '=');
	const char *colon = strrchr(server, ':');

	if (equals == NULL || colon == NULL || colon < equals || equals - server >= DIFS_NAME_SIZE || colon - equals > (ptrdiff_t) sizeof(peer->host))
		return false;
	memcpy(peer->name, server, (size_t) (equals - server));
	memcpy(peer->host, equals + 1, (size_t) (colon - equals - 1));
	peer->port = (uint16_t) atoi(colon + 1);
	return true;
}

/* The payloads of its requests are not needed any more once the connection is gone. */
void
engine_break_link(Network *network, int number, const DifsError *error)
{
	Link *link = &network->links[number];
	DifsError reason = *error;

	difs_conn_destroy(link->conn);
	memset(link, 0, sizeof(*link));
	/* a task that is asked of another member may get this very place among the links: the old requests are marked first */
	for (int i = 0; i < MAX_REQUESTS; i++)
		if (network->requests[i].task != NULL && network->requests[i].link == number)
			network->requests[i].link = -1;
	for (int i = 0; i < MAX_REQUESTS; i++)
		if (network->requests[i].task != NULL && network->requests[i].link == -1)
			engine_answered(network, &network->requests[i], false, &reason);
}

void
engine_look_for_silence(Network *network)
{
	int64_t now = engine_now_ms();

	for (int i = 0; i < MAX_LINKS; i++)
	{
		Link *link = &network->links[i];
		DifsError error;

		if (link->conn == NULL || link->owed == 0)
			continue;
		if (difs_conn_moved(link->conn) != link->moved)
		{
			link->moved = difs_conn_moved(link->conn);
			link->moved_ms = now;
		}
		else if (now - link->moved_ms > (difs_conn_state(link->conn) == DIFS_CONN_READY ? ENGINE_PATIENCE_MS : ENGINE_CONNECT_MS))
		{
			difs_error_set(&error, DIFS_ERROR_NETWORK, "%s: does not answer", difs_conn_label(link->conn));
			engine_break_link(network, i, &error);
		}
	}
}

int64_t
engine_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
