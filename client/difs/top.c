/*
 * top.c - difs top: what chunk servers, streamer and keeper do, again and again.
 *
 * Rates are those since the look before.  On a terminal the screen is drawn anew in one write; q ends it.  Once, or where there is no terminal,
 * two looks are taken and one is shown.
 */
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "look.h"

#define ONCE_S 1
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define RED "\033[1;31m"
#define PLAIN "\033[0m"

const Option top_options[] = {
	{'i', "interval", "SECONDS", "between two looks (2; with --once 1)"},
	{'n', "count", "N", "so many looks, then end; the default on a terminal is for ever, elsewhere 1"},
	{'1', "once", NULL, "one look: the same as --count=1"},
	{0},
};

static struct termios before_us;
static bool changed_terminal;
static int lines_left; /* on the screen */
static int width;

static void begin_screen(bool terminal);
static void use_keys(void);
static void give_back_keys(void);
static bool pause_or_key(int64_t seconds, bool keys);
static void draw(const json_t *now, const json_t *before, bool terminal);
static void draw_head(const json_t *now, bool terminal);
static void draw_totals(const json_t *now, const json_t *before, bool terminal);
static void draw_servers(const json_t *now, const json_t *before, bool terminal);
static void draw_duties(const json_t *now, bool terminal);
static void print_look(json_t *now, const json_t *before);
static void line(bool terminal, const char *style, const char *format, ...) __attribute__((format(printf, 3, 4)));
static const char *rate_text(char buffer[32], double value, double seconds);
static const char *bytes_text(char buffer[32], double value, double seconds);
static const char *ms_text(char buffer[32], double ms);
static const char *span_text(char buffer[32], double seconds);
static double mean(double sum, double count);

int
run_top(int argc, char **argv)
{
	bool terminal = isatty(STDOUT_FILENO);
	int64_t interval = 0;
	int64_t looks = terminal ? INT64_MAX : 1;
	json_t *before = NULL;
	json_t *now = NULL;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'i':
				interval = number_argument("--interval", optarg);
				if (interval < 1)
					return complain_usage("--interval is at least 1");
				break;
			case 'n': looks = number_argument("--count", optarg); break;
			case '1': looks = 1; break;
		}
	if (interval == 0)
		interval = looks == 1 ? ONCE_S : 2;
	connect_database();
	if (terminal && looks > 1 && !settings.json)
		use_keys();
	if (looks == 1)
	{
		before = look_take();
		if (before == NULL)
			return EXIT_FAILED;
		(void) pause_or_key(interval, false);
	}
	for (int64_t i = 0; i < looks && !was_cancelled(); i++)
	{
		if (i > 0 && !pause_or_key(interval, changed_terminal))
			break;
		now = look_take();
		if (now == NULL)
			break;
		if (settings.json)
			print_look(now, before);
		else
			draw(now, before, terminal && looks > 1);
		json_decref(before);
		before = now;
	}
	give_back_keys();
	json_decref(before);
	return looks > 0 && now == NULL ? EXIT_FAILED : EXIT_DONE;
}

/* Single keys come, without echo; signals work as ever. */
static void
use_keys(void)
{
	struct termios keys;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before_us) != 0)
		return;
	keys = before_us;
	keys.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
	changed_terminal = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
	(void) atexit(give_back_keys);
}

static void
give_back_keys(void)
{
	if (changed_terminal)
		(void) tcsetattr(STDIN_FILENO, TCSANOW, &before_us);
	changed_terminal = false;
}

/* False: it is to end. */
static bool
pause_or_key(int64_t seconds, bool keys)
{
	double until = seconds_now() + (double) seconds;
	struct pollfd input = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};

	for (double left = (double) seconds; left > 0 && !was_cancelled(); left = until - seconds_now())
	{
		char key;

		if (poll(&input, 1, (int) (left * 1000) + 1) <= 0 || (input.revents & (POLLIN | POLLHUP)) == 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
			return false;
	}
	return !was_cancelled();
}

