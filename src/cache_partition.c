/*
 * cache_partition.c - blocks by key, and which of them go (cache_partition.h).
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "src/cache_partition.h"

#define SMALL_SHARE 10	 /* small is a tenth */
#define MOST_CHANCES 128 /* blocks that are moved to the front of main to make room once: bounds the time under the lock */

static void make_room(const DifsCacheView *view, uint32 pages);
static void shrink_small(const DifsCacheView *view);
static void shrink_main(const DifsCacheView *view, int *chances);
static void drop(const DifsCacheView *view, uint32 index);
static uint32 new_block(const DifsCacheView *view);
static uint32 new_page(const DifsCacheView *view);
static void fill(const DifsCacheView *view, DifsCacheBlock *block, const char *bytes);
static void append(const DifsCacheView *view, DifsCacheQueue *queue, uint32 index);
static uint32 take_oldest(const DifsCacheView *view, DifsCacheQueue *queue);
static void remember(const DifsCacheView *view, const DifsCacheBlock *block);
static bool is_remembered(const DifsCacheView *view, uint64 hash);

static inline uint32
pages_of(uint32 length)
{
	return (length + DIFS_CACHE_PAGE - 1) / DIFS_CACHE_PAGE;
}

static inline uint32
slot_of(const DifsCacheView *view, uint64 hash)
{
	return (uint32) hash & (view->slots - 1);
}

Size
difs_cache_partition_size(uint32 pages)
{
	Size slots = pg_nextpower2_32(pages);
	Size size = CACHELINEALIGN(sizeof(DifsCachePartition));

	size += CACHELINEALIGN((pages + 1) * sizeof(DifsCacheBlock));
	size += CACHELINEALIGN((pages + 1) * sizeof(uint32));
	size += CACHELINEALIGN(slots * sizeof(uint32));
	return size + CACHELINEALIGN(slots * sizeof(DifsCacheGhost));
}

void
difs_cache_partition_view(DifsCacheView *view, void *area, uint32 pages, char *memory)
{
	char *at = area;

	view->pages = pages;
	view->slots = pg_nextpower2_32(pages);
	view->memory = memory;
	view->partition = (DifsCachePartition *) at;
	at += CACHELINEALIGN(sizeof(DifsCachePartition));
	view->block = (DifsCacheBlock *) at;
	at += CACHELINEALIGN((pages + 1) * sizeof(DifsCacheBlock));
	view->next_page = (uint32 *) at;
	at += CACHELINEALIGN((pages + 1) * sizeof(uint32));
	view->bucket = (uint32 *) at;
	at += CACHELINEALIGN(view->slots * sizeof(uint32));
	view->ghost = (DifsCacheGhost *) at;
}

/* Blocks and pages are not touched before they are used. */
void
difs_cache_partition_init(const DifsCacheView *view, int tranche)
{
	DifsCachePartition *partition = view->partition;

	memset(partition, 0, sizeof(*partition));
	LWLockInitialize(&partition->lock, tranche);
	pg_atomic_init_u64(&partition->hits, 0);
	pg_atomic_init_u64(&partition->hit_bytes, 0);
	pg_atomic_init_u64(&partition->misses, 0);
	partition->fresh_page = partition->fresh_block = 1;
	memset(view->bucket, 0, view->slots * sizeof(uint32));
	memset(view->ghost, 0, view->slots * sizeof(DifsCacheGhost));
}

DifsCacheBlock *
difs_cache_partition_find(const DifsCacheView *view, const DifsCacheKey *key, uint64 hash)
{
	uint32 index = view->bucket[slot_of(view, hash)];

	while (index != 0)
	{
		DifsCacheBlock *block = &view->block[index];

		if (block->hash == hash && memcmp(&block->key, key, sizeof(*key)) == 0)
			return block;
		index = block->next_in_bucket;
	}
	return NULL;
}

void
difs_cache_partition_copy(const DifsCacheView *view, const DifsCacheBlock *block, uint32 offset, uint32 length, char *out)
{
	uint32 page = block->first_page;

	Assert(offset + length <= block->length);
	for (; offset >= DIFS_CACHE_PAGE; offset -= DIFS_CACHE_PAGE)
		page = view->next_page[page];
	while (length > 0)
	{
		uint32 part = Min(length, DIFS_CACHE_PAGE - offset);

		memcpy(out, view->memory + (Size) (page - 1) * DIFS_CACHE_PAGE + offset, part);
		out += part;
		length -= part;
		offset = 0;
		page = view->next_page[page];
	}
}

void
difs_cache_partition_put(const DifsCacheView *view, const DifsCacheKey *key, uint64 hash, const char *bytes, uint32 length,
						 bool ahead)
{
	DifsCachePartition *partition = view->partition;
	uint32 *bucket = &view->bucket[slot_of(view, hash)];
	uint32 index;
	DifsCacheBlock *block;

	make_room(view, pages_of(length));
	index = new_block(view);
	block = &view->block[index];
	block->key = *key;
	block->hash = hash;
	block->length = length;
	block->uses = 0;
	block->ahead = ahead;
	block->in_main = is_remembered(view, hash);
	fill(view, block, bytes);
	block->next_in_bucket = *bucket;
	*bucket = index;
	append(view, block->in_main ? &partition->main : &partition->small, index);
	partition->kept++;
	partition->blocks++;
}

