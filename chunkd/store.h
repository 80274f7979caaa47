/*
 * store.h - where group and index files live: a small interface with two drivers.
 *
 * store_disk.c keeps them below the data directory, store_memory.c in memfd files
 * of this process.  Paths are relative, "<cluster>/<group>.group".  Every file is
 * read and written by its descriptor, in the same way for both.  Any thread may
 * call.
 */
#ifndef DIFS_STORE_H
#define DIFS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/error.h"

#define DIFS_PATH_SIZE 80

typedef struct DifsStore DifsStore;

typedef void (*DifsStoreVisit)(void *context, const char *name);

struct DifsStore
{
	/* Calls visit for each name in a directory ("" is the top); none if it is not there. */
	bool (*list)(DifsStore *store, const char *directory, DifsStoreVisit visit, void *context,
				 DifsError *error);

	/* Makes a directory at the top, durably; fine if it is there. */
	bool (*make_directory)(DifsStore *store, const char *directory, DifsError *error);

	/* Opens a file for reading and writing; -1 with DIFS_ERROR_IO (system_errno ENOENT if it is not there). */
	int (*open)(DifsStore *store, const char *path, DifsError *error);

	/* Creates an empty file, in the place of one of that name. */
	int (*create)(DifsStore *store, const char *path, DifsError *error);

	/* Makes a created file's bytes durable, then its name, which becomes `to`. */
	bool (*publish)(DifsStore *store, int fd, const char *from, const char *to, DifsError *error);

	/* Removes files, NULL at the end, in this order, durably.  Those that are not there are fine. */
	bool (*remove)(DifsStore *store, const char *const *paths, DifsError *error);

	/* Makes what has been written to the file durable. */
	bool (*sync)(DifsStore *store, int fd, DifsError *error);

	/* Bytes that the file system can still take. */
	bool (*free_space)(DifsStore *store, uint64_t *bytes, DifsError *error);

	void (*destroy)(DifsStore *store);
};

extern DifsStore *difs_store_disk_create(int directory_fd);
extern DifsStore *difs_store_memory_create(void);

#endif
