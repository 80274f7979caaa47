/*
 * stream.c - slots: segments on their way to chunk servers (stream.h).
 *
 *	 DifsStream | slots[]
 *
 * The free list has a spinlock of its own; the queue of a database has another
 * (shmem.h).  A slot's state moves without a lock: each state has one writer, and
 * only the steps to FREE and out of KEPT can be taken by two (the streamer, and
 * the backend), so those are a compare-and-exchange.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "src/claim.h"
#include "src/compat.h"
#include "src/ids.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/slow.h"
#include "src/staging.h"
#include "src/stream.h"
#include "src/wait.h"

/* It is for the streamer to end a slot in time; its message is better than ours, and it may let us stage the segment. */
#define STREAMER_GRACE_MS 1000

#define URGENT_BYTES (32 * 1024)

typedef struct DifsStream
{
	slock_t lock; /* guards free_head and free_count */
	int32 free_head;
	int32 free_count;
	int32 slot_count;
	int32 guaranteed;		 /* slots that every backend can have whatever others do */
	ConditionVariable freed; /* broadcast when a slot comes back */
	DifsSlot slots[FLEXIBLE_ARRAY_MEMBER];
} DifsStream;

void (*difs_stream_reap_hook)(bool wait) = NULL;

static DifsStream *stream = NULL;
static int held = 0;	 /* slots of this backend */
static int filling = -1; /* the one that begin has returned and finish has not seen yet */

static int take_slot(void);
static bool try_take_slot(int *slot);
static void free_slot(int slot);
static bool leave(DifsSlot *slot, DifsSlotState from, DifsSlotState to);
static void give_back(int slot);
static void reap_ended(void);
static void enqueue(DifsDatabase *database, int slot);
static void call(DifsDatabase *database, DifsUrgency urgency);
static void wait_for_end(DifsSlot *slot);
pg_noreturn static void report_failed(const DifsSlot *slot);
pg_noreturn static void report_late(const DifsDatabase *database, const DifsSlot *slot);
static bool ended(uint32 state);

static int32
slot_count(void)
{
	return Max(difs_stream_slots, 4 * MaxBackends);
}

Size
difs_stream_shmem_size(void)
{
	return add_size(offsetof(DifsStream, slots), mul_size(slot_count(), sizeof(DifsSlot)));
}

void
difs_stream_shmem_init(void *area, bool found)
{
	stream = area;
	if (found)
		return;
	memset(stream, 0, difs_stream_shmem_size());
	SpinLockInit(&stream->lock);
	ConditionVariableInit(&stream->freed);
	stream->slot_count = stream->free_count = slot_count();
	stream->guaranteed = stream->slot_count / 4 / MaxBackends;
	for (int i = 0; i < stream->slot_count; i++)
	{
		pg_atomic_init_u32(&stream->slots[i].state, DIFS_SLOT_FREE);
		pg_atomic_init_u32(&stream->slots[i].abandoned, 0);
		pg_atomic_init_u32(&stream->slots[i].wake, 0);
		pg_atomic_init_u64(&stream->slots[i].deadline, 0);
		stream->slots[i].next = i + 1 < stream->slot_count ? i + 1 : -1;
	}
}

int
difs_stream_begin(const DifsClass *class, uint32 room_bytes, void **room)
{
	DifsDatabase *database = difs_database_require();
	DifsSlot *slot;

	difs_claim_require();
	difs_segment_refill(database);
	Assert(filling == -1);
	filling = take_slot();
	slot = difs_stream_slot(filling);
	slot->owner = DIFS_MY_PROC_NUMBER;
	slot->database = database - difs_shared->databases;
	slot->class = *class;
	slot->xid = U64FromFullTransactionId(GetTopFullTransactionId());
	slot->timeout_ms = difs_server_timeout;
	slot->payload_offset = difs_segment_packed_size(room_bytes);
	slot->run.units = 0;
	slot->stages = difs_staging_allowed(database, class);
	slot->run = difs_pool_take(slot->payload_offset + (Size) room_bytes, reap_ended);
	*room = (char *) difs_pool_address(slot->run) + slot->payload_offset;
	return filling;
}

