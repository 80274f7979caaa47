/*
 * counters.c - requests and what the streamer does, counted (counters.h).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "src/counters.h"
#include "src/settings.h"

static DifsCounters *area = NULL; /* difs_max_databases entries; NULL: not preloaded */
static Oid counted = InvalidOid;  /* for which database this process counts */
static bool sought = false;		  /* mine has been looked for */
static DifsCounters *mine = NULL;

static DifsCounters *own(void);
static DifsServerCounters *find_server(int32 server);
static DifsCounters *take_entry(Oid database);
static bool is_served(Oid database);
static int bucket_of(uint64 microseconds);

Size
difs_counters_shmem_size(void)
{
	return mul_size(difs_max_databases, sizeof(DifsCounters));
}

void
difs_counters_shmem_init(void *memory, bool found)
{
	area = memory;
	if (!found)
	{
		for (int i = 0; i < difs_max_databases; i++)
		{
			DifsCounters *counters = &area[i];

			counters->database = InvalidOid;
			memset(counters->cluster, 0, DIFS_UUID_SIZE);
			pg_atomic_init_u64(&counters->since, 0);
			for (int j = 0; j < DIFS_STREAMER_COUNTS; j++)
				pg_atomic_init_u64(&counters->streamer[j], 0);
			for (int j = 0; j < DIFS_MAX_SERVERS; j++)
			{
				pg_atomic_init_u32(&counters->servers[j].server, 0);
				for (int k = 0; k < DIFS_IO_KINDS * DIFS_IO_COUNTS; k++)
					pg_atomic_init_u64(&counters->servers[j].io[0][0] + k, 0);
			}
		}
		difs_counters_load();
	}
	if (!IsUnderPostmaster)
		on_shmem_exit(difs_counters_save, 0);
}

DifsCounters *
difs_counters_at(int index)
{
	return area != NULL && index < difs_max_databases ? &area[index] : NULL;
}

DifsCounters *
difs_counters_of(Oid database, const uint8 *cluster)
{
	static const uint8 unknown[DIFS_UUID_SIZE] = {0};
	DifsCounters *counters = NULL;

	if (area == NULL)
		return NULL;
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < difs_max_databases && counters == NULL; i++)
		if (area[i].database == database)
			counters = &area[i];
	if (counters == NULL)
		counters = take_entry(database);
	if (counters != NULL && cluster != NULL && memcmp(counters->cluster, cluster, DIFS_UUID_SIZE) != 0)
	{
		if (memcmp(counters->cluster, unknown, DIFS_UUID_SIZE) != 0)
			difs_counters_reset(counters);
		memcpy(counters->cluster, cluster, DIFS_UUID_SIZE);
	}
	LWLockRelease(&difs_shared->lock);
	return counters;
}

DifsServerCounters *
difs_counters_server(DifsCounters *counters, int32 server)
{
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsServerCounters *entry = &counters->servers[((uint32) server + i) % DIFS_MAX_SERVERS];
		uint32 holder = pg_atomic_read_u32(&entry->server);

		/* if somebody else is quicker, holder becomes whom he has entered */
		if (holder == 0 && pg_atomic_compare_exchange_u32(&entry->server, &holder, (uint32) server))
			return entry;
		if (holder == (uint32) server)
			return entry;
	}
	return NULL;
}

/* Servers keep their places, since somebody may be counting there. */
void
difs_counters_reset(DifsCounters *counters)
{
	for (int i = 0; i < DIFS_STREAMER_COUNTS; i++)
		pg_atomic_write_u64(&counters->streamer[i], 0);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
		for (int j = 0; j < DIFS_IO_KINDS * DIFS_IO_COUNTS; j++)
			pg_atomic_write_u64(&counters->servers[i].io[0][0] + j, 0);
	pg_atomic_write_u64(&counters->since, (uint64) GetCurrentTimestamp());
}

void
difs_counters_begin(Oid database, const uint8 *cluster)
{
	counted = database;
	mine = difs_counters_of(database, cluster);
	sought = true;
}

void
difs_counters_io(DifsIoKind kind, int32 server, uint64 bytes, int64 microseconds)
{
	DifsServerCounters *entry = find_server(server);
	uint64 took_us = Max(microseconds, 0); /* clocks are set back */

	if (entry == NULL)
		return;
	pg_atomic_fetch_add_u64(&entry->io[kind][DIFS_IO_BYTES], bytes);
	pg_atomic_fetch_add_u64(&entry->io[kind][DIFS_IO_TIME_US], took_us);
	pg_atomic_fetch_add_u64(&entry->io[kind][DIFS_IO_TOOK + bucket_of(took_us)], 1);
}

void
difs_counters_io_failed(DifsIoKind kind, int32 server, int requests)
{
	DifsServerCounters *entry = requests > 0 ? find_server(server) : NULL;

	if (entry != NULL)
		pg_atomic_fetch_add_u64(&entry->io[kind][DIFS_IO_ERRORS], requests);
}

void
difs_counters_streamer(DifsStreamerCount count, int64 amount)
{
	DifsCounters *counters = own();

	if (counters != NULL)
		pg_atomic_fetch_add_u64(&counters->streamer[count], Max(amount, 0));
}

/* This process's entry; NULL if there is none. It may have gone to another database since, when ours was being dropped. */
static DifsCounters *
own(void)
{
	if (!difs_track)
		return NULL;
	if (unlikely(!sought))
		difs_counters_begin(MyDatabaseId, NULL);
	return mine != NULL && mine->database == counted ? mine : NULL;
}

static DifsServerCounters *
find_server(int32 server)
{
	DifsCounters *counters = own();

	return counters != NULL ? difs_counters_server(counters, server) : NULL;
}

/* A free entry, or one whose database nobody serves any more. The lock is held. */
static DifsCounters *
take_entry(Oid database)
{
	DifsCounters *taken = NULL;

	for (int i = 0; i < difs_max_databases && taken == NULL; i++)
		if (area[i].database == InvalidOid)
			taken = &area[i];
	for (int i = 0; i < difs_max_databases && taken == NULL; i++)
		if (!is_served(area[i].database))
			taken = &area[i];
	if (taken == NULL)
		return NULL;
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
		pg_atomic_write_u32(&taken->servers[i].server, 0);
	difs_counters_reset(taken);
	memset(taken->cluster, 0, DIFS_UUID_SIZE);
	taken->database = database;
	return taken;
}

static bool
is_served(Oid database)
{
	for (int i = 0; i < difs_shared->database_count; i++)
		if (difs_shared->databases[i].state != DIFS_DATABASE_UNUSED && difs_shared->databases[i].database == database)
			return true;
	return false;
}

static int
bucket_of(uint64 microseconds)
{
	uint64 units = microseconds / DIFS_IO_FIRST_US;

	return units == 0 ? 0 : Min(pg_leftmost_one_pos64(units) + 1, DIFS_IO_BUCKETS - 1);
}
