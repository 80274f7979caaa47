/*
 * progress.c - the bar, on standard error, if that is a terminal and nobody wants it quiet.
 *
 *	 45% [=========>           ] 1.2 GiB of 2.7 GiB, 123.0 MiB/s, 0:12 left  name
 *
 * The rate is that of the last seconds: each line of the bar mixes what has come since the one before into it.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command.h"

#define DRAW_EVERY_S 0.1
#define BAR_WIDTH 24

static struct
{
	bool on;
	bool drawn;		 /* there is a line to be cleared */
	int64_t total;	 /* -1: not known */
	int64_t done;	 /* of files that are over */
	int64_t current; /* of the one at hand */
	char name[256];
	double began;
	double drawn_at;
	int64_t drawn_bytes;
	double rate;
} bar;

static void draw(void);
static int columns(void);

void
progress_begin(int64_t bytes, int64_t files)
{
	(void) files;
	memset(&bar, 0, sizeof(bar));
	bar.on = !settings.quiet && isatty(STDERR_FILENO);
	bar.total = bytes;
	bar.began = bar.drawn_at = seconds_now();
}

void
progress_file(const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0' && i + 1 < sizeof(bar.name); i++)
		bar.name[i] = (unsigned char) name[i] < ' ' || name[i] == 127 ? '?' : name[i];
	bar.name[i] = '\0';
	bar.current = 0;
}

void
progress_bytes(int64_t bytes)
{
	bar.current = bytes;
	draw();
}

void
progress_done(int64_t bytes)
{
	bar.done += bytes;
	bar.current = 0;
	draw();
}

bool
progress_callback(void *context, int64_t done, int64_t total)
{
	(void) context;
	(void) total;
	progress_bytes(done);
	return !was_cancelled();
}

static void
draw(void)
{
	double now;
	double since;
	int64_t moved = bar.done + bar.current;
	double part;
	char line[1024];
	char a[32];
	char b[32];
	char c[32];
	int length;
	int width;

	if (!bar.on || (since = (now = seconds_now()) - bar.drawn_at) < DRAW_EVERY_S)
		return;
	bar.rate = bar.rate == 0 ? (double) moved / (now - bar.began) : bar.rate * 0.9 + 0.1 * (double) (moved - bar.drawn_bytes) / since;
	bar.drawn_at = now;
	bar.drawn_bytes = moved;

	if (bar.total > 0)
	{
		part = moved >= bar.total ? 1 : (double) moved / (double) bar.total;
		length = snprintf(line, sizeof(line), "%3.0f%% [", part * 100);
		for (int i = 0; i < BAR_WIDTH; i++)
			line[length++] = i < (int) (part * BAR_WIDTH) ? '=' : (i == (int) (part * BAR_WIDTH) ? '>' : ' ');
		length += snprintf(line + length, sizeof(line) - (size_t) length, "] %s of %s, %s/s", size_text(a, moved), size_text(b, bar.total),
						   size_text(c, (int64_t) bar.rate));
		if (bar.rate >= 1)
		{
			int64_t left = (int64_t) ((double) (bar.total - moved) / bar.rate);

			if (left >= 3600)
				length += snprintf(line + length, sizeof(line) - (size_t) length, ", %d h %02d min left", (int) (left / 3600), (int) (left / 60 % 60));
			else if (left >= 0)
				length += snprintf(line + length, sizeof(line) - (size_t) length, ", %d:%02d left", (int) (left / 60), (int) (left % 60));
		}
	}
	else
		length = snprintf(line, sizeof(line), "%s, %s/s", size_text(a, moved), size_text(c, (int64_t) bar.rate));
	snprintf(line + length, sizeof(line) - (size_t) length, "  %s", bar.name);
	width = columns();
	fprintf(stderr, "\r%.*s\033[K", width - 1, line);
	fflush(stderr);
	bar.drawn = true;
}

static int
columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

void
progress_clear(void)
{
	if (bar.drawn)
		fputs("\r\033[K", stderr);
	bar.drawn = false;
}

void
progress_end(void)
{
	progress_clear();
	bar.on = false;
}