void
difs_stream_finish(int number, uint32 raw_length, uint32 stored_length, DifsCodec codec)
{
	static uint32 block_crc[DIFS_MAX_BLOCKS];
	DifsSlot *slot = difs_stream_slot(number);
	uint8 *packed = difs_pool_address(slot->run);
	DifsSegment segment = {0};

	Assert(number == filling);
	difs_pool_trim(&slot->run, slot->payload_offset + (Size) stored_length);
	difs_segment_checksum(packed + slot->payload_offset, stored_length, block_crc, &slot->crc);
	slot->raw_length = segment.raw_length = raw_length;
	slot->stored_length = segment.stored_length = stored_length;
	slot->codec = segment.codec = codec;
	segment.crc = slot->crc;
	segment.xid = slot->xid;
	segment.segment = 1; /* the streamer sets segment and group each time it sends */
	difs_segment_pack(&segment, block_crc, packed);

	difs_slow_written_bytes += raw_length;
	slot->queued_at = GetCurrentTimestamp();
	difs_stream_allow(slot, 0);
	filling = -1;
	if (slot->stages && difs_staging_at_once(&difs_shared->databases[slot->database], &slot->class))
		difs_stream_end(number, DIFS_SLOT_KEPT);
	else
		enqueue(&difs_shared->databases[slot->database], number);
}

bool
difs_stream_ended(int number)
{
	return ended(pg_atomic_read_u32(&difs_stream_slot(number)->state));
}

bool
difs_stream_is_kept(int number)
{
	return pg_atomic_read_u32(&difs_stream_slot(number)->state) == DIFS_SLOT_KEPT;
}

bool
difs_stream_reap(int number, DifsStored *stored)
{
	DifsSlot *slot = difs_stream_slot(number);
	bool kept;

	wait_for_end(slot);
	pg_read_barrier();
	kept = leave(slot, DIFS_SLOT_KEPT, DIFS_SLOT_FILLING);
	if (!kept)
		wait_for_end(slot); /* the streamer may be taking the memory of a kept one back */
	if (pg_atomic_read_u32(&slot->state) == DIFS_SLOT_FAILED)
		report_failed(slot);
	stored->segment = kept ? 0 : slot->segment;
	stored->group = kept ? 0 : slot->group;
	stored->raw_length = slot->raw_length;
	stored->stored_length = slot->stored_length;
	stored->crc = slot->crc;
	stored->codec = slot->codec;
	if (!kept)
		difs_stream_release(number);
	return !kept;
}

void
difs_stream_release(int number)
{
	held--;
	pg_atomic_write_u32(&difs_stream_slot(number)->state, DIFS_SLOT_FREE);
	give_back(number);
}

void
difs_stream_abandon(int number)
{
	DifsSlot *slot = difs_stream_slot(number);

	if (number == filling)
		filling = -1;
	if (pg_atomic_read_u32(&slot->state) == DIFS_SLOT_FILLING)
	{
		difs_stream_release(number);
		return;
	}
	held--;
	pg_atomic_write_u32(&slot->abandoned, 1);
	pg_memory_barrier();
	if (leave(slot, DIFS_SLOT_STORED, DIFS_SLOT_FREE) || leave(slot, DIFS_SLOT_FAILED, DIFS_SLOT_FREE) ||
		leave(slot, DIFS_SLOT_KEPT, DIFS_SLOT_FREE))
		give_back(number);
}

void
difs_stream_cleanup(void)
{
	difs_pool_give_up();
	if (filling != -1)
		difs_stream_abandon(filling);
}

DifsSlot *
difs_stream_slot(int slot)
{
	return &stream->slots[slot];
}

int
difs_stream_slot_count(void)
{
	return stream->slot_count;
}

void
difs_stream_allow(DifsSlot *slot, uint64 bytes_before)
{
	int64 allowed_ms = INT64CONST(2) * slot->timeout_ms + (bytes_before + slot->stored_length) / DIFS_SLOWEST_BYTES_PER_MS;

	pg_atomic_write_u64(&slot->deadline, (uint64) TimestampTzPlusMilliseconds(slot->queued_at, allowed_ms));
}

TimestampTz
difs_stream_deadline(DifsSlot *slot)
{
	return (TimestampTz) pg_atomic_read_u64(&slot->deadline);
}

bool
difs_stream_take_hurry(DifsDatabase *database)
{
	return pg_atomic_read_u32(&database->queue_hurries) != 0 && pg_atomic_exchange_u32(&database->queue_hurries, 0) != 0;
}

