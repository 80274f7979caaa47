/*
 * engine_net.c - the network thread: all connections to chunk servers in one poll() loop.
 *
 * A server that cannot be reached, falls silent for ENGINE_PATIENCE_MS while it owes an answer, or breaks its connection fails all that it
 * had; the next task that names it makes a new connection.  What a reply says is checked before any byte is taken: a GET's
 * header must be that of the segment which was asked for.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bytes.h"
#include "common/conn.h"
#include "engine.h"

#define MAX_LINKS		64
#define MAX_REQUESTS	512

/* A request that has no answer yet. */
typedef struct Request
{
	Task	   *task;			/* NULL: free */
	int			member;
	int			link;
	bool		sent;			/* false: the connection is not READY yet */
} Request;

typedef struct Link
{
	char		server[ENGINE_SERVER_SIZE]; /* "": free */
	DifsConn   *conn;
	int			owed;			/* requests */
	uint64_t	moved;			/* when it was last looked at, and at what time */
	int64_t		moved_ms;
} Link;

typedef struct Network
{
	Engine	   *engine;
	Link		links[MAX_LINKS];
	Request		requests[MAX_REQUESTS];
	Task	   *waiting;		/* for room among the requests */
	bool		stopping;		/* what fails now is not asked of another member */
	uint8_t		control[DIFS_WIRE_MAX_CONTROL];
} Network;

static void take_tasks(Network *network);
static bool has_room(const Network *network, int count);
static void start_task(Network *network, Task *task);
static void ask(Network *network, Task *task, int member);
static int	find_link(Network *network, const char *server, const uint8_t *token);
static bool parse_server(const char *server, DifsPeer *peer);
static void send_request(Network *network, int number);
static void advance(Network *network, int number);
static void take_head(Network *network, Link *link, const DifsFrame *frame);
static void take_frame(Network *network, Link *link, const DifsFrame *frame);
static bool check_get(const Network *network, const Task *task, Link *link, const DifsFrame *frame, DifsError *error);
static void answered(Network *network, Request *request, bool good, const DifsError *error);
static void break_link(Network *network, int number, const DifsError *error);
static void look_for_silence(Network *network);
static int64_t now_ms(void);

void *
engine_network(void *argument)
{
	Network    *network = calloc(1, sizeof(*network));
	bool		stop = false;

	if (network == NULL)
		abort();				/* 50 KiB at the start of a thread */
	network->engine = argument;
	while (!engine_ended(network->engine, &stop))
	{
		struct pollfd sockets[MAX_LINKS + 1];
		int			count = 1;
		bool		busy = false;

		if (stop)
		{
			DifsError	error = {0};

			difs_error_set(&error, DIFS_ERROR_NETWORK, "stopped");
			network->stopping = true;
			if (network->waiting == NULL)
				network->waiting = engine_take_network(network->engine);
			while (network->waiting != NULL)
			{
				network->waiting->result = TASK_FAILED;
				network->waiting->error = error;
				engine_from_network(network->engine, network->waiting);
				network->waiting = engine_take_network(network->engine);
			}
			for (int i = 0; i < MAX_LINKS; i++)
				if (network->links[i].conn != NULL && network->links[i].owed > 0)
					break_link(network, i, &error);
			network->stopping = false;
		}
		take_tasks(network);
		for (int i = 0; i < MAX_LINKS; i++)
			if (network->links[i].conn != NULL)
				advance(network, i);
		take_tasks(network);	/* for which answers may have made room */
		sockets[0] = (struct pollfd) {.fd = engine_wake_fd(network->engine), .events = POLLIN};
		for (int i = 0; i < MAX_LINKS; i++)
		{
			Link	   *link = &network->links[i];

			if (link->conn == NULL)
				continue;
			sockets[count++] = (struct pollfd) {.fd = difs_conn_fd(link->conn),
				.events = POLLIN | (difs_conn_wants_write(link->conn) ? POLLOUT : 0)};
			busy = busy || link->owed > 0;
		}
		poll(sockets, (nfds_t) count, busy ? 500 : -1);
		look_for_silence(network);
	}
	for (int i = 0; i < MAX_LINKS; i++)
		difs_conn_destroy(network->links[i].conn);
	free(network);
	return NULL;
}

static void
take_tasks(Network *network)
{
	for (;;)
	{
		if (network->waiting == NULL)
			network->waiting = engine_take_network(network->engine);
		if (network->waiting == NULL || !has_room(network, ENGINE_MAX_MEMBERS))
			return;
		start_task(network, network->waiting);
		network->waiting = NULL;
	}
}

