/*
 * file_io.h - reads and writes of files that are complete or have failed.
 *
 * EINTR and short transfers are dealt with here and nowhere else.
 */
#ifndef DIFS_FILE_IO_H
#define DIFS_FILE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../common/error.h"

/* Reads up to size bytes, less only at the end of the file.  -1 with errno. */
extern ssize_t difs_pread(int fd, void *buffer, size_t size, uint64_t offset);

/* Reads exactly size bytes.  False with DIFS_ERROR_IO, or DIFS_ERROR_CORRUPT if the file ends before. */
extern bool difs_pread_all(int fd, void *buffer, size_t size, uint64_t offset, DifsError *error);

/* Reads only what is in memory already; false if that is not all of it. */
extern bool difs_preadv_cached(int fd, const struct iovec *vector, int count, uint64_t offset);

/* Lets the disk begin to write what is in the page cache. Only a hint: nothing is durable before a sync. */
extern void difs_write_back(int fd, uint64_t offset, uint64_t size);

/* Whether a write failed for want of room, and the disk is as good as before. */
extern bool difs_lacks_room(int write_errno);

/* Writes all of it.  False with errno. The vector is used up. */
extern bool difs_pwritev(int fd, struct iovec *vector, int count, uint64_t offset);
extern bool difs_pwrite(int fd, const void *buffer, size_t size, uint64_t offset);

/* Bytes that a file takes on its file system, and its length. False with DIFS_ERROR_IO. */
extern bool difs_file_size(int fd, uint64_t *length, uint64_t *allocated, DifsError *error);

/* Writes a small file durably and in one step: to path.tmp, synced, renamed, directory synced.  Paths are relative to
 * the directory directory_fd. */
extern bool difs_file_replace(int directory_fd, const char *path, const char *text, DifsError *error);

/* Reads a small text file; false with DIFS_ERROR_IO (system_errno ENOENT if it is not there). */
extern bool difs_file_read(int directory_fd, const char *path, char *text, size_t size, DifsError *error);

/* Makes the names in the directory of path durable. */
extern bool difs_directory_sync(int directory_fd, const char *path, DifsError *error);

#endif
