/*
 * fetch.c - segments from chunk servers, verified, into memory (fetch.h).
 *
 * Up to MIN_LANES requests are in flight at once, over all servers, or as many as
 * there are files to be read, but at most MAX_LANES, and no more
 * than WINDOW_BYTES of replies (or one reply, if that is larger), so memory stays
 * within the result plus that window.  Replies come in any order, and each goes
 * straight to its place.
 *
 * State lives in the call.  What outlasts it are the connections (link.c): after
 * an error or a cancel, those with requests in flight are closed, so that nothing
 * is ever received for a call that is over.  After a call that ended well, slower
 * ones may still owe replies (fetch_hedge.c), which the next call throws away.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "src/counters.h"
#include "src/fetch.h"
#include "src/fetch_lane.h"
#include "src/inline.h"
#include "src/pace.h"
#include "src/settings.h"
#include "src/slow.h"

#define MIN_LANES 16
#define MAX_LANES 128
#define WINDOW_BYTES (16 * 1024 * 1024)

typedef struct Fetch
{
	const DifsFetchRange *ranges; /* behind that of the plan */
	const DifsFetchRange *ranges_end;
	DifsPlan plan;
	bool planned; /* no piece is left to be begun */
	bool held;	  /* next_piece waits for room in the window */
	DifsPiece next_piece;
	int busy; /* lanes in use */
	uint64 busy_bytes;
	int lane_count;
	DifsLane lanes[FLEXIBLE_ARRAY_MEMBER];
} Fetch;

static bool first_piece(const DifsFetchRange *range, DifsPlan *plan, DifsPiece *piece);
static pg_noinline void fetch_planned(const DifsPlan *plan, const DifsPiece *first, const DifsFetchRange *ranges, int count);
static void run(Fetch *fetch);
static void begin_pieces(Fetch *fetch);
static bool next_piece(Fetch *fetch);
static void begin_piece(Fetch *fetch, DifsLane *lane);
static bool fits_window(const Fetch *fetch);
static void move_lanes(Fetch *fetch);
static void send_lane(DifsLane *lane);
static void drop_debtors(Fetch *fetch);
static bool advance_links(Fetch *fetch);
static void take_event(Fetch *fetch, DifsLink *link, DifsEvent event, const DifsFrame *frame);
static void take_head(Fetch *fetch, DifsLink *link, const DifsFrame *frame);
static void take_frame(Fetch *fetch, DifsLink *link, const DifsFrame *frame, int64 now_us);
static bool take_payload(DifsLane *lane, int member, bool *done, DifsError *error);
static void link_lost(Fetch *fetch, DifsLink *link, const DifsError *error, bool again);
static void lane_done(Fetch *fetch, DifsLane *lane);
static void try_failed(DifsLane *lane, int member, bool answered, const DifsError *error);
static void wait_for_links(Fetch *fetch);
static int64 lane_deadline(const DifsLane *lane);
static void give_up_silent(Fetch *fetch);

void
difs_fetch_range(const char *path, const DifsVersion *version, int64 offset, int64 length, DifsCaching caching, char *out)
{
	DifsFetchRange range = {path, version, offset, length, caching, out, NULL, 0};

	difs_fetch_ranges(&range, 1);
}

void
difs_fetch_ranges(const DifsFetchRange *ranges, int count)
{
	DifsPlan plan;
	DifsPiece piece;

	for (int i = 0; i < count; i++)
		if (first_piece(&ranges[i], &plan, &piece))
		{
			fetch_planned(&plan, &piece, &ranges[i + 1], count - i - 1);
			return;
		}
}

/* False: all of the range is there already. */
static bool
first_piece(const DifsFetchRange *range, DifsPlan *plan, DifsPiece *piece)
{
	if (range->caching != DIFS_CACHING_AGAIN)
		difs_slow_read_bytes += range->length;
	if (difs_version_is_inline(range->version))
	{
		difs_inline_read(range->path, range->version, range->offset, range->length, range->out);
		return false;
	}
	difs_plan_begin(plan, range->path, range->version, range->offset, range->length, range->caching, range->out);
	if (range->rows != NULL)
		difs_plan_know(plan, range->rows, range->row_count);
	return difs_plan_next(plan, piece);
}

