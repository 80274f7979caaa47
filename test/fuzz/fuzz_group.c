/*
 * fuzz_group.c - the reader of group and index files: difs_group_recover() and difs_index_map().
 *
 * An input is a byte of flags (1: the group is open; 2: u16 says in units of 64 bytes what the header knows to be durable) and a
 * list of steps that write a group file behind a right header, so that mutations reach what stands behind the checksums:
 *
 *	0 length synced     append a right record of u16 bytes, when all in front of record number u16 was durable
 *	1 length bytes      append raw bytes
 *	2 place value       change a byte
 *	3 length            cut off the end
 *	4 record            mark a record as dead
 *	5 place value       change a byte of the index file, which is written after recovery
 *
 * Whatever the file, recovery must end, list nothing that is not there, cut nothing that is known to be durable, and find the same a
 * second time, when nothing is left to be cut.  An index that was written must be read back as it was, and one that was changed
 * is refused or read without harm.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../chunkd/file_io.h"
#include "../../chunkd/group_jobs.h"
#include "../../common/bytes.h"

#define MAX_FILE (256 * 1024)
#define MAX_RECORDS 64
#define MAX_CHANGES 16
#define PATH "c/1.index"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const DifsGroupHeader fresh_header = {.group = 7, .epoch = 1, .capacity = 1 << 20, .salt = 0x1234567890ABCDEF};

typedef struct Input
{
	const uint8_t *at;
	size_t left;
} Input;

static DifsGroupHeader header;
static uint8_t image[MAX_FILE];
static size_t length;
static uint64_t records[MAX_RECORDS];
static int record_count;
static uint32_t changes[MAX_CHANGES]; /* place and value, in the index file */
static int change_count;

#define require(condition) require_at(condition, __LINE__)

static void
require_at(bool condition, int line)
{
	if (condition)
		return;
	fprintf(stderr, "line %d: what must hold does not\n", line);
	abort();
}

static uint32_t
next16(Input *input)
{
	uint32_t value = input->left > 0 ? input->at[0] : 0;

	if (input->left > 1)
		value |= (uint32_t) input->at[1] << 8;
	input->at += input->left > 1 ? 2 : input->left;
	input->left -= input->left > 1 ? 2 : input->left;
	return value;
}

static void
add_record(uint32_t stored_length, uint32_t synced)
{
	DifsSegment segment = {.segment = 100 + (uint64_t) record_count, .xid = 5, .group = header.group};
	uint64_t record_bytes = difs_record_size(stored_length);
	uint64_t offset = (length + DIFS_RECORD_ALIGNMENT - 1) / DIFS_RECORD_ALIGNMENT * DIFS_RECORD_ALIGNMENT;
	uint8_t *packed = image + offset;
	uint8_t *bytes = packed + difs_segment_packed_size(stored_length);
	uint32_t block_crc[2];

	if (record_count == MAX_RECORDS || stored_length == 0 || offset + record_bytes > MAX_FILE)
		return;
	segment.raw_length = segment.stored_length = stored_length;
	for (uint32_t at = 0; at < stored_length; at++)
		bytes[at] = (uint8_t) (at * 7 + (uint32_t) record_count);
	difs_segment_checksum(bytes, stored_length, block_crc, &segment.crc);
	difs_segment_pack(&segment, block_crc, packed);
	records[record_count++] = offset;
	difs_record_pack(&segment, header.salt, offset, records[synced % (uint32_t) record_count], packed);
	length = offset + record_bytes;
}

static void
add_bytes(Input *input)
{
	size_t wanted = next16(input);
	size_t count = wanted < input->left ? wanted : input->left;

	if (count > MAX_FILE - length)
		count = MAX_FILE - length;
	memcpy(image + length, input->at, count);
	length += count;
	input->at += count;
	input->left -= count;
}

static void
step(Input *input)
{
	uint8_t what = input->at[0] % 6;
	uint32_t first;

	input->at++;
	input->left--;
	if (what == 1)
	{
		add_bytes(input);
		return;
	}
	first = next16(input);
	if (what == 0)
		add_record(first, next16(input));
	else if (what == 2 && length > DIFS_GROUP_HEADER_SIZE)
		image[DIFS_GROUP_HEADER_SIZE + (size_t) first * 4 % (length - DIFS_GROUP_HEADER_SIZE)] ^= (uint8_t) next16(input);
	else if (what == 3)
		length -= first < length - DIFS_GROUP_HEADER_SIZE ? first : 0;
	else if (what == 4 && record_count > 0 && records[first % (uint32_t) record_count] + 4 <= length)
		difs_put32(image + records[first % (uint32_t) record_count], DIFS_SEGMENT_MAGIC_DEAD);
	else if (what == 5 && change_count < MAX_CHANGES)
		changes[change_count++] = first << 8 | (next16(input) & 0xFF);
}

