/*
 * fail_calls.c - makes the n-th call of a system call fail.  Preloaded into difsd (LD_PRELOAD).
 *
 *	FAIL_CALL="pwritev 3 EIO"	the third pwritev() fails with EIO; also ENOSPC, EINTR, EMFILE, …
 *	FAIL_CALL="pwritev 3 short"	it transfers only the first half of what it was asked to
 *	FAIL_CALL="pwritev 3 kill"	the process kills itself in its place
 *	FAIL_LOG=file				a line "hit" for a call that was failed; without FAIL_CALL, at exit a line "name count" for each
 *								call that was made
 *
 * A disk that goes bad: FAIL_DISK names a file, read at each call, with one of these words; without it, the disk is well.
 *
 *	full		whatever needs room fails with ENOSPC, and no room is left, says fstatvfs()
 *	read-only	whatever changes anything fails with EROFS
 *	failing		syncs fail with EIO
 *
 * A call that fails has not been made.  Sockets count apart from files, as send and receive.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_CALLS 64

typedef enum Verdict
{
	GO_ON,
	FAIL,
	SHORT
} Verdict;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct
{
	const char *name;
	unsigned count;
} calls[MAX_CALLS];

#define REAL(name) ((__typeof__(name) *) dlsym(RTLD_NEXT, #name))

static void
log_line(const char *format, ...)
{
	const char *path = getenv("FAIL_LOG");
	char line[128];
	va_list args;
	int fd;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (path == NULL)
		return;
	fd = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0 && REAL(write)(fd, line, (size_t) length) != length)
		abort();
	if (fd >= 0)
		(void) REAL(close)(fd);
}

static int
error_named(const char *name)
{
	static const struct
	{
		const char *name;
		int number;
	} errors[] = {
		{"EIO", EIO},
		{"ENOSPC", ENOSPC},
		{"EINTR", EINTR},
		{"EMFILE", EMFILE},
		{"ENOMEM", ENOMEM},
		{"ECONNRESET", ECONNRESET},
	};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
	{
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].number;
	}
	abort();
}

static unsigned
count_call(const char *name)
{
	unsigned count = 0;

	pthread_mutex_lock(&mutex);
	for (int i = 0; i < MAX_CALLS && count == 0; i++)
	{
		if (calls[i].name == NULL)
			calls[i].name = name;
		if (strcmp(calls[i].name, name) == 0)
			count = ++calls[i].count;
	}
	pthread_mutex_unlock(&mutex);
	return count;
}

static Verdict
judge(const char *name)
{
	const char *wanted = getenv("FAIL_CALL");
	unsigned count = count_call(name);
	char call[32];
	char how[16];
	unsigned number;

	if (wanted == NULL || sscanf(wanted, "%31s %u %15s", call, &number, how) != 3 || strcmp(call, name) != 0 || count != number)
		return GO_ON;
	log_line("hit\n");
	if (strcmp(how, "kill") == 0)
		raise(SIGKILL);
	if (strcmp(how, "short") == 0)
		return SHORT;
	errno = error_named(how);
	return FAIL;
}

__attribute__((destructor)) static void
print_counts(void)
{
	for (int i = 0; i < MAX_CALLS && calls[i].name != NULL && getenv("FAIL_CALL") == NULL; i++)
		log_line("%s %u\n", calls[i].name, calls[i].count);
}

/* What a call does to the disk. */
typedef enum Effect
{
	NO_CHANGE,
	CHANGE,
	GROWTH,
	SYNC
} Effect;

