/*
 * store_memory.c - files of the memory tier: memfd files, by the names that they were given.
 *
 * State: a search tree from path to descriptor, under one mutex, as pool threads
 * create, rename and remove.  open() hands out a duplicate, so a removed file lives
 * on for those who read it, as on a disk.  All of it ends with the process: that
 * is what the tier promises.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "memory.h"

typedef struct MemoryFile
{
	char path[DIFS_PATH_SIZE];
	int fd;
} MemoryFile;

typedef struct MemoryStore
{
	DifsStore store;
	pthread_mutex_t mutex;
	void *files; /* tsearch() tree of MemoryFile */
} MemoryStore;

static int
compare_paths(const void *a, const void *b)
{
	return strcmp(((const MemoryFile *) a)->path, ((const MemoryFile *) b)->path);
}

static MemoryFile *
find_file(MemoryStore *memory, const char *path)
{
	MemoryFile key;
	MemoryFile **found;

	snprintf(key.path, sizeof(key.path), "%s", path);
	found = tfind(&key, &memory->files, compare_paths);
	return found == NULL ? NULL : *found;
}

static void
forget_file(MemoryStore *memory, const char *path)
{
	MemoryFile *file = find_file(memory, path);

	if (file == NULL)
		return;
	tdelete(file, &memory->files, compare_paths);
	close(file->fd);
	free(file);
}

static void
add_file(MemoryStore *memory, MemoryFile *file)
{
	if (tsearch(file, &memory->files, compare_paths) == NULL)
		abort(); /* out of memory, as in difs_alloc() */
}

/* Nothing is there when a process begins, which is the only time that anyone asks. */
static bool
memory_list(DifsStore *store, const char *directory, DifsStoreVisit visit, void *context, DifsError *error)
{
	(void) store;
	(void) directory;
	(void) visit;
	(void) context;
	(void) error;
	return true;
}

static bool
memory_make_directory(DifsStore *store, const char *directory, DifsError *error)
{
	(void) store;
	(void) directory;
	(void) error;
	return true;
}

static int
memory_open(DifsStore *store, const char *path, DifsError *error)
{
	MemoryStore *memory = (MemoryStore *) store;
	MemoryFile *file;
	int fd = -1;

	pthread_mutex_lock(&memory->mutex);
	file = find_file(memory, path);
	errno = ENOENT;
	if (file != NULL)
		fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		difs_error_set(error, DIFS_ERROR_IO, "could not open memory file \"%s\"", path);
	pthread_mutex_unlock(&memory->mutex);
	return fd;
}

static int
memory_create(DifsStore *store, const char *path, DifsError *error)
{
	MemoryStore *memory = (MemoryStore *) store;
	MemoryFile *file = difs_alloc(sizeof(*file));
	int fd;

	snprintf(file->path, sizeof(file->path), "%s", path);
	file->fd = memfd_create(path, MFD_CLOEXEC);
	fd = file->fd < 0 ? -1 : fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not create memory file \"%s\"", path);
		if (file->fd >= 0)
			close(file->fd);
		free(file);
		return -1;
	}
	pthread_mutex_lock(&memory->mutex);
	forget_file(memory, path);
	add_file(memory, file);
	pthread_mutex_unlock(&memory->mutex);
	return fd;
}

static bool
memory_publish(DifsStore *store, int fd, const char *from, const char *to, DifsError *error)
{
	MemoryStore *memory = (MemoryStore *) store;
	MemoryFile *file;

	(void) fd;
	(void) error;
	pthread_mutex_lock(&memory->mutex);
	file = find_file(memory, from);
	tdelete(file, &memory->files, compare_paths);
	forget_file(memory, to);
	snprintf(file->path, sizeof(file->path), "%s", to);
	add_file(memory, file);
	pthread_mutex_unlock(&memory->mutex);
	return true;
}

static bool
memory_remove(DifsStore *store, const char *const *paths, DifsError *error)
{
	MemoryStore *memory = (MemoryStore *) store;

	(void) error;
	pthread_mutex_lock(&memory->mutex);
	for (; *paths != NULL; paths++)
		forget_file(memory, *paths);
	pthread_mutex_unlock(&memory->mutex);
	return true;
}

static bool
memory_sync(DifsStore *store, int fd, DifsError *error)
{
	(void) store;
	(void) fd;
	(void) error;
	return true;
}

static bool
memory_free_space(DifsStore *store, uint64_t *bytes, DifsError *error)
{
	struct sysinfo info;

	(void) store;
	if (sysinfo(&info) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not get the size of memory");
	*bytes = (uint64_t) info.freeram * info.mem_unit;
	return true;
}

static void
free_file(void *node)
{
	MemoryFile *file = node;

	close(file->fd);
	free(file);
}

static void
memory_destroy(DifsStore *store)
{
	MemoryStore *memory = (MemoryStore *) store;

	tdestroy(memory->files, free_file);
	pthread_mutex_destroy(&memory->mutex);
	free(memory);
}

DifsStore *
difs_store_memory_create(void)
{
	MemoryStore *memory = difs_alloc(sizeof(*memory));

	pthread_mutex_init(&memory->mutex, NULL);
	memory->store = (DifsStore){
		.list = memory_list,
		.make_directory = memory_make_directory,
		.open = memory_open,
		.create = memory_create,
		.publish = memory_publish,
		.remove = memory_remove,
		.sync = memory_sync,
		.free_space = memory_free_space,
		.destroy = memory_destroy,
	};
	return &memory->store;
}