/* From the first piece on that is not in the cache, then the ranges behind it. */
static pg_noinline void
fetch_planned(const DifsPlan *plan, const DifsPiece *first, const DifsFetchRange *ranges, int count)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "difs fetch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int lane_count = Min(Max(MIN_LANES, count + 1), MAX_LANES);
	Fetch *fetch = palloc(offsetof(Fetch, lanes) + sizeof(DifsLane) * lane_count);

	fetch->ranges = ranges;
	fetch->ranges_end = ranges + count;
	fetch->plan = *plan;
	fetch->planned = false;
	fetch->held = true;
	fetch->next_piece = *first;
	fetch->busy = 0;
	fetch->busy_bytes = 0;
	fetch->lane_count = lane_count;
	for (int i = 0; i < fetch->lane_count; i++)
	{
		/* begin_piece() fills in the rest: most reads need one lane, and all of them are 15 kB or more */
		fetch->lanes[i].state = DIFS_LANE_FREE;
		fetch->lanes[i].inflate = NULL;
	}
	difs_link_begin();
	PG_TRY();
	{
		run(fetch);
	}
	PG_CATCH();
	{
		difs_link_close_busy();
		for (int i = 0; i < fetch->lane_count; i++)
			difs_inflate_drop(fetch->lanes[i].inflate);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

static void
run(Fetch *fetch)
{
	drop_debtors(fetch);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		move_lanes(fetch);
		begin_pieces(fetch);
		if (fetch->busy > 0 && !advance_links(fetch))
			wait_for_links(fetch);
		if (fetch->busy == 0 && fetch->planned)
			return;
	}
}

/* Starts as many pieces as there are lanes and room for. */
static void
begin_pieces(Fetch *fetch)
{
	for (int i = 0; i < fetch->lane_count; i++)
	{
		DifsLane *lane = &fetch->lanes[i];

		if (lane->state != DIFS_LANE_FREE)
			continue;
		if (!fetch->held && !fetch->planned)
		{
			fetch->held = next_piece(fetch);
			fetch->planned = !fetch->held;
		}
		if (!fetch->held || !fits_window(fetch))
			return;
		begin_piece(fetch, lane);
	}
}

/* Of this range, or of the next one that has one. The piece that is held is always the plan's. */
static bool
next_piece(Fetch *fetch)
{
	bool found = difs_plan_next(&fetch->plan, &fetch->next_piece);

	while (!found && fetch->ranges < fetch->ranges_end)
		found = first_piece(fetch->ranges++, &fetch->plan, &fetch->next_piece);
	return found;
}

static void
begin_piece(Fetch *fetch, DifsLane *lane)
{
	fetch->held = false;
	fetch->busy++;
	fetch->busy_bytes += fetch->next_piece.get_length;
	difs_lane_begin(lane, &fetch->next_piece, fetch->plan.path);
	lane->try_ms = difs_server_timeout + fetch->busy_bytes / DIFS_SLOWEST_BYTES_PER_MS;
	if (lane->piece.chunked && difs_lane_begin_chunks(lane))
		lane_done(fetch, lane);
	else if (lane->piece.stored.group == 0)
	{
		difs_lane_take_staged(lane);
		lane_done(fetch, lane);
	}
	else
		send_lane(lane);
}

static bool
fits_window(const Fetch *fetch)
{
	return fetch->busy == 0 || fetch->busy_bytes + fetch->next_piece.get_length <= WINDOW_BYTES;
}

/* Sends what is to be sent, and what has paused for long enough. */
static void
move_lanes(Fetch *fetch)
{
	for (int i = 0; i < fetch->lane_count; i++)
	{
		DifsLane *lane = &fetch->lanes[i];

		if (lane->state == DIFS_LANE_TO_SEND ||
			(lane->state == DIFS_LANE_PAUSED && lane->resume_ms <= difs_link_clock_ms()))
			send_lane(lane);
	}
}

/* Asks the next member that can be asked. */
static void
send_lane(DifsLane *lane)
{
	if (!difs_lane_ask(lane))
		difs_lane_round_over(lane);
}

