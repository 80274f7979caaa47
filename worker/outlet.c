/*
 * outlet.c - the streamer's connections to chunk servers (streamer.h).
 *
 * An outlet is made when a segment is first sent to its server and kept.  When it
 * breaks, dispatch.c is told first, since frames that have left half-way read
 * slots' memory; then it rests for RETRY_MS.  A server that owes an answer and
 * moves no byte in either direction for half of difs.server_timeout is given up
 * in the same way.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/claim.h"
#include "src/compat.h"
#include "src/connect.h"
#include "src/counters.h"
#include "src/servers.h"
#include "src/settings.h"
#include "src/wait.h"
#include "worker/streamer.h"

#define RETRY_MS 500

static DifsOutlet outlets[DIFS_MAX_SERVERS];
static int outlet_count = 0;
static WaitEventSet *wait_set = NULL;
static bool wait_set_stale = true;
static int wait_position[DIFS_MAX_SERVERS]; /* of each outlet in wait_set, or -1 */
static uint32 wait_events[DIFS_MAX_SERVERS];
static int wait_fd[DIFS_MAX_SERVERS]; /* a connection that tries its next address has another one */

static DifsOutlet *find(int32 server);
static bool open_outlet(DifsOutlet *outlet);
static bool has_moved(DifsOutlet *outlet);
static void lose(DifsOutlet *outlet, const char *why);
static void advance(DifsOutlet *outlet);
static void build_wait_set(void);
static void update_wait_set(void);
static bool fds_changed(void);

DifsOutlet *
difs_outlet_get(int32 server)
{
	DifsOutlet *outlet = find(server);

	if (outlet == NULL && outlet_count < DIFS_MAX_SERVERS)
	{
		outlet = &outlets[outlet_count++];
		memset(outlet, 0, sizeof(*outlet));
		outlet->server = server;
	}
	if (outlet == NULL)
		return NULL;
	if (outlet->conn != NULL && outlet->outstanding == 0 &&
		outlet->generation != difs_streamer_database->servers_generation && has_moved(outlet))
	{
		lose(outlet, "its address has changed");
		outlet->retry_at = 0; /* nothing is wrong with the new one */
	}
	if (outlet->conn != NULL && outlet->outstanding == 0 && outlet->loaded != PgReloadTime)
	{
		/* There may be a new key, other certificates, another difs.tls. */
		difs_conn_destroy(outlet->conn);
		outlet->conn = NULL;
		wait_set_stale = true;
	}
	if (outlet->conn == NULL && !open_outlet(outlet))
		return NULL;
	return outlet;
}

const char *
difs_outlet_problem(int32 server)
{
	DifsOutlet *outlet = find(server);

	return outlet == NULL ? "" : outlet->problem;
}

void
difs_outlets_advance(void)
{
	for (int i = 0; i < outlet_count; i++)
		if (outlets[i].conn != NULL)
			advance(&outlets[i]);
}

void
difs_outlets_flush(void)
{
	for (int i = 0; i < outlet_count; i++)
		if (outlets[i].conn != NULL && !difs_conn_flush(outlets[i].conn))
			advance(&outlets[i]); /* which hears that it is broken */
}

void
difs_outlets_tick(TimestampTz now)
{
	for (int i = 0; i < outlet_count; i++)
	{
		DifsOutlet *outlet = &outlets[i];
		char why[64];

		if (outlet->conn == NULL)
			continue;
		if (outlet->outstanding == 0 || difs_conn_moved(outlet->conn) != outlet->moved)
		{
			outlet->moved = difs_conn_moved(outlet->conn);
			outlet->moved_at = now;
			continue;
		}
		if (!TimestampDifferenceExceeds(outlet->moved_at, now, difs_server_timeout / 2))
			continue;
		snprintf(why, sizeof(why), "no answer for %d ms", difs_server_timeout / 2);
		lose(outlet, why);
	}
}

void
difs_outlet_give_up(DifsOutlet *outlet, const char *why)
{
	lose(outlet, why);
}

bool
difs_outlets_wait(long timeout_ms)
{
	int count;
	WaitEvent happened[DIFS_MAX_SERVERS + 2];

	if (wait_set_stale || fds_changed())
		build_wait_set();
	update_wait_set();
	count = WaitEventSetWait(wait_set, timeout_ms, happened, lengthof(happened), difs_wait_event(DIFS_WAIT_STREAMER_MAIN));
	ResetLatch(MyLatch);
	return count > 0;
}

void
difs_outlets_close(void)
{
	for (int i = 0; i < outlet_count; i++)
	{
		difs_conn_destroy(outlets[i].conn);
		outlets[i].conn = NULL;
	}
}

static DifsOutlet *
find(int32 server)
{
	for (int i = 0; i < outlet_count; i++)
		if (outlets[i].server == server)
			return &outlets[i];
	return NULL;
}

