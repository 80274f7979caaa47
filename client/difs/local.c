/*
 * local.c - local names and files.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

#define CHANGED_TRIES 3
#define UNKNOWN_MASK ((mode_t) -1)

/* The directories from the top to the one at hand: one that comes again is a loop of links. */
typedef struct Above
{
	const struct Above *up;
	dev_t device;
	ino_t inode;
} Above;

static void add_local(Plan *plan, const char *name, const char *relative, const char *to, bool top, bool recursive, bool dereference, const Above *up);
static void add_directory(Plan *plan, const char *name, const char *relative, const char *to, const struct stat *status, bool dereference, const Above *up);
static int compare_names(const void *a, const void *b);
static char **read_names(const char *name, size_t *count);
static void plan_fails(Plan *plan, const char *format, const char *name);
static int64_t mtime_of(const struct stat *status);

char *
path_join(const char *directory, const char *name)
{
	size_t length = strlen(directory);
	char *joined = need_memory(length + strlen(name) + 2);

	sprintf(joined, "%s%s%s", directory, length > 0 && directory[length - 1] == '/' ? "" : "/", name);
	return joined;
}

char *
path_base(const char *path)
{
	char *copy = need_copy(path);
	char *base;
	char *slash;

	path_strip(copy);
	slash = strrchr(copy, '/');
	base = need_copy(slash != NULL ? slash + 1 : copy);
	free(copy);
	return base;
}

/* Not that of a root: "/", "volume:/". */
void
path_strip(char *path)
{
	size_t length = strlen(path);

	while (length > 1 && path[length - 1] == '/' && path[length - 2] != ':')
		path[--length] = '\0';
}

bool
is_local_directory(const char *name)
{
	struct stat status;

	return stat(name, &status) == 0 && S_ISDIR(status.st_mode);
}

bool
is_directory(const char *path)
{
	DifsEntry entry;

	return difs_stat(client, path, 0, true, &entry) && entry.kind == DIFS_KIND_DIRECTORY;
}

void
plan_local(Plan *plan, const char *name, const char *to, bool recursive, bool dereference)
{
	add_local(plan, name, "", to, true, recursive, dereference, NULL);
}

