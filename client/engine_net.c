/*
 * engine_net.c - the network thread: all connections to chunk servers in one poll() loop.
 *
 * The connections themselves are in engine_link.c.  What a reply says is checked before any byte is taken: a GET's header must be that of
 * the segment which was asked for.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "engine_net.h"

static void take_tasks(Network *network);
static bool has_room(const Network *network, int count);
static void start_task(Network *network, Task *task);
static void ask(Network *network, Task *task, int member);
static void send_request(Network *network, int number);
static void advance(Network *network, int number);
static void take_head(Network *network, Link *link, const DifsFrame *frame);
static void take_frame(Network *network, Link *link, const DifsFrame *frame);
static bool check_get(const Network *network, const Task *task, Link *link, const DifsFrame *frame, DifsError *error);

void *
engine_network(void *argument)
{
	Network *network = calloc(1, sizeof(*network));
	bool stop = false;

	if (network == NULL)
		abort(); /* 50 KiB at the start of a thread */
	network->engine = argument;
	while (!engine_ended(network->engine, &stop))
	{
		struct pollfd sockets[MAX_LINKS + 1];
		int count = 1;
		bool busy = false;

		if (stop)
		{
			DifsError error = {0};

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
					engine_break_link(network, i, &error);
			network->stopping = false;
		}
		take_tasks(network);
		for (int i = 0; i < MAX_LINKS; i++)
			if (network->links[i].conn != NULL)
				advance(network, i);
		take_tasks(network); /* for which answers may have made room */
		sockets[0] = (struct pollfd){.fd = engine_wake_fd(network->engine), .events = POLLIN};
		for (int i = 0; i < MAX_LINKS; i++)
		{
			Link *link = &network->links[i];

			if (link->conn == NULL)
				continue;
			sockets[count++] = (struct pollfd){.fd = difs_conn_fd(link->conn),
											   .events = POLLIN | (difs_conn_wants_write(link->conn) ? POLLOUT : 0)};
			busy = busy || link->owed > 0;
		}
		poll(sockets, (nfds_t) count, busy ? 500 : -1);
		engine_look_for_silence(network);
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
	Request *request = network->requests;

	while (request->task != NULL)
		request++;
	*request = (Request){.task = task, .member = member, .link = engine_find_link(network, task->servers[member], task->token)};
	if (request->link < 0)
	{
		DifsError error;

		difs_error_set(&error, DIFS_ERROR_ARGUMENT, "\"%s\" is not the address of a chunk server", task->servers[member]);
		engine_answered(network, request, false, &error);
		return;
	}
	if (network->links[request->link].owed++ == 0)
		network->links[request->link].moved_ms = engine_now_ms();
	if (difs_conn_state(network->links[request->link].conn) == DIFS_CONN_READY)
		send_request(network, (int) (request - network->requests));
}

/* Over a connection that is READY, since a token is used in its session. */
static void
send_request(Network *network, int number)
{
	Request *request = &network->requests[number];
	Task *task = request->task;
	DifsConn *conn = network->links[request->link].conn;
	DifsFrame frame = {.request = (uint64_t) number};
	size_t size;

	if (task->kind == TASK_PUT)
	{
		DifsSegment segment = {
			.segment = task->segment,
			.group = task->group,
			.xid = task->xid,
			.raw_length = task->raw_length,
			.stored_length = task->stored_length,
			.crc = task->crc,
			.codec = task->codec,
		};

		frame.message = DIFS_MESSAGE_PUT;
		frame.payload_length = task->stored_length;
		difs_segment_pack(&segment, task->block_crc, network->control);
		size = difs_segment_packed_size(task->stored_length);
	}
	else
	{
		frame.message = DIFS_MESSAGE_GET;
		size = difs_get_pack(&(DifsGet){.group = task->group, .segment = task->segment}, network->control);
	}
	size += difs_token_use_pack(task->token, difs_conn_session(conn), network->control + size);
	frame.control_length = (uint32_t) size;
	difs_conn_send(conn, &frame, network->control, task->kind == TASK_GET ? NULL : (task->level == 0 ? task->raw : task->stored));
	request->sent = true;
}

static void
advance(Network *network, int number)
{
	Link *link = &network->links[number];
	DifsFrame frame;

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
				engine_break_link(network, number, difs_conn_error(link->conn));
				return;
		}
}

/* Says where the payload goes: only a GET's that is what was asked for goes anywhere. */
static void
take_head(Network *network, Link *link, const DifsFrame *frame)
{
	Request *request = frame->request < MAX_REQUESTS ? &network->requests[frame->request] : NULL;
	Task *task = request != NULL && &network->links[request->link] == link ? request->task : NULL;

	if (task == NULL || task->kind != TASK_GET || frame->status != DIFS_OK || !check_get(network, task, link, frame, NULL))
		difs_conn_payload_into(link->conn, NULL);
	else
		difs_conn_payload_into(link->conn, task->codec == DIFS_CODEC_RAW ? task->raw : task->stored);
}

static void
take_frame(Network *network, Link *link, const DifsFrame *frame)
{
	Request *request = frame->request < MAX_REQUESTS ? &network->requests[frame->request] : NULL;
	Task *task = request != NULL && request->sent && &network->links[request->link] == link ? request->task : NULL;
	DifsError error = {0};
	bool good = frame->status == DIFS_OK;

	if (task == NULL)
		return; /* nobody has asked for this: it harms nobody */
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
	engine_answered(network, request, good, &error);
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

void
engine_answered(Network *network, Request *request, bool good, const DifsError *error)
{
	Task *task = request->task;

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
