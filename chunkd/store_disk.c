/*
 * store_disk.c - the files of a data directory.
 *
 * State: the directory's descriptor, which directory.c opened and locked.  A
 * process that dies between create() and publish() leaves a file that ends in .tmp
 * or .new, which tenant_load.c removes at start.
 */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <uv.h>

#include "../common/fault.h"
#include "counts.h"
#include "file_io.h"
#include "memory.h"

typedef struct DiskStore
{
	DifsStore store;
	int directory_fd;
} DiskStore;

static int
directory_of(DifsStore *store)
{
	return ((DiskStore *) store)->directory_fd;
}

static bool
disk_list(DifsStore *store, const char *directory, DifsStoreVisit visit, void *context, DifsError *error)
{
	int fd = openat(directory_of(store), directory[0] == '\0' ? "." : directory,
					O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream;
	struct dirent *entry;

	if (fd < 0 && errno == ENOENT)
		return true;
	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not open directory \"%s\"", directory);
	stream = fdopendir(fd);
	if (stream == NULL)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not read directory \"%s\"", directory);
		close(fd);
		return false;
	}
	errno = 0;
	while ((entry = readdir(stream)) != NULL)
	{
		if (entry->d_name[0] != '.')
			visit(context, entry->d_name);
		errno = 0;
	}
	if (errno != 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not read directory \"%s\"", directory);
		closedir(stream);
		return false;
	}
	closedir(stream);
	return true;
}

static bool
disk_make_directory(DifsStore *store, const char *directory, DifsError *error)
{
	if (mkdirat(directory_of(store), directory, 0700) != 0 && errno != EEXIST)
		return difs_error_set(error, DIFS_ERROR_IO, "could not create directory \"%s\"", directory);
	return difs_directory_sync(directory_of(store), directory, error);
}

static int
disk_open(DifsStore *store, const char *path, DifsError *error)
{
	int fd = openat(directory_of(store), path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		difs_error_set(error, DIFS_ERROR_IO, "could not open file \"%s\"", path);
	return fd;
}

static int
disk_create(DifsStore *store, const char *path, DifsError *error)
{
	int fd = openat(directory_of(store), path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		difs_error_set(error, DIFS_ERROR_IO, "could not create file \"%s\"", path);
	return fd;
}

static bool
disk_publish(DifsStore *store, int fd, const char *from, const char *to, DifsError *error)
{
	uint64_t began_ns = uv_hrtime();
	bool synced = DIFS_FAULT_SKIP("chunkd.sync.file") || fsync(fd) == 0;

	difs_count_sync(began_ns, synced);
	if (!synced)
		return difs_error_set(error, DIFS_ERROR_IO, "could not sync file \"%s\"", from);
	DIFS_FAULT("chunkd.publish.synced");
	if (renameat(directory_of(store), from, directory_of(store), to) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not rename file \"%s\"", from);
	DIFS_FAULT("chunkd.publish.renamed");
	return difs_directory_sync(directory_of(store), to, error);
}

static bool
disk_remove(DifsStore *store, const char *const *paths, DifsError *error)
{
	const char *last = paths[0];

	for (; *paths != NULL; paths++)
	{
		last = *paths;
		if (unlinkat(directory_of(store), *paths, 0) != 0 && errno != ENOENT)
			return difs_error_set(error, DIFS_ERROR_IO, "could not remove file \"%s\"", *paths);
		DIFS_FAULT("chunkd.remove.unlinked");
	}
	return difs_directory_sync(directory_of(store), last, error);
}

static bool
disk_sync(DifsStore *store, int fd, DifsError *error)
{
	uint64_t began_ns = uv_hrtime();
	bool ok = DIFS_FAULT_SKIP("chunkd.sync.data") || fdatasync(fd) == 0 || DIFS_FAULT_SKIP("chunkd.sync.result") ||
		difs_error_set(error, DIFS_ERROR_IO, "could not sync file");

	(void) store;
	difs_count_sync(began_ns, ok);
	return ok;
}

static bool
disk_free_space(DifsStore *store, uint64_t *bytes, DifsError *error)
{
	struct statvfs status;

	if (fstatvfs(directory_of(store), &status) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not stat file system");
	*bytes = (uint64_t) status.f_bavail * status.f_frsize;
	return true;
}

static void
disk_destroy(DifsStore *store)
{
	free(store);
}

DifsStore *
difs_store_disk_create(int directory_fd)
{
	DiskStore *disk = difs_alloc(sizeof(*disk));

	disk->directory_fd = directory_fd;
	disk->store = (DifsStore){
		.list = disk_list,
		.make_directory = disk_make_directory,
		.open = disk_open,
		.create = disk_create,
		.publish = disk_publish,
		.remove = disk_remove,
		.sync = disk_sync,
		.free_space = disk_free_space,
		.destroy = disk_destroy,
	};
	return &disk->store;
}