/* The name on the command line is followed if it is a link, those below are not, as cp -r does it. */
static void
add_local(Plan *plan, const char *name, const char *relative, const char *to, bool top, bool recursive, bool dereference, const Above *up)
{
	struct stat status;

	if (fstatat(AT_FDCWD, name, &status, top || dereference ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
		plan_fails(plan, "could not look at \"%s\": %s", name);
	else if (S_ISREG(status.st_mode))
		plan_add(plan, name, to, DIFS_KIND_FILE, status.st_mode & 07777, status.st_size, mtime_of(&status));
	else if (S_ISLNK(status.st_mode))
		plan_add(plan, name, to, DIFS_KIND_SYMLINK, 0777, 0, mtime_of(&status));
	else if (S_ISDIR(status.st_mode) && recursive)
		add_directory(plan, name, relative, to, &status, dereference, up);
	else if (S_ISDIR(status.st_mode))
	{
		plan->exit_code = complain_text("\"%s\" is a directory: use -r", name);
		plan->failed++;
	}
	else
	{
		plan->exit_code = complain_text("\"%s\" is neither file, directory nor symbolic link: left out", name);
		plan->failed++;
	}
}

static void
add_directory(Plan *plan, const char *name, const char *relative, const char *to, const struct stat *status, bool dereference, const Above *up)
{
	Above here = {up, status->st_dev, status->st_ino};
	size_t count;
	char **names;

	for (const Above *above = up; above != NULL; above = above->up)
		if (above->device == here.device && above->inode == here.inode)
		{
			errno = ELOOP;
			plan_fails(plan, "\"%s\" leads back to a directory above it: %s", name);
			return;
		}
	plan_add(plan, name, to, DIFS_KIND_DIRECTORY, status->st_mode & 07777, 0, mtime_of(status));
	names = read_names(name, &count);
	if (names == NULL)
	{
		plan_fails(plan, "could not read directory \"%s\": %s", name);
		return;
	}
	for (size_t i = 0; i < count; i++)
	{
		char *below = *relative != '\0' ? path_join(relative, names[i]) : need_copy(names[i]);
		char *from = path_join(name, names[i]);
		char *target = path_join(to, names[i]);

		if (!excluded(below))
			add_local(plan, from, below, target, false, true, dereference, &here);
		free(below);
		free(from);
		free(target);
		free(names[i]);
	}
	free(names);
}

/* Sorted, so that a run is like the one before it. */
static char **
read_names(const char *name, size_t *count)
{
	DIR *directory = opendir(name);
	struct dirent *entry;
	char **names = NULL;
	size_t room = 0;

	*count = 0;
	if (directory == NULL)
		return NULL;
	do
	{
		if (*count == room)
		{
			room = room > 0 ? 2 * room : 64;
			names = realloc(names, room * sizeof(*names));
			if (names == NULL)
				exit(complain_text("out of memory"));
		}
		errno = 0;
		entry = readdir(directory);
		if (entry != NULL && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			names[(*count)++] = need_copy(entry->d_name);
	} while (entry != NULL);
	closedir(directory);
	qsort(names, *count, sizeof(*names), compare_names);
	return names;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
plan_fails(Plan *plan, const char *format, const char *name)
{
	const char *reason = strerror(errno);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	plan->exit_code = complain_text(format, name, reason);
#pragma GCC diagnostic pop
	plan->failed++;
}

static int64_t
mtime_of(const struct stat *status)
{
	return (int64_t) status->st_mtim.tv_sec * 1000000 + status->st_mtim.tv_nsec / 1000;
}

char *
read_small(const char *name, int64_t size, size_t *length)
{
	size_t room = (size_t) size + 1;
	char *data = need_memory(room);

	for (int tries = 0; tries < CHANGED_TRIES; tries++)
	{
		struct stat before;
		struct stat after;
		ssize_t got = 0;
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		bool good = fd >= 0 && fstat(fd, &before) == 0;

		/* one byte more than there should be: to see the end */
		for (*length = 0; good && *length < room; *length += (size_t) got)
		{
			got = read(fd, data + *length, room - *length);
			if (got <= 0)
				break;
		}
		good = good && got >= 0 && fstat(fd, &after) == 0;
		if (fd >= 0)
			close(fd);
		if (!good)
		{
			free(data);
			return NULL;
		}
		if (before.st_size == after.st_size && before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec &&
			(int64_t) *length == after.st_size)
			return data;
		/* another size than when it was planned: let it be small enough all the same */
		if (after.st_size + 1 > (off_t) room && after.st_size <= 2 * DIFS_BATCH_FILE_MAX)
		{
			room = (size_t) after.st_size + 1;
			free(data);
			data = need_memory(room);
		}
	}
	free(data);
	errno = ESTALE;
	return NULL;
}

/* Asked for once: for a moment there is none. */
unsigned
creation_mask(void)
{
	static mode_t mask = UNKNOWN_MASK;

	if (mask == UNKNOWN_MASK)
		umask(mask = umask(0));
	return mask;
}

/* Under another name first: there is never half a file under its own. */
bool
write_small(const char *name, const void *data, size_t length, const Item *attributes, bool no_replace)
{
	char temporary[PATH_MAX];
	const char *slash = strrchr(name, '/');
	int directory = slash != NULL ? (int) (slash - name + 1) : 0;
	static unsigned counter;
	static pid_t process;
	mode_t mode = 0666;
	size_t written = 0;
	int fd;
	int saved_errno;
	bool good;

	if (process == 0)
		process = getpid();
	/* what umask leaves of the mode needs no second call */
	if (attributes != NULL && (attributes->mode & ~0777u) == 0 && (attributes->mode & creation_mask()) == 0)
		mode = attributes->mode;
	if (snprintf(temporary, sizeof(temporary), "%.*s.difs-get-%ld-%u", directory, name, (long) process, counter++) >= (int) sizeof(temporary))
	{
		errno = ENAMETOOLONG;
		return false;
	}
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return false;
	good = true;
	while (good && written < length)
	{
		ssize_t now = write(fd, (const char *) data + written, length - written);

		good = now >= 0;
		written += good ? (size_t) now : 0;
	}
	if (good && attributes != NULL)
	{
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
									{.tv_sec = attributes->mtime_us / 1000000, .tv_nsec = attributes->mtime_us % 1000000 * 1000}};

		good = (mode == attributes->mode || fchmod(fd, attributes->mode & 07777) == 0) && futimens(fd, times) == 0;
	}
	good = close(fd) == 0 && good;
	good = good && (no_replace ? link(temporary, name) == 0 : rename(temporary, name) == 0);
	saved_errno = errno;
	if (!good || no_replace)
		unlink(temporary);
	errno = saved_errno;
	return good;
}

bool
set_attributes(const Item *item)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
								{.tv_sec = item->mtime_us / 1000000, .tv_nsec = item->mtime_us % 1000000 * 1000}};

	return chmod(item->to, item->mode & 07777) == 0 && utimensat(AT_FDCWD, item->to, times, 0) == 0;
}