/* Throws away what earlier calls have left, and closes connections that have owed replies for too long. */
static void
drop_debtors(Fetch *fetch)
{
	(void) advance_links(fetch);
	for (int i = 0; i < difs_link_count(); i++)
	{
		DifsLink *link = difs_link_at(i);

		if (link->in_flight > 0 && link->heard_ms + difs_server_timeout / 2 < difs_link_clock_ms())
			difs_link_close(link, difs_server_timeout);
	}
}

/* Takes whatever can be had without waiting. True if something happened. */
static bool
advance_links(Fetch *fetch)
{
	bool happened = false;

	for (int i = 0; i < difs_link_count(); i++)
	{
		DifsLink *link = difs_link_at(i);

		while (link->in_flight > 0)
		{
			DifsFrame frame;
			DifsEvent event = difs_conn_advance(link->conn, &frame);

			if (event == DIFS_EVENT_NONE)
				break;
			happened = true;
			take_event(fetch, link, event, &frame);
			CHECK_FOR_INTERRUPTS();
		}
	}
	return happened;
}

static void
take_event(Fetch *fetch, DifsLink *link, DifsEvent event, const DifsFrame *frame)
{
	int64 now_us = difs_pace_clock_us();

	link->heard_ms = now_us / 1000;
	if (event == DIFS_EVENT_HEAD)
		take_head(fetch, link, frame);
	else if (event == DIFS_EVENT_FRAME)
		take_frame(fetch, link, frame, now_us);
	else if (event == DIFS_EVENT_BROKEN)
	{
		DifsError error = *difs_conn_error(link->conn);

		link_lost(fetch, link, &error, !link->proven);
	}
}

/* A reply that nobody waits for any more is received into nowhere. */
static void
take_head(Fetch *fetch, DifsLink *link, const DifsFrame *frame)
{
	void *payload_into = NULL;
	DifsLane *lane;
	int member;
	DifsError error;

	if (difs_lanes_find(fetch->lanes, fetch->lane_count, link, frame->request, &lane, &member))
	{
		difs_try_note_pace(&lane->tries[member]);
		if (!difs_lane_take_head(lane, member, frame, difs_conn_control(link->conn), &payload_into, &error))
		{
			payload_into = NULL;
			try_failed(lane, member, false, &error);
		}
	}
	difs_conn_payload_into(link->conn, payload_into);
}

static void
take_frame(Fetch *fetch, DifsLink *link, const DifsFrame *frame, int64 now_us)
{
	DifsLane *lane;
	int member;
	uint32 length;
	int64 sent_us;
	DifsError error;
	bool done;

	link->proven = true;
	link->suspect_until_ms = 0;
	if (!difs_lanes_find(fetch->lanes, fetch->lane_count, link, frame->request, &lane, &member))
	{
		link->in_flight--;
		return;
	}
	length = lane->piece.get_length; /* before the lane goes on to another chunk */
	sent_us = lane->tries[member].sent_us;
	if (frame->status != DIFS_OK)
		difs_conn_reply_error(link->conn, frame, &error);
	else if (lane->tries[member].packed == NULL)
	{
		errno = 0;
		difs_error_set(&error, DIFS_ERROR_CORRUPT, "%s: sent no bytes", difs_conn_label(link->conn));
	}
	else if (take_payload(lane, member, &done, &error))
	{
		difs_lane_drop_try(lane, member, true);
		difs_counters_io(DIFS_IO_GET, link->server, length, now_us - sent_us);
		if (done)
			lane_done(fetch, lane);
		else
			difs_lane_begin_round(lane);
		return;
	}
	try_failed(lane, member, true, &error);
}

/* The others are dropped before anything is put into place: one of them may be writing there. */
static bool
take_payload(DifsLane *lane, int member, bool *done, DifsError *error)
{
	DifsError reason;

	if (!difs_lane_check_payload(lane, member, error))
		return false;
	difs_lane_drop_others(lane, member);
	if (difs_lane_deliver(lane, member, done, &reason))
		return true;
	errno = 0;
	return difs_error_set(error, reason.code, "%s: %s", difs_conn_label(lane->tries[member].link->conn), reason.text);
}

