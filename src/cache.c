/*
 * cache.c - the shared cache of hot segments (cache.h).
 *
 * Shared state: the area of difs_cache_shmem_init(), a row of partitions
 * (cache_partition.h) and behind them their memory.  Its layout follows from
 * difs.cache_size, so every process finds it by itself.
 *
 * State of this process: the block that it had last.  Who reads a block in small
 * pieces, one after the other, asks for it once, and that is how it counts; or a
 * scan of small pieces would make all of a file hot.
 */
#include "postgres.h"

#include "funcapi.h"
#include "port/pg_bitutils.h"

#include "common/segment.h"
#include "src/cache.h"
#include "src/cache_partition.h"
#include "src/settings.h"

#define PARTITION_BYTES (4 * 1024 * 1024)
#define MAX_PARTITIONS 1024
#define LARGE_SHARE 8 /* a reading of more than an eighth does not stay */
#define MOST_USES 3

/* The layout. */
typedef struct Layout
{
	uint32 partitions; /* a power of 2 */
	uint32 pages;	   /* in each */
	Size partition_size;
	Size memory_offset;
	Size size;
} Layout;

static char *area = NULL;
static Layout layout;
static uint64 last_hash = 0;

static Layout lay_out(void);
static void view_partition(uint32 number, DifsCacheView *view);
static void make_key(const uint8 *cluster, const DifsStored *stored, DifsCacheKey *key);
static uint64 hash_key(const DifsCacheKey *key);
static bool has_block(const DifsCacheKey *key, uint32 end);
static bool read_block(const DifsCacheKey *key, uint32 offset, uint32 length, DifsCaching caching, char *out);
static void count_use(DifsCacheBlock *block);
static void keep_block(const DifsCacheKey *key, const char *raw, uint32 length, bool ahead);

Size
difs_cache_shmem_size(void)
{
	return lay_out().size;
}

/* The first process initialises it, the others only learn where it is. */
void
difs_cache_shmem_init(void *shared, bool found)
{
	int *tranche;

	layout = lay_out();
	area = (char *) TYPEALIGN(DIFS_CACHE_PAGE, shared);
	tranche = (int *) area;
	if (!found)
	{
		*tranche = LWLockNewTrancheId();
		for (uint32 i = 0; i < layout.partitions; i++)
		{
			DifsCacheView view;

			view_partition(i, &view);
			difs_cache_partition_init(&view, *tranche);
		}
	}
	LWLockRegisterTranche(*tranche, "difs_cache");
}

DifsCaching
difs_cache_for(int64 bytes)
{
	if (area == NULL)
		return DIFS_CACHING_NONE;
	return bytes <= (int64) difs_cache_size * 1024 * 1024 / LARGE_SHARE ? DIFS_CACHING_KEEP : DIFS_CACHING_LOOK;
}

bool
difs_cache_has(const uint8 *cluster, const DifsStored *stored, uint32 raw_offset, uint32 length)
{
	uint32 end = raw_offset + length;
	DifsCacheKey key;

	if (area == NULL)
		return false;
	make_key(cluster, stored, &key);
	for (uint32 at = raw_offset - raw_offset % DIFS_BLOCK_SIZE; at < end; at += DIFS_BLOCK_SIZE)
	{
		key.block = at / DIFS_BLOCK_SIZE;
		if (!has_block(&key, Min(end - at, DIFS_BLOCK_SIZE)))
			return false;
	}
	return true;
}

uint32
difs_cache_read(const uint8 *cluster, const DifsStored *stored, uint32 raw_offset, uint32 length,
				DifsCaching caching, char *out)
{
	uint32 done = 0;
	DifsCacheKey key;

	if (area == NULL || caching == DIFS_CACHING_NONE)
		return 0;
	make_key(cluster, stored, &key);
	while (done < length)
	{
		uint32 offset = (raw_offset + done) % DIFS_BLOCK_SIZE;
		uint32 part = Min(length - done, DIFS_BLOCK_SIZE - offset);

		key.block = (raw_offset + done) / DIFS_BLOCK_SIZE;
		if (!read_block(&key, offset, part, caching, out == NULL ? NULL : out + done))
			break;
		done += part;
	}
	return done;
}

