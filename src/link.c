/*
 * link.c - this backend's connections to chunk servers (link.h).
 *
 * State: an array of links and one wait set over their sockets, this backend's
 * alone; they end with the process.  The wait set is kept as long as the sockets
 * are the same ones, because making one costs more than a small request.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "src/compat.h"
#include "src/connect.h"
#include "src/link.h"
#include "src/servers.h"
#include "src/wait.h"

#define MAX_LINKS DIFS_MAX_SERVERS
#define MAX_EVENTS 16

/* A socket as the wait set knows it. */
typedef struct WaitedSocket
{
	DifsLink *link;
	pgsocket socket;
	uint32 events;
} WaitedSocket;

static DifsLink links[MAX_LINKS];
static int link_count = 0;
static Oid generation = InvalidOid;
static TimestampTz loaded = 0; /* PgReloadTime of their key and certificates */

static WaitEventSet *wait_set = NULL;
static WaitedSocket waited[MAX_LINKS]; /* by position in the wait set, less the two that are always there */
static int waited_count = 0;

static void close_idle(void);
static DifsLink *find_link(int32 server);
static DifsLink *take_entry(int32 server);
static bool connect_link(DifsLink *link, DifsError *error);
static void prepare_wait_set(void);
static bool wait_set_fits(void);
static void build_wait_set(void);
static uint32 wanted_events(const DifsConn *conn);
static void note_events(const WaitEvent *events, int count);
static void note_moves(void);

int64
difs_link_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
difs_link_begin(void)
{
	if (loaded != PgReloadTime)
		close_idle();
	loaded = PgReloadTime;
	if (generation != difs_servers_generation())
	{
		for (int i = 0; i < link_count; i++)
		{
			difs_link_close(&links[i], 0);
			links[i].server = 0;
			links[i].suspect_until_ms = 0;
		}
		generation = difs_servers_generation();
	}
	for (int i = 0; i < link_count; i++)
		links[i].proven = false;
}

/* After a reload: connections with what may be a new key, other certificates and another difs.tls are made when needed. */
static void
close_idle(void)
{
	for (int i = 0; i < link_count; i++)
		if (links[i].in_flight == 0)
			difs_link_close(&links[i], 0);
}

DifsLink *
difs_link_open(int32 server, DifsError *error)
{
	DifsLink *link = find_link(server);

	if (link == NULL)
		link = take_entry(server);
	if (link == NULL)
	{
		errno = 0;
		difs_error_set(error, DIFS_ERROR_MEMORY, "server %d: all %d connections are in use", server, MAX_LINKS);
		return NULL;
	}
	if (link->conn == NULL && !connect_link(link, error))
		return NULL;
	return link;
}

void
difs_link_close(DifsLink *link, int64 suspect_ms)
{
	if (link->conn != NULL)
	{
		difs_conn_destroy(link->conn);
		ReleaseExternalFD();
		waited_count = -1;
	}
	link->conn = NULL;
	link->in_flight = 0;
	link->proven = false;
	if (suspect_ms > 0)
		link->suspect_until_ms = difs_link_clock_ms() + suspect_ms;
}

void
difs_link_close_busy(void)
{
	for (int i = 0; i < link_count; i++)
		if (links[i].in_flight > 0)
			difs_link_close(&links[i], 0);
}

bool
difs_link_suspect(int32 server)
{
	DifsLink *link = find_link(server);

	return link != NULL && link->suspect_until_ms > 0 && link->suspect_until_ms > difs_link_clock_ms();
}

int
difs_link_in_flight(int32 server)
{
	DifsLink *link = find_link(server);

	return link != NULL ? link->in_flight : 0;
}

int
difs_link_count(void)
{
	return link_count;
}

DifsLink *
difs_link_at(int index)
{
	return &links[index];
}

void
difs_link_wait(int64 timeout_ms)
{
	WaitEvent events[MAX_EVENTS];
	int64 began_us;
	int count;

	prepare_wait_set();
	began_us = difs_wait_begin();
	count = WaitEventSetWait(wait_set, Max(timeout_ms, 0), events, MAX_EVENTS, difs_wait_event(DIFS_WAIT_SERVER));
	difs_wait_end(DIFS_WAIT_SERVER, began_us);
	note_events(events, count);
	note_moves();
	CHECK_FOR_INTERRUPTS();
}

