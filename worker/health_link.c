/*
 * health_link.c - one connection of the keeper to a chunk server (health_link.h).
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

#include "src/claim.h"
#include "src/connect.h"
#include "src/settings.h"
#include "worker/claim_watch.h"
#include "worker/health_link.h"
#include "worker/keeper.h"
#include "worker/process.h"

#define PAYLOAD_SIZE (DIFS_GROUPS_MAX_ENTRIES * DIFS_GROUP_ENTRY_SIZE)

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
static void say_down(DifsHealthLink *link, const DifsError *error);

bool
difs_health_link_fits(const DifsHealthLink *link, const DifsSharedServer *servers, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (servers[i].id == link->server)
			return servers[i].port == link->port && strcmp(servers[i].host, link->host) == 0 &&
				strcmp(servers[i].name, link->name) == 0;
	}
	return false;
}

void
difs_health_link_open(DifsHealthLink *link, const DifsSharedServer *server)
{
	memset(link, 0, sizeof(*link));
	link->server = server->id;
	strlcpy(link->name, server->name, sizeof(link->name));
	strlcpy(link->host, server->host, sizeof(link->host));
	link->port = server->port;
	dlist_init(&link->asks);
	link->payload = MemoryContextAlloc(TopMemoryContext, PAYLOAD_SIZE);
}

void
difs_health_link_close(DifsHealthLink *link)
{
	DifsError error;

	difs_error_set(&error, DIFS_ERROR_ARGUMENT, "its address has changed");
	link->up = false;
	link->known = true; /* nothing to log */
	say_down(link, &error);
	pfree(link->payload);
	memset(link, 0, sizeof(*link));
	difs_health_changed();
}

void
difs_health_link_serve(DifsHealthLink *link)
{
	TimestampTz now;

	if (link->conn != NULL)
		read_link(link);
	now = GetCurrentTimestamp();
	if (link->conn != NULL && link->answer_by != 0 && now >= link->answer_by)
	{
		DifsError error;

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
		difs_health_changed();
	}
}

TimestampTz
difs_health_link_next(const DifsHealthLink *link)
{
	TimestampTz next = link->conn == NULL ? link->retry_at : link->stat_at;

	if (link->conn != NULL && (link->stat_request != 0 || difs_conn_state(link->conn) != DIFS_CONN_READY))
		next = link->answer_by;
	if (link->rests_until != 0)
		next = Min(next, link->rests_until);
	return next;
}

void
difs_health_link_ask(DifsHealthLink *link, DifsAsk *ask, DifsMessage message, const void *control, uint32 control_length)
{
	ask->state = DIFS_ASK_WAITING;
	ask->request = send_request(link, message, control, control_length);
	dlist_push_tail(&link->asks, &ask->node);
}

static void
connect_link(DifsHealthLink *link)
{
	DifsPeer peer = {0};
	DifsError error;

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
		DifsFrame frame;

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
	DifsAsk *ask = find_ask(link, frame->request);
	const uint8 *control = difs_conn_control(link->conn);
	DifsServerStatus status;
	DifsError error;

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
	if (ask == NULL) /* forgotten */
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
	dlist_iter iter;

	dlist_foreach (iter, &link->asks)
	{
		DifsAsk *ask = dlist_container(DifsAsk, node, iter.cur);

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
	DifsFrame frame = {.control_length = length, .request = ++link->last_request, .message = message};

	difs_conn_send(link->conn, &frame, control, NULL);
	(void) difs_conn_flush(link->conn);
	return frame.request;
}

/* One that must not be used is as good as down. */
static void
take_status(DifsHealthLink *link, const DifsServerStatus *status)
{
	DifsError error;

	if (difs_claim_watch_server(link->server, link->name, status, &error))
		difs_health_publish_up(link, status);
	else
		say_down(link, &error);
}

/* Closes the connection, fails what was asked, and lets everybody know. */
static void
say_down(DifsHealthLink *link, const DifsError *error)
{
	const char *problem = difs_health_link_text(link, error->text);
	dlist_mutable_iter iter;

	difs_health_publish_down(link, problem);
	dlist_foreach_modify (iter, &link->asks)
	{
		DifsAsk *ask = dlist_container(DifsAsk, node, iter.cur);

		dlist_delete(&ask->node);
		ask->state = DIFS_ASK_FAILED;
		errno = 0;
		difs_error_set(&ask->error, DIFS_ERROR_NETWORK, "%s: %s", link->name, problem);
	}
	link->answer_by = 0;
	link->retry_at = difs_process_in(difs_health_interval);
	difs_conn_destroy(link->conn); /* last: error may be its own */
	link->conn = NULL;
}

const char *
difs_health_link_text(const DifsHealthLink *link, const char *text)
{
	const char *label = link->conn != NULL ? difs_conn_label(link->conn) : "";
	size_t length = strlen(label);

	if (length > 0 && strncmp(text, label, length) == 0 && strncmp(text + length, ": ", 2) == 0)
		return text + length + 2;
	return text;
}
