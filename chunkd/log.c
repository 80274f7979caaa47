/*
 * log.c - see log.h.
 *
 * A line is put together in a buffer and written by one write(), so lines of
 * different threads and of processes that share standard error never mix.  The
 * name is set once, before any other thread exists.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINE 1024

static const char *log_name = "difsd";

static const char *const level_names[] = {
	[DIFS_LOG_INFO] = "info",
	[DIFS_LOG_WARNING] = "warning",
	[DIFS_LOG_ERROR] = "error",
};

void
difs_log_name(const char *name)
{
	log_name = name;
}

void
difs_log(DifsLogLevel level, const char *format, ...)
{
	char line[MAX_LINE];
	struct timespec now;
	struct tm utc;
	va_list args;
	size_t start;
	size_t length;
	int wanted;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	start = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	start += snprintf(line + start, sizeof(line) - start, ".%03ldZ %s %.256s: ", now.tv_nsec / 1000000,
					  level_names[level], log_name);

	va_start(args, format);
	wanted = vsnprintf(line + start, sizeof(line) - start - 1, format, args);
	va_end(args);
	length = wanted < 0 ? start : start + wanted;
	if (length > sizeof(line) - 2)
		length = sizeof(line) - 2;

	for (size_t i = 0; i < length; i++)
	{
		if ((unsigned char) line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	}
	line[length] = '\n';

	/* Nobody can be told that standard error does not take a line. */
	if (write(STDERR_FILENO, line, length + 1) < 0)
		return;
}
