/*
 * health.c - how the chunk servers are, and the way to ask them things.
 *
 * State: links[], one for each server of the database, in the keeper's memory; a
 * link follows its server's row (roster.c).  What it learns goes to servers[] of
 * the database's entry, under the lock.
 *
 *	no connection -> connecting -> up -> no connection, until retry_at
 *
 * A server is alive while it answers: STAT is sent every difs.health_interval,
 * and one that has not answered for twice that long is given up, whatever the
 * reason.  Then its asks fail, and their owner goes on without it.  Replies that
 * wait in the socket are read before the clock is looked at, so a keeper that was
 * held up does not take its own delay for a server's.
 *
 * Connections are nobody's but this process's: when it dies they close, and the
 * next keeper begins anew.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "common/conn.h"
#include "src/claim.h"
#include "src/connect.h"
#include "src/settings.h"
#include "worker/claim_watch.h"
#include "worker/health.h"
#include "worker/keeper.h"
#include "worker/process.h"
#include "worker/roster.h"

#define REST_MS				10000
#define PAYLOAD_SIZE		(DIFS_GROUPS_MAX_ENTRIES * DIFS_GROUP_ENTRY_SIZE)

typedef struct DifsHealthLink
{
	int32		server;			/* 0 = not in use */
	char		name[DIFS_NAME_SIZE];
	char		host[256];
	uint16		port;
	DifsConn   *conn;			/* NULL: to be tried at retry_at */
	bool		greeted;		/* conn is ready */
	TimestampTz loaded;			/* PgReloadTime when it was made */
	TimestampTz retry_at;
	TimestampTz stat_at;		/* when to ask how it is */
	TimestampTz answer_by;		/* when to give it up; 0 = it owes nothing */
	uint64		stat_request;	/* 0 = none on its way */
	uint64		last_request;
	bool		known;			/* has been logged to be up or down */
	bool		up;
	TimestampTz rests_until;
	char		rests_why[DIFS_ERROR_TEXT_SIZE];	/* told until a group has been made there */
	dlist_head	asks;
	uint8	   *payload;		/* room for the payload of a reply */
} DifsHealthLink;

static DifsHealthLink links[DIFS_MAX_SERVERS];
static uint64 changes = 0;

static void follow_roster(void);
static bool link_fits(const DifsHealthLink *link, const DifsSharedServer *servers, int count);
static void open_link(const DifsSharedServer *server);
static void close_link(DifsHealthLink *link);
static void serve_link(DifsHealthLink *link);
static void connect_link(DifsHealthLink *link);
static bool make_peer(const DifsHealthLink *link, DifsPeer *peer, DifsError *error);
static void read_link(DifsHealthLink *link);
static bool owes_nothing(DifsHealthLink *link);
static void renew_link(DifsHealthLink *link);
static void take_reply(DifsHealthLink *link, const DifsFrame *frame);
static DifsAsk *find_ask(DifsHealthLink *link, uint64 request);
static void send_stat(DifsHealthLink *link);
static uint64 send_request(DifsHealthLink *link, DifsMessage message, const void *control, uint32 length);
static void take_status(DifsHealthLink *link, const DifsServerStatus *status);
static void say_up(DifsHealthLink *link, const DifsServerStatus *status);
static void describe_disk(const DifsHealthLink *link, const DifsServerStatus *status, char *problem);
static void say_down(DifsHealthLink *link, const DifsError *error);
static const char *without_label(const DifsHealthLink *link, const char *text);
static TimestampTz next_event(const DifsHealthLink *link);
static DifsHealthLink *find_link(int32 server);

