/*
 * call.c - one request to one chunk server, and its reply (call.h).
 *
 * A call that is torn off by an error or interrupt leaves a request in flight;
 * its link is closed then, so that the late reply cannot meet a later call.
 */
#include "postgres.h"

#include "access/xact.h"

#include "src/call.h"
#include "src/counters.h"
#include "src/link.h"
#include "src/pace.h"

static pg_noinline DifsLink *open_link(int32 server, DifsError *error);
static bool converse(DifsLink *link, const DifsFrame *request, int timeout_ms, DifsReply *reply, DifsError *error);
static void take_head(DifsLink *link, const DifsFrame *frame, DifsReply *reply);
static bool take_reply(DifsLink *link, const DifsFrame *frame, DifsReply *reply, DifsError *error);

bool
difs_call(int32 server, DifsMessage message, const void *control, uint32 control_length,
		  const void *payload, uint32 payload_length, int timeout_ms, DifsReply *reply, DifsError *error)
{
	static uint64 last_request = 0;
	DifsFrame request = {
		.control_length = control_length,
		.payload_length = payload_length,
		.request = ++last_request | UINT64CONST(1) << 63, /* apart from those of fetch.c on the same connections */
		.message = message,
	};
	DifsReply unwanted;
	DifsLink *link;
	bool done = false;
	int64 began_us = difs_pace_clock_us();

	link = open_link(server, error);
	if (link == NULL)
	{
		difs_counters_io_failed(DIFS_IO_CALL, server, 1);
		return false;
	}
	PG_TRY();
	{
		link->in_flight++;
		(void) difs_conn_send(link->conn, &request, control, payload);
		done = converse(link, &request, timeout_ms, reply != NULL ? reply : &unwanted, error);
	}
	PG_CATCH();
	{
		difs_link_close_busy();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (done)
		difs_counters_io(DIFS_IO_CALL, server, (uint64) payload_length + (reply != NULL ? reply->payload_length : 0),
						 difs_pace_clock_us() - began_us);
	else
		difs_counters_io_failed(DIFS_IO_CALL, server, 1);
	return done;
}

/* To connect is to read tables. A duty calls outside of transactions, so that no snapshot is held while it waits; it gets one for that. */
static DifsLink *
open_link(int32 server, DifsError *error)
{
	MemoryContext context = CurrentMemoryContext;
	bool own_transaction = !IsTransactionState();
	DifsLink *link;

	if (own_transaction)
		StartTransactionCommand();
	difs_link_begin();
	difs_link_close_busy(); /* they owe replies that nobody wants any more (fetch.c), which would only wake us */
	link = difs_link_open(server, error);
	if (own_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return link;
}

static bool
converse(DifsLink *link, const DifsFrame *request, int timeout_ms, DifsReply *reply, DifsError *error)
{
	int64 heard_ms = difs_link_clock_ms();
	uint64 moved = difs_conn_moved(link->conn);
	DifsFrame frame;

	memset(reply, 0, sizeof(*reply));
	for (;;)
	{
		int64 left_ms;

		switch (difs_conn_advance(link->conn, &frame))
		{
			case DIFS_EVENT_READY:
				continue;
			case DIFS_EVENT_HEAD:
				take_head(link, &frame, frame.request == request->request ? reply : NULL);
				continue;
			case DIFS_EVENT_FRAME:
				if (frame.request != request->request)
					continue;
				link->in_flight--;
				return take_reply(link, &frame, reply, error);
			case DIFS_EVENT_BROKEN:
				*error = *difs_conn_error(link->conn);
				difs_link_close(link, 0);
				return false;
			case DIFS_EVENT_NONE:
				break;
		}
		if (moved != difs_conn_moved(link->conn))
		{
			moved = difs_conn_moved(link->conn);
			heard_ms = difs_link_clock_ms();
		}
		left_ms = heard_ms + timeout_ms - difs_link_clock_ms();
		if (left_ms <= 0)
		{
			errno = 0;
			difs_error_set(error, DIFS_ERROR_NETWORK, "%s: no answer for %d ms", difs_conn_label(link->conn), timeout_ms);
			difs_link_close(link, 0);
			return false;
		}
		difs_link_wait(left_ms);
	}
}

static void
take_head(DifsLink *link, const DifsFrame *frame, DifsReply *reply)
{
	if (reply == NULL)
	{
		difs_conn_payload_into(link->conn, NULL);
		return;
	}
	reply->payload = MemoryContextAllocHuge(CurrentMemoryContext, frame->payload_length);
	reply->payload_length = frame->payload_length;
	difs_conn_payload_into(link->conn, reply->payload);
}

static bool
take_reply(DifsLink *link, const DifsFrame *frame, DifsReply *reply, DifsError *error)
{
	if (frame->status != DIFS_OK)
	{
		difs_conn_reply_error(link->conn, frame, error);
		return false;
	}
	reply->control = palloc(frame->control_length + 1);
	reply->control_length = frame->control_length;
	memcpy(reply->control, difs_conn_control(link->conn), frame->control_length);
	return true;
}
