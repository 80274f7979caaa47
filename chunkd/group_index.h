/*
 * group_index.h - where the segments of a group are.
 *
 * Two forms of the same sorted entries: in memory, of a group that is not sealed,
 * and mapped from the index file, of a sealed one.
 */
#ifndef DIFS_GROUP_INDEX_H
#define DIFS_GROUP_INDEX_H

#include "disk_format.h"
#include "store.h"

/* A flag that exists in memory only: the segment's PUT has not been acknowledged, nobody sees it. */
#define DIFS_ENTRY_PENDING 0x80000000u

typedef struct DifsIndex
{
	DifsListEntry *entries; /* sorted by segment; damaged places first, as segment 0 */
	uint32_t count;
	uint32_t allocated;
} DifsIndex;

typedef struct DifsIndexMap
{
	int fd;			/* of the index file; -1 if the group is not sealed */
	uint8_t *bytes; /* the whole file */
	size_t size;
	uint32_t count;
	uint32_t entries_crc;
	bool incomplete; /* see disk_format.h */
} DifsIndexMap;

/* What the entries say about the group. */
typedef struct DifsIndexTotals
{
	uint64_t live_segments;
	uint64_t live_bytes;
	uint32_t damaged;
} DifsIndexTotals;

extern DifsListEntry *difs_index_find(const DifsIndex *index, uint64_t segment); /* NULL: not there */
extern void difs_index_insert(DifsIndex *index, const DifsListEntry *entry);	 /* which must not be there */
extern void difs_index_remove(DifsIndex *index, uint64_t segment);
/* Out of order, before difs_index_sort(). */
extern void difs_index_append(DifsIndex *index, const DifsListEntry *entry);
extern void difs_index_sort(DifsIndex *index);
extern void difs_index_copy(const DifsIndex *from, DifsIndex *to);
extern void difs_index_free(DifsIndex *index);
extern void difs_index_count(const DifsIndex *index, DifsIndexTotals *totals);

/* Writes the index file durably under path, by way of path.tmp.  Fills in header->count and entries_crc. */
extern bool difs_index_write(DifsStore *store, const char *path, DifsIndexHeader *header, const DifsIndex *index,
							 DifsError *error);

/* Opens and maps an index file.  False with DIFS_ERROR_CORRUPT if it is damaged or not of this group and generation,
 * and, if check_entries, if its entries do not match their checksum. */
extern bool difs_index_map(DifsStore *store, const char *path, const DifsGroupHeader *group, bool check_entries,
						   DifsIndexMap *map, DifsIndexHeader *header, DifsError *error);
extern void difs_index_unmap(DifsIndexMap *map);
extern void difs_index_map_count(const DifsIndexMap *map, DifsIndexTotals *totals);

/* The entry at a position of a mapped index. */
extern void difs_index_map_entry(const DifsIndexMap *map, uint32_t position, DifsListEntry *entry);

/* First position of a mapped index whose segment is not less than this one. */
extern uint32_t difs_index_map_position(const DifsIndexMap *map, uint64_t segment);

/* Rewrites the flags of one entry, or the header, in the file; not synced. */
extern bool difs_index_map_flags(const DifsIndexMap *map, uint32_t position, uint32_t flags, DifsError *error);
extern bool difs_index_map_header(const DifsIndexMap *map, const DifsIndexHeader *header, DifsError *error);

/* LIST's payload: packs up to DIFS_LIST_MAX_ENTRIES entries whose segment is greater than cursor (all damaged places
 * too if cursor is 0) to out; returns their number, and the next cursor or 0. */
extern uint32_t difs_index_list(const DifsIndex *index, const DifsIndexMap *map, uint64_t cursor, uint8_t *out,
								uint64_t *next);

#endif
