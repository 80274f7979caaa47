/*
 * embedded_owner.c - whose the embedded chunk servers' directory is.
 *
 * A copy of a data directory brings its settings along, so difs.local_directory
 * may be that of the original.  The copy must not start chunk servers there, nor
 * touch anything.  The file "owner" of that directory has the path of a data
 * directory, and inode number and time of birth of its PG_VERSION.  As long as
 * that one is where it was, nobody else may use the directory; when it has been
 * moved, removed or restored, whoever comes takes over.  After pg_upgrade, which
 * leaves the old one where it was, the administrator removes the file.
 *
 * Written by launchers only, replaced whole.  Should two come at the same time,
 * one of their chunk servers finds the other's lock.
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "storage/fd.h"

#include "src/claim.h"
#include "worker/embedded.h"

#define TEXT_SIZE (PATH_MAX + 128)

static bool read_owner(const char *file, char *path, char *birth);
static bool write_owner(const char *file, const char *path, const char *birth, DifsError *error);

bool
difs_embedded_own(const char *directory, DifsError *error)
{
	char *file = psprintf("%s/owner", directory);
	char here[PATH_MAX];
	char *birth = difs_claim_birth("PG_VERSION");
	char owner[TEXT_SIZE];
	char owner_birth[TEXT_SIZE];
	char *found;

	if (birth == NULL || realpath(".", here) == NULL)
		return difs_error_set(error, DIFS_ERROR_IO, "could not look at the data directory");
	if (read_owner(file, owner, owner_birth))
	{
		if (strcmp(owner, here) == 0 && strcmp(owner_birth, birth) == 0)
			return true;
		found = difs_claim_birth(psprintf("%s/PG_VERSION", owner));
		if (found != NULL && strcmp(found, owner_birth) == 0)
			return difs_error_set(error, DIFS_ERROR_REFUSED,
								  "\"%s\" belongs to the data directory \"%s\", by its file \"owner\"",
								  directory, owner);
	}
	return write_owner(file, here, birth, error);
}

/* One that is not there, or not whole, owns nothing. */
static bool
read_owner(const char *file, char *path, char *birth)
{
	char text[TEXT_SIZE];
	char *end;
	char *last;
	ssize_t length;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[Max(length, 0)] = '\0';
	end = strchr(text, '\n');
	last = end == NULL ? NULL : strchr(end + 1, '\n');
	if (last == NULL)
		return false;
	*end = *last = '\0';
	strcpy(birth, text);
	strcpy(path, end + 1);
	return true;
}

static bool
write_owner(const char *file, const char *path, const char *birth, DifsError *error)
{
	char *temporary = psprintf("%s.tmp", file);
	char *text = psprintf("%s\n%s\n", birth, path);
	ssize_t length = strlen(text);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
	ssize_t written = fd < 0 ? -1 : write(fd, text, length);

	if (written >= 0 && written < length)
		errno = ENOSPC;
	if (fd < 0 || written != length || close(fd) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not write file \"%s\"", temporary);
	if (durable_rename(temporary, file, LOG) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not rename file \"%s\"", temporary);
	return true;
}