void
difs_health_turn(TimestampTz *next)
{
	follow_roster();
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (links[i].server == 0)
			continue;
		serve_link(&links[i]);
		difs_process_by(next, next_event(&links[i]));
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

uint64
difs_health_changes(void)
{
	return changes;
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
	ask->state = DIFS_ASK_WAITING;
	ask->request = send_request(link, message, control, control_length);
	dlist_push_tail(&link->asks, &ask->node);
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
	strlcpy(link->rests_why, without_label(link, why->text), sizeof(link->rests_why));
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
	int			count;
	DifsSharedServer *servers = difs_roster_copy(&count);

	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		if (links[i].server != 0 && !link_fits(&links[i], servers, count))
			close_link(&links[i]);
	}
	for (int i = 0; i < count; i++)
	{
		if (find_link(servers[i].id) == NULL)
			open_link(&servers[i]);
	}
}

static bool
link_fits(const DifsHealthLink *link, const DifsSharedServer *servers, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (servers[i].id == link->server)
			return servers[i].port == link->port && strcmp(servers[i].host, link->host) == 0 &&
				strcmp(servers[i].name, link->name) == 0;
	}
	return false;
}

static void
open_link(const DifsSharedServer *server)
{
	DifsHealthLink *link = find_link(0);

	memset(link, 0, sizeof(*link));
	link->server = server->id;
	strlcpy(link->name, server->name, sizeof(link->name));
	strlcpy(link->host, server->host, sizeof(link->host));
	link->port = server->port;
	dlist_init(&link->asks);
	link->payload = MemoryContextAlloc(TopMemoryContext, PAYLOAD_SIZE);
}

static void
close_link(DifsHealthLink *link)
{
	DifsError	error;

	difs_error_set(&error, DIFS_ERROR_ARGUMENT, "its address has changed");
	link->up = false;
	link->known = true;			/* nothing to log */
	say_down(link, &error);
	pfree(link->payload);
	memset(link, 0, sizeof(*link));
	changes++;
}

static void
serve_link(DifsHealthLink *link)
{
	TimestampTz now;

	if (link->conn != NULL)
		read_link(link);
	now = GetCurrentTimestamp();
	if (link->conn != NULL && link->answer_by != 0 && now >= link->answer_by)
	{
		DifsError	error;

		difs_error_set(&error, DIFS_ERROR_ARGUMENT, "no answer for %d ms", 2 * difs_health_interval);
		say_down(link, &error);
	}
	if (link->conn != NULL && link->loaded != PgReloadTime && owes_nothing(link))
		renew_link(link);
	if (link->conn == NULL && now >= link->retry_at)
		connect_link(link);
	if (link->conn != NULL && difs_conn_state(link->conn) == DIFS_CONN_READY && link->stat_request == 0 &&
		now >= link->stat_at)
		send_stat(link);
	if (link->rests_until != 0 && now >= link->rests_until)
	{
		link->rests_until = 0;
		changes++;
	}
}

static void
connect_link(DifsHealthLink *link)
{
	DifsPeer	peer = {0};
	DifsError	error;

	if (!make_peer(link, &peer, &error))
	{
		say_down(link, &error);
		return;
	}
	link->conn = difs_connect(&peer, &error);
	if (link->conn == NULL)
	{
		say_down(link, &error);
		return;
	}
	link->loaded = PgReloadTime;
	link->greeted = false;
	link->stat_request = 0;
	link->answer_by = difs_process_in(2 * difs_health_interval);
	read_link(link);
}

/* The key is read each time, so that a new one is in force at once. */
static bool
make_peer(const DifsHealthLink *link, DifsPeer *peer, DifsError *error)
{
	DifsKeyring keyring;

	if (!difs_keyring_load(difs_settings_key_file(), &keyring, error))
		return false;
	memcpy(peer->key, keyring.key[0], DIFS_KEY_SIZE);
	explicit_bzero(&keyring, sizeof(keyring));
	strlcpy(peer->name, link->name, sizeof(peer->name));
	strlcpy(peer->host, link->host, sizeof(peer->host));
	peer->port = link->port;
	memcpy(peer->cluster, difs_keeper_database->cluster, DIFS_UUID_SIZE);
	difs_claim_introduce(difs_keeper_database, peer);
	return true;
}

