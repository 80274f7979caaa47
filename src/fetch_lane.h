/*
 * fetch_lane.h - one request of a fetch, from server to server until it succeeds.
 *
 *	FREE -> TO_SEND -> SENT -> FREE          the bytes are where they belong
 *	           ^         |
 *	           |         |  all that were asked have failed, or there is another chunk to come
 *	           +---------+
 *	           |         |  all members have failed, but not for good
 *	           +- PAUSED <
 *
 * A SENT lane has asked one member, or, when that was silent for difs.hedge_delay,
 * more: one try for each.  The first good answer counts; the other tries are
 * dropped, and what still comes of them goes to nowhere.
 *
 * fetch.c moves lanes on, fetch_hedge.c begins and drops tries, fetch_member.c
 * chooses members and decides when there is no hope, fetch_reply.c checks what came
 * and puts it into place, fetch_staged.c takes what is not on any server.
 */
#ifndef DIFS_FETCH_LANE_H
#define DIFS_FETCH_LANE_H

#include "postgres.h"

#include "src/fetch_plan.h"
#include "src/inflate.h"
#include "src/link.h"
#include "src/servers.h"

typedef enum DifsLaneState
{
	DIFS_LANE_FREE = 0,
	DIFS_LANE_TO_SEND,
	DIFS_LANE_SENT,
	DIFS_LANE_PAUSED
} DifsLaneState;

/* A member that has been asked and has not answered. */
typedef struct DifsTry
{
	DifsLink *link; /* NULL: nothing is awaited */
	uint64 request;
	int64 sent_ms;
	int64 sent_us;	   /* the same, for pace.h */
	int ahead;		   /* requests that the server had to answer before */
	int64 patience_ms; /* silence that is borne */
	int64 limit_ms;	   /* when it is given up although bytes move */
	uint8 *packed;	   /* header of the segment, once it is there */
	uint32 first_block;
	char *scratch; /* where the payload goes, unless it goes straight to piece.out */
} DifsTry;

typedef struct DifsLane
{
	DifsLaneState state;
	DifsPiece piece;
	const char *path;	  /* for messages */
	uint32 window_bytes;  /* what it counts for in the window */
	DifsInflate *inflate; /* of a chunked piece */

	/* who has it, and what became of asking them; sets have one bit a member */
	DifsMembers members;
	uint8 order[DIFS_MAX_REPLICAS]; /* members, the best first */
	uint32 tried;					/* in this round */
	uint32 bad;						/* answered, and have no good copy */
	bool refreshed;					/* members have been read again since all had failed */
	DifsError *why;					/* the last failure of each */
	int64 began_ms;
	int64 try_ms;	 /* how long a try may take although bytes move */
	int64 resume_ms; /* PAUSED: until then */

	/* SENT */
	DifsTry tries[DIFS_MAX_REPLICAS]; /* one for each member */
	uint32 awaited;					  /* set of those that are under way */
	int direct;						  /* the one whose payload goes straight to piece.out, or -1 */
} DifsLane;

/* fetch_member.c */

/* Takes a piece on: finds out who has it. */
extern void difs_lane_begin(DifsLane *lane, const DifsPiece *piece, const char *path);

/* Another request for the same piece: no member has been asked yet. */
extern void difs_lane_begin_round(DifsLane *lane);

/* Who is to be asked now, and how long it may be silent; false if all have failed, or are being asked. */
extern bool difs_lane_choose(const DifsLane *lane, int *member, int64 *patience_ms);

/* A member that was asked failed. */
extern void difs_lane_note_failure(DifsLane *lane, int member, const DifsError *error);

/* All have failed: goes into PAUSED for another round, or errors out if that is hopeless or the time is over. */
extern void difs_lane_round_over(DifsLane *lane);

/* fetch_hedge.c */

/* Asks the next member that can be asked; false if there is none. */
extern bool difs_lane_ask(DifsLane *lane);

/* When a member that is silent will be helped by another, PG_INT64_MAX for never; and when a try is given up. */
extern int64 difs_lane_hedge_ms(const DifsLane *lane);
extern int64 difs_try_deadline_ms(const DifsTry *try);

/* The lane and member that await the reply to a request; false if nobody does any more. */
extern bool difs_lanes_find(DifsLane *lanes, int count, const DifsLink *link, uint64 request, DifsLane **lane, int *member);

/* A try is over. answered: its whole reply has come. */
extern void difs_lane_drop_try(DifsLane *lane, int member, bool answered);

/* All tries but that of one member are over. */
extern void difs_lane_drop_others(DifsLane *lane, int member);

/* The head of a reply, or a reply without a payload, has come: notes how long it took. */
extern void difs_try_note_pace(const DifsTry *try);

/* fetch_staged.c */

/* Takes the bytes of a piece from difs.staging. Errors out (XX001) if they are not there. */
extern void difs_lane_take_staged(DifsLane *lane);

/* fetch_reply.c */

/* Begins a chunked piece. True if its bytes could be had without asking anyone. */
extern bool difs_lane_begin_chunks(DifsLane *lane);

/* The head of the reply is there: checks it and says where the payload goes. */
extern bool difs_lane_take_head(DifsLane *lane, int member, const DifsFrame *frame, const uint8 *control,
								void **payload_into, DifsError *error);

/* Is a packed header that of the lane's segment? label is who sent it. */
extern bool difs_lane_check_header(const DifsLane *lane, const char *label, const uint8 *packed, size_t size,
								   DifsError *error);

/* The payload is there: checks it. */
extern bool difs_lane_check_payload(const DifsLane *lane, int member, DifsError *error);

/* Puts it into place; no other try may be under way. *done is false if there is another chunk to be asked for. */
extern bool difs_lane_deliver(DifsLane *lane, int member, bool *done, DifsError *error);

#endif