void
difs_cache_keep(const uint8 *cluster, const DifsStored *stored, uint32 raw_offset, uint32 length, const char *raw,
				uint32 wanted_offset, uint32 wanted_length)
{
	DifsCacheKey key;

	Assert(raw_offset % DIFS_BLOCK_SIZE == 0);
	Assert(length % DIFS_BLOCK_SIZE == 0 || raw_offset + length == stored->raw_length);
	if (area == NULL)
		return;
	make_key(cluster, stored, &key);
	for (uint32 done = 0; done < length; done += DIFS_BLOCK_SIZE)
	{
		uint32 at = raw_offset + done;
		uint32 part = Min(length - done, DIFS_BLOCK_SIZE);

		key.block = at / DIFS_BLOCK_SIZE;
		keep_block(&key, raw + done, part, at + part <= wanted_offset || at >= wanted_offset + wanted_length);
	}
}

/* One cache line for the tranche, the partitions, and their memory at a page's boundary; room to begin at one. Size 0 if there is to be none. */
static Layout
lay_out(void)
{
	Size bytes = (Size) difs_cache_size * 1024 * 1024;
	Layout made = {0};

	if (bytes == 0)
		return made;
	made.partitions = pg_prevpower2_32(Min(Max(bytes / PARTITION_BYTES, 1), MAX_PARTITIONS));
	made.pages = bytes / made.partitions / DIFS_CACHE_PAGE;
	made.partition_size = difs_cache_partition_size(made.pages);
	made.memory_offset = TYPEALIGN(DIFS_CACHE_PAGE, PG_CACHE_LINE_SIZE + made.partitions * made.partition_size);
	made.size = add_size(DIFS_CACHE_PAGE + made.memory_offset,
						 mul_size((Size) made.partitions * made.pages, DIFS_CACHE_PAGE));
	return made;
}

static void
view_partition(uint32 number, DifsCacheView *view)
{
	difs_cache_partition_view(view, area + PG_CACHE_LINE_SIZE + number * layout.partition_size, layout.pages,
							  area + layout.memory_offset + (Size) number * layout.pages * DIFS_CACHE_PAGE);
}

/* All but the block. */
static void
make_key(const uint8 *cluster, const DifsStored *stored, DifsCacheKey *key)
{
	StaticAssertStmt(sizeof(DifsCacheKey) == DIFS_UUID_SIZE + 8 + 4 * 4, "a key has no padding");
	memcpy(key->cluster, cluster, DIFS_UUID_SIZE);
	key->segment = stored->segment;
	key->crc = stored->crc;
	key->raw_length = stored->raw_length;
	key->stored_length = stored->stored_length;
}

/* Cluster uuids are random, segment and block are small numbers: multiplied by odd constants, then mixed (the finalizer of
 * splitmix64). Partitions are chosen by the upper bits, buckets by the lower ones. */