int
difs_stream_pop(DifsDatabase *database)
{
	int slot;

	SpinLockAcquire(&database->queue_lock);
	slot = database->queue_head;
	if (slot != -1)
	{
		database->queue_head = stream->slots[slot].next;
		if (database->queue_head == -1)
			database->queue_tail = -1;
		database->queue_bytes -= stream->slots[slot].stored_length;
	}
	SpinLockRelease(&database->queue_lock);
	return slot;
}

bool
difs_stream_queue_empty(DifsDatabase *database)
{
	bool empty;

	SpinLockAcquire(&database->queue_lock);
	empty = database->queue_head == -1;
	SpinLockRelease(&database->queue_lock);
	return empty;
}

void
difs_stream_end(int number, DifsSlotState state)
{
	DifsSlot *slot = difs_stream_slot(number);
	int owner = slot->owner;

	if (state == DIFS_SLOT_KEPT)
		slot->kept_at = GetCurrentTimestamp();
	else
	{
		difs_pool_return(slot->run);
		slot->run.units = 0;
	}
	pg_write_barrier();
	pg_atomic_write_u32(&slot->state, state);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&slot->abandoned))
	{
		if (leave(slot, state, DIFS_SLOT_FREE))
			give_back(number);
	}
	else if (pg_atomic_read_u32(&slot->wake))
		difs_wake(owner);
}

/* Idle transactions must not hold memory for ever that others wait for. */
void
difs_stream_revoke_kept(DifsDatabase *database)
{
	int mine = database - difs_shared->databases;
	TimestampTz now = GetCurrentTimestamp();

	if (!difs_pool_is_scarce())
		return;
	for (int i = 0; i < stream->slot_count; i++)
	{
		DifsSlot *slot = &stream->slots[i];

		if (pg_atomic_read_u32(&slot->state) != DIFS_SLOT_KEPT || slot->database != mine ||
			!TimestampDifferenceExceeds(slot->kept_at, now, slot->timeout_ms))
			continue;
		if (leave(slot, DIFS_SLOT_KEPT, DIFS_SLOT_SENT))
			difs_stream_end(i, DIFS_SLOT_FAILED);
	}
}

/* Takes a free slot, by the rule at the head of stream.h. */
static int
take_slot(void)
{
	int64 began_us;
	int slot;

	while (!try_take_slot(&slot))
	{
		if (held > 0)
		{
			difs_stream_reap_hook(true);
			continue;
		}
		/* all are on their way for backends that no longer want them, or taken by guaranteed shares: they come back */
		began_us = difs_wait_begin();
		ConditionVariablePrepareToSleep(&stream->freed);
		if (try_take_slot(&slot))
			break;
		ConditionVariableSleep(&stream->freed, difs_wait_event(DIFS_WAIT_POOL));
		difs_wait_end(DIFS_WAIT_POOL, began_us);
	}
	ConditionVariableCancelSleep();
	pg_atomic_write_u32(&stream->slots[slot].abandoned, 0);
	pg_atomic_write_u32(&stream->slots[slot].wake, 0);
	pg_atomic_write_u32(&stream->slots[slot].state, DIFS_SLOT_FILLING);
	held++;
	return slot;
}

static bool
try_take_slot(int *slot)
{
	SpinLockAcquire(&stream->lock);
	if (stream->free_count == 0 || (held >= stream->guaranteed && stream->free_count <= stream->slot_count / 4))
		*slot = -1;
	else
	{
		*slot = stream->free_head;
		stream->free_head = stream->slots[*slot].next;
		stream->free_count--;
	}
	SpinLockRelease(&stream->lock);
	return *slot != -1;
}

static void
free_slot(int slot)
{
	bool was_scarce;

	SpinLockAcquire(&stream->lock);
	stream->slots[slot].next = stream->free_head;
	stream->free_head = slot;
	was_scarce = stream->free_count++ <= stream->slot_count / 4;
	SpinLockRelease(&stream->lock);
	if (was_scarce)
		ConditionVariableBroadcast(&stream->freed);
}

/* Takes a slot from a state to another; false if somebody else did, or it is in another state. */
static bool
leave(DifsSlot *slot, DifsSlotState from, DifsSlotState to)
{
	uint32 expected = from;

	return pg_atomic_compare_exchange_u32(&slot->state, &expected, to);
}

