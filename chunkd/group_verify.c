/*
 * group_verify.c - VERIFY and VERIFY_GROUP: reads segments from the disk, not from the page cache, and checks every checksum.
 *
 * VERIFY_GROUP takes the next live segments in the order of their ids, which is
 * nearly that of the file, until it has DIFS_VERIFY_BYTES; so one request keeps one
 * thread for a moment only, and how fast a whole group is read is up to who asks.
 *
 * State: none but the job's; a segment found damaged is marked so in the index.
 */
#include <stdlib.h>

#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

/* Entries that one request looks at. */
#define ENTRIES_AT_ONCE DIFS_LIST_MAX_ENTRIES

typedef struct Verify
{
	DifsJob job;
	DifsGroup *group;
	DifsRequest *request;
	DifsGroupFile *file;
	DifsListEntry entry;
	DifsError error; /* code DIFS_OK: all of it is right */
	DifsCheckRoom room;
} Verify;

typedef struct VerifyAll
{
	DifsJob job;
	DifsGroup *group;
	DifsRequest *request;
	DifsGroupFile *file;
	uint64_t cursor;
	uint64_t next;
	uint64_t read_bytes;
	uint32_t count;		/* of candidates */
	uint32_t bad_count; /* the first of them, once the job has run */
	DifsListEntry candidates[ENTRIES_AT_ONCE + 1];
	uint8_t packed[ENTRIES_AT_ONCE * DIFS_LIST_ENTRY_SIZE];
	DifsCheckRoom room;
} VerifyAll;

static void verify_run(DifsJob *job);
static void verify_done(DifsJob *job);
static bool is_gone(const DifsGroup *group, uint64_t segment);
static void collect_candidates(VerifyAll *verify);
static void verify_all_run(DifsJob *job);
static void check_own(VerifyAll *verify);
static void verify_all_done(DifsJob *job);
static uint32_t pack_bad(VerifyAll *verify, uint8_t *out);

void
difs_group_verify(DifsRequest *request)
{
	DifsGroup *group = request->group;
	Verify *verify;
	DifsListEntry entry;
	uint64_t id;
	uint64_t segment;

	(void) difs_pair_unpack(request->control, request->frame.control_length, &id, &segment, NULL);
	if (segment == 0 || !difs_group_find(group, segment, &entry) || entry.flags & DIFS_LIST_DEAD)
	{
		difs_request_refuse(request, DIFS_ERROR_NO_SEGMENT, "block group %016llx has no segment %llu",
							(unsigned long long) group->id, (unsigned long long) segment);
		return;
	}
	verify = difs_alloc(sizeof(*verify));
	verify->group = group;
	verify->request = request;
	verify->file = difs_group_file_hold(group->file);
	verify->entry = entry;
	group->readers++;
	difs_job_start(&difs_group_server(group)->pool, DIFS_LANE_SLOW, &verify->job, verify_run, verify_done);
}

void
difs_group_verify_all(DifsRequest *request)
{
	DifsGroup *group = request->group;
	VerifyAll *verify = difs_alloc(sizeof(*verify));
	uint64_t id;

	(void) difs_pair_unpack(request->control, request->frame.control_length, &id, &verify->cursor, NULL);
	verify->group = group;
	verify->request = request;
	verify->file = difs_group_file_hold(group->file);
	difs_request_reserve(request, ENTRIES_AT_ONCE * DIFS_LIST_ENTRY_SIZE);
	group->readers++;
	/* An index in memory belongs to this thread; a mapped one may have to be read from the disk. */
	if (verify->file->map.fd < 0)
		collect_candidates(verify);
	difs_job_start(&difs_group_server(group)->pool, DIFS_LANE_SLOW, &verify->job, verify_all_run, verify_all_done);
}

static void
verify_run(DifsJob *job)
{
	Verify *verify = (Verify *) job;

	(void) difs_group_check_record(verify->file, &verify->entry, &verify->room, &verify->error);
}

static void
verify_done(DifsJob *job)
{
	Verify *verify = (Verify *) job;
	DifsGroup *group = verify->group;

	group->readers--;
	if (verify->error.code == DIFS_ERROR_CORRUPT && is_gone(group, verify->entry.segment))
		difs_error_set(&verify->error, DIFS_ERROR_NO_SEGMENT, "segment %llu has been deleted",
					   (unsigned long long) verify->entry.segment);
	if (verify->error.code == DIFS_OK)
		difs_request_reply(verify->request, NULL, 0, NULL, 0);
	else
	{
		if (verify->error.code != DIFS_ERROR_NO_SEGMENT)
			difs_log(DIFS_LOG_ERROR, "group %016llx: segment %llu is damaged: %s", (unsigned long long) group->id,
					 (unsigned long long) verify->entry.segment, verify->error.text);
		if (verify->error.code == DIFS_ERROR_CORRUPT)
			difs_group_mark_damaged(group, verify->entry.segment);
		difs_request_fail(verify->request, &verify->error);
	}
	difs_group_file_release(verify->file);
	free(verify);
	if (group->dropping)
		difs_group_schedule(group);
}