static void
make_room(const DifsCacheView *view, uint32 pages)
{
	DifsCachePartition *partition = view->partition;
	int chances = MOST_CHANCES;

	while (view->pages - partition->used_pages < pages)
	{
		if (partition->small.pages >= view->pages / SMALL_SHARE || partition->main.pages == 0)
			shrink_small(view);
		else
			shrink_main(view, &chances);
	}
}

/* The oldest goes on to main if it was asked for again, and is let go if not. */
static void
shrink_small(const DifsCacheView *view)
{
	DifsCachePartition *partition = view->partition;
	uint32 index = take_oldest(view, &partition->small);
	DifsCacheBlock *block = &view->block[index];

	partition->left_small += pages_of(block->length);
	if (block->uses > 0)
	{
		block->uses = 0;
		block->in_main = true;
		append(view, &partition->main, index);
		return;
	}
	remember(view, block);
	drop(view, index);
}

static void
shrink_main(const DifsCacheView *view, int *chances)
{
	DifsCachePartition *partition = view->partition;
	uint32 index = take_oldest(view, &partition->main);
	DifsCacheBlock *block = &view->block[index];

	if (block->uses > 0 && (*chances)-- > 0)
	{
		block->uses--;
		append(view, &partition->main, index);
		return;
	}
	drop(view, index);
}

/* It is in no queue any more. */
static void
drop(const DifsCacheView *view, uint32 index)
{
	DifsCachePartition *partition = view->partition;
	DifsCacheBlock *block = &view->block[index];
	uint32 *link = &view->bucket[slot_of(view, block->hash)];
	uint32 last = block->first_page;

	while (*link != index)
		link = &view->block[*link].next_in_bucket;
	*link = block->next_in_bucket;

	while (view->next_page[last] != 0)
		last = view->next_page[last];
	view->next_page[last] = partition->free_page;
	partition->free_page = block->first_page;
	partition->used_pages -= pages_of(block->length);

	block->next_in_queue = partition->free_block;
	partition->free_block = index;
	partition->blocks--;
	partition->evicted++;
}

/* There are as many blocks as pages, so there is one if there is a page. */
static uint32
new_block(const DifsCacheView *view)
{
	DifsCachePartition *partition = view->partition;
	uint32 index = partition->free_block;

	if (index == 0)
		return partition->fresh_block++;
	partition->free_block = view->block[index].next_in_queue;
	return index;
}

static uint32
new_page(const DifsCacheView *view)
{
	DifsCachePartition *partition = view->partition;
	uint32 page = partition->free_page;

	partition->used_pages++;
	if (page == 0)
		return partition->fresh_page++;
	partition->free_page = view->next_page[page];
	return page;
}

static void
fill(const DifsCacheView *view, DifsCacheBlock *block, const char *bytes)
{
	uint32 *link = &block->first_page;

	for (uint32 at = 0; at < block->length; at += DIFS_CACHE_PAGE)
	{
		uint32 page = new_page(view);

		memcpy(view->memory + (Size) (page - 1) * DIFS_CACHE_PAGE, bytes + at, Min(block->length - at, DIFS_CACHE_PAGE));
		*link = page;
		link = &view->next_page[page];
	}
	*link = 0;
}

static void
append(const DifsCacheView *view, DifsCacheQueue *queue, uint32 index)
{
	DifsCacheBlock *block = &view->block[index];

	block->next_in_queue = 0;
	if (queue->newest == 0)
		queue->oldest = index;
	else
		view->block[queue->newest].next_in_queue = index;
	queue->newest = index;
	queue->pages += pages_of(block->length);
}

static uint32
take_oldest(const DifsCacheView *view, DifsCacheQueue *queue)
{
	uint32 index = queue->oldest;
	DifsCacheBlock *block = &view->block[index];

	Assert(index != 0);
	queue->oldest = block->next_in_queue;
	if (queue->oldest == 0)
		queue->newest = 0;
	queue->pages -= pages_of(block->length);
	return index;
}

static void
remember(const DifsCacheView *view, const DifsCacheBlock *block)
{
	view->ghost[slot_of(view, block->hash)] =
		(DifsCacheGhost){.mark = (uint32) (block->hash >> 32), .left = view->partition->left_small};
}

static bool
is_remembered(const DifsCacheView *view, uint64 hash)
{
	DifsCacheGhost *ghost = &view->ghost[slot_of(view, hash)];
	uint32 main_pages = view->pages - view->pages / SMALL_SHARE;

	return ghost->mark == (uint32) (hash >> 32) && view->partition->left_small - ghost->left < main_pages;
}