static void
begin_screen(bool terminal)
{
	struct winsize size;

	width = lines_left = 0;
	if (!terminal)
		return;
	width = 80;
	lines_left = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0)
	{
		width = size.ws_col;
		lines_left = size.ws_row;
	}
	fputs("\033[H", stdout);
}

static void
draw(const json_t *now, const json_t *before, bool terminal)
{
	begin_screen(terminal);
	draw_head(now, terminal);
	draw_totals(now, before, terminal);
	draw_servers(now, before, terminal);
	draw_duties(now, terminal);
	if (terminal)
		fputs("\033[J", stdout);
	fflush(stdout);
}

static void
draw_head(const json_t *now, bool terminal)
{
	const json_t *claim = json_object_get(now, "claim");
	const json_t *servers = json_object_get(now, "servers");
	const json_t *server;
	const char *name;
	int down = 0;
	char clock[32];
	time_t seconds = (time_t) look_number(now, "now");
	struct tm parts;

	json_object_foreach ((json_t *) (uintptr_t) servers, name, server)
		down += !json_is_true(json_object_get(server, "alive"));
	localtime_r(&seconds, &parts);
	strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
	line(terminal, BOLD, "difs: %s at %s, %zu chunk servers%s", look_text(now, "database"), clock, json_object_size(servers),
		 changed_terminal ? "   (q ends)" : "");
	if (down > 0)
		line(terminal, RED, "%d of %zu chunk servers down", down, json_object_size(servers));
	if (!json_is_true(json_object_get(claim, "held")))
		line(terminal, RED, "the claim is not held: %s", json_is_null(json_object_get(claim, "held")) ? "no keeper runs" : look_text(claim, "problem"));
}

static void
draw_totals(const json_t *now, const json_t *before, bool terminal)
{
	double seconds = look_grown(now, before, "now");
	const json_t *stream = json_object_get(now, "stream");
	const json_t *streamed = json_object_get(before, "stream");
	const json_t *cache = json_object_get(now, "cache");
	const json_t *cached = json_object_get(before, "cache");
	const json_t *staged = json_object_get(now, "staged");
	const json_t *repair = json_object_get(now, "repair");
	double hits = look_grown(cache, cached, "hits");
	double blocks = hits + look_grown(cache, cached, "misses");
	double missing = look_number(repair, "copies_missing");
	char text[6][32];

	for (int i = 0; i < 2; i++)
	{
		const char *kind = i == 0 ? "get" : "put";
		const json_t *requests = json_object_get(json_object_get(now, "requests"), kind);
		const json_t *earlier = before == NULL ? NULL : json_object_get(json_object_get(before, "requests"), kind);
		json_t *none = json_object();

		if (earlier == NULL && before != NULL)
			earlier = none;
		line(terminal, "", "%-8s %9s/s %8s/s   half below %8s, 99%% below %8s, %s/s failed", i == 0 ? "read" : "written",
			 bytes_text(text[0], look_grown(requests, earlier, "bytes"), seconds), rate_text(text[1], look_grown(requests, earlier, "count"), seconds),
			 ms_text(text[2], look_quantile(requests, earlier, "histogram", 0.5)), ms_text(text[3], look_quantile(requests, earlier, "histogram", 0.99)),
			 rate_text(text[4], look_grown(requests, earlier, "errors"), seconds));
		json_decref(none);
	}
	line(terminal, look_number(stream, "age_s") > 5 ? RED : "", "%-8s %9s/s %8s/s   %.0f queued (%s), %.0f in flight (%s), oldest %s, %s/s failed", "stored",
		 bytes_text(text[0], look_grown(stream, streamed, "stored_bytes"), seconds), rate_text(text[1], look_grown(stream, streamed, "stored"), seconds),
		 look_number(stream, "queued"), bytes_text(text[2], look_number(stream, "queued_bytes"), 1), look_number(stream, "in_flight"),
		 bytes_text(text[3], look_number(stream, "in_flight_bytes"), 1), span_text(text[4], look_number(stream, "age_s")),
		 rate_text(text[5], look_grown(stream, streamed, "failed"), seconds));
	if (blocks > 0)
		line(terminal, "", "%-8s %9s   %8s/s   of %s/s blocks found", "cache", bytes_text(text[0], look_number(cache, "used_bytes"), 1),
			 rate_text(text[1], hits, seconds), rate_text(text[2], blocks, seconds));
	else
		line(terminal, "", "%-8s %9s", "cache", bytes_text(text[0], look_number(cache, "used_bytes"), 1));
	line(terminal, look_number(staged, "bytes") > 0 ? RED : "", "%-8s %9s   in %.0f segments", "staged", bytes_text(text[0], look_number(staged, "bytes"), 1),
		 look_number(staged, "segments"));
	line(terminal, missing > 0 ? RED : "", "%-8s %9s   %.0f copies missing, %.0f to move", "repair", bytes_text(text[0], look_number(repair, "bytes_missing"), 1),
		 missing, look_number(repair, "copies_to_move"));
}