/* Takes whatever has come. */
static void
read_link(DifsHealthLink *link)
{
	while (link->conn != NULL)
	{
		DifsFrame	frame;

		switch (difs_conn_advance(link->conn, &frame))
		{
			case DIFS_EVENT_NONE:
				return;
			case DIFS_EVENT_READY:
				link->greeted = true;
				link->answer_by = 0;
				link->stat_at = difs_process_in(difs_health_interval);
				take_status(link, difs_conn_status(link->conn));
				break;
			case DIFS_EVENT_HEAD:
				difs_conn_payload_into(link->conn, frame.payload_length <= PAYLOAD_SIZE ? link->payload : NULL);
				break;
			case DIFS_EVENT_FRAME:
				take_reply(link, &frame);
				break;
			case DIFS_EVENT_BROKEN:
				if (owes_nothing(link))
					renew_link(link);
				else
					say_down(link, difs_conn_error(link->conn));
				break;
		}
	}
}

/* It has greeted, and has been asked nothing since that it has not answered. */
static bool
owes_nothing(DifsHealthLink *link)
{
	return link->greeted && link->stat_request == 0 && dlist_is_empty(&link->asks);
}

/* For a connection that has nothing to do: after a reload, with what may be another key, certificate or difs.tls; and when the
 * server has hung up, as it does when our key has been removed there.  If it is down, the next connection says so. */
static void
renew_link(DifsHealthLink *link)
{
	difs_conn_destroy(link->conn);
	link->conn = NULL;
	link->greeted = false;
	link->answer_by = 0;
	link->retry_at = 0;
}

static void
take_reply(DifsHealthLink *link, const DifsFrame *frame)
{
	DifsAsk    *ask = find_ask(link, frame->request);
	const uint8 *control = difs_conn_control(link->conn);
	DifsServerStatus status;
	DifsError	error;

	if (frame->request == link->stat_request)
	{
		link->stat_request = 0;
		link->answer_by = 0;
		if (frame->status != DIFS_OK)
			difs_conn_reply_error(link->conn, frame, &error);
		if (frame->status != DIFS_OK || !difs_status_unpack(control, frame->control_length, &status, &error))
			say_down(link, &error);
		else
			take_status(link, &status);
		return;
	}
	if (ask == NULL)			/* forgotten */
		return;
	dlist_delete(&ask->node);
	if (frame->status != DIFS_OK || frame->payload_length > PAYLOAD_SIZE)
	{
		ask->state = DIFS_ASK_FAILED;
		if (frame->status != DIFS_OK)
			difs_conn_reply_error(link->conn, frame, &ask->error);
		else
			difs_error_set(&ask->error, DIFS_ERROR_PROTOCOL, "%s: a reply is too long", difs_conn_label(link->conn));
		return;
	}
	ask->state = DIFS_ASK_ANSWERED;
	ask->reply_length = frame->payload_length > 0 ? frame->payload_length : frame->control_length;
	memcpy(ask->reply, frame->payload_length > 0 ? link->payload : control,
		   Min(ask->reply_length, DIFS_ASK_REPLY_SIZE));
}

static DifsAsk *
find_ask(DifsHealthLink *link, uint64 request)
{
	dlist_iter	iter;

	dlist_foreach(iter, &link->asks)
	{
		DifsAsk    *ask = dlist_container(DifsAsk, node, iter.cur);

		if (ask->request == request)
			return ask;
	}
	return NULL;
}

static void
send_stat(DifsHealthLink *link)
{
	link->stat_at = difs_process_in(difs_health_interval);
	link->answer_by = difs_process_in(2 * difs_health_interval);
	link->stat_request = send_request(link, DIFS_MESSAGE_STAT, NULL, 0);
}

/* What goes wrong while sending is noticed by the next read_link(). */
static uint64
send_request(DifsHealthLink *link, DifsMessage message, const void *control, uint32 length)
{
	DifsFrame	frame = {.control_length = length, .request = ++link->last_request, .message = message};

	difs_conn_send(link->conn, &frame, control, NULL);
	(void) difs_conn_flush(link->conn);
	return frame.request;
}

