/*
 * disk_format.h - everything that difsd writes to a data directory.
 *
 *	DATA/difsd.lock                 flock()ed by the running server; its text is the holder's process id
 *	DATA/identity                   text: format, storage name, tier, random bytes (directory.c)
 *	DATA/<cluster uuid, 32 hex>/    one directory for each tenant (tenant.c)
 *		epoch                       text: the highest epoch seen
 *		<group, 16 hex>.group       the segments of a block group
 *		<group>.index               where they are, once the group is sealed; its being there is what "sealed" means
 *		<group>.failed              empty: a write or sync of the group failed, it is read-only for ever
 *		*.tmp, *.new                not yet published, removed at start
 *
 * A group file is a header of 4096 bytes, then records, each at a multiple of 64
 * bytes:
 *
 *	group header:
 *	  0  u8[8]  "DIFSGRP1"
 *	  8  u32    DIFS_DISK_VERSION
 *	 12  u32    CRC-32C of bytes 0 .. 12 and 16 .. 4096
 *	 16  u8[16] cluster uuid
 *	 32  u64    group
 *	 40  u64    epoch of the group
 *	 48  u64    capacity: the file's length never exceeds it but by what is mended (group_mend.c), and never twice of it
 *	 56  u64    salt: random, never leaves the server
 *	 64  u64    generation: 0, and one more with each compaction
 *	 72  u64    synced: the last recovery has found the file to be durable up to here; 0: there has been none.  It is
 *	            rewritten in place, in one sector
 *	 80  zeros
 *
 *	record: packed segment header (segment.h), stored form, zeros up to the next multiple of 64.
 *		`synced` in it is exclusive-ored with difs_record_mask(salt, offset of the record).  So a record is one only at
 *		the place and in the file where it was written: a copy of it, such as a backup of this file that a user stored
 *		as a segment, is never taken for one when recovery looks for the next record behind damage, and a write that
 *		went to a wrong place is noticed.  A deletion overwrites the magic, which header_crc does not cover.
 *
 *	Behind the last record of an open group zeros may follow (group_reserve.c).
 *
 * An index file is a header of 128 bytes, then DIFS_LIST_ENTRY_SIZE bytes for each
 * segment, sorted by segment id (places of unreadable records come first, as
 * segment 0):
 *
 *	index header:
 *	  0  u8[8]  "DIFSIDX1"
 *	  8  u32    DIFS_DISK_VERSION
 *	 12  u32    CRC-32C of bytes 0 .. 12 and 16 .. 128
 *	 16  bytes 16 .. 72 of the group header that it belongs to
 *	 72  u64    number of entries
 *	 80  u64    length of the group file
 *	 88  u64    live segments
 *	 96  u64    their stored bytes
 *	104  u64    bytes of dead records that have not gone back to the file system
 *	112  u32    CRC-32C of the entries, their flags taken as 0
 *	116  u32    1: some of the group file could not be read when the entries were collected, so that records may be missing
 *	            that a place is listed for; 0: they are all
 *	120  zeros
 *
 * The header is rewritten in place by deletions; it lies in one sector.  Counts
 * may be older than the flags after a crash: they are counted anew when the index
 * is first opened.
 */
#ifndef DIFS_DISK_FORMAT_H
#define DIFS_DISK_FORMAT_H

#include "../common/wire.h"

#define DIFS_DISK_VERSION 1
#define DIFS_GROUP_HEADER_SIZE 4096
#define DIFS_RECORD_ALIGNMENT 64
#define DIFS_PAGE_BYTES 4096
#define DIFS_INDEX_HEADER_SIZE 128
#define DIFS_GROUP_MAX_CAPACITY ((uint64_t) 1 << 40)
#define DIFS_GROUP_MAX_SEGMENTS (4 * 1024 * 1024)

typedef struct DifsGroupHeader
{
	uint8_t cluster[DIFS_UUID_SIZE];
	uint64_t group;
	uint64_t epoch;
	uint64_t capacity;
	uint64_t salt;
	uint64_t generation;
	uint64_t synced; /* not in index headers */
} DifsGroupHeader;

typedef struct DifsIndexHeader
{
	DifsGroupHeader group;
	uint64_t count;
	uint64_t file_bytes;
	uint64_t live_segments;
	uint64_t live_bytes;
	uint64_t dead_bytes;
	uint32_t entries_crc;
	bool incomplete;
} DifsIndexHeader;

/* Bytes of a group file that the record of a segment takes. */
static inline uint64_t
difs_record_size(uint32_t stored_length)
{
	uint64_t size = difs_segment_packed_size(stored_length) + (uint64_t) stored_length;

	return (size + DIFS_RECORD_ALIGNMENT - 1) / DIFS_RECORD_ALIGNMENT * DIFS_RECORD_ALIGNMENT;
}

/* The whole pages inside the stored form of a record, which a deletion gives back to the file system; returns how
 * many bytes. */
static inline uint64_t
difs_record_pages(uint64_t offset, uint32_t stored_length, uint64_t *start)
{
	uint64_t payload = offset + difs_segment_packed_size(stored_length);
	uint64_t end = (payload + stored_length) / DIFS_PAGE_BYTES * DIFS_PAGE_BYTES;

	*start = (payload + DIFS_PAGE_BYTES - 1) / DIFS_PAGE_BYTES * DIFS_PAGE_BYTES;
	return end > *start ? end - *start : 0;
}

extern void difs_group_header_pack(const DifsGroupHeader *header, uint8_t out[DIFS_GROUP_HEADER_SIZE]);

/* False with DIFS_ERROR_CORRUPT or DIFS_ERROR_VERSION; label names the file. */
extern bool difs_group_header_unpack(const uint8_t in[DIFS_GROUP_HEADER_SIZE], const char *label,
									 DifsGroupHeader *header, DifsError *error);

extern void difs_index_header_pack(const DifsIndexHeader *header, uint8_t out[DIFS_INDEX_HEADER_SIZE]);
extern bool difs_index_header_unpack(const uint8_t in[DIFS_INDEX_HEADER_SIZE], const char *label,
									 DifsIndexHeader *header, DifsError *error);

/* CRC-32C of count packed entries, continuing from crc, with their flags taken as 0. */
extern uint32_t difs_index_entries_crc(uint32_t crc, const uint8_t *entries, uint64_t count);

/* What `synced` is exclusive-ored with in a record at that offset. */
extern uint64_t difs_record_mask(uint64_t salt, uint64_t offset);

/* Turns a packed header, as it came over the wire, into the one of a record at offset: sets synced and header_crc. */
extern void difs_record_pack(const DifsSegment *segment, uint64_t salt, uint64_t offset, uint64_t synced,
							 uint8_t *packed);

/* Reads the header of a record at offset.  False with DIFS_ERROR_CORRUPT if none of this group is at this place. */
extern bool difs_record_unpack(const uint8_t *packed, size_t size, const DifsGroupHeader *header, uint64_t offset,
							   DifsSegment *segment, DifsError *error);

#endif
