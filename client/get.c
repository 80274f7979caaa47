/*
 * get.c - whole files out of the database, and where they go.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"

/* A local file in the making: without a name if the file system can do that, so that nothing is left if the process is killed. */
typedef struct Target
{
	char name[PATH_MAX];	  /* which it shall have; symbolic links are resolved */
	char temporary[PATH_MAX]; /* which it has; "" if it has none */
	bool in_place;			  /* a device or a pipe: written to as it is */
	int fd;
} Target;

static const DifsGetOptions no_options;

static bool write_fd(void *context, const void *data, size_t length);
static bool target_open(DifsClient *client, Target *target, const char *local_name, bool no_replace);
static bool target_publish(DifsClient *client, Target *target, const DifsGetOptions *options, const DifsEntry *entry);
static bool target_name(DifsClient *client, Target *target, bool no_replace);
static bool temporary_name(Target *target);

bool
difs_get_stream(DifsClient *client, const char *path, DifsWriter writer, void *writer_context, const DifsGetOptions *options, int64_t *bytes)
{
	int64_t moved = 0;
	DifsEntry entry;

	if (!client_ready(client))
		return false;
	if (options == NULL)
		options = &no_options;
	if (bytes == NULL)
		bytes = &moved;
	if (direct_possible(client))
	{
		/* the version that is current now, whatever comes while it is read */
		if (!difs_stat(client, path, options->version, true, &entry))
			return false;
		if (entry.kind == DIFS_KIND_FILE && entry.size - options->offset >= (int64_t) client->options.direct_from &&
			(options->length == 0 || options->length >= (int64_t) client->options.direct_from))
			return download(client, path, writer, writer_context, options, &entry, bytes);
	}
	return client->failure.status == DIFS_STATUS_OK && get_pieces(client, path, writer, writer_context, options, bytes);
}

bool
difs_get_fd(DifsClient *client, const char *path, int fd, const DifsGetOptions *options, int64_t *bytes)
{
	return difs_get_stream(client, path, write_fd, &fd, options, bytes);
}

bool
difs_get_file(DifsClient *client, const char *path, const char *local_name, const DifsGetOptions *options, int64_t *bytes)
{
	DifsEntry entry = {0};
	Target target = {.fd = -1};
	bool done;

	if (options == NULL)
		options = &no_options;
	if (!client_ready(client))
		return false;
	if (options->keep_attributes && !difs_stat(client, path, options->version, true, &entry))
		return false;
	if (!target_open(client, &target, local_name, options->no_replace))
		return false;
	done = difs_get_fd(client, path, target.fd, options, bytes) &&
		target_publish(client, &target, options, options->keep_attributes ? &entry : NULL);
	if (!done && target.temporary[0] != '\0')
		unlink(target.temporary);
	if (close(target.fd) != 0 && done)
		done = client_fail_errno(client, "could not close \"%s\"", local_name);
	return done;
}

static bool
write_fd(void *context, const void *data, size_t length)
{
	const char *at = data;

	while (length > 0)
	{
		ssize_t written = write(*(int *) context, at, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		at += written;
		length -= (size_t) written;
	}
	return true;
}

static bool
target_open(DifsClient *client, Target *target, const char *local_name, bool no_replace)
{
	struct stat there;
	char directory[PATH_MAX];
	char *slash;

	/* through symbolic links, as cp does, also one that leads nowhere yet: then it is replaced */
	if (strlen(local_name) >= sizeof(target->name) - 24)
		return client_fail(client, DIFS_STATUS_ARGUMENT, "\"%s\": the name is too long", local_name);
	if (realpath(local_name, target->name) == NULL)
		strcpy(target->name, local_name);
	if (stat(target->name, &there) == 0)
	{
		if (S_ISDIR(there.st_mode))
		{
			errno = EISDIR;
			return client_fail_errno(client, "could not write \"%s\"", local_name);
		}
		if (no_replace)
		{
			errno = EEXIST;
			return client_fail_errno(client, "could not write \"%s\"", local_name);
		}
		target->in_place = !S_ISREG(there.st_mode);
	}
	if (target->in_place)
	{
		target->fd = open(target->name, O_WRONLY | O_CLOEXEC);
		return target->fd >= 0 || client_fail_errno(client, "could not open \"%s\"", local_name);
	}

	strcpy(directory, target->name);
	slash = strrchr(directory, '/');
	if (slash != NULL)
		slash[slash == directory ? 1 : 0] = '\0';
	target->fd = open(slash != NULL ? directory : ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
	if (target->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL) && temporary_name(target))
		target->fd = open(target->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
	if (target->fd < 0)
	{
		target->temporary[0] = '\0';
		return client_fail_errno(client, "could not create \"%s\"", local_name);
	}
	return true;
}

static bool
target_publish(DifsClient *client, Target *target, const DifsGetOptions *options, const DifsEntry *entry)
{
	if (target->in_place)
		return true;
	if (entry != NULL)
	{
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
									{.tv_sec = entry->mtime_us / 1000000, .tv_nsec = entry->mtime_us % 1000000 * 1000}};

		if (times[1].tv_nsec < 0)
		{
			times[1].tv_sec--;
			times[1].tv_nsec += 1000000000;
		}
		if (fchmod(target->fd, entry->mode & 07777) != 0 || futimens(target->fd, times) != 0)
			return client_fail_errno(client, "could not set mode and times of \"%s\"", target->name);
	}
	if (options->sync && fsync(target->fd) != 0)
		return client_fail_errno(client, "could not sync \"%s\"", target->name);
	return target_name(client, target, options->no_replace);
}

/* A file without a name gets it by linkat(), which replaces nothing: if there is something to replace, it is renamed in a second step. */
static bool
target_name(DifsClient *client, Target *target, bool no_replace)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", target->fd);
	if (target->temporary[0] == '\0')
	{
		if (linkat(AT_FDCWD, self, AT_FDCWD, target->name, AT_SYMLINK_FOLLOW) == 0)
			return true;
		if (errno != EEXIST || no_replace)
			return client_fail_errno(client, "could not create \"%s\"", target->name);
		if (!temporary_name(target) || linkat(AT_FDCWD, self, AT_FDCWD, target->temporary, AT_SYMLINK_FOLLOW) != 0)
		{
			target->temporary[0] = '\0';
			return client_fail_errno(client, "could not create a file beside \"%s\"", target->name);
		}
	}
	else if (no_replace)
	{
		if (link(target->temporary, target->name) != 0)
			return client_fail_errno(client, "could not create \"%s\"", target->name);
		unlink(target->temporary);
		return true;
	}
	return rename(target->temporary, target->name) == 0 || client_fail_errno(client, "could not rename a file to \"%s\"", target->name);
}

static bool
temporary_name(Target *target)
{
	const char *slash = strrchr(target->name, '/');
	int directory = slash == NULL ? 0 : (int) (slash - target->name + 1);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (directory > PATH_MAX - 64)
	{
		errno = ENAMETOOLONG;
		return false;
	}
	snprintf(target->temporary, sizeof(target->temporary), "%.*s.difs-get-%ld-%09ld", directory, target->name, (long) getpid(), now.tv_nsec);
	return true;
}