/* One that must not be used is as good as down. */
static void
take_status(DifsHealthLink *link, const DifsServerStatus *status)
{
	DifsError	error;

	if (difs_claim_watch_server(link->server, link->name, status, &error))
		say_up(link, status);
	else
		say_down(link, &error);
}

static void
say_up(DifsHealthLink *link, const DifsServerStatus *status)
{
	DifsDatabase *database = difs_keeper_database;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsSharedServer *entry = &database->servers[i];

		if (entry->id != link->server)
			continue;
		entry->alive = true;
		entry->last_seen = GetCurrentTimestamp();
		entry->capacity_bytes = status->capacity_bytes;
		entry->used_bytes = status->used_bytes;
		entry->free_bytes = status->free_bytes;
		entry->puts = status->puts;
		entry->gets = status->gets;
		entry->syncs = status->syncs;
		entry->sync_us = status->sync_us;
		describe_disk(link, status, entry->problem);
	}
	LWLockRelease(&difs_shared->lock);
	if (!link->up)
	{
		changes++;
		difs_wake(database->streamer);
		ereport(LOG,
				(errmsg("difs: chunk server %s is up", difs_conn_label(link->conn))));
	}
	link->known = link->up = true;
}

/* What is wrong although it answers: it has no room for a block group, or has failed to make or seal one. */
static void
describe_disk(const DifsHealthLink *link, const DifsServerStatus *status, char *problem)
{
	strlcpy(problem, link->rests_why, DIFS_ERROR_TEXT_SIZE);
	if (problem[0] == '\0' && status->free_bytes < (uint64) difs_block_group_size * 1024)
		snprintf(problem, DIFS_ERROR_TEXT_SIZE, "disk full: " UINT64_FORMAT " MB free, a block group takes %d MB",
				 (uint64) status->free_bytes >> 20, difs_block_group_size / 1024);
}

/* Closes the connection, fails what was asked, and lets everybody know. Said once in the log. */
static void
say_down(DifsHealthLink *link, const DifsError *error)
{
	DifsDatabase *database = difs_keeper_database;
	const char *problem = without_label(link, error->text);
	dlist_mutable_iter iter;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsSharedServer *entry = &database->servers[i];

		if (entry->id != link->server)
			continue;
		if (entry->alive)
			entry->down_since = GetCurrentTimestamp();
		entry->alive = false;
		strlcpy(entry->problem, problem, sizeof(entry->problem));
	}
	LWLockRelease(&difs_shared->lock);
	dlist_foreach_modify(iter, &link->asks)
	{
		DifsAsk    *ask = dlist_container(DifsAsk, node, iter.cur);

		dlist_delete(&ask->node);
		ask->state = DIFS_ASK_FAILED;
		errno = 0;
		difs_error_set(&ask->error, DIFS_ERROR_NETWORK, "%s: %s", link->name, problem);
	}
	if (link->up || !link->known)
	{
		changes++;
		ereport(LOG,
				(errmsg("difs: chunk server %s (%s:%u) is down: %s", link->name, link->host, link->port, problem)));
	}
	link->known = true;
	link->up = false;
	link->answer_by = 0;
	link->retry_at = difs_process_in(difs_health_interval);
	difs_conn_destroy(link->conn);	/* last: error may be its own */
	link->conn = NULL;
}

/* Texts of the connection begin with the server's name, which messages here have already. */
static const char *
without_label(const DifsHealthLink *link, const char *text)
{
	const char *label = link->conn != NULL ? difs_conn_label(link->conn) : "";
	size_t		length = strlen(label);

	if (length > 0 && strncmp(text, label, length) == 0 && strncmp(text + length, ": ", 2) == 0)
		return text + length + 2;
	return text;
}

static TimestampTz
next_event(const DifsHealthLink *link)
{
	TimestampTz next = link->conn == NULL ? link->retry_at : link->stat_at;

	if (link->conn != NULL && (link->stat_request != 0 || difs_conn_state(link->conn) != DIFS_CONN_READY))
		next = link->answer_by;
	if (link->rests_until != 0)
		next = Min(next, link->rests_until);
	return next;
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
