/*
 * stream.h - handing segments to the streamer, and hearing what became of them.
 *
 * A *slot* is one segment on its way.  Its life:
 *
 *	FREE -> FILLING    a backend took it and writes its bytes into the pool
 *	     -> QUEUED     it is in its database's queue
 *	     -> SENT       the streamer has taken it and sends it to the members of a block group
 *	     -> STORED     all members have acknowledged: group and segment are in the slot    -> FREE by its backend
 *	     -> FAILED     it could not be stored in time: the reason is in the slot           -> FREE by its backend
 *	     -> KEPT       the same, but its backend may stage it: the pool memory is still there
 *	                   -> FILLING (its backend has claimed it) -> FREE
 *
 *	A slot whose backend no longer wants it (ROLLBACK, exit) gets "abandoned" set: the streamer frees it instead.
 *
 * Who may write what: FILLING belongs to the backend, QUEUED and SENT to the
 * streamer (but for "abandoned"), STORED, FAILED and KEPT to the backend again.
 * The state is written last, with a barrier.  Pool memory is given back by the
 * streamer just before it says STORED or FAILED, so an idle transaction holds no
 * pool memory, only small slots.  The exception is KEPT: a backend that waits for
 * pool memory stages its own first, and the streamer takes the memory back, and
 * lets the segment fail, if others wait for it while its backend is idle.
 *
 * Slots are shared out so that idle transactions cannot starve others: a backend
 * that already holds its guaranteed share takes another slot only while more
 * than a quarter of all are free; otherwise it waits for one of its own to
 * finish and reaps it.  So every backend can always go on with its guaranteed
 * share, whatever the others do.
 *
 * A segment has ended, STORED, FAILED or KEPT, by its deadline: twice its backend's
 * difs.server_timeout after it was queued, and the time that it takes to send what
 * was to be sent before it, and itself, at DIFS_SLOWEST_BYTES_PER_MS.  However many
 * tries there were, and although bytes may still move.
 *
 * The streamer may die and be started again: it then finds QUEUED and SENT slots
 * and sends them anew, under new segment ids, from the same pool memory.
 */
#ifndef DIFS_STREAM_H
#define DIFS_STREAM_H

#include "postgres.h"

#include "src/pool.h"
#include "src/shmem.h"

typedef enum DifsSlotState
{
	DIFS_SLOT_FREE = 0,
	DIFS_SLOT_FILLING,
	DIFS_SLOT_QUEUED,
	DIFS_SLOT_SENT,
	DIFS_SLOT_STORED,
	DIFS_SLOT_FAILED,
	DIFS_SLOT_KEPT
} DifsSlotState;

typedef struct DifsSlot
{
	pg_atomic_uint32 state; /* DifsSlotState */
	pg_atomic_uint32 abandoned;
	pg_atomic_uint32 wake; /* set by a backend that sleeps until this slot has ended */
	int32 next;			   /* free list or queue; -1 ends it */
	int32 owner;		   /* proc number of the backend */
	int32 database;		   /* index into databases[] */
	DifsClass class;
	DifsRun run; /* packed header, then at payload_offset the stored form */
	uint32 payload_offset;
	uint64 xid;
	TimestampTz queued_at;
	int32 timeout_ms;		   /* how long it may wait for a group: the backend's difs.server_timeout */
	pg_atomic_uint64 deadline; /* TimestampTz: it has ended by then, one way or another */
	bool stages;			   /* rather than FAILED it shall be KEPT, if staging helps against the reason */
	TimestampTz kept_at;

	/* the segment, and where it went */
	uint32 raw_length;
	uint32 stored_length;
	uint32 crc;
	uint8 codec;
	uint64 segment;
	uint64 group;

	/* why it FAILED, or is KEPT */
	int32 error_code; /* DifsErrorCode */
	char error_text[DIFS_ERROR_TEXT_SIZE];
} DifsSlot;

/*
 * Small segments leave together, because wake-ups, packets and syncs cost more than their bytes.  A segment is
 *
 *	URGENT	   if it is large: it is sent at once
 *	NORMAL	   if its transaction has no other on its way, or waits for it: it is sent at once, or, while enough is on its way to keep
 *			   the servers busy, when the next answer has come (in the manner of Nagle's algorithm, RFC 896)
 *	PATIENT	   if its transaction goes on meanwhile: it is sent with the next that is not, when DIFS_LINGER_BYTES have come
 *			   together, or after DIFS_PATIENCE_MS
 *
 * The streamer's sleep says whom it is woken for: by those at least as urgent.
 */
