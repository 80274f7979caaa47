/*
 * fetch_hedge.c - asking one member, then another, and forgetting the slower one.
 *
 * A member that has been silent for difs.hedge_delay is not given up: the request
 * goes to the next one as well, and so on.  At most one reply of a lane is received
 * straight into the result; the others go to memory of their own.  When the first
 * good one is there, all others are dropped before a byte is put into place: a
 * payload that is just coming in is turned away from its memory, and a reply that
 * has not begun will find nobody who awaits it.  So no late byte is ever written to
 * the result.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "src/fetch_lane.h"
#include "src/pace.h"
#include "src/settings.h"

static uint64 last_request = 0;

static void begin_try(DifsLane *lane, int member, DifsLink *link, int64 patience_ms);

bool
difs_lane_ask(DifsLane *lane)
{
	int member;
	int64 patience_ms;
	DifsError error;

	while (difs_lane_choose(lane, &member, &patience_ms))
	{
		DifsLink *link = difs_link_open(lane->members.server[member], &error);

		if (link != NULL)
		{
			begin_try(lane, member, link, patience_ms);
			return true;
		}
		difs_lane_note_failure(lane, member, &error);
	}
	return false;
}

/* Bytes that move on a connection are a sign of life for all requests on it. */
int64
difs_lane_hedge_ms(const DifsLane *lane)
{
	int64 latest_ms = 0;

	if (difs_hedge_delay < 0 || pg_popcount32(lane->tried | lane->awaited) >= lane->members.count)
		return PG_INT64_MAX;
	for (int i = 0; i < lane->members.count; i++)
		if (lane->tries[i].link != NULL)
			latest_ms = Max(latest_ms, Max(lane->tries[i].link->heard_ms, lane->tries[i].sent_ms));
	return latest_ms + difs_hedge_delay;
}

int64
difs_try_deadline_ms(const DifsTry *try)
{
	return Min(Max(try->link->heard_ms, try->sent_ms) + try->patience_ms, try->limit_ms);
}

bool
difs_lanes_find(DifsLane *lanes, int count, const DifsLink *link, uint64 request, DifsLane **lane, int *member)
{
	for (int i = 0; i < count; i++)
	{
		if (lanes[i].state != DIFS_LANE_SENT)
			continue;
		for (int j = 0; j < lanes[i].members.count; j++)
		{
			if (lanes[i].tries[j].link != link || lanes[i].tries[j].request != request)
				continue;
			*lane = &lanes[i];
			*member = j;
			return true;
		}
	}
	return false;
}

void
difs_lane_drop_try(DifsLane *lane, int member, bool answered)
{
	DifsTry *try = &lane->tries[member];

	if (answered)
		try->link->in_flight--;
	else if (try->packed != NULL)
		difs_conn_payload_into(try->link->conn, NULL);
	if (try->packed != NULL)
		pfree(try->packed);
	if (try->scratch != NULL)
		pfree(try->scratch);
	*try = (DifsTry){0};
	lane->awaited &= ~(1u << member);
	if (lane->direct == member)
		lane->direct = -1;
}

void
difs_lane_drop_others(DifsLane *lane, int member)
{
	for (int i = 0; i < lane->members.count; i++)
	{
		if (i == member || lane->tries[i].link == NULL)
			continue;
		if (lane->tries[i].packed == NULL)
			difs_try_note_pace(&lane->tries[i]);
		difs_lane_drop_try(lane, i, false);
	}
}

void
difs_try_note_pace(const DifsTry *try)
{
	difs_pace_note(try->link->server, (difs_pace_clock_us() - try->sent_us) / (try->ahead + 1));
}

static void
begin_try(DifsLane *lane, int member, DifsLink *link, int64 patience_ms)
{
	const DifsPiece *piece = &lane->piece;
	DifsTry *try = &lane->tries[member];
	DifsGet get = {.group = piece->stored.group, .segment = piece->stored.segment, .offset = piece->get_offset, .length = piece->get_length};
	DifsFrame frame = {.message = DIFS_MESSAGE_GET, .request = ++last_request};
	uint8 control[64];

	*try = (DifsTry){
		.link = link,
		.request = frame.request,
		.sent_ms = difs_link_clock_ms(),
		.sent_us = difs_pace_clock_us(),
		.ahead = link->in_flight++,
		.patience_ms = patience_ms,
		.limit_ms = difs_link_clock_ms() + lane->try_ms,
	};
	lane->state = DIFS_LANE_SENT;
	lane->awaited |= 1u << member;
	frame.control_length = difs_get_pack(&get, control);
	difs_conn_send(link->conn, &frame, control, NULL);
}
