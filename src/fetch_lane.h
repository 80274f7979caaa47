/*
 * fetch_lane.h - one request of a fetch, from server to server until it succeeds.
 *
 *	FREE -> TO_SEND -> SENT -> FREE          the bytes are where they belong
 *	           ^         |
 *	           |         |  that member failed, or there is another chunk to come
 *	           +---------+
 *	           |         |  all members have failed, but not for good
 *	           +- PAUSED <
 *
 * fetch.c moves lanes on, fetch_member.c chooses members and decides when there is
 * no hope, fetch_reply.c checks what came and puts it into place.
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

typedef struct DifsLane
{
	DifsLaneState state;
	DifsPiece	piece;
	const char *path;			/* for messages */
	uint32		window_bytes;	/* what it counts for in the window */
	DifsInflate *inflate;		/* of a chunked piece */

	/* who has it, and what became of asking them; sets have one bit a member */
	DifsMembers members;
	uint8		order[DIFS_MAX_REPLICAS];	/* members, the best first */
	uint32		tried;			/* in this round */
	uint32		bad;			/* answered, and have no good copy */
	bool		refreshed;		/* members have been read again since all had failed */
	DifsError  *why;			/* the last failure of each */
	int64		began_ms;
	int64		resume_ms;		/* PAUSED: until then */

	/* SENT */
	int			member;			/* index of who was asked */
	DifsLink   *link;
	uint64		request;
	int64		sent_ms;
	int64		patience_ms;	/* silence that is borne */
	uint8	   *packed;			/* header of the segment, once it is there */
	uint32		first_block;
	char	   *scratch;		/* where the payload goes, unless it goes straight to piece.out */
} DifsLane;

/* fetch_member.c */

/* Takes a piece on: finds out who has it. */
extern void difs_lane_begin(DifsLane *lane, const DifsPiece *piece, const char *path);

/* Another request for the same piece: no member has been asked yet. */
extern void difs_lane_begin_round(DifsLane *lane);

/* Sets member (and patience_ms) to who is to be asked now; false if all have failed in this round. */
extern bool difs_lane_choose(DifsLane *lane);

/* The member that was asked failed. */
extern void difs_lane_note_failure(DifsLane *lane, const DifsError *error);

/* All have failed: goes into PAUSED for another round, or errors out if that is hopeless or the time is over. */
extern void difs_lane_round_over(DifsLane *lane);

/* fetch_reply.c */

/* Begins a chunked piece. True if its bytes could be had without asking anyone. */
extern bool difs_lane_begin_chunks(DifsLane *lane);

/* The head of the reply is there: checks it and says where the payload goes. */
extern bool difs_lane_take_head(DifsLane *lane, const DifsFrame *frame, const uint8 *control,
								void **payload_into, DifsError *error);

/* The payload is there: checks it and puts it into place. *done is false if there is another chunk to be asked for. */
extern bool difs_lane_take_payload(DifsLane *lane, bool *done, DifsError *error);

/* Frees what the two have allocated. */
extern void difs_lane_drop_reply(DifsLane *lane);

#endif