typedef enum DifsUrgency
{
	DIFS_SEGMENT_URGENT = 1,
	DIFS_SEGMENT_NORMAL,
	DIFS_SEGMENT_PATIENT
} DifsUrgency;

typedef enum DifsStreamerSleep
{
	DIFS_STREAMER_AWAKE = 0,					 /* nobody: it looks at the queue before it sleeps */
	DIFS_STREAMER_AWAITS = DIFS_SEGMENT_URGENT,	 /* enough is on its way; for DIFS_LINGER_MS at most */
	DIFS_STREAMER_LINGERS = DIFS_SEGMENT_NORMAL, /* patient segments are in the queue; for DIFS_PATIENCE_MS */
	DIFS_STREAMER_SLEEPS = DIFS_SEGMENT_PATIENT
} DifsStreamerSleep;

#define DIFS_LINGER_MS 2
#define DIFS_PATIENCE_MS 8
#define DIFS_LINGER_BYTES (256 * 1024)

/* What became of a segment: the part of a manifest row that the streamer knows. */
typedef struct DifsStored
{
	uint64 segment;
	uint64 group;
	uint32 raw_length;
	uint32 stored_length;
	uint32 crc;
	uint8 codec;
} DifsStored;

extern Size difs_stream_shmem_size(void);
extern void difs_stream_shmem_init(void *area, bool found);

/*
 * Backend's side.
 *
 * begin: takes a slot and pool memory, and returns where the stored form is to be written (room_bytes of room). May wait; interruptible.
 * finish: gives back what is not used, computes the checksums and queues it. Between the two no other slot can be begun.
 */
extern int difs_stream_begin(const DifsClass *class, uint32 room_bytes, void **room);
extern void difs_stream_finish(int slot, uint32 raw_length, uint32 stored_length, DifsCodec codec);

/* Has it ended? Without waiting. */
extern bool difs_stream_ended(int slot);

/* Waits until the slot has ended; interruptible; errors out if it failed, if the streamer is gone for longer than difs.server_timeout, or does
 * not keep to the deadline.
 * True: it is stored, *stored is filled in and the slot is free. False: it is to be staged; segment and group in *stored are 0, and the slot and
 * its memory are the caller's until difs_stream_release(). After an error, the slot is still the caller's. */
extern bool difs_stream_reap(int slot, DifsStored *stored);
extern void difs_stream_release(int slot);

/* Is it to be staged? Without waiting. */
extern bool difs_stream_is_kept(int slot);

/* No longer wanted, whatever its state. Never errors. */
extern void difs_stream_abandon(int slot);

/* After an error: drops a slot that begin has returned and finish has not seen. Never errors. */
extern void difs_stream_cleanup(void);

/* Called when this backend must wait for one of its own slots (their holder, pending.c, reaps at least one), or, with wait false, for pool memory
 * (it reaps what has ended). */
extern void (*difs_stream_reap_hook)(bool wait);

/* Streamer's side: used by worker/streamer.c only. */

/* Sets the deadline of a slot that is queued, before which so many bytes are to be sent. */
extern void difs_stream_allow(DifsSlot *slot, uint64 bytes_before);
extern TimestampTz difs_stream_deadline(DifsSlot *slot);
extern DifsSlot *difs_stream_slot(int slot);
extern int difs_stream_slot_count(void);
extern bool difs_stream_take_hurry(DifsDatabase *database); /* somebody has called for the queue to be sent since this was asked last */
extern int difs_stream_pop(DifsDatabase *database);			/* oldest queued slot, or -1 */
extern bool difs_stream_queue_empty(DifsDatabase *database);
extern void difs_stream_end(int slot, DifsSlotState state);	 /* gives the memory back (but for KEPT), publishes, wakes the owner or frees */
extern void difs_stream_revoke_kept(DifsDatabase *database); /* KEPT too long while others need the memory: FAILED */

/* stream_count.c: what is on its way for a database now, for statistics. */
typedef struct DifsStreamCount
{
	int64 queued;
	int64 queued_bytes;
	int64 in_flight;
	int64 in_flight_bytes;
	TimestampTz oldest; /* since when the oldest of them has been; DT_NOEND: there is none */
} DifsStreamCount;

extern void difs_stream_count(int database, DifsStreamCount *count); /* index into databases[] */

#endif