void
difs_link_wait_ready(DifsConn *conn, int64 timeout_ms)
{
	int64 deadline_ms = difs_link_clock_ms() + timeout_ms;

	for (;;)
	{
		DifsFrame frame;
		DifsEvent event = difs_conn_advance(conn, &frame);
		int64 left_ms = deadline_ms - difs_link_clock_ms();
		int64 began_us;
		int ready;

		if (event != DIFS_EVENT_NONE || left_ms <= 0)
			return;
		began_us = difs_wait_begin();
		ready = WaitLatchOrSocket(MyLatch, wanted_events(conn) | WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT,
								  difs_conn_fd(conn), left_ms, difs_wait_event(DIFS_WAIT_SERVER));
		difs_wait_end(DIFS_WAIT_SERVER, began_us);
		if (ready & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static DifsLink *
find_link(int32 server)
{
	for (int i = 0; i < link_count; i++)
		if (links[i].server == server)
			return &links[i];
	return NULL;
}

/* An unused entry, or the first idle one if all are used; NULL if all are busy. */
static DifsLink *
take_entry(int32 server)
{
	DifsLink *link = find_link(0);

	if (link == NULL && link_count < MAX_LINKS)
		link = &links[link_count++];
	for (int i = 0; link == NULL && i < link_count; i++)
		if (links[i].in_flight == 0)
			link = &links[i];
	if (link == NULL)
		return NULL;
	difs_link_close(link, 0);
	link->server = server;
	link->suspect_until_ms = 0;
	return link;
}

static bool
connect_link(DifsLink *link, DifsError *error)
{
	DifsPeer peer = {0};
	DifsError reason;

	errno = 0;
	if (!difs_server_peer(link->server, &peer))
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "server %d: it is not in difs.server", link->server);
	if (!AcquireExternalFD())
		return difs_error_set(error, DIFS_ERROR_MEMORY, "%s: too many open files in this backend", peer.name);
	link->conn = difs_connect(&peer, &reason);
	if (link->conn == NULL)
	{
		ReleaseExternalFD();
		return difs_error_set(error, reason.code, "%s: %s", peer.name, reason.text);
	}
	waited_count = -1;
	link->in_flight = 0;
	link->proven = true;
	link->moved = 0;
	link->heard_ms = difs_link_clock_ms();
	return true;
}

/* Makes the wait set fit the open links: their sockets, and whether they want to write. */
static void
prepare_wait_set(void)
{
	if (wait_set == NULL || !wait_set_fits())
		build_wait_set();
	for (int i = 0; i < waited_count; i++)
	{
		uint32 events = wanted_events(waited[i].link->conn);

		if (events == waited[i].events)
			continue;
		ModifyWaitEvent(wait_set, i + 2, events, NULL);
		waited[i].events = events;
	}
}

/* A connection that tries another address of its server has another socket, so sockets are compared too. */
static bool
wait_set_fits(void)
{
	for (int i = 0; i < waited_count; i++)
		if (difs_conn_fd(waited[i].link->conn) != waited[i].socket)
			return false;
	return waited_count >= 0;
}

static void
build_wait_set(void)
{
	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = DIFS_CREATE_WAIT_SET(MAX_LINKS + 2);
	waited_count = -1;
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	waited_count = 0;
	for (int i = 0; i < link_count; i++)
	{
		WaitedSocket *entry = &waited[waited_count];

		if (links[i].conn == NULL || difs_conn_fd(links[i].conn) < 0)
			continue;
		entry->link = &links[i];
		entry->socket = difs_conn_fd(links[i].conn);
		entry->events = wanted_events(links[i].conn);
		AddWaitEventToSet(wait_set, entry->events, entry->socket, NULL, entry->link);
		waited_count++;
	}
}

static uint32
wanted_events(const DifsConn *conn)
{
	return WL_SOCKET_READABLE | (difs_conn_wants_write(conn) ? WL_SOCKET_WRITEABLE : 0);
}

/* Notes who is alive.  An idle connection that becomes readable has been closed by its server. */
static void
note_events(const WaitEvent *events, int count)
{
	for (int i = 0; i < count; i++)
	{
		DifsLink *link = events[i].user_data;

		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (link == NULL)
			continue;
		if (link->in_flight == 0)
			difs_link_close(link, 0);
		else
			link->heard_ms = difs_link_clock_ms();
	}
}

/* A long payload may have come in without an event of its own. */
static void
note_moves(void)
{
	for (int i = 0; i < link_count; i++)
	{
		DifsLink *link = &links[i];

		if (link->conn == NULL || link->moved == difs_conn_moved(link->conn))
			continue;
		link->moved = difs_conn_moved(link->conn);
		link->heard_ms = difs_link_clock_ms();
	}
}
