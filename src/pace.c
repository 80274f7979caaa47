/*
 * pace.c - how quickly chunk servers answer (pace.h).
 *
 * State: one atomic number for each server in the database's entry in shared
 * memory (in this process's own memory where there is none, on a standby): the
 * average in the lower half, and in the upper one when it was made.  Who writes at
 * the same time as another may undo that one's step, which does not matter; the
 * two halves are always of one make.  Two servers whose ids are alike modulo the
 * size of the array share a number.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"

#include "src/pace.h"
#include "src/shmem.h"

#define FLOOR_US 500 /* quicker ones are alike: differences are chance */
#define CEILING_US (10 * 1000 * 1000)
#define STEP 4 /* a new measurement counts for a quarter */

static pg_atomic_uint64 *find_pace(int32 server);
static uint32 faded(uint64 pace, uint32 now_ms);

int64
difs_pace_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
difs_pace_note(int32 server, int64 microseconds)
{
	pg_atomic_uint64 *pace = find_pace(server);
	uint32 now_ms = (uint32) (difs_pace_clock_us() / 1000);
	int64 before = faded(pg_atomic_read_u64(pace), now_ms);
	int64 after = before + (Min(microseconds, CEILING_US) - before) / STEP;

	pg_atomic_write_u64(pace, (uint64) now_ms << 32 | (uint32) after);
}

uint32
difs_pace_of(int32 server)
{
	return Max(faded(pg_atomic_read_u64(find_pace(server)), (uint32) (difs_pace_clock_us() / 1000)), FLOOR_US);
}

static pg_atomic_uint64 *
find_pace(int32 server)
{
	static pg_atomic_uint64 own[DIFS_MAX_SERVERS];
	DifsDatabase *database = difs_database_find(MyDatabaseId);

	return &(database != NULL ? database->paces : own)[(uint32) server % DIFS_MAX_SERVERS];
}

static uint32
faded(uint64 pace, uint32 now_ms)
{
	uint32 seconds = (now_ms - (uint32) (pace >> 32)) / 1000;

	return (uint32) pace >> Min(seconds, 31);
}
