/*
 * file_io.c - see file_io.h.  No state; any thread may call.
 */
#include "file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/fault.h"

ssize_t
difs_pread(int fd, void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size)
	{
		ssize_t got = pread(fd, (char *) buffer + done, size - done, (off_t) (offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		done += (size_t) got;
	}
	return (ssize_t) done;
}

bool
difs_pread_all(int fd, void *buffer, size_t size, uint64_t offset, DifsError *error)
{
	ssize_t got = difs_pread(fd, buffer, size, offset);

	if (got < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not read %zu bytes at %llu", size,
							  (unsigned long long) offset);
	if ((size_t) got < size)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "file ends before %zu bytes at %llu", size,
							  (unsigned long long) offset);
	return true;
}

bool
difs_preadv_cached(int fd, const struct iovec *vector, int count, uint64_t offset)
{
	size_t size = 0;

	for (int i = 0; i < count; i++)
		size += vector[i].iov_len;
	return preadv2(fd, vector, count, (off_t) offset, RWF_NOWAIT) == (ssize_t) size;
}

bool
difs_pwritev(int fd, struct iovec *vector, int count, uint64_t offset)
{
	while (count > 0)
	{
		ssize_t wrote = pwritev(fd, vector, count < IOV_MAX ? count : IOV_MAX, (off_t) offset);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return false;
		offset += (uint64_t) wrote;
		while (count > 0 && (size_t) wrote >= vector->iov_len)
		{
			wrote -= (ssize_t) vector->iov_len;
			vector++;
			count--;
		}
		if (count > 0)
		{
			vector->iov_base = (char *) vector->iov_base + wrote;
			vector->iov_len -= (size_t) wrote;
		}
	}
	return true;
}

/* Whether it fails is for the sync to say, which comes behind it. */
void
difs_write_back(int fd, uint64_t offset, uint64_t size)
{
	(void) sync_file_range(fd, (off_t) offset, (off_t) size, SYNC_FILE_RANGE_WRITE);
}

bool
difs_pwrite(int fd, const void *buffer, size_t size, uint64_t offset)
{
	struct iovec vector = {.iov_base = (void *) (uintptr_t) buffer, .iov_len = size};

	return difs_pwritev(fd, &vector, 1, offset);
}

bool
difs_lacks_room(int write_errno)
{
	return write_errno == ENOSPC || write_errno == EDQUOT || write_errno == EFBIG;
}

bool
difs_file_size(int fd, uint64_t *length, uint64_t *allocated, DifsError *error)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not stat file");
	*length = (uint64_t) status.st_size;
	*allocated = (uint64_t) status.st_blocks * 512;
	return true;
}

bool
difs_file_replace(int directory_fd, const char *path, const char *text, DifsError *error)
{
	char temporary[PATH_MAX];
	int fd;
	bool ok;

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	fd = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not create file \"%s\"", temporary);
	ok = difs_pwrite(fd, text, strlen(text), 0) && fsync(fd) == 0;
	if (!ok)
		difs_error_set(error, DIFS_ERROR_IO, "could not write file \"%s\"", temporary);
	close(fd);
	if (!ok)
		return false;
	if (renameat(directory_fd, temporary, directory_fd, path) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not rename file \"%s\"", temporary);
	return difs_directory_sync(directory_fd, path, error);
}

bool
difs_file_read(int directory_fd, const char *path, char *text, size_t size, DifsError *error)
{
	ssize_t got = -1;
	int fd = openat(directory_fd, path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
	{
		int saved_errno;

		got = difs_pread(fd, text, size - 1, 0);
		saved_errno = errno;
		close(fd);
		errno = saved_errno;
	}
	if (got < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not read file \"%s\"", path);
	text[got] = '\0';
	return true;
}

bool
difs_directory_sync(int directory_fd, const char *path, DifsError *error)
{
	char directory[PATH_MAX];
	char *slash;
	int fd;
	bool ok;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (slash == NULL)
		strcpy(directory, ".");
	else
		slash[slash == directory ? 1 : 0] = '\0';

	fd = openat(directory_fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not open directory \"%s\"", directory);
	ok = DIFS_FAULT_SKIP("chunkd.sync.directory") || fsync(fd) == 0;
	if (!ok)
		difs_error_set(error, DIFS_ERROR_IO, "could not sync directory \"%s\"", directory);
	close(fd);
	return ok;
}