static void
draw_servers(const json_t *now, const json_t *before, bool terminal)
{
	double seconds = look_grown(now, before, "now");
	const json_t *servers = json_object_get(now, "servers");
	const json_t *server;
	const char *name;
	char text[11][32];

	line(terminal, "", "%s", "");
	line(terminal, BOLD, "%-18s %-8s %8s %8s %8s %8s %8s %8s %7s %8s %8s %8s", "server", "state", "reads/s", "bytes/s", "mean", "writes/s", "bytes/s", "mean",
		 "syncs/s", "mean", "used", "free");
	json_object_foreach ((json_t *) (uintptr_t) servers, name, server)
	{
		const json_t *earlier = json_object_get(json_object_get(before, "servers"), name);
		bool alive = json_is_true(json_object_get(server, "alive"));
		double reads = look_grown(server, earlier, "reads");
		double writes = look_grown(server, earlier, "writes");
		double syncs = look_grown(server, earlier, "syncs");
		double free_share = look_number(server, "free_bytes") / (look_number(server, "free_bytes") + look_number(server, "used_bytes"));

		line(terminal, !alive || free_share < 0.1 ? RED : "", "%-18s %-8s %8s %8s %8s %8s %8s %8s %7s %8s %8s %8s", name,
			 alive ? look_text(server, "state") : "down",
			 rate_text(text[0], reads, seconds), bytes_text(text[1], look_grown(server, earlier, "read_bytes"), seconds),
			 ms_text(text[2], mean(look_grown(server, earlier, "read_ms"), reads)),
			 rate_text(text[3], writes, seconds), bytes_text(text[4], look_grown(server, earlier, "written_bytes"), seconds),
			 ms_text(text[5], mean(look_grown(server, earlier, "write_ms"), writes)),
			 rate_text(text[6], syncs, seconds), ms_text(text[7], mean(look_grown(server, earlier, "sync_ms"), syncs)),
			 bytes_text(text[8], look_number(server, "used_bytes"), 1), bytes_text(text[9], look_number(server, "free_bytes"), 1));
		if (look_text(server, "problem")[0] != '\0')
			line(terminal, RED, "  %s", look_text(server, "problem"));
	}
}