/* Everything that recovery lists lies in the file, in order, and what is neither dead nor damaged has a right header there. */
static void
check_recovery(int fd, const DifsRecovery *recovery, uint64_t synced, bool writable)
{
	static uint8_t packed[DIFS_MAX_PACKED_SIZE];
	uint64_t end = synced > recovery->file_bytes ? synced : recovery->file_bytes;
	uint64_t file_bytes;
	uint64_t allocated;

	require(difs_file_size(fd, &file_bytes, &allocated, NULL) && file_bytes == recovery->file_bytes);
	require(file_bytes >= DIFS_GROUP_HEADER_SIZE && (!writable || (file_bytes >= synced && file_bytes >= header.synced)));
	require(file_bytes + recovery->cut_bytes == length || (writable && file_bytes == synced && file_bytes > length));
	for (uint32_t i = 0; i < recovery->index.count; i++)
	{
		const DifsListEntry *entry = &recovery->index.entries[i];
		DifsSegment segment;
		ssize_t got;

		require(i == 0 || entry->segment == 0 || entry->segment > entry[-1].segment);
		require(entry->offset < end);
		if (entry->flags & DIFS_LIST_DAMAGED)
			continue;
		got = difs_pread(fd, packed, sizeof(packed), entry->offset);
		require(got > 0 && difs_record_unpack(packed, (size_t) got, &header, entry->offset, &segment, NULL));
		require(segment.segment == entry->segment && segment.stored_length == entry->stored_length);
		require(entry->offset + difs_record_size(entry->stored_length) <= end);
	}
}

static void
read_index(DifsStore *store, const DifsIndex *index, bool changed)
{
	static uint8_t list[DIFS_LIST_MAX_ENTRIES * DIFS_LIST_ENTRY_SIZE];
	DifsIndexHeader read;
	DifsIndexTotals totals = {0};
	DifsIndexMap map = {.fd = -1};
	DifsError error;
	uint64_t cursor = 0;
	uint64_t next;

	if (!difs_index_map(store, PATH, &header, true, &map, &read, &error))
	{
		require(changed && (error.code == DIFS_ERROR_CORRUPT || error.code == DIFS_ERROR_VERSION || error.code == DIFS_ERROR_IO));
		return;
	}
	require(changed || map.count == index->count);
	difs_index_map_count(&map, &totals);
	require(difs_index_map_position(&map, UINT64_MAX) <= map.count);
	do
	{
		require(difs_index_list(NULL, &map, cursor, list, &next) <= DIFS_LIST_MAX_ENTRIES);
		require(next == 0 || next > cursor);
		cursor = next;
	} while (cursor != 0);
	difs_index_unmap(&map);
}

static void
try_index(DifsStore *store, const DifsRecovery *recovery)
{
	DifsIndexHeader written = {.group = header, .file_bytes = recovery->file_bytes};
	DifsError error;
	uint64_t bytes;
	uint64_t allocated;
	int fd;

	require(difs_index_write(store, PATH, &written, &recovery->index, &error));
	read_index(store, &recovery->index, false);
	fd = store->open(store, PATH, &error);
	require(fd >= 0 && difs_file_size(fd, &bytes, &allocated, &error));
	for (int i = 0; i < change_count; i++)
	{
		uint8_t value = (uint8_t) changes[i];

		require(difs_pwrite(fd, &value, 1, (changes[i] >> 8) % bytes));
	}
	close(fd);
	read_index(store, &recovery->index, change_count > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {.at = data + 1, .left = size - 1};
	DifsStore *store;
	DifsRecovery recovery;
	DifsRecovery again;
	DifsError error;
	uint64_t synced;
	DifsRecoveryOf group;
	bool writable;
	int fd;

	if (size == 0)
		return 0;
	memset(image, 0, sizeof(image));
	header = fresh_header;
	header.synced = synced = (data[0] & 2) != 0 ? (uint64_t) next16(&input) * DIFS_RECORD_ALIGNMENT : 0;
	difs_group_header_pack(&header, image);
	length = DIFS_GROUP_HEADER_SIZE;
	record_count = change_count = 0;
	group = data[0] % 3 == 0 ? DIFS_RECOVERY_OF_OPEN : data[0] % 3 == 1 ? DIFS_RECOVERY_OF_FAILED :
																		  DIFS_RECOVERY_OF_SEALED;
	writable = group == DIFS_RECOVERY_OF_OPEN;
	while (input.left > 0)
		step(&input);

	store = difs_store_memory_create();
	fd = memfd_create("group", MFD_CLOEXEC);
	require(fd >= 0 && difs_pwrite(fd, image, length, 0));
	require(difs_group_recover(store, fd, &header, group, &recovery, &error));
	require(writable || recovery.cut_bytes == 0);
	check_recovery(fd, &recovery, synced, writable);
	require(difs_group_recover(store, fd, &header, group, &again, &error));
	require(again.cut_bytes == 0 && again.file_bytes == recovery.file_bytes && again.index.count == recovery.index.count);
	try_index(store, &recovery);
	difs_index_free(&recovery.index);
	difs_index_free(&again.index);
	close(fd);
	store->destroy(store);
	return 0;
}