static bool
open_outlet(DifsOutlet *outlet)
{
	DifsSharedServer shared;
	DifsPeer peer = {0};
	DifsError error;

	if (outlet->retry_at > GetCurrentTimestamp())
		return false;
	if (!difs_server_lookup(difs_streamer_database, outlet->server, &shared))
	{
		snprintf(outlet->problem, sizeof(outlet->problem), "server %d is not known", outlet->server);
		return false;
	}
	strlcpy(peer.name, shared.name, sizeof(peer.name));
	strlcpy(peer.host, shared.host, sizeof(peer.host));
	peer.port = shared.port;
	memcpy(peer.cluster, difs_streamer_database->cluster, sizeof(peer.cluster));
	difs_claim_introduce(difs_streamer_database, &peer);
	memcpy(peer.key, difs_cluster_key(), sizeof(peer.key));

	outlet->conn = difs_connect(&peer, &error);
	if (outlet->conn == NULL)
	{
		snprintf(outlet->problem, sizeof(outlet->problem), "%s: %s", shared.name, error.text);
		outlet->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
		return false;
	}
	outlet->loaded = PgReloadTime;
	outlet->ready = false;
	outlet->generation = difs_streamer_database->servers_generation;
	strlcpy(outlet->name, shared.name, sizeof(outlet->name));
	strlcpy(outlet->host, shared.host, sizeof(outlet->host));
	outlet->port = shared.port;
	outlet->outstanding = 0;
	outlet->moved = 0;
	outlet->moved_at = GetCurrentTimestamp();
	wait_set_stale = true;
	advance(outlet);
	return outlet->conn != NULL;
}

/* Something about some server has changed: is it this one's address? */
static bool
has_moved(DifsOutlet *outlet)
{
	DifsSharedServer shared;

	outlet->generation = difs_streamer_database->servers_generation;
	return !difs_server_lookup(difs_streamer_database, outlet->server, &shared) || outlet->port != shared.port ||
		strcmp(outlet->host, shared.host) != 0 || strcmp(outlet->name, shared.name) != 0;
}

/* Gives a connection up. */
static void
lose(DifsOutlet *outlet, const char *why)
{
	bool was_idle = outlet->ready && outlet->outstanding == 0;

	snprintf(outlet->problem, sizeof(outlet->problem), "%s: %s", difs_conn_label(outlet->conn), why);
	ereport(LOG, (errmsg("difs streamer: lost chunk server %s", outlet->problem)));
	difs_counters_io_failed(DIFS_IO_PUT, outlet->server, outlet->outstanding);
	difs_dispatch_outlet_lost(outlet);
	difs_conn_destroy(outlet->conn);
	outlet->conn = NULL;
	outlet->outstanding = 0;
	/* A server may hang up when nothing is asked of it, as when our key has been removed: then it is called again at once. */
	outlet->retry_at = was_idle ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	wait_set_stale = true;
}

static void
advance(DifsOutlet *outlet)
{
	DifsFrame frame;

	for (;;)
	{
		switch (difs_conn_advance(outlet->conn, &frame))
		{
			case DIFS_EVENT_NONE:
				return;
			case DIFS_EVENT_READY:
				outlet->problem[0] = '\0';
				outlet->ready = true;
				break;
			case DIFS_EVENT_HEAD:
				difs_conn_payload_into(outlet->conn, NULL);
				break;
			case DIFS_EVENT_FRAME:
				outlet->outstanding--;
				difs_dispatch_reply(outlet, &frame);
				break;
			case DIFS_EVENT_BROKEN:
			{
				char why[DIFS_ERROR_TEXT_SIZE];

				strlcpy(why, difs_conn_error(outlet->conn)->text, sizeof(why));
				lose(outlet, why);
				return;
			}
		}
	}
}

/* PostgreSQL's wait sets take no event out again, so a change of connections means a new set. */
static void
build_wait_set(void)
{
	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = DIFS_CREATE_WAIT_SET(outlet_count + 2);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < outlet_count; i++)
	{
		wait_position[i] = -1;
		if (outlets[i].conn == NULL || difs_conn_fd(outlets[i].conn) < 0)
			continue;
		wait_events[i] = WL_SOCKET_READABLE;
		wait_fd[i] = difs_conn_fd(outlets[i].conn);
		wait_position[i] = AddWaitEventToSet(wait_set, wait_events[i], wait_fd[i], NULL, NULL);
	}
	wait_set_stale = false;
}

static void
update_wait_set(void)
{
	for (int i = 0; i < outlet_count; i++)
	{
		uint32 events = WL_SOCKET_READABLE;

		if (wait_position[i] < 0 || outlets[i].conn == NULL)
			continue;
		if (difs_conn_wants_write(outlets[i].conn))
			events |= WL_SOCKET_WRITEABLE;
		if (events != wait_events[i])
			ModifyWaitEvent(wait_set, wait_position[i], events, NULL);
		wait_events[i] = events;
	}
}

static bool
fds_changed(void)
{
	for (int i = 0; i < outlet_count; i++)
		if (wait_position[i] >= 0 && outlets[i].conn != NULL && difs_conn_fd(outlets[i].conn) != wait_fd[i])
			return true;
	return false;
}
