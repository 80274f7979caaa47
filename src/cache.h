/*
 * cache.h - the shared cache of hot segments (difs.cache_size).
 *
 * Keeps the raw form of blocks of segments, DIFS_BLOCK_SIZE each (the last of a
 * segment is shorter), in shared memory that all backends and databases share.
 *
 * Why it is never wrong.  A segment never changes and its id is never used twice
 * by one cluster, so what was right once is right for ever: no write, rename,
 * delete, failover or restore has to tell the cache anything.  An entry is found
 * by cluster uuid (two databases, or two lives of the extension in one, have the
 * same ids), segment, number of the block, and the checksum and lengths of the
 * stored form, all of which the reader takes from a manifest row that its snapshot
 * shows.  So the cache answers "which bytes are these", never "may I see them" or
 * "are they there still".
 *
 * What is trusted.  Bytes enter after the checks of a reader (fetch_reply.c), and
 * after decompression.  From then on they are memory, which is trusted here as it
 * is in shared_buffers.  Damage on chunk servers is found by the scrub, and by
 * whoever reads past the cache; a check of what servers have reads past it
 * (DIFS_CACHING_NONE).
 *
 * What it keeps.  S3-FIFO (Yang et al., "FIFO queues are all you need for cache
 * eviction", SOSP 2023): see cache_partition.h.  Blocks that are read once, as by a
 * scan, pass through a tenth of the memory and leave the rest alone.  Reads of more
 * than an eighth of the cache use what they find, but leave nothing behind and do
 * not count.  Blocks of segments that are read in part are kept only if the
 * whole segment has been decompressed for that: not those of large ones (inflate.h).
 *
 * Locks.  Partitions, by the hash of the key, of at least 4 MiB (if there are so many), each with an LWLock: shared
 * to copy bytes out, exclusive to put some in, and to make room for them.  No I/O,
 * no error and no interrupt in between.  Nobody holds anything of it beyond the copying, so a
 * process that dies leaves nothing behind; after one that may have harmed shared memory
 * the postmaster makes all of it anew, and the cache begins empty.
 */
#ifndef DIFS_CACHE_H
#define DIFS_CACHE_H

#include "postgres.h"

#include "src/stream.h"

/* What a read has to do with the cache. */
typedef enum DifsCaching
{
	DIFS_CACHING_NONE,	/* nothing: the bytes come from where they are stored */
	DIFS_CACHING_LOOK,	/* takes what is there */
	DIFS_CACHING_AGAIN, /* the same, of what has been counted already */
	DIFS_CACHING_KEEP	/* takes what is there, and puts into it what was not */
} DifsCaching;

/* What difs.stat_cache shows, in the order of its columns. */
typedef enum DifsCacheTotal
{
	DIFS_CACHE_SIZE,
	DIFS_CACHE_USED,
	DIFS_CACHE_HOT,
	DIFS_CACHE_BLOCKS,
	DIFS_CACHE_HITS,
	DIFS_CACHE_HIT_BYTES,
	DIFS_CACHE_MISSES,
	DIFS_CACHE_KEPT,
	DIFS_CACHE_EVICTED,
	DIFS_CACHE_TOTALS
} DifsCacheTotal;

extern void difs_cache_totals(uint64 totals[DIFS_CACHE_TOTALS]);

extern Size difs_cache_shmem_size(void);
extern void difs_cache_shmem_init(void *area, bool found);

/* What suits somebody who is about to read so many bytes, in one or several calls. */
extern DifsCaching difs_cache_for(int64 bytes);

/* Are bytes [raw_offset, raw_offset + length) of a segment's raw form there? Counts nothing. */
extern bool difs_cache_has(const uint8 *cluster, const DifsStored *stored, uint32 raw_offset, uint32 length);

/* Copies these bytes, or as many from their beginning as are there; returns how many. out NULL: counts them, as for somebody who
 * will copy them. */
extern uint32 difs_cache_read(const uint8 *cluster, const DifsStored *stored, uint32 raw_offset, uint32 length,
							  DifsCaching caching, char *out);

/* Puts bytes of a segment's raw form into it. They begin at a block, and end with one or with the segment; and they have been
 * checked. What was asked for was [wanted_offset, wanted_offset + wanted_length); other blocks have come along. */
extern void difs_cache_keep(const uint8 *cluster, const DifsStored *stored, uint32 raw_offset, uint32 length, const char *raw,
							uint32 wanted_offset, uint32 wanted_length);

#endif