static int
disk_fails(Effect effect)
{
	const char *path = effect == NO_CHANGE ? NULL : getenv("FAIL_DISK");
	char word[16] = "";
	int fd = path == NULL ? -1 : REAL(open)(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (REAL(read)(fd, word, sizeof(word) - 1) < 0)
		abort();
	(void) REAL(close)(fd);
	errno = strncmp(word, "full", 4) == 0 && effect == GROWTH ? ENOSPC :
																(strncmp(word, "read-only", 9) == 0 && effect != SYNC ? EROFS :
																														(strncmp(word, "failing", 7) == 0 && effect == SYNC ? EIO : 0));
	if (errno != 0)
		log_line("hit\n");
	return errno != 0;
}

static int
is_socket(int fd)
{
	struct stat status;

	return REAL(fstat)(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* A call that either works or does not. */
#define PLAIN(type, name, effect, failed, parameters, arguments) \
	type name parameters                                         \
	{                                                            \
		if (judge(#name) == FAIL || disk_fails(effect))          \
			return failed;                                       \
		return REAL(name) arguments;                             \
	}

PLAIN(int, fsync, SYNC, -1, (int fd), (fd))
PLAIN(int, fdatasync, SYNC, -1, (int fd), (fd))
PLAIN(int, ftruncate, CHANGE, -1, (int fd, off_t length), (fd, length))
PLAIN(int, fallocate, mode == 0 ? GROWTH : CHANGE, -1, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length))
PLAIN(int, renameat, CHANGE, -1, (int from_fd, const char *from, int to_fd, const char *to), (from_fd, from, to_fd, to))
PLAIN(int, rename, CHANGE, -1, (const char *from, const char *to), (from, to))
PLAIN(int, unlinkat, CHANGE, -1, (int fd, const char *path, int flags), (fd, path, flags))
PLAIN(int, mkdirat, GROWTH, -1, (int fd, const char *path, mode_t mode), (fd, path, mode))
PLAIN(int, mkdir, GROWTH, -1, (const char *path, mode_t mode), (path, mode))
PLAIN(int, flock, NO_CHANGE, -1, (int fd, int operation), (fd, operation))
PLAIN(int, fstat, NO_CHANGE, -1, (int fd, struct stat *status), (fd, status))
PLAIN(off_t, lseek, NO_CHANGE, -1, (int fd, off_t offset, int whence), (fd, offset, whence))
PLAIN(void *, mmap, NO_CHANGE, MAP_FAILED, (void *address, size_t length, int protection, int flags, int fd, off_t offset),
	  (address, length, protection, flags, fd, offset))

int
fstatvfs(int fd, struct statvfs *status)
{
	int result = judge("fstatvfs") == FAIL ? -1 : REAL(fstatvfs)(fd, status);

	if (result == 0 && disk_fails(GROWTH) && errno == ENOSPC)
		status->f_bavail = 0;
	return result;
}

static int
open_fails(const char *name, int flags)
{
	return judge(name) == FAIL || disk_fails(flags & O_CREAT ? GROWTH : (flags & O_ACCMODE ? CHANGE : NO_CHANGE));
}

int
open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return open_fails("open", flags) ? -1 : REAL(open)(path, flags, mode);
}

int
openat(int directory, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return open_fails("openat", flags) ? -1 : REAL(openat)(directory, path, flags, mode);
}

/* Linux closes the descriptor even if it says otherwise. */
int
close(int fd)
{
	Verdict verdict = judge("close");
	int saved_errno = errno;
	int result = REAL(close)(fd);

	if (verdict != FAIL)
		return result;
	errno = saved_errno;
	return -1;
}

ssize_t
pread(int fd, void *buffer, size_t size, off_t offset)
{
	Verdict verdict = judge("pread");

	return verdict == FAIL ? -1 : REAL(pread)(fd, buffer, verdict == SHORT ? (size + 1) / 2 : size, offset);
}

ssize_t
preadv2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
	struct iovec half = {vector->iov_base, (vector->iov_len + 1) / 2};
	Verdict verdict = judge("preadv2");

	if (verdict == FAIL)
		return -1;
	return verdict == SHORT ? REAL(preadv2)(fd, &half, 1, offset, flags) : REAL(preadv2)(fd, vector, count, offset, flags);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	struct iovec half = {vector->iov_base, (vector->iov_len + 1) / 2};
	Verdict verdict = judge("pwritev");

	if (verdict == FAIL || disk_fails(GROWTH))
		return -1;
	return verdict == SHORT ? REAL(pwritev)(fd, &half, 1, offset) : REAL(pwritev)(fd, vector, count, offset);
}

ssize_t
read(int fd, void *buffer, size_t size)
{
	Verdict verdict = is_socket(fd) ? judge("receive") : GO_ON;

	return verdict == FAIL ? -1 : REAL(read)(fd, buffer, verdict == SHORT ? (size + 1) / 2 : size);
}

ssize_t
write(int fd, const void *buffer, size_t size)
{
	Verdict verdict = is_socket(fd) ? judge("send") : GO_ON;

	return verdict == FAIL ? -1 : REAL(write)(fd, buffer, verdict == SHORT ? (size + 1) / 2 : size);
}

ssize_t
writev(int fd, const struct iovec *vector, int count)
{
	struct iovec half = {vector->iov_base, (vector->iov_len + 1) / 2};
	Verdict verdict = is_socket(fd) ? judge("send") : GO_ON;

	if (verdict == FAIL)
		return -1;
	return verdict == SHORT ? REAL(writev)(fd, &half, 1) : REAL(writev)(fd, vector, count);
}
