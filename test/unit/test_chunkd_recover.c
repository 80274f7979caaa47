/*
 * test_chunkd_recover.c - difs_group_recover() on files cut and changed at every byte, and the index in memory.
 *
 * The files are memfd files that are written here, with two commits:
 *
 *	header | 1 | 2 | 3 | 4      where 1 and 2 were durable when 3 and 4 were written
 *
 * Sectors that the disk cannot read any more are made by the linker, which puts __wrap_pread() in the place of pread().
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../chunkd/file_io.h"
#include "../../chunkd/group_jobs.h"

#define RECORDS 4

static const uint32_t lengths[RECORDS] = {3000, 70000, 500, 900};
static const DifsGroupHeader header = {.group = 7, .epoch = 1, .capacity = 1 << 20, .salt = 0x1234567890ABCDEF};

static DifsStore *store;
static uint64_t offsets[RECORDS + 1];
static uint8_t *image;
static int fd;
static uint64_t bad_sector; /* 4096 bytes from here on cannot be read; 0: all can */

extern ssize_t __real_pread(int file, void *buffer, size_t size, off_t offset);
extern ssize_t __wrap_pread(int file, void *buffer, size_t size, off_t offset);

/* As a disk: what stands in front of the bad sector is read, from there on it is EIO. */
ssize_t
__wrap_pread(int file, void *buffer, size_t size, off_t offset)
{
	uint64_t at = (uint64_t) offset;

	if (file != fd || bad_sector == 0 || at >= bad_sector + 4096 || at + size <= bad_sector)
		return __real_pread(file, buffer, size, offset);
	if (at < bad_sector)
		return __real_pread(file, buffer, bad_sector - at, offset);
	errno = EIO;
	return -1;
}

static void
add_record(int i, uint64_t synced)
{
	DifsSegment segment = {.segment = 100 + i, .xid = 5, .group = header.group};
	uint8_t *packed = image + offsets[i];
	uint8_t *bytes;
	uint32_t block_crc[4];

	segment.raw_length = segment.stored_length = lengths[i];
	bytes = packed + difs_segment_packed_size(lengths[i]);
	for (uint32_t at = 0; at < lengths[i]; at++)
		bytes[at] = (uint8_t) (at * 7 + i);
	difs_segment_checksum(bytes, lengths[i], block_crc, &segment.crc);
	difs_segment_pack(&segment, block_crc, packed);
	difs_record_pack(&segment, header.salt, offsets[i], synced, packed);
	offsets[i + 1] = offsets[i] + difs_record_size(lengths[i]);
}

static int
set_up(void **state)
{
	(void) state;
	store = difs_store_memory_create();
	image = calloc(1, 1 << 20);
	difs_group_header_pack(&header, image);
	offsets[0] = DIFS_GROUP_HEADER_SIZE;
	for (int i = 0; i < RECORDS; i++)
		add_record(i, i < 2 ? DIFS_GROUP_HEADER_SIZE : offsets[2]);
	bad_sector = 0;
	fd = memfd_create("group", MFD_CLOEXEC);
	return fd >= 0 ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void) state;
	store->destroy(store);
	free(image);
	return close(fd);
}

static void
recover(const uint8_t *bytes, uint64_t size, bool writable, DifsRecovery *recovery)
{
	DifsGroupHeader own = header;
	DifsError error;

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_true(difs_pwrite(fd, bytes, size, 0));
	assert_true(difs_group_recover(store, fd, &own, writable ? DIFS_RECOVERY_OF_OPEN : DIFS_RECOVERY_OF_SEALED, recovery, &error));
}

