/*
 * health.c - how the chunk servers are, and the way to ask them things.
 *
 * State: links[], one for each server of the database, in the keeper's memory; a
 * link follows its server's row (roster.c).  What becomes of each is health_link.c's,
 * what everybody is told health_publish.c's.
 *
 * A server that answers, but has failed to make or seal a block group, rests: for
 * a while it counts as down for new ones.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "worker/health.h"
#include "worker/health_link.h"
#include "worker/process.h"
#include "worker/roster.h"

#define REST_MS 10000

static DifsHealthLink links[DIFS_MAX_SERVERS]; /* server 0: not in use */

static void follow_roster(void);
static DifsHealthLink *find_link(int32 server);

void
difs_health_turn(TimestampTz *next)
{
	follow_roster();
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (links[i].server == 0)
			continue;
		difs_health_link_serve(&links[i]);
		difs_process_by(next, difs_health_link_next(&links[i]));
	}
}

void
difs_health_wait_for(WaitEventSet *set)
{
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsHealthLink *link = &links[i];

		if (link->server != 0 && link->conn != NULL && difs_conn_fd(link->conn) >= 0)
			AddWaitEventToSet(set, WL_SOCKET_READABLE | (difs_conn_wants_write(link->conn) ? WL_SOCKET_WRITEABLE : 0),
							  difs_conn_fd(link->conn), NULL, NULL);
	}
}

bool
difs_health_settled(void)
{
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (links[i].server != 0 && !links[i].known)
			return false;
	}
	return true;
}

void
difs_health_ask(DifsAsk *ask, int32 server, DifsMessage message, const void *control, uint32 control_length)
{
	DifsHealthLink *link = find_link(server);

	memset(ask, 0, sizeof(*ask));
	ask->server = server;
	if (link == NULL || link->conn == NULL)
	{
		ask->state = DIFS_ASK_FAILED;
		errno = 0;
		difs_error_set(&ask->error, DIFS_ERROR_NETWORK, "%s: down", difs_health_name(server));
		return;
	}
	difs_health_link_ask(link, ask, message, control, control_length);
}

void
difs_health_forget(DifsAsk *ask)
{
	if (ask->state == DIFS_ASK_WAITING)
		dlist_delete(&ask->node);
	ask->state = DIFS_ASK_NONE;
}

void
difs_health_rest(int32 server, const DifsError *why, bool follows)
{
	DifsHealthLink *link = find_link(server);

	if (link == NULL)
		return;
	link->rests_until = difs_process_in(REST_MS);
	if (follows && link->rests_why[0] != '\0')
		return;
	strlcpy(link->rests_why, difs_health_link_text(link, why->text), sizeof(link->rests_why));
}

void
difs_health_well(int32 server)
{
	DifsHealthLink *link = find_link(server);

	if (link != NULL)
		link->rests_why[0] = '\0';
}

const char *
difs_health_name(int32 server)
{
	DifsHealthLink *link = find_link(server);

	return link != NULL ? link->name : psprintf("server %d", server);
}

DifsSharedServer *
difs_health_servers(int *count)
{
	DifsSharedServer *servers = difs_roster_copy(count);
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < *count; i++)
	{
		DifsHealthLink *link = find_link(servers[i].id);

		if (link == NULL || link->rests_until <= now || !servers[i].alive)
			continue;
		servers[i].alive = false;
		strlcpy(servers[i].problem, link->rests_why, sizeof(servers[i].problem));
	}
	return servers;
}

/* A link for each server at its present address, and no other. */
static void
follow_roster(void)
{
	int count;
	DifsSharedServer *servers = difs_roster_copy(&count);

	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (links[i].server != 0 && !difs_health_link_fits(&links[i], servers, count))
			difs_health_link_close(&links[i]);
	}
	for (int i = 0; i < count; i++)
	{
		if (find_link(servers[i].id) == NULL)
			difs_health_link_open(find_link(0), &servers[i]);
	}
}

static DifsHealthLink *
find_link(int32 server)
{
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (links[i].server == server)
			return &links[i];
	}
	return NULL;
}