static bool
has_room(const Network *network, int count)
{
	for (int i = 0; i < MAX_REQUESTS && count > 0; i++)
		count -= network->requests[i].task == NULL;
	return count == 0;
}

static void
start_task(Network *network, Task *task)
{
	task->outstanding = 0;
	if (task->kind == TASK_GET)
	{
		/* one member after the other, each file beginning at another one */
		task->member = (int) ((uint64_t) (task->number + task->tried) % (uint64_t) task->server_count);
		task->tried++;
		task->outstanding = 1;
		ask(network, task, task->member);
		return;
	}
	/* all of them: a member that cannot be reached at once must not end the task while others are still to be asked */
	task->outstanding = task->server_count;
	for (int member = 0; member < task->server_count; member++)
		ask(network, task, member);
}

static void
ask(Network *network, Task *task, int member)
{
	Request    *request = network->requests;

	while (request->task != NULL)
		request++;
	*request = (Request) {.task = task, .member = member, .link = find_link(network, task->servers[member], task->token)};
	if (request->link < 0)
	{
		DifsError	error;

		difs_error_set(&error, DIFS_ERROR_ARGUMENT, "\"%s\" is not the address of a chunk server", task->servers[member]);
		answered(network, request, false, &error);
		return;
	}
	if (network->links[request->link].owed++ == 0)
		network->links[request->link].moved_ms = now_ms();
	if (difs_conn_state(network->links[request->link].conn) == DIFS_CONN_READY)
		send_request(network, (int) (request - network->requests));
}