/* All bytes of its piece are in place. */
static void
lane_done(Fetch *fetch, DifsLane *lane)
{
	const DifsPiece *piece = &lane->piece;

	if (lane->inflate != NULL && piece->raw_offset + piece->length < piece->stored.raw_length)
		difs_inflate_park(lane->inflate);
	else
		difs_inflate_drop(lane->inflate);
	lane->inflate = NULL;
	lane->state = DIFS_LANE_FREE;
	fetch->busy--;
	fetch->busy_bytes -= lane->window_bytes;
}

/* Closes a connection. Its requests go to other members; or to the same one again if the connection was an old one,
 * which may have been closed long before this call. */
static void
link_lost(Fetch *fetch, DifsLink *link, const DifsError *error, bool again)
{
	for (int i = 0; i < fetch->lane_count; i++)
	{
		DifsLane *lane = &fetch->lanes[i];

		for (int j = 0; lane->state == DIFS_LANE_SENT && j < lane->members.count; j++)
			if (lane->tries[j].link == link)
				try_failed(lane, j, false, again ? NULL : error);
	}
	difs_link_close(link, again ? 0 : difs_server_timeout);
}

/* A member does not answer, or not with what is wanted. error NULL: it is to be asked again. */
static void
try_failed(DifsLane *lane, int member, bool answered, const DifsError *error)
{
	if (error != NULL)
		difs_lane_note_failure(lane, member, error);
	difs_lane_drop_try(lane, member, answered);
	if (lane->awaited == 0)
		lane->state = DIFS_LANE_TO_SEND;
}

/* Nothing can be done now: waits for a socket, for the end of a pause, or until a server has been silent for so long that another one is to be asked
 * as well, or instead. */
static void
wait_for_links(Fetch *fetch)
{
	int64 now_ms = difs_link_clock_ms();
	int64 deadline_ms = PG_INT64_MAX;

	for (int i = 0; i < fetch->lane_count; i++)
	{
		DifsLane *lane = &fetch->lanes[i];

		if (lane->state == DIFS_LANE_TO_SEND)
			return;
		if (lane->state != DIFS_LANE_FREE)
			deadline_ms = Min(deadline_ms, lane_deadline(lane));
	}
	difs_link_wait(deadline_ms - now_ms);
	give_up_silent(fetch);
}

static int64
lane_deadline(const DifsLane *lane)
{
	int64 deadline_ms;

	if (lane->state == DIFS_LANE_PAUSED)
		return lane->resume_ms;
	deadline_ms = difs_lane_hedge_ms(lane);
	for (int i = 0; i < lane->members.count; i++)
		if (lane->tries[i].link != NULL)
			deadline_ms = Min(deadline_ms, difs_try_deadline_ms(&lane->tries[i]));
	return deadline_ms;
}

/* Waiting has just noted which sockets have something to say, so who is late now is silent. */
static void
give_up_silent(Fetch *fetch)
{
	int64 now_ms = difs_link_clock_ms();

	for (int i = 0; i < fetch->lane_count; i++)
	{
		DifsLane *lane = &fetch->lanes[i];
		DifsError error;

		for (int j = 0; lane->state == DIFS_LANE_SENT && j < lane->members.count; j++)
		{
			DifsTry *try = &lane->tries[j];

			if (try->link == NULL || difs_try_deadline_ms(try) > now_ms)
				continue;
			errno = 0;
			if (try->limit_ms <= now_ms)
				difs_error_set(&error, DIFS_ERROR_NETWORK, "%s: no whole answer within %lld ms",
							   difs_conn_label(try->link->conn), (long long) (now_ms - try->sent_ms));
			else
				difs_error_set(&error, DIFS_ERROR_NETWORK, "%s: no answer for %lld ms",
							   difs_conn_label(try->link->conn), (long long) try->patience_ms);
			link_lost(fetch, try->link, &error, false);
		}
		if (lane->state == DIFS_LANE_SENT && difs_lane_hedge_ms(lane) <= now_ms)
			(void) difs_lane_ask(lane); /* if there is nobody else, the lane goes on to wait */
	}
}