/* Recovers the file as the last one left it, as a server does that starts anew. */
static void
recover_again(DifsRecovery *recovery)
{
	uint8_t packed[DIFS_GROUP_HEADER_SIZE];
	DifsGroupHeader own;
	DifsError error;

	assert_int_equal(difs_pread(fd, packed, sizeof(packed), 0), sizeof(packed));
	assert_true(difs_group_header_unpack(packed, "file", &own, &error));
	assert_true(difs_group_recover(store, fd, &own, DIFS_RECOVERY_OF_OPEN, recovery, &error));
	assert_int_equal(own.synced, recovery->file_bytes);
}

static void
flip_in_file(uint64_t at)
{
	uint8_t byte;

	assert_int_equal(difs_pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_true(difs_pwrite(fd, &byte, 1, at));
}

/* The entry of a record, or NULL. */
static const DifsListEntry *
entry_of(const DifsRecovery *recovery, int i)
{
	const DifsListEntry *entry = difs_index_find(&recovery->index, 100 + (uint64_t) i);

	if (entry != NULL)
	{
		assert_int_equal(entry->offset, offsets[i]);
		assert_int_equal(entry->stored_length, lengths[i]);
	}
	return entry;
}

static void
whole_file_is_kept(void **state)
{
	DifsRecovery recovery;

	(void) state;
	recover(image, offsets[RECORDS], true, &recovery);
	assert_int_equal(recovery.index.count, RECORDS);
	assert_int_equal(recovery.file_bytes, offsets[RECORDS]);
	assert_int_equal(recovery.damaged, 0);
	for (int i = 0; i < RECORDS; i++)
		assert_int_equal(entry_of(&recovery, i)->flags, 0);
	difs_index_free(&recovery.index);
}

static void
file_cut_at_any_byte_of_the_last_record(void **state)
{
	DifsRecovery recovery;

	(void) state;
	for (uint64_t size = offsets[3]; size < offsets[4]; size++)
	{
		recover(image, size, true, &recovery);
		assert_int_equal(recovery.file_bytes, offsets[3]);
		assert_int_equal(recovery.cut_bytes, size - offsets[3]);
		assert_int_equal(lseek(fd, 0, SEEK_END), offsets[3]);
		assert_int_equal(recovery.index.count, 3);
		assert_int_equal(recovery.damaged, 0);
		difs_index_free(&recovery.index);
	}
}

/* Whatever byte of the last commit is wrong: the records before it stay, and so does the one behind it. */
static void
any_byte_of_the_last_commit_is_wrong(void **state)
{
	DifsRecovery recovery;

	(void) state;
	for (uint64_t at = offsets[2]; at < offsets[4]; at++)
	{
		int hit = at < offsets[3] ? 2 : 3;
		int other = 5 - hit;
		const DifsListEntry *entry;
		bool padding = at >= offsets[hit] + difs_segment_packed_size(lengths[hit]) + lengths[hit];

		image[at] ^= 0x10;
		recover(image, offsets[4], true, &recovery);
		assert_non_null(entry_of(&recovery, 0));
		assert_non_null(entry_of(&recovery, 1));
		entry = entry_of(&recovery, other);
		/* With record 3 gone, nothing says that 1 and 2 were not the last commit: 2 is checked, and right. */
		assert_non_null(entry);
		assert_int_equal(entry->flags, 0);
		entry = entry_of(&recovery, hit);
		if (padding)
			assert_int_equal(entry->flags, 0);
		else if (hit == 3)
			assert_null(entry);
		else if (at >= offsets[2] + difs_segment_packed_size(lengths[2]))
			assert_int_equal(entry->flags, DIFS_LIST_DAMAGED);
		else
			assert_null(entry);
		assert_int_equal(recovery.file_bytes, hit == 3 && !padding ? offsets[3] : offsets[4]);
		image[at] ^= 0x10;
		difs_index_free(&recovery.index);
	}
}

/* Rot in front of what was durable is listed, and never a reason to cut. */
static void
rot_in_a_durable_header_is_listed(void **state)
{
	DifsRecovery recovery;

	(void) state;
	for (uint64_t at = offsets[1]; at < offsets[1] + difs_segment_packed_size(lengths[1]); at++)
	{
		image[at] ^= 0x80;
		recover(image, offsets[4], true, &recovery);
		assert_int_equal(recovery.file_bytes, offsets[4]);
		assert_int_equal(recovery.damaged, 1);
		assert_int_equal(recovery.index.count, 4);
		assert_int_equal(recovery.index.entries[0].segment, 0);
		assert_int_equal(recovery.index.entries[0].offset, offsets[1]);
		assert_int_equal(recovery.index.entries[0].flags, DIFS_LIST_DAMAGED);
		assert_non_null(entry_of(&recovery, 0));
		assert_non_null(entry_of(&recovery, 2));
		assert_non_null(entry_of(&recovery, 3));
		image[at] ^= 0x80;
		difs_index_free(&recovery.index);
	}
}

/* The last commit, which says that 1 and 2 were durable, is torn and goes; then one of these rots, wherever, and the server dies once
 * more, in the middle of another commit: nothing of theirs may be cut off. */
static void
what_was_durable_stays_so_when_the_tail_has_been_cut(void **state)
{
	DifsRecovery recovery;

	(void) state;
	image[offsets[2]] ^= 1;
	image[offsets[3]] ^= 1;
	for (uint64_t at = offsets[1]; at < offsets[2]; at += at < offsets[1] + 100 ? 1 : 997)
	{
		bool header_hit = at < offsets[1] + difs_segment_packed_size(lengths[1]);

		recover(image, offsets[4], true, &recovery);
		assert_int_equal(recovery.cut_bytes, offsets[4] - offsets[2]);
		difs_index_free(&recovery.index);

		flip_in_file(at);
		assert_true(difs_pwrite(fd, image + offsets[2], 700, offsets[2]));
		recover_again(&recovery);
		assert_int_equal(recovery.file_bytes, offsets[2]);
		assert_int_equal(recovery.cut_bytes, 700);
		assert_int_equal(recovery.index.count, 2);
		assert_non_null(entry_of(&recovery, 0));
		if (header_hit)
		{
			assert_int_equal(recovery.damaged, 1);
			assert_int_equal(recovery.index.entries[0].offset, offsets[1]);
			assert_int_equal(recovery.index.entries[0].flags, DIFS_LIST_DAMAGED);
		}
		else
			assert_non_null(entry_of(&recovery, 1));
		difs_index_free(&recovery.index);
	}
}

/* A crash between the mark and the cut finds the mark, and cuts. */
static void
marked_but_not_cut_is_cut(void **state)
{
	DifsRecovery recovery;

	(void) state;
	recover(image, offsets[2] + 100, true, &recovery);
	difs_index_free(&recovery.index);
	assert_true(difs_pwrite(fd, image + offsets[2], 100, offsets[2]));
	recover_again(&recovery);
	assert_int_equal(recovery.cut_bytes, 100);
	assert_int_equal(recovery.file_bytes, offsets[2]);
	assert_int_equal(recovery.damaged, 0);
	difs_index_free(&recovery.index);
}

/* A file that has lost what was durable says so, again and again, and gives its place to nothing else. */
static void
lost_end_is_listed(void **state)
{
	DifsRecovery recovery;

	(void) state;
	recover(image, offsets[4], true, &recovery);
	difs_index_free(&recovery.index);
	assert_int_equal(ftruncate(fd, (off_t) offsets[3]), 0);
	for (int i = 0; i < 2; i++)
	{
		recover_again(&recovery);
		assert_int_equal(recovery.file_bytes, offsets[4]);
		assert_int_equal(lseek(fd, 0, SEEK_END), offsets[4]);
		assert_int_equal(recovery.damaged, 1);
		assert_int_equal(recovery.index.count, 4);
		assert_int_equal(recovery.index.entries[0].offset, offsets[3]);
		assert_int_equal(recovery.index.entries[0].flags, DIFS_LIST_DAMAGED);
		difs_index_free(&recovery.index);
	}
}

/* A false record may say that the file was durable up to the middle of another one: that is not cut in two. */
static void
record_across_what_was_durable_stays_whole(void **state)
{
	DifsRecovery recovery;

	(void) state;
	add_record(3, offsets[1] + 64);
	image[offsets[3] + difs_segment_packed_size(lengths[3])] ^= 1;
	image[offsets[2]] ^= 1;
	recover(image, offsets[4], true, &recovery);
	assert_int_equal(recovery.file_bytes, offsets[2]);
	assert_non_null(entry_of(&recovery, 1));
	difs_index_free(&recovery.index);
}

/* Of a group that is sealed, or has failed, nothing is forgotten: what has a header is listed by its name, the rest as a place, and what
 * stands beside it is there. */
static void
what_cannot_be_read_is_listed(void **state)
{
	DifsGroupHeader own = header;
	DifsRecovery recovery;
	DifsError error;

	(void) state;
	recover(image, offsets[4], false, &recovery);
	assert_false(recovery.unreadable);
	difs_index_free(&recovery.index);

	/* the payload of the second record, whose header is in the page before */
	bad_sector = (offsets[1] / 4096 + 1) * 4096;
	assert_true(difs_group_recover(store, fd, &own, DIFS_RECOVERY_OF_SEALED, &recovery, &error));
	assert_true(recovery.unreadable);
	assert_int_equal(recovery.damaged, 1);
	assert_int_equal(recovery.index.count, RECORDS);
	for (int i = 0; i < RECORDS; i++)
		assert_int_equal(entry_of(&recovery, i)->flags, i == 1 ? DIFS_LIST_DAMAGED : 0);
	difs_index_free(&recovery.index);

	/* its header, and that of the first one, which are on one page */
	bad_sector = offsets[1] / 4096 * 4096;
	assert_true(difs_group_recover(store, fd, &own, DIFS_RECOVERY_OF_SEALED, &recovery, &error));
	assert_true(recovery.unreadable);
	assert_int_equal(recovery.damaged, 1);
	assert_int_equal(recovery.index.count, 3);
	assert_int_equal(recovery.index.entries[0].segment, 0);
	assert_int_equal(recovery.index.entries[0].offset, offsets[0]);
	assert_int_equal(recovery.index.entries[0].flags, DIFS_LIST_DAMAGED);
	assert_non_null(entry_of(&recovery, 2));
	assert_non_null(entry_of(&recovery, 3));
	difs_index_free(&recovery.index);

	/* an open group is not touched: who knows what stands there */
	assert_false(difs_group_recover(store, fd, &own, DIFS_RECOVERY_OF_OPEN, &recovery, &error));
	assert_int_equal(error.system_errno, EIO);
	assert_int_equal(lseek(fd, 0, SEEK_END), offsets[4]);
}

/* Zeros at the end may be a reserve (group_reserve.c). Anything else there is torn, and zeros where records were durable are damage. */
static void
zeros_at_the_end_are_no_damage_but_of_a_sealed_group(void **state)
{
	const uint64_t length = offsets[RECORDS] + 256 * 1024;
	const struct
	{
		DifsRecoveryOf group;
		uint64_t cut_bytes;
		uint32_t damaged;
	} cases[] = {
		{DIFS_RECOVERY_OF_FAILED, 0, 0},
		{DIFS_RECOVERY_OF_SEALED, 0, 1},
		{DIFS_RECOVERY_OF_OPEN, 256 * 1024, 0},
	};

	(void) state;
	assert_true(length <= 1 << 20);
	for (int torn = 0; torn < 2; torn++)
	{
		if (torn)
			image[offsets[RECORDS] + 5000] = 1;
		for (int i = 0; i < 3; i++)
		{
			DifsGroupHeader own = header;
			DifsRecovery recovery;
			DifsError error;

			assert_int_equal(ftruncate(fd, 0), 0);
			assert_true(difs_pwrite(fd, image, length, 0));
			assert_true(difs_group_recover(store, fd, &own, cases[i].group, &recovery, &error));
			assert_int_equal(recovery.cut_bytes, cases[i].cut_bytes);
			assert_int_equal(recovery.torn_bytes, torn && cases[i].group == DIFS_RECOVERY_OF_OPEN ? 5001 : 0);
			assert_int_equal(recovery.damaged, torn && cases[i].group == DIFS_RECOVERY_OF_FAILED ? 1 : cases[i].damaged);
			assert_int_equal(recovery.index.count, RECORDS + recovery.damaged);
			difs_index_free(&recovery.index);
		}
	}

	/* From the second record on, which the header says was durable. */
	for (int i = 0; i < 3; i++)
	{
		DifsGroupHeader own = header;
		DifsRecovery recovery;
		DifsError error;

		own.synced = offsets[2];
		memset(image + offsets[1], 0, length - offsets[1]);
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_true(difs_pwrite(fd, image, length, 0));
		assert_true(difs_group_recover(store, fd, &own, cases[i].group, &recovery, &error));
		assert_int_equal(recovery.damaged, 1);
		difs_index_free(&recovery.index);
	}
}

/* A record is one only where it was written: a copy in a payload is not found by the search behind damage. */
static void
copies_of_records_are_not_taken_for_records(void **state)
{
	DifsRecovery recovery;
	uint64_t inside = (offsets[1] + 1000) / 64 * 64;

	(void) state;
	memcpy(image + inside, image + offsets[2], offsets[4] - offsets[2]);
	image[offsets[1]] ^= 1;
	recover(image, offsets[4], true, &recovery);
	assert_int_equal(recovery.index.count, 4);
	assert_non_null(entry_of(&recovery, 2));
	assert_non_null(entry_of(&recovery, 3));
	difs_index_free(&recovery.index);
}

static void
garbage_behind_the_end_is_cut(void **state)
{
	DifsRecovery recovery;

	(void) state;
	for (uint64_t size = 1; size < 300; size += 37)
	{
		memset(image + offsets[4], 0x5A, size);
		recover(image, offsets[4] + size, true, &recovery);
		assert_int_equal(recovery.cut_bytes, size);
		assert_int_equal(recovery.file_bytes, offsets[4]);
		difs_index_free(&recovery.index);
	}
	recover(image, DIFS_GROUP_HEADER_SIZE, true, &recovery);
	assert_int_equal(recovery.index.count, 0);
	assert_int_equal(recovery.file_bytes, DIFS_GROUP_HEADER_SIZE);
	difs_index_free(&recovery.index);
}

/* A group that is not open is only looked at. */
static void
nothing_is_cut_when_reading_only(void **state)
{
	DifsRecovery recovery;

	(void) state;
	image[offsets[3] + 10] ^= 1;
	recover(image, offsets[4], false, &recovery);
	assert_int_equal(recovery.file_bytes, offsets[4]);
	assert_int_equal(lseek(fd, 0, SEEK_END), offsets[4]);
	assert_int_equal(recovery.damaged, 1);
	assert_int_equal(recovery.index.entries[0].offset, offsets[3]);
	difs_index_free(&recovery.index);
}

static void
dead_records_are_recovered_as_dead(void **state)
{
	static const uint8_t dead[4] = {'D', 'E', 'A', 'D'};
	DifsRecovery recovery;

	(void) state;
	memcpy(image + offsets[1], dead, 4);
	memset(image + offsets[1] + difs_segment_packed_size(lengths[1]), 0, lengths[1]);
	memcpy(image + offsets[3], dead, 4);
	memset(image + offsets[3] + difs_segment_packed_size(lengths[3]), 0, lengths[3]);
	recover(image, offsets[4], true, &recovery);
	assert_int_equal(recovery.file_bytes, offsets[4]);
	assert_int_equal(recovery.damaged, 0);
	assert_int_equal(entry_of(&recovery, 1)->flags, DIFS_LIST_DEAD);
	assert_int_equal(entry_of(&recovery, 3)->flags, DIFS_LIST_DEAD);
	assert_int_equal(recovery.dead_bytes, difs_record_size(lengths[1]) + difs_record_size(lengths[3]));
	difs_index_free(&recovery.index);
}

static void
headers_of_files_are_checked(void **state)
{
	DifsIndexHeader index = {.group = header, .count = 3, .file_bytes = 9, .live_segments = 2, .dead_bytes = 4};
	DifsIndexHeader out;
	DifsGroupHeader group;
	uint8_t packed[DIFS_INDEX_HEADER_SIZE];
	DifsError error;

	(void) state;
	assert_true(difs_group_header_unpack(image, "file", &group, &error));
	assert_memory_equal(&group, &header, sizeof(group));
	for (uint32_t at = 0; at < DIFS_GROUP_HEADER_SIZE; at++)
	{
		image[at] ^= 4;
		assert_false(difs_group_header_unpack(image, "file", &group, &error));
		assert_int_equal(error.code, DIFS_ERROR_CORRUPT);
		image[at] ^= 4;
	}
	difs_index_header_pack(&index, packed);
	assert_true(difs_index_header_unpack(packed, "file", &out, &error));
	assert_int_equal(out.count, 3);
	assert_int_equal(out.group.salt, header.salt);
	assert_int_equal(out.dead_bytes, 4);
	for (uint32_t at = 0; at < DIFS_INDEX_HEADER_SIZE; at++)
	{
		packed[at] ^= 4;
		assert_false(difs_index_header_unpack(packed, "file", &out, &error));
		packed[at] ^= 4;
	}
}

static void
index_is_sorted_whatever_the_order(void **state)
{
	enum
	{
		ENTRIES = 5000,
	};
	DifsIndex index = {0};
	uint64_t id = 1;

	(void) state;
	for (int i = 0; i < ENTRIES; i++)
	{
		id = id * 2 % 5003; /* 2 generates all of 1 .. 5002 */
		difs_index_insert(&index, &(DifsListEntry){.segment = id, .offset = id * 64, .stored_length = 1});
	}
	assert_int_equal(index.count, ENTRIES);
	for (uint32_t i = 1; i < index.count; i++)
		assert_true(index.entries[i].segment > index.entries[i - 1].segment);
	for (int i = 0; i < ENTRIES; i++)
	{
		assert_int_equal(difs_index_find(&index, id)->offset, id * 64);
		difs_index_remove(&index, id);
		assert_null(difs_index_find(&index, id));
		id = id * 2502 % 5003; /* 2502 is 1/2 */
	}
	assert_int_equal(index.count, 0);
	difs_index_free(&index);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole_file_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(file_cut_at_any_byte_of_the_last_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(any_byte_of_the_last_commit_is_wrong, set_up, tear_down),
		cmocka_unit_test_setup_teardown(rot_in_a_durable_header_is_listed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_durable_stays_so_when_the_tail_has_been_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(marked_but_not_cut_is_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lost_end_is_listed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(record_across_what_was_durable_stays_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_is_listed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(zeros_at_the_end_are_no_damage_but_of_a_sealed_group, set_up, tear_down),
		cmocka_unit_test_setup_teardown(copies_of_records_are_not_taken_for_records, set_up, tear_down),
		cmocka_unit_test_setup_teardown(garbage_behind_the_end_is_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_cut_when_reading_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dead_records_are_recovered_as_dead, set_up, tear_down),
		cmocka_unit_test_setup_teardown(headers_of_files_are_checked, set_up, tear_down),
		cmocka_unit_test(index_is_sorted_whatever_the_order),
	};

	return cmocka_run_group_tests_name("chunkd recover", tests, NULL, NULL);
}
