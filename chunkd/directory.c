/*
 * directory.c - see directory.h.
 *
 * The lock is an flock(), so it is gone with its holder however that dies.  The
 * identity is written once, durably, before anything else; a directory that holds
 * another name or tier is refused, as what it holds belongs to others.  It has 16
 * random bytes, by which the owners of segments tell this storage from another one
 * that goes by its name.  The memory tier keeps nothing that they could tell.
 */
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../common/auth.h"
#include "disk_format.h"
#include "file_io.h"

#define LOCK_FILE "difsd.lock"
#define IDENTITY_FILE "identity"
#define IDENTITY_SIZE (DIFS_NAME_SIZE + 128)
#define LOCK_WAIT_MS 10000
#define LOCK_RETRY_MS 50

static bool lock_directory(const DifsOptions *options, int directory_fd, DifsError *error);
static bool check_identity(DifsOptions *options, int directory_fd, DifsError *error);
static bool make_identity(const DifsOptions *options, int directory_fd, char *text, size_t size, DifsError *error);

int
difs_directory_open(DifsOptions *options, DifsError *error)
{
	int directory_fd;

	if (mkdir(options->data, 0700) == 0)
	{
		if (!difs_directory_sync(AT_FDCWD, options->data, error))
			return -1;
	}
	else if (errno != EEXIST)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not create data directory \"%s\"", options->data);
		return -1;
	}
	directory_fd = open(options->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not open data directory \"%s\"", options->data);
		return -1;
	}
	if (!lock_directory(options, directory_fd, error) || !check_identity(options, directory_fd, error))
	{
		close(directory_fd);
		return -1;
	}
	return directory_fd;
}

/* The descriptor of the lock file stays open for as long as the process lives. */
static bool
lock_directory(const DifsOptions *options, int directory_fd, DifsError *error)
{
	const struct timespec retry = {.tv_nsec = LOCK_RETRY_MS * 1000000};
	char holder[32] = "";
	int fd = openat(directory_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int waited_ms;

	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not open file \"%s/" LOCK_FILE "\"", options->data);
	for (waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited_ms += LOCK_RETRY_MS)
	{
		if (errno != EWOULDBLOCK && errno != EINTR)
			return difs_error_set(error, DIFS_ERROR_IO, "could not lock file \"%s/" LOCK_FILE "\"", options->data);
		if (waited_ms >= LOCK_WAIT_MS)
		{
			if (difs_pread(fd, holder, sizeof(holder) - 1, 0) <= 0)
				strcpy(holder, "unknown\n");
			holder[strcspn(holder, "\n")] = '\0';
			return difs_error_set(error, DIFS_ERROR_EXISTS, "data directory \"%s\" is in use by process %s",
								  options->data, holder);
		}
		nanosleep(&retry, NULL);
	}
	snprintf(holder, sizeof(holder), "%d\n", (int) getpid());
	if (ftruncate(fd, 0) != 0 || !difs_pwrite(fd, holder, strlen(holder), 0))
		return difs_error_set(error, DIFS_ERROR_IO, "could not write file \"%s/" LOCK_FILE "\"", options->data);
	return true;
}

static bool
check_identity(DifsOptions *options, int directory_fd, DifsError *error)
{
	const char *wanted_tier = options->tier == DIFS_TIER_MEMORY ? "memory" : "disk";
	char found[IDENTITY_SIZE];
	char name[DIFS_NAME_SIZE];
	char tier[16];
	char digits[2 * DIFS_UUID_SIZE + 1];
	uint8_t storage[DIFS_UUID_SIZE];
	int version;
	bool whole;

	if (!difs_file_read(directory_fd, IDENTITY_FILE, found, sizeof(found), error) &&
		(error->system_errno != ENOENT || !make_identity(options, directory_fd, found, sizeof(found), error)))
		return false;
	if (sscanf(found, "difs %d\n", &version) == 1 && version != DIFS_DISK_VERSION)
		return difs_error_set(error, DIFS_ERROR_VERSION, "data directory \"%s\" is of format %d, not %d", options->data,
							  version, DIFS_DISK_VERSION);
	whole = sscanf(found, "difs %d\nname %255s\ntier %15s\nstorage %32[0-9a-f]\n", &version, name, tier, digits) == 4 &&
		strlen(digits) == 2 * DIFS_UUID_SIZE;
	for (int i = 0; i < DIFS_UUID_SIZE && whole; i++)
		whole = sscanf(digits + 2 * i, "%2hhx", &storage[i]) == 1;
	if (!whole)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "file \"%s/" IDENTITY_FILE "\" is damaged", options->data);
	if (strcmp(name, options->name) != 0 || strcmp(tier, wanted_tier) != 0)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "data directory \"%s\" belongs to storage \"%s\" of tier %s",
							  options->data, name, tier);
	if (options->tier != DIFS_TIER_MEMORY)
		memcpy(options->storage, storage, sizeof(storage));
	return true;
}

static bool
make_identity(const DifsOptions *options, int directory_fd, char *text, size_t size, DifsError *error)
{
	uint8_t storage[DIFS_UUID_SIZE];
	int length;

	if (!difs_random(storage, sizeof(storage), error))
		return false;
	length = snprintf(text, size, "difs %d\nname %s\ntier %s\nstorage ", DIFS_DISK_VERSION, options->name,
					  options->tier == DIFS_TIER_MEMORY ? "memory" : "disk");
	for (int i = 0; i < DIFS_UUID_SIZE; i++)
		length += snprintf(text + length, size - (size_t) length, "%02x", storage[i]);
	snprintf(text + length, size - (size_t) length, "\n");
	return difs_file_replace(directory_fd, IDENTITY_FILE, text, error);
}