/* The connection to a server, made if there is none. -1: it cannot be. */
static int
find_link(Network *network, const char *server, const uint8_t *token)
{
	int			unused = -1;
	DifsPeer	peer = {.token = token, .tls = engine_tls(network->engine)};

	for (int i = 0; i < MAX_LINKS; i++)
	{
		if (network->links[i].conn != NULL && strcmp(network->links[i].server, server) == 0)
			return i;
		if (network->links[i].conn == NULL && unused < 0)
			unused = i;
	}
	if (unused < 0 || !parse_server(server, &peer))
		return -1;
	network->links[unused] = (Link) {.conn = difs_conn_create(&peer), .moved_ms = now_ms()};
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

/* Over a connection that is READY, since a token is used in its session. */
static void
send_request(Network *network, int number)
{
	Request    *request = &network->requests[number];
	Task	   *task = request->task;
	DifsConn   *conn = network->links[request->link].conn;
	DifsFrame	frame = {.request = (uint64_t) number};
	size_t		size;

	if (task->kind == TASK_PUT)
	{
		DifsSegment segment = {.segment = task->segment, .group = task->group, .xid = task->xid, .raw_length = task->raw_length,
		.stored_length = task->stored_length, .crc = task->crc, .codec = task->codec};

		frame.message = DIFS_MESSAGE_PUT;
		frame.payload_length = task->stored_length;
		difs_segment_pack(&segment, task->block_crc, network->control);
		size = difs_segment_packed_size(task->stored_length);
	}
	else
	{
		frame.message = DIFS_MESSAGE_GET;
		size = difs_get_pack(&(DifsGet) {.group = task->group, .segment = task->segment}, network->control);
	}
	size += difs_token_use_pack(task->token, difs_conn_session(conn), network->control + size);
	frame.control_length = (uint32_t) size;
	difs_conn_send(conn, &frame, network->control, task->kind == TASK_GET ? NULL : task->level == 0 ? task->raw : task->stored);
	request->sent = true;
}

static void
advance(Network *network, int number)
{
	Link	   *link = &network->links[number];
	DifsFrame	frame;

	while (link->conn != NULL)
		switch (difs_conn_advance(link->conn, &frame))
		{
			case DIFS_EVENT_NONE:
				return;
			case DIFS_EVENT_READY:
				for (int i = 0; i < MAX_REQUESTS; i++)
					if (network->requests[i].task != NULL && network->requests[i].link == number && !network->requests[i].sent)
						send_request(network, i);
				break;
			case DIFS_EVENT_HEAD:
				take_head(network, link, &frame);
				break;
			case DIFS_EVENT_FRAME:
				take_frame(network, link, &frame);
				break;
			case DIFS_EVENT_BROKEN:
				break_link(network, number, difs_conn_error(link->conn));
				return;
		}
}

/* Says where the payload goes: only a GET's that is what was asked for goes anywhere. */
static void
take_head(Network *network, Link *link, const DifsFrame *frame)
{
	Request    *request = frame->request < MAX_REQUESTS ? &network->requests[frame->request] : NULL;
	Task	   *task = request != NULL && &network->links[request->link] == link ? request->task : NULL;

	if (task == NULL || task->kind != TASK_GET || frame->status != DIFS_OK || !check_get(network, task, link, frame, NULL))
		difs_conn_payload_into(link->conn, NULL);
	else
		difs_conn_payload_into(link->conn, task->codec == DIFS_CODEC_RAW ? task->raw : task->stored);
}

static void
take_frame(Network *network, Link *link, const DifsFrame *frame)
{
	Request    *request = frame->request < MAX_REQUESTS ? &network->requests[frame->request] : NULL;
	Task	   *task = request != NULL && request->sent && &network->links[request->link] == link ? request->task : NULL;
	DifsError	error = {0};
	bool		good = frame->status == DIFS_OK;

	if (task == NULL)
		return;					/* nobody has asked for this: it harms nobody */
	link->owed--;
	if (!good)
		difs_conn_reply_error(link->conn, frame, &error);
	else if (task->kind == TASK_GET)
	{
		good = check_get(network, task, link, frame, &error);
		if (good)
			memcpy(task->packed, difs_conn_control(link->conn) + 4, frame->control_length - 4);
	}
	else if (frame->control_length <= DIFS_RECEIPT_MAX_SIZE)
	{
		memcpy(task->receipt[request->member], difs_conn_control(link->conn), frame->control_length);
		task->receipt_length[request->member] = frame->control_length;
		task->receipt_from[request->member] = true;
	}
	else
		good = difs_error_set(&error, DIFS_ERROR_PROTOCOL, "%s: its receipt is too long", difs_conn_label(link->conn));
	answered(network, request, good, &error);
}

static bool
check_get(const Network *network, const Task *task, Link *link, const DifsFrame *frame, DifsError *error)
{
	const uint8_t *control = difs_conn_control(link->conn);
	DifsSegment header;

	(void) network;
	if (frame->control_length != 4 + difs_segment_packed_size(task->stored_length) || frame->payload_length != task->stored_length ||
		difs_get32(control) != 0)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "%s: sent another part than was asked for", difs_conn_label(link->conn));
	if (!difs_segment_unpack(control + 4, frame->control_length - 4, &header, error))
		return false;
	if (header.dead || header.segment != task->segment || header.group != task->group || header.crc != task->crc || header.codec != task->codec ||
		header.raw_length != task->raw_length || header.stored_length != task->stored_length)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "%s: holds something else in the place of segment %llu", difs_conn_label(link->conn),
							  (unsigned long long) task->segment);
	return true;
}

/* One answer of a task; the last one sends it on. */
static void
answered(Network *network, Request *request, bool good, const DifsError *error)
{
	Task	   *task = request->task;

	request->task = NULL;
	if (!good && task->result == TASK_DONE)
	{
		task->result = TASK_FAILED;
		task->error = *error;
	}
	if (--task->outstanding > 0)
		return;
	if (task->kind == TASK_GET && task->result == TASK_FAILED && task->tried < task->server_count && !network->stopping)
	{
		task->result = TASK_DONE;
		start_task(network, task);
		return;
	}
	engine_from_network(network->engine, task);
}

/* The payloads of its requests are not needed any more once the connection is gone. */
static void
break_link(Network *network, int number, const DifsError *error)
{
	Link	   *link = &network->links[number];
	DifsError	reason = *error;

	difs_conn_destroy(link->conn);
	memset(link, 0, sizeof(*link));
	/* a task that is asked of another member may get this very place among the links: the old requests are marked first */
	for (int i = 0; i < MAX_REQUESTS; i++)
		if (network->requests[i].task != NULL && network->requests[i].link == number)
			network->requests[i].link = -1;
	for (int i = 0; i < MAX_REQUESTS; i++)
		if (network->requests[i].task != NULL && network->requests[i].link == -1)
			answered(network, &network->requests[i], false, &reason);
}

static void
look_for_silence(Network *network)
{
	int64_t		now = now_ms();

	for (int i = 0; i < MAX_LINKS; i++)
	{
		Link	   *link = &network->links[i];
		DifsError	error;

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
			break_link(network, i, &error);
		}
	}
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
