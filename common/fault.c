/*
 * fault.c - see fault.h.  Test builds only.
 *
 * State: how often each point has been passed since the control file last changed, under a mutex.
 */
#include "fault.h"

#ifdef DIFS_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_POINTS 256
#define NAME_SIZE 64

typedef struct Passed
{
	char name[NAME_SIZE];
	unsigned long times;
} Passed;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Passed passed[MAX_POINTS];
static struct timespec control_changed;

static bool look_up(const char *path, const char *name, char action[16], unsigned long *wanted);
static unsigned long pass(const char *path, const char *name);
static bool mark(const char *path, const char *name, char mark_path[PATH_MAX]);
static void wait_until_gone(const char *mark_path);

bool
difs_fault_hit(const char *name)
{
	const char *path = getenv("DIFS_FAULT_FILE");
	int saved_errno = errno;
	char action[16];
	char mark_path[PATH_MAX];
	unsigned long wanted;
	bool skip = false;

	if (path != NULL && look_up(path, name, action, &wanted))
	{
		skip = strcmp(action, "skip") == 0;
		if (skip)
			(void) mark(path, name, mark_path);
		else if (pass(path, name) == wanted && mark(path, name, mark_path))
		{
			if (strcmp(action, "kill") == 0)
				kill(getpid(), SIGKILL);
			else if (strcmp(action, "wait") == 0)
				wait_until_gone(mark_path);
		}
	}
	errno = saved_errno;
	return skip;
}

/* Whether the control file has a line for this point. */
static bool
look_up(const char *path, const char *name, char action[16], unsigned long *wanted)
{
	FILE *file = fopen(path, "re");
	char line[256];
	char found[NAME_SIZE];
	bool ours = false;

	while (file != NULL && !ours && fgets(line, sizeof(line), file) != NULL)
	{
		*wanted = 1;
		ours = sscanf(line, "%63s %15s %lu", found, action, wanted) >= 2 && strcmp(found, name) == 0;
	}
	if (file != NULL)
		fclose(file);
	return ours;
}

/* How often this process has been here since the control file changed, this time included. */
static unsigned long
pass(const char *path, const char *name)
{
	struct stat status;
	unsigned long times = 0;

	pthread_mutex_lock(&mutex);
	if (stat(path, &status) == 0 &&
		(status.st_mtim.tv_sec != control_changed.tv_sec || status.st_mtim.tv_nsec != control_changed.tv_nsec))
	{
		memset(passed, 0, sizeof(passed));
		control_changed = status.st_mtim;
	}
	for (int i = 0; i < MAX_POINTS && times == 0; i++)
	{
		if (passed[i].name[0] == '\0')
			snprintf(passed[i].name, NAME_SIZE, "%s", name);
		if (strcmp(passed[i].name, name) == 0)
			times = ++passed[i].times;
	}
	pthread_mutex_unlock(&mutex);
	return times;
}

/* Leaves the mark; false if it was there. */
static bool
mark(const char *path, const char *name, char mark_path[PATH_MAX])
{
	int fd;

	snprintf(mark_path, PATH_MAX, "%s.%s", path, name);
	fd = open(mark_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void
wait_until_gone(const char *mark_path)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	while (access(mark_path, F_OK) == 0)
		nanosleep(&pause, NULL);
}

#endif