static void
draw_duties(const json_t *now, bool terminal)
{
	const json_t *duties = json_object_get(now, "duties");
	const json_t *duty;
	size_t i;
	char text[3][32];

	line(terminal, "", "%s", "");
	line(terminal, BOLD, "%-10s %-8s %10s %8s %10s  %s", "duty", "state", "ended", "took", "next", "progress");
	json_array_foreach (duties, i, duty)
	{
		bool running = json_is_true(json_object_get(duty, "running"));
		bool failed = strcmp(look_text(duty, "outcome"), "failed") == 0;
		char progress[64] = "";

		if (look_number(duty, "rounds") == 0)
			continue;
		if (running)
			snprintf(progress, sizeof(progress), "%.0f of %.0f", look_number(duty, "done"), look_number(duty, "total"));
		snprintf(text[0], sizeof(text[0]), "%s ago", span_text(text[1], look_number(duty, "ended_s_ago")));
		line(terminal, failed ? RED : (running ? "" : DIM), "%-10s %-8s %10s %8s %10s  %s", look_text(duty, "duty"),
			 running ? "running" : (failed ? "failed" : "done"), isnan(look_number(duty, "ended_s_ago")) ? "-" : text[0],
			 ms_text(text[1], look_number(duty, "took_ms")), running ? "-" : span_text(text[2], look_number(duty, "next_in_s")),
			 failed ? look_text(duty, "problem") : progress);
	}
}

/* The look, and of each server what it has done a second. */
static void
print_look(json_t *now, const json_t *before)
{
	static const char *const counts[] = {"reads", "read_bytes", "writes", "written_bytes", "errors", "syncs"};
	double seconds = look_grown(now, before, "now");
	json_t *servers = json_object_get(now, "servers");
	json_t *server;
	const char *name;

	json_object_foreach (servers, name, server)
	{
		json_t *rates = json_object();

		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		{
			double rate = look_grown(server, json_object_get(json_object_get(before, "servers"), name), counts[i]) / seconds;

			json_object_set_new(rates, counts[i], isfinite(rate) ? json_real(rate) : json_null());
		}
		json_object_set_new(server, "per_second", rates);
	}
	print_json(json_incref(now));
	fflush(stdout);
}

/* A line, cut off where the screen ends; control characters that a name may have are not let through. */
static void
line(bool terminal, const char *style, const char *format, ...)
{
	char text[1024];
	va_list args;
	int shown = 0;

	if (terminal && lines_left-- <= 1)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (terminal)
		fputs(style, stdout);
	for (const char *at = text; *at != '\0'; at++)
	{
		shown += ((unsigned char) *at & 0xc0) != 0x80;
		if (terminal && shown > width)
			break;
		putchar(terminal && ((unsigned char) *at < ' ' || *at == 127) ? '?' : *at);
	}
	fputs(terminal ? (style[0] != '\0' ? PLAIN "\033[K\n" : "\033[K\n") : "\n", stdout);
}

static const char *
rate_text(char buffer[32], double value, double seconds)
{
	double rate = value / seconds;

	if (!isfinite(rate))
		return "-";
	if (rate > 0 && rate < 9.95)
		snprintf(buffer, 32, "%.1f", rate);
	else
		count_text(buffer, (int64_t) (rate + 0.5));
	return buffer;
}

static const char *
bytes_text(char buffer[32], double value, double seconds)
{
	bool human = settings.human;

	if (!isfinite(value / seconds))
		return "-";
	settings.human = true;
	short_size(buffer, (int64_t) (value / seconds));
	settings.human = human;
	return buffer;
}

static const char *
ms_text(char buffer[32], double ms)
{
	if (!isfinite(ms))
		return "-";
	snprintf(buffer, 32, ms < 1 ? "%.2f ms" : (ms < 100 ? "%.1f ms" : (ms < 10000 ? "%.0f ms" : "%.0f s")), ms < 10000 ? ms : ms / 1000);
	return buffer;
}

static const char *
span_text(char buffer[32], double seconds)
{
	if (!isfinite(seconds))
		return "-";
	seconds = seconds < 0 ? 0 : seconds;
	if (seconds < 120)
		snprintf(buffer, 32, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
	else
		snprintf(buffer, 32, seconds < 7200 ? "%.0f min" : (seconds < 172800 ? "%.0f h" : "%.0f d"),
				 seconds / (seconds < 7200 ? 60 : (seconds < 172800 ? 3600 : 86400)));
	return buffer;
}

static double
mean(double sum, double count)
{
	return count > 0 ? sum / count : NAN;
}
