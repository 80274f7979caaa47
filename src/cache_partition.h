/*
 * cache_partition.h - a part of the shared cache: blocks by key, and which of them go (cache.h).
 *
 * Memory is pages of 4 KiB; a block has as many as it needs, chained, so small files
 * need little and nothing is ever fragmented.  A block is in one of two queues:
 *
 *	put in                                               asked for again since
 *	  |                                                  +-----------------+
 *	  |      +---------------+   asked for again   +-----v-----------+     |
 *	  +----->| small: 10 %   |-------------------->| main: the rest  |-----+--> out
 *	  |      +---------------+                     +-----------------+
 *	  |              | not                                  ^
 *	  |              v                                      |
 *	  |            out; its hash stays in the ghost table   |
 *	  +-----------------------------------------------------+
 *	    if its hash is in the ghost table: it came back soon
 *
 * Room is made at the end of small while that has its tenth or more, else at that of main.
 * So a scan only ever displaces what is in small.  A hit is one byte that goes up to 3: nothing
 * moves, and nothing is written at all for what is hot.
 *
 * The ghost table remembers hashes with the time of their leaving, in pages that have left small;
 * they count for as long as the main queue's pages.  A slot is overwritten by the next hash that
 * falls on it.
 *
 * The caller holds the lock of the partition: "shared" to find and copy, exclusive for
 * the rest.  Nothing here errors or waits.
 */
#ifndef DIFS_CACHE_PARTITION_H
#define DIFS_CACHE_PARTITION_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "common/wire.h"

#define DIFS_CACHE_PAGE 4096

/* What a block is found by; no padding, so that it can be compared as bytes. */
typedef struct DifsCacheKey
{
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 segment;
	uint32 block;	   /* number within the raw form */
	uint32 crc;		   /* of the whole stored form */
	uint32 raw_length; /* of the segment */
	uint32 stored_length;
} DifsCacheKey;

/* Indexes count from 1; 0 is none. */
typedef struct DifsCacheBlock
{
	DifsCacheKey key;
	uint64 hash;
	uint32 length; /* bytes */
	uint32 first_page;
	uint32 next_in_bucket;
	uint32 next_in_queue; /* the one that was put in after it; or the next free one */
	uint8 uses;			  /* 0 .. 3; readers change these two with the lock shared, so a change may get lost */
	bool ahead;			  /* nobody has asked for it: it came along with others */
	bool in_main;
} DifsCacheBlock;

typedef struct DifsCacheGhost
{
	uint32 mark; /* upper half of the hash; the lower one finds the slot */
	uint32 left; /* when it left, in pages that had left small */
} DifsCacheGhost;

typedef struct DifsCacheQueue
{
	uint32 oldest;
	uint32 newest;
	uint32 pages;
} DifsCacheQueue;

typedef struct DifsCachePartition
{
	LWLock lock;

	/* counted with the lock shared, so atomic */
	pg_atomic_uint64 hits;
	pg_atomic_uint64 hit_bytes;
	pg_atomic_uint64 misses;

	/* the rest: lock */
	uint64 kept;	/* blocks put in */
	uint64 evicted; /* blocks that had to go */
	uint32 blocks;	/* in it now */
	uint32 used_pages;
	uint32 free_page; /* chains of those that have been used before … */
	uint32 free_block;
	uint32 fresh_page; /* … and the first that never was */
	uint32 fresh_block;
	DifsCacheQueue small;
	DifsCacheQueue main;
	uint32 left_small; /* pages, wraps around */
} DifsCachePartition;

/* Where the parts of a partition are, in this process. */
typedef struct DifsCacheView
{
	DifsCachePartition *partition;
	uint32 pages;		   /* how many there are; and as many blocks at most */
	uint32 slots;		   /* of buckets and of ghosts: a power of 2 */
	DifsCacheBlock *block; /* [pages + 1] */
	uint32 *next_page;	   /* [pages + 1] */
	uint32 *bucket;		   /* [slots] */
	DifsCacheGhost *ghost; /* [slots] */
	char *memory;		   /* page n begins at memory + (n - 1) * DIFS_CACHE_PAGE */
} DifsCacheView;

/* Bytes of what stands beside the memory, for so many pages. */
extern Size difs_cache_partition_size(uint32 pages);

/* Finds the parts in an area of that size. */
extern void difs_cache_partition_view(DifsCacheView *view, void *area, uint32 pages, char *memory);

/* An empty one. */
extern void difs_cache_partition_init(const DifsCacheView *view, int tranche);

extern DifsCacheBlock *difs_cache_partition_find(const DifsCacheView *view, const DifsCacheKey *key, uint64 hash);

/* Bytes [offset, offset + length) of a block. */
extern void difs_cache_partition_copy(const DifsCacheView *view, const DifsCacheBlock *block,
									  uint32 offset, uint32 length, char *out);

/* Puts one in that is not there; makes room. length is 1 .. DIFS_BLOCK_SIZE. */
extern void difs_cache_partition_put(const DifsCacheView *view, const DifsCacheKey *key, uint64 hash,
									 const char *bytes, uint32 length, bool ahead);

#endif