/* A slot that is FREE, but not among the free ones yet. */
static void
give_back(int number)
{
	DifsSlot *slot = &stream->slots[number];

	if (slot->run.units > 0)
		difs_pool_return(slot->run);
	slot->run.units = 0;
	free_slot(number);
}

/* While we wait for pool memory, segments of ours that are to be staged may hold it. */
static void
reap_ended(void)
{
	if (held > 1)
		difs_stream_reap_hook(false);
}

static void
enqueue(DifsDatabase *database, int number)
{
	DifsSlot *slot = difs_stream_slot(number);
	DifsUrgency urgency = held > 1 ? DIFS_SEGMENT_PATIENT : DIFS_SEGMENT_NORMAL;

	slot->next = -1;
	pg_atomic_write_u32(&slot->state, DIFS_SLOT_QUEUED);
	SpinLockAcquire(&database->queue_lock);
	if (database->queue_tail == -1)
		database->queue_head = number;
	else
		stream->slots[database->queue_tail].next = number;
	database->queue_tail = number;
	database->queue_bytes += slot->stored_length;
	if (database->queue_bytes >= DIFS_LINGER_BYTES)
		urgency = DIFS_SEGMENT_NORMAL;
	SpinLockRelease(&database->queue_lock);
	call(database, slot->stored_length >= URGENT_BYTES ? DIFS_SEGMENT_URGENT : urgency);
}

/* Calls the streamer to the queue. */
static void
call(DifsDatabase *database, DifsUrgency urgency)
{
	if (urgency != DIFS_SEGMENT_PATIENT)
		pg_atomic_write_u32(&database->queue_hurries, 1);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&database->streamer_sleep) >= urgency &&
		pg_atomic_exchange_u32(&database->streamer_sleep, DIFS_STREAMER_AWAKE) != DIFS_STREAMER_AWAKE)
		difs_wake(database->streamer);
}

/* Sleeps until a slot has ended. The streamer sets our latch only for slots with "wake" set, so a transaction that waits for its last segment
 * first is woken once, not once for each. */
static void
wait_for_end(DifsSlot *slot)
{
	DifsDatabase *database = &difs_shared->databases[slot->database];
	TimestampTz streamer_seen = GetCurrentTimestamp();

	for (;;)
	{
		TimestampTz now;
		TimestampTz limit;
		uint32 state;
		int64 began_us;

		pg_atomic_write_u32(&slot->wake, 1);
		pg_memory_barrier();
		state = pg_atomic_read_u32(&slot->state);
		if (ended(state))
			return;
		if (state == DIFS_SLOT_QUEUED)
			call(database, DIFS_SEGMENT_NORMAL);
		now = GetCurrentTimestamp();
		if (database->streamer != -1)
			streamer_seen = now;
		/* a later deadline may have been set since, as the streamer knows what is to be sent before */
		limit = Min(TimestampTzPlusMilliseconds(streamer_seen, difs_server_timeout), difs_stream_deadline(slot));
		limit = TimestampTzPlusMilliseconds(limit, STREAMER_GRACE_MS);
		if (now >= limit)
			report_late(database, slot);
		began_us = difs_wait_begin();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(now, limit) + 1, difs_wait_event(DIFS_WAIT_STREAMER));
		difs_wait_end(DIFS_WAIT_STREAMER, began_us);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static bool
ended(uint32 state)
{
	return state == DIFS_SLOT_STORED || state == DIFS_SLOT_FAILED || state == DIFS_SLOT_KEPT;
}

static void
report_failed(const DifsSlot *slot)
{
	ereport(ERROR,
			(errcode(difs_report_sqlstate(slot->error_code)),
			 errmsg("could not store a segment on %d chunk server(s) of tier \"%s\"", slot->class.replicas, slot->class.tier),
			 errdetail("%s", slot->error_text),
			 errhint("See the view difs.servers. The transaction is rolled back; nothing of it remains.")));
}

static void
report_late(const DifsDatabase *database, const DifsSlot *slot)
{
	ereport(ERROR,
			(errcode(DIFS_ERRCODE_IO),
			 errmsg("no segment was stored within %ld ms", TimestampDifferenceMilliseconds(slot->queued_at, GetCurrentTimestamp())),
			 database->streamer == -1 ?
				 errdetail("The streamer of this database is not running.") :
				 errdetail("The streamer of this database does not say what became of it."),
			 errhint("See the view difs.servers and the server log.")));
}
