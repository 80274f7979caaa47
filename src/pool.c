/*
 * pool.c - shared memory for the bytes of segments on their way (pool.h).
 *
 *	 DifsPool | taken[] : one bit a unit, 1 = in use | padding to 4 KiB | units
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_bitutils.h"
#include "storage/condition_variable.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/pool.h"
#include "src/settings.h"
#include "src/wait.h"

#define PATIENCE_MS 100

typedef struct DifsPool
{
	slock_t lock; /* guards taken[], lowest and patient */
	uint32 units;
	uint32 lowest;			/* no unit below this one is free */
	int patient;			/* proc number of the process to be served before all others, or -1 */
	ConditionVariable room; /* broadcast when memory comes back or the patient one is served */
	uint64 taken[FLEXIBLE_ARRAY_MEMBER];
} DifsPool;

static DifsPool *pool = NULL;
static char *units = NULL;

static uint32 unit_count(void);
static Size header_size(void);
static bool try_take(uint32 count, DifsRun *run);
static bool find_free(uint32 count, uint32 *first);
static uint32 next_with(uint32 from, uint32 limit, bool taken);
static void mark(DifsRun run, bool taken);
static bool become_patient(void);

Size
difs_pool_shmem_size(void)
{
	return add_size(header_size(), mul_size(unit_count(), DIFS_POOL_UNIT));
}

void
difs_pool_shmem_init(void *area, bool found)
{
	pool = area;
	units = (char *) TYPEALIGN(DIFS_POOL_UNIT, (char *) area + header_size() - DIFS_POOL_UNIT);
	if (found)
		return;
	memset(pool, 0, header_size() - DIFS_POOL_UNIT);
	SpinLockInit(&pool->lock);
	ConditionVariableInit(&pool->room);
	pool->units = unit_count();
	pool->patient = -1;
}

Size
difs_pool_bytes(void)
{
	return (Size) pool->units * DIFS_POOL_UNIT;
}

DifsRun
difs_pool_take(Size bytes, void (*meanwhile)(void))
{
	uint32 count = (bytes + DIFS_POOL_UNIT - 1) / DIFS_POOL_UNIT;
	DifsRun run;
	TimestampTz began;

	if (try_take(count, &run))
		return run;
	if (bytes > difs_pool_bytes())
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a segment of %zu bytes does not fit into the stream pool of %zu bytes", bytes, difs_pool_bytes()),
				 errhint("Raise difs.stream_pool_size, or use a volume with a smaller segment size.")));

	began = GetCurrentTimestamp();
	ConditionVariablePrepareToSleep(&pool->room);
	while (!try_take(count, &run))
	{
		int64 began_us;

		/* room for many small waiters may never be room for a large one: after a while it goes first */
		if (TimestampDifferenceExceeds(began, GetCurrentTimestamp(), PATIENCE_MS))
			become_patient();
		meanwhile();
		began_us = difs_wait_begin();
		ConditionVariableTimedSleep(&pool->room, PATIENCE_MS, difs_wait_event(DIFS_WAIT_POOL));
		difs_wait_end(DIFS_WAIT_POOL, began_us);
	}
	ConditionVariableCancelSleep();
	difs_pool_give_up();
	return run;
}

void
difs_pool_trim(DifsRun *run, Size bytes)
{
	uint32 keep = (bytes + DIFS_POOL_UNIT - 1) / DIFS_POOL_UNIT;
	DifsRun rest = {run->first + keep, run->units - keep};

	if (rest.units == 0)
		return;
	run->units = keep;
	difs_pool_return(rest);
}

void
difs_pool_return(DifsRun run)
{
	SpinLockAcquire(&pool->lock);
	mark(run, false);
	pool->lowest = Min(pool->lowest, run.first);
	SpinLockRelease(&pool->lock);
	ConditionVariableBroadcast(&pool->room);
}

void *
difs_pool_address(DifsRun run)
{
	return units + (Size) run.first * DIFS_POOL_UNIT;
}

bool
difs_pool_is_scarce(void)
{
	bool scarce;

	SpinLockAcquire(&pool->lock);
	scarce = pool->patient != -1;
	SpinLockRelease(&pool->lock);
	return scarce;
}

void
difs_pool_give_up(void)
{
	bool mine;

	if (pool == NULL || MyProc == NULL)
		return;
	SpinLockAcquire(&pool->lock);
	mine = pool->patient == DIFS_MY_PROC_NUMBER;
	if (mine)
		pool->patient = -1;
	SpinLockRelease(&pool->lock);
	if (mine)
		ConditionVariableBroadcast(&pool->room);
}

static uint32
unit_count(void)
{
	return (Size) difs_stream_pool_size * 1024 / DIFS_POOL_UNIT;
}

/* Header and bitmap, with room to align what follows. */
static Size
header_size(void)
{
	return offsetof(DifsPool, taken) + (unit_count() / 64 + 1) * sizeof(uint64) + DIFS_POOL_UNIT;
}

static bool
try_take(uint32 count, DifsRun *run)
{
	uint32 first;
	bool taken = false;

	SpinLockAcquire(&pool->lock);
	if ((pool->patient == -1 || pool->patient == DIFS_MY_PROC_NUMBER) && find_free(count, &first))
	{
		run->first = first;
		run->units = count;
		mark(*run, true);
		if (first == pool->lowest)
			pool->lowest = first + count;
		taken = true;
	}
	SpinLockRelease(&pool->lock);
	return taken;
}

/* The lowest run of that many free units. At most one step for each change from free to taken in the bitmap. */
static bool
find_free(uint32 count, uint32 *first)
{
	uint32 at = pool->lowest;

	for (;;)
	{
		uint32 end;

		at = next_with(at, pool->units, false);
		if (at + count > pool->units)
			return false;
		end = next_with(at, at + count, true);
		if (end - at >= count)
		{
			*first = at;
			return true;
		}
		at = end;
	}
}

/* The first unit at or after from that is taken, or free; limit if there is none before it. */
static uint32
next_with(uint32 from, uint32 limit, bool taken)
{
	uint32 word = from / 64;
	uint64 bits;

	if (from >= limit)
		return limit;
	bits = (taken ? pool->taken[word] : ~pool->taken[word]) & (~UINT64CONST(0) << (from % 64));
	while (bits == 0)
	{
		if (++word * 64 >= limit)
			return limit;
		bits = taken ? pool->taken[word] : ~pool->taken[word];
	}
	return Min(word * 64 + pg_rightmost_one_pos64(bits), limit);
}

static void
mark(DifsRun run, bool taken)
{
	uint32 at = run.first;
	uint32 end = run.first + run.units;

	while (at < end)
	{
		uint32 bits = Min(64 - at % 64, end - at);
		uint64 mask = (bits == 64 ? ~UINT64CONST(0) : ((UINT64CONST(1) << bits) - 1)) << (at % 64);

		if (taken)
			pool->taken[at / 64] |= mask;
		else
			pool->taken[at / 64] &= ~mask;
		at += bits;
	}
}

static bool
become_patient(void)
{
	bool mine;

	SpinLockAcquire(&pool->lock);
	if (pool->patient == -1)
		pool->patient = DIFS_MY_PROC_NUMBER;
	mine = pool->patient == DIFS_MY_PROC_NUMBER;
	SpinLockRelease(&pool->lock);
	return mine;
}
