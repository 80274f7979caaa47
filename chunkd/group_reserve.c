/*
 * group_reserve.c - room for small commits: zeros behind the last record of an open group.
 *
 * A sync of bytes that make a file longer waits for the file system's journal as well, and takes about twice as long as one
 * of bytes that replace others.  So a small commit that comes to the end of the file writes RESERVE_BYTES of zeros behind its
 * records, and its sync makes them and the length durable; the commits after it write over them.  PostgreSQL does the same with
 * segments of WAL (wal_init_zero).  A large commit waits for its bytes anyway, and does not.
 *
 *	0      header    records, durable                     file_bytes    zeros     reserved_end
 *	|--------|----------------------------------------------|----------------------|
 *
 * A reserve is never needed: if there is no room for it there is none.  Any other failure is one of the disk, and the commit's.
 * Recovery cuts it off, as what is no record, and does not call it torn; a group that is sealed is cut to its records first, so
 * that zeros at its end are damage.
 *
 * Crash points: none of its own, as it only adds zeros behind what the next sync makes durable.
 */
#include <errno.h>
#include <unistd.h>

#include "file_io.h"
#include "group_jobs.h"

#define RESERVE_BYTES ((uint64_t) 256 * 1024)

bool
difs_group_reserve(int fd, uint64_t end, uint64_t limit, uint64_t *reserved_end)
{
	static const uint8_t zeros[RESERVE_BYTES];
	uint64_t size = limit > end && limit - end < RESERVE_BYTES ? limit - end : RESERVE_BYTES;

	*reserved_end = end;
	if (end >= limit)
		return true;
	if (difs_pwrite(fd, zeros, size, end))
	{
		*reserved_end = end + size;
		return true;
	}
	/* There was no room, and what was written of it gives back what it took. */
	return difs_lacks_room(errno) && ftruncate(fd, (off_t) end) == 0;
}

bool
difs_group_end_reserve(DifsStore *store, int fd, uint64_t end, DifsError *error)
{
	uint64_t length;
	uint64_t allocated;

	if (!difs_file_size(fd, &length, &allocated, error))
		return false;
	if (length <= end)
		return true;
	if (ftruncate(fd, (off_t) end) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not cut the group file to its records");
	return store->sync(store, fd, error);
}
