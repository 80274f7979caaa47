/*
 * metrics_page.c - see metrics_page.h.
 */
#include "metrics_page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void append(DifsMetricsPage *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append_bytes(DifsMetricsPage *page, const char *bytes, size_t length);
static void append_labels(DifsMetricsPage *page, const DifsMetricsLabel *labels, const char *bound);
static void append_escaped(DifsMetricsPage *page, const char *value);
static void append_number(DifsMetricsPage *page, double value);
static bool is_utf8(const char *text);
static double started_at(void);

void
difs_metrics_family(DifsMetricsPage *page, const char *type, const char *name, const char *help)
{
	page->family = name;
	append(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void
difs_metrics_sample(DifsMetricsPage *page, const DifsMetricsLabel *labels, double value)
{
	append(page, "%s", page->family);
	append_labels(page, labels, NULL);
	append_number(page, value);
}

void
difs_metrics_histogram(DifsMetricsPage *page, const DifsMetricsLabel *labels, const uint64_t *counts, uint64_t sum_us)
{
	uint64_t so_far = 0;

	for (int i = 0; i < DIFS_METRICS_BUCKETS; i++)
	{
		char bound[32] = "+Inf";

		so_far += counts[i];
		if (i < DIFS_METRICS_BUCKETS - 1)
			snprintf(bound, sizeof(bound), "%.9g", (double) ((uint64_t) DIFS_METRICS_FIRST_US << i) / 1e6);
		append(page, "%s_bucket", page->family);
		append_labels(page, labels, bound);
		append_number(page, (double) so_far);
	}
	append(page, "%s_sum", page->family);
	append_labels(page, labels, NULL);
	append_number(page, (double) sum_us / 1e6);
	append(page, "%s_count", page->family);
	append_labels(page, labels, NULL);
	append_number(page, (double) so_far);
}

void
difs_metrics_value(DifsMetricsPage *page, const char *type, const char *name, const char *help, double value)
{
	difs_metrics_family(page, type, name, help);
	difs_metrics_sample(page, DIFS_NO_LABELS, value);
}

int
difs_metrics_bucket(uint64_t us)
{
	uint64_t units = us / DIFS_METRICS_FIRST_US;
	int bucket = units == 0 ? 0 : 64 - __builtin_clzll(units);

	return bucket < DIFS_METRICS_BUCKETS ? bucket : DIFS_METRICS_BUCKETS - 1;
}

void
difs_metrics_process(DifsMetricsPage *page)
{
	struct rusage usage;
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	getrusage(RUSAGE_SELF, &usage);
	difs_metrics_value(page, "counter", "process_cpu_seconds_total", "Time on the processor, of this process.",
					   (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
						   (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	if (file != NULL && fscanf(file, "%*d %ld", &pages) == 1)
		difs_metrics_value(page, "gauge", "process_resident_memory_bytes", "Memory of this process, what it shares included.",
						   (double) pages * (double) sysconf(_SC_PAGESIZE));
	if (file != NULL)
		fclose(file);
	difs_metrics_value(page, "gauge", "process_start_time_seconds", "When this process was started, as Unix time.", started_at());
}

/* Field 22 of /proc/self/stat, in clock ticks since the machine was started; the name in front of it may hold anything. 0: not known. */
static double
started_at(void)
{
	char text[1024] = "";
	FILE *file = fopen("/proc/self/stat", "re");
	const char *at;
	unsigned long long ticks = 0;
	struct timespec now;
	struct timespec up;

	if (file == NULL)
		return 0;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	at = strrchr(text, ')');
	if (at == NULL || sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	return (double) (now.tv_sec - up.tv_sec + (time_t) (ticks / (unsigned long long) sysconf(_SC_CLK_TCK)));
}

static void
append(DifsMetricsPage *page, const char *format, ...)
{
	char line[1024];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (length < 0 || (size_t) length >= sizeof(line))
		page->failed = true;
	else
		append_bytes(page, line, (size_t) length);
}

static void
append_bytes(DifsMetricsPage *page, const char *bytes, size_t length)
{
	if (page->length + length > page->size && !page->failed)
	{
		size_t size = 2 * (page->length + length) + 4096;
		char *text = realloc(page->text, size);

		page->failed = text == NULL;
		if (text != NULL)
		{
			page->text = text;
			page->size = size;
		}
	}
	if (page->failed)
		return;
	memcpy(page->text + page->length, bytes, length);
	page->length += length;
}

/* bound: of a bucket, or NULL. */
static void
append_labels(DifsMetricsPage *page, const DifsMetricsLabel *labels, const char *bound)
{
	const char *separator = "{";

	for (; labels->name != NULL; labels++)
	{
		append(page, "%s%s=\"", separator, labels->name);
		append_escaped(page, labels->value);
		append_bytes(page, "\"", 1);
		separator = ",";
	}
	if (bound != NULL)
	{
		append(page, "%sle=\"%s\"", separator, bound);
		separator = ",";
	}
	if (separator[0] == ',')
		append_bytes(page, "}", 1);
}

/* A value of another encoding cannot be said: its bytes above 127 become ?. */
static void
append_escaped(DifsMetricsPage *page, const char *value)
{
	bool plain = is_utf8(value);

	for (; *value != '\0'; value++)
	{
		char byte = !plain && (unsigned char) *value > 127 ? '?' : *value;

		if (byte == '\n')
			append_bytes(page, "\\n", 2);
		else if (byte == '\\' || byte == '"')
			append_bytes(page, (const char[]){'\\', byte}, 2);
		else
			append_bytes(page, &byte, 1);
	}
}

static void
append_number(DifsMetricsPage *page, double value)
{
	if (isinf(value))
		append(page, " %s\n", value > 0 ? "+Inf" : "-Inf");
	else if (isnan(value))
		append(page, " NaN\n");
	else
		append(page, " %.17g\n", value);
}

static bool
is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *) text;

	while (*at != '\0')
	{
		int more = *at < 0x80 ? 0 : (*at >= 0xc2 && *at < 0xe0 ? 1 : ((*at & 0xf0) == 0xe0 ? 2 : (*at >= 0xf0 && *at < 0xf5 ? 3 : -1)));
		unsigned first = *at;

		if (more < 0)
			return false;
		at++;
		/* what is too long, of the surrogates, or too large */
		if ((first == 0xe0 && *at < 0xa0) || (first == 0xed && *at > 0x9f) || (first == 0xf0 && *at < 0x90) || (first == 0xf4 && *at > 0x8f))
			return false;
		for (; more > 0; more--, at++)
			if ((*at & 0xc0) != 0x80)
				return false;
	}
	return true;
}