/* Deleted meanwhile, its pages are a hole and no damage. */
static bool
is_gone(const DifsGroup *group, uint64_t segment)
{
	DifsListEntry entry;

	return group->file != NULL && (!difs_group_find(group, segment, &entry) || entry.flags & DIFS_LIST_DEAD);
}

/* The entries behind the cursor, all of them: what of them is to be read is the job's to say. */
static void
collect_candidates(VerifyAll *verify)
{
	verify->count = difs_index_list(&verify->group->index, &verify->file->map, verify->cursor, verify->packed, &verify->next);
	for (uint32_t i = 0; i < verify->count; i++)
		difs_list_entry_unpack(verify->packed + (size_t) i * DIFS_LIST_ENTRY_SIZE, &verify->candidates[i + 1]);
}

/* Keeps what is bad at the front of candidates: one place is free there for the group's own header or index. */
static void
verify_all_run(DifsJob *job)
{
	VerifyAll *verify = (VerifyAll *) job;

	if (verify->file->map.fd >= 0)
		collect_candidates(verify);
	if (verify->cursor == 0)
		check_own(verify);
	for (uint32_t i = 1; i <= verify->count; i++)
	{
		DifsListEntry entry = verify->candidates[i];
		DifsError error = {0};

		if (entry.flags & DIFS_LIST_DEAD)
			continue;
		if (entry.segment == 0)
		{
			verify->candidates[verify->bad_count++] = entry;
			continue;
		}
		if (verify->read_bytes >= DIFS_VERIFY_BYTES)
		{
			verify->next = verify->cursor;
			break;
		}
		verify->read_bytes += difs_record_size(entry.stored_length);
		verify->cursor = entry.segment;
		if (difs_group_check_record(verify->file, &entry, &verify->room, &error))
			continue;
		entry.flags |= error.code == DIFS_ERROR_NO_SEGMENT ? DIFS_LIST_DEAD : DIFS_LIST_DAMAGED;
		verify->candidates[verify->bad_count++] = entry;
		if (error.code == DIFS_ERROR_NO_SEGMENT)
			continue; /* a crash came between record and index */
		difs_log(DIFS_LOG_ERROR, "group %016llx: segment %llu is damaged: %s",
				 (unsigned long long) verify->file->header.group, (unsigned long long) entry.segment, error.text);
	}
}

/* A damaged index would only lead to places that are none. */
static void
check_own(VerifyAll *verify)
{
	DifsError error = {0};
	bool index_right = difs_group_check_index(verify->file, &error);

	if (index_right && difs_group_check_header(verify->file, &error))
		return;
	difs_log(DIFS_LOG_ERROR, "group %016llx: %s", (unsigned long long) verify->file->header.group, error.text);
	verify->candidates[verify->bad_count++] = (DifsListEntry){
		.stored_length = DIFS_GROUP_HEADER_SIZE,
		.flags = DIFS_LIST_DAMAGED,
	};
	if (!index_right)
	{
		verify->count = 0;
		verify->next = 0;
	}
}

static void
verify_all_done(DifsJob *job)
{
	VerifyAll *verify = (VerifyAll *) job;
	DifsGroup *group = verify->group;
	uint8_t *payload = difs_alloc((size_t) (verify->bad_count + 1) * DIFS_LIST_ENTRY_SIZE);
	uint32_t length = pack_bad(verify, payload);
	uint8_t control[16];

	group->readers--;
	difs_request_reply(verify->request, control,
					   (uint32_t) difs_pair_pack(verify->next, verify->read_bytes, control), payload, length);
	difs_group_file_release(verify->file);
	free(verify);
	if (group->dropping)
		difs_group_schedule(group);
}

/* Returns the length in bytes. */
static uint32_t
pack_bad(VerifyAll *verify, uint8_t *out)
{
	uint32_t length = 0;

	for (uint32_t i = 0; i < verify->bad_count; i++)
	{
		const DifsListEntry *entry = &verify->candidates[i];

		if (entry->segment != 0 && is_gone(verify->group, entry->segment))
			continue;
		if (entry->flags & DIFS_LIST_DAMAGED && entry->segment != 0)
			difs_group_mark_damaged(verify->group, entry->segment);
		difs_list_entry_pack(entry, out + length);
		length += DIFS_LIST_ENTRY_SIZE;
	}
	return length;
}
