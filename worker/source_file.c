/*
 * source_file.c - files below difs.insert_directory (source.h).
 *
 * The kernel sees to it that nothing leads out of the directory: neither "..", nor
 * symbolic links, nor a component that is exchanged while we look (openat2() with
 * RESOLVE_BENEATH, Linux 5.6).
 */
#include "postgres.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/report.h"
#include "src/settings.h"
#include "worker/inserts.h"
#include "worker/source.h"

static int file = -1;
static int64 total;
static char *file_name = NULL; /* as given, for messages */

static int open_beneath(const char *directory, const char *name);
pg_noreturn static void report_no_file(const char *name);

void
difs_source_file_open(const char *name)
{
	struct stat status;

	difs_source_file_close();
	if (difs_insert_directory[0] == '\0')
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("files of the server are not inserted here"),
				errhint("The administrator names a directory for them with difs.insert_directory."));
	file_name = pstrdup(name);
	file = open_beneath(difs_insert_directory, name);
	if (file < 0)
		report_no_file(name);
	if (fstat(file, &status) != 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not look at file \"%s\" of difs.insert_directory: %m", name));
	if (!S_ISREG(status.st_mode))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" of difs.insert_directory is not a regular file", name));
	total = status.st_size;
}

static int
open_beneath(const char *directory, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int base = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int opened;
	int error;

	if (base < 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not open difs.insert_directory: %m"));
	opened = (int) syscall(SYS_openat2, base, name, &how, sizeof(how));
	error = errno;
	close(base);
	errno = error;
	return opened;
}

static void
report_no_file(const char *name)
{
	if (errno == EXDEV)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("\"%s\" leads out of difs.insert_directory", name));
	if (errno == ENOSYS)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("files can be inserted from Linux 5.6 on"));
	ereport(ERROR,
			errcode_for_file_access(),
			errmsg("could not open file \"%s\" of difs.insert_directory: %m", name));
}

uint32
difs_source_file_read(char *room, uint32 size)
{
	uint32 filled = 0;

	while (filled < size)
	{
		ssize_t got = read(file, room + filled, size - filled);

		difs_insert_interrupts();
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR,
					errcode_for_file_access(),
					errmsg("could not read file \"%s\" of difs.insert_directory: %m", file_name));
		if (got == 0)
			break;
		filled += got;
	}
	return filled;
}

int64
difs_source_file_total(void)
{
	return total;
}

void
difs_source_file_close(void)
{
	if (file >= 0)
		close(file);
	file = -1;
	total = -1;
}
