/*
 * group_verify.c - VERIFY: reads a segment from the disk, not from the page cache, and checks every checksum.
 *
 * State: none but the job's; a segment found damaged is marked so in the index.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

#define VERIFY_BYTES (16 * DIFS_BLOCK_SIZE)

typedef struct Verify
{
	DifsJob		job;
	DifsGroup  *group;
	DifsRequest *request;
	DifsGroupFile *file;
	DifsListEntry entry;
	DifsError	error;			/* code DIFS_OK: all of it is right */
	uint8_t		packed[DIFS_MAX_PACKED_SIZE];
	uint8_t		bytes[VERIFY_BYTES];
} Verify;

static void verify_run(DifsJob *job);
static bool verify_header(Verify *verify);
static void verify_done(DifsJob *job);

void
difs_group_verify(DifsRequest *request)
{
	DifsGroup  *group = request->group;
	Verify	   *verify;
	DifsListEntry entry;
	uint64_t	id;
	uint64_t	segment;

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

static void
verify_run(DifsJob *job)
{
	Verify	   *verify = (Verify *) job;
	size_t		packed_size = difs_segment_packed_size(verify->entry.stored_length);
	uint64_t	at = verify->entry.offset + packed_size;

	/* Where this is not possible, the check is weaker. */
	(void) posix_fadvise(verify->file->fd, (off_t) verify->entry.offset,
						 (off_t) difs_record_size(verify->entry.stored_length), POSIX_FADV_DONTNEED);
	if (!verify_header(verify))
		return;
	for (uint64_t done = 0; done < verify->entry.stored_length; done += VERIFY_BYTES)
	{
		uint64_t	left = verify->entry.stored_length - done;
		uint32_t	length = left < VERIFY_BYTES ? (uint32_t) left : VERIFY_BYTES;

		if (!difs_pread_all(verify->file->fd, verify->bytes, length, at + done, &verify->error) ||
			!difs_segment_verify(verify->packed, (uint32_t) (done / DIFS_BLOCK_SIZE), verify->bytes, length,
								 &verify->error))
			return;
	}
}

static bool
verify_header(Verify *verify)
{
	size_t		packed_size = difs_segment_packed_size(verify->entry.stored_length);
	DifsSegment segment;

	if (!difs_pread_all(verify->file->fd, verify->packed, packed_size, verify->entry.offset, &verify->error) ||
		!difs_record_unpack(verify->packed, packed_size, &verify->file->header, verify->entry.offset, &segment,
							&verify->error))
		return false;
	if (segment.segment != verify->entry.segment || segment.stored_length != verify->entry.stored_length)
		return difs_error_set(&verify->error, DIFS_ERROR_CORRUPT, "record of segment %llu is that of another",
							  (unsigned long long) verify->entry.segment);
	if (segment.dead)
		return difs_error_set(&verify->error, DIFS_ERROR_NO_SEGMENT, "segment %llu has been deleted",
							  (unsigned long long) segment.segment);
	return true;
}

static void
verify_done(DifsJob *job)
{
	Verify	   *verify = (Verify *) job;
	DifsGroup  *group = verify->group;
	DifsListEntry entry;

	group->readers--;
	/* Deleted meanwhile, its pages are a hole and no damage. */
	if (verify->error.code == DIFS_ERROR_CORRUPT && group->file != NULL &&
		(!difs_group_find(group, verify->entry.segment, &entry) || entry.flags & DIFS_LIST_DEAD))
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