static uint64
hash_key(const DifsCacheKey *key)
{
	uint64 half[2];
	uint64 hash;

	memcpy(half, key->cluster, sizeof(half));
	hash = half[0] ^ half[1] ^ (key->segment * UINT64CONST(0x9E3779B97F4A7C15)) ^
		(key->block * UINT64CONST(0xD6E8FEB86659FD93));
	hash = (hash ^ (hash >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	hash = (hash ^ (hash >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return hash ^ (hash >> 31);
}

static bool
has_block(const DifsCacheKey *key, uint32 end)
{
	uint64 hash = hash_key(key);
	DifsCacheView view;
	DifsCacheBlock *block;
	bool found;

	view_partition((uint32) (hash >> 54) & (layout.partitions - 1), &view);
	LWLockAcquire(&view.partition->lock, LW_SHARED);
	block = difs_cache_partition_find(&view, key, hash);
	found = block != NULL && end <= block->length;
	LWLockRelease(&view.partition->lock);
	return found;
}

static bool
read_block(const DifsCacheKey *key, uint32 offset, uint32 length, DifsCaching caching, char *out)
{
	uint64 hash = hash_key(key);
	DifsCacheView view;
	DifsCacheBlock *block;
	bool found;

	view_partition((uint32) (hash >> 54) & (layout.partitions - 1), &view);
	LWLockAcquire(&view.partition->lock, LW_SHARED);
	block = difs_cache_partition_find(&view, key, hash);
	found = block != NULL && offset + length <= block->length;
	if (found && out != NULL)
		difs_cache_partition_copy(&view, block, offset, length, out);
	if (found && caching == DIFS_CACHING_KEEP)
		count_use(block);
	if (found && caching != DIFS_CACHING_AGAIN)
	{
		pg_atomic_fetch_add_u64(&view.partition->hits, 1);
		pg_atomic_fetch_add_u64(&view.partition->hit_bytes, length);
	}
	if (!found)
		pg_atomic_fetch_add_u64(&view.partition->misses, 1);
	LWLockRelease(&view.partition->lock);
	return found;
}

static void
count_use(DifsCacheBlock *block)
{
	bool again = block->hash == last_hash;

	last_hash = block->hash;
	if (block->ahead)
		block->ahead = false;
	else if (!again && block->uses < MOST_USES)
		block->uses++;
}

/* Another process may have put it in meanwhile. */
static void
keep_block(const DifsCacheKey *key, const char *raw, uint32 length, bool ahead)
{
	uint64 hash = hash_key(key);
	DifsCacheView view;

	view_partition((uint32) (hash >> 54) & (layout.partitions - 1), &view);
	LWLockAcquire(&view.partition->lock, LW_EXCLUSIVE);
	if (difs_cache_partition_find(&view, key, hash) == NULL)
		difs_cache_partition_put(&view, key, hash, raw, length, ahead);
	LWLockRelease(&view.partition->lock);
	if (!ahead)
		last_hash = hash;
}

/* Sums over all partitions. */
void
difs_cache_totals(uint64 totals[DIFS_CACHE_TOTALS])
{
	memset(totals, 0, DIFS_CACHE_TOTALS * sizeof(uint64));
	for (uint32 i = 0; area != NULL && i < layout.partitions; i++)
	{
		DifsCacheView view;

		view_partition(i, &view);
		LWLockAcquire(&view.partition->lock, LW_SHARED);
		totals[DIFS_CACHE_SIZE] += (uint64) layout.pages * DIFS_CACHE_PAGE;
		totals[DIFS_CACHE_USED] += (uint64) view.partition->used_pages * DIFS_CACHE_PAGE;
		totals[DIFS_CACHE_HOT] += (uint64) view.partition->main.pages * DIFS_CACHE_PAGE;
		totals[DIFS_CACHE_BLOCKS] += view.partition->blocks;
		totals[DIFS_CACHE_HITS] += pg_atomic_read_u64(&view.partition->hits);
		totals[DIFS_CACHE_HIT_BYTES] += pg_atomic_read_u64(&view.partition->hit_bytes);
		totals[DIFS_CACHE_MISSES] += pg_atomic_read_u64(&view.partition->misses);
		totals[DIFS_CACHE_KEPT] += view.partition->kept;
		totals[DIFS_CACHE_EVICTED] += view.partition->evicted;
		LWLockRelease(&view.partition->lock);
	}
}

/* difs.cache_state(): one row. */
PG_FUNCTION_INFO_V1(difs_cache_state);

Datum
difs_cache_state(PG_FUNCTION_ARGS)
{
	uint64 totals[DIFS_CACHE_TOTALS];
	Datum values[DIFS_CACHE_TOTALS];
	bool nulls[DIFS_CACHE_TOTALS] = {0};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "difs.cache_state must return a row");
	difs_cache_totals(totals);
	for (int i = 0; i < DIFS_CACHE_TOTALS; i++)
		values[i] = Int64GetDatum((int64) totals[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
