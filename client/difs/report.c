/*
 * report.c - difs report: a page with plots of throughput, latency, space and repair, of the samples that the keeper takes.
 *
 * The page needs nothing but itself: curves are SVG, made here (plot.c); its script only shows numbers where the pointer is. It takes the place
 * of an older one at once, so that a web server may show a file that is made anew every few minutes.
 */
#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "look.h"
#include "plot.h"

#define GAP_FACTOR	5			/* samples so much further apart than usual have no curve between them: nobody took any */

const Option report_options[] = {
	{'s', "since", "INTERVAL", "what has been since then, such as \"7 days\" (24 hours)"},
	{0}
};

/* At most 600 samples, evenly; each with those of its servers. */
static const char statement[] =
"WITH chosen AS (SELECT *, row_number() OVER (ORDER BY taken DESC) AS number, count(*) OVER () AS samples"
"                FROM difs.stat_samples WHERE taken >= now() - $1::interval)"
" SELECT row_to_json(sample) FROM ("
"   SELECT extract(epoch FROM taken) AS time, chosen.*,"
"          (SELECT json_object_agg(server, row_to_json(of_server)) FROM difs.stat_server_samples AS of_server WHERE of_server.taken = chosen.taken) AS servers"
"   FROM chosen WHERE (number - 1) % greatest(1, (samples + 599) / 600) = 0 ORDER BY taken) AS sample";

typedef struct Samples
{
	json_t	  **rows;
	double	   *times;
	size_t		count;
	double		usual_gap;
} Samples;

/* One value of a sample, beside the one before (NULL: there is none); seconds between them. */
typedef double (*ValueOf) (const json_t *now, const json_t *before, double seconds, const char *what);

static bool read_samples(const char *since, Samples *samples);
static double median_gap(const Samples *samples);
static int	by_size(const void *a, const void *b);
static bool write_file(const char *name, const json_t *look, const Samples *samples, const char *since);
static void write_page(FILE *to, const json_t *look, const Samples *samples, const char *since);
static void write_cards(FILE *to, const json_t *look);
static void write_card(FILE *to, bool bad, const char *label, const char *value);
static void write_plots(FILE *to, const Samples *samples);
static void write_totals(FILE *to, const Samples *samples);
static void write_upkeep(FILE *to, const Samples *samples);
static void write_of_servers(FILE *to, const Samples *samples);
static Plot begin_plot(const Samples *samples, const char *title, PlotUnit unit, const char *note);
static void add_series(Plot *plot, const Samples *samples, const char *server, const char *name, ValueOf of, const char *what);
static void end_plot(FILE *to, Plot *plot);
static double level(const json_t *now, const json_t *before, double seconds, const char *what);
static double rate(const json_t *now, const json_t *before, double seconds, const char *what);
static double median(const json_t *now, const json_t *before, double seconds, const char *what);
static double slowest(const json_t *now, const json_t *before, double seconds, const char *what);
static double hit_share(const json_t *now, const json_t *before, double seconds, const char *what);
static double mean_sync(const json_t *now, const json_t *before, double seconds, const char *what);
static void write_servers(FILE *to, const json_t *look);
static void write_duties(FILE *to, const json_t *look);
static void write_cell(FILE *to, const char *class, const char *text);

int
run_report(int argc, char **argv)
{
	const char *since = "24 hours";
	Samples		samples = {0};
	json_t	   *look;
	int			letter;
	bool		done;

	while ((letter = next_option(argc, argv)) != -1)
		since = letter == 's' ? optarg : since;
	if (argc - optind != 1)
		return complain_usage("into which file? - is standard output");
	connect_database();
	if (!read_samples(since, &samples))
		return EXIT_FAILED;
	look = look_take();
	if (look == NULL)
		return EXIT_FAILED;
	done = write_file(argv[optind], look, &samples, since);
	if (done && !settings.quiet && strcmp(argv[optind], "-") != 0)
		printf("%s: %zu samples\n", argv[optind], samples.count);
	for (size_t i = 0; i < samples.count; i++)
		json_decref(samples.rows[i]);
	free(samples.rows);
	free(samples.times);
	json_decref(look);
	return done ? EXIT_DONE : EXIT_FAILED;
}

static bool
read_samples(const char *since, Samples *samples)
{
	PGresult   *result = query(statement, 1, &since);

	if (result == NULL)
		return false;
	samples->rows = need_memory(((size_t) PQntuples(result) + 1) * sizeof(json_t *));
	samples->times = need_memory(((size_t) PQntuples(result) + 1) * sizeof(*samples->times));
	for (int i = 0; i < PQntuples(result); i++)
	{
		json_t	   *row = json_loads(PQgetvalue(result, i, 0), JSON_DECODE_INT_AS_REAL, NULL);

		if (row == NULL)
		{
			PQclear(result);
			complain_text("the database's samples could not be read");
			return false;
		}
		samples->rows[samples->count] = row;
		samples->times[samples->count++] = look_number(row, "time");
	}
	PQclear(result);
	samples->usual_gap = median_gap(samples);
	return true;
}

static double
median_gap(const Samples *samples)
{
	double	   *gaps = need_memory((samples->count + 1) * sizeof(double));
	double		middle = 0;

	for (size_t i = 1; i < samples->count; i++)
		gaps[i - 1] = samples->times[i] - samples->times[i - 1];
	if (samples->count > 1)
	{
		qsort(gaps, samples->count - 1, sizeof(double), by_size);
		middle = gaps[(samples->count - 1) / 2];
	}
	free(gaps);
	return middle;
}

static int
by_size(const void *a, const void *b)
{
	double		difference = *(const double *) a - *(const double *) b;

	return (difference > 0) - (difference < 0);
}

static bool
write_file(const char *name, const json_t *look, const Samples *samples, const char *since)
{
	bool		is_stdout = strcmp(name, "-") == 0;
	char	   *temporary = need_memory(strlen(name) + 5);
	FILE	   *to;
	bool		written;

	sprintf(temporary, "%s.new", name);
	to = is_stdout ? stdout : fopen(temporary, "w");
	if (to != NULL)
		write_page(to, look, samples, since);
	written = to != NULL && fflush(to) == 0 && !ferror(to);
	if (to != NULL && !is_stdout)
		written = (fclose(to) == 0) & written;
	if (!is_stdout && written)
		written = rename(temporary, name) == 0;
	if (!written)
	{
		complain_text("could not write to %s: %s", is_stdout ? "standard output" : name, strerror(errno));
		if (!is_stdout)
			unlink(temporary);
	}
	free(temporary);
	return written;
}

static void
write_page(FILE *to, const json_t *look, const Samples *samples, const char *since)
{
	char		clock[64];
	time_t		now = (time_t) look_number(look, "now");
	struct tm	parts;

	localtime_r(&now, &parts);
	strftime(clock, sizeof(clock), "%e %B %Y, %H:%M %Z", &parts);
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>difs: ", to);
	html_text(to, look_text(look, "database"));
	fprintf(to, "</title>\n<style>\n%s</style></head>\n<body><main>\n<header><h1>difs: ", report_style);
	html_text(to, look_text(look, "database"));
	fprintf(to, "</h1><p>%s, the last ", clock);
	html_text(to, since);
	fprintf(to, ", %zu samples</p></header>\n", samples->count);
	write_cards(to, look);
	write_plots(to, samples);
	write_servers(to, look);
	write_duties(to, look);
	fprintf(to, "<footer>Made by difs report %s of difs.stat_samples and difs.stat_server_samples.</footer>\n</main>\n<script>\n%s</script>\n</body></html>\n",
			DIFS_VERSION, report_script);
}

static void
write_cards(FILE *to, const json_t *look)
{
	json_t	   *servers = json_object_get(look, "servers");
	const json_t *server;
	const char *name;
	const json_t *claim = json_object_get(json_object_get(look, "claim"), "held");
	double		missing = look_number(json_object_get(look, "repair"), "copies_missing");
	double		staged = look_number(json_object_get(look, "staged"), "bytes");
	double		used = 0;
	double		free_bytes = 0;
	int			up = 0;
	char		text[32];

	json_object_foreach(servers, name, server)
	{
		bool		alive = json_is_true(json_object_get(server, "alive"));

		up += alive;
		used += alive ? look_number(server, "used_bytes") : 0;
		free_bytes += alive ? look_number(server, "free_bytes") : 0;
	}
	fputs("<section class=\"cards\">", to);
	snprintf(text, sizeof(text), "%d of %zu up", up, json_object_size(servers));
	write_card(to, up < (int) json_object_size(servers), "Chunk servers", text);
	write_card(to, !json_is_true(claim), "Claim", json_is_true(claim) ? "held" : json_is_false(claim) ? "lost" : "no keeper");
	write_card(to, false, "Used", plot_text(text, PLOT_BYTES, used));
	write_card(to, false, "Free", plot_text(text, PLOT_BYTES, free_bytes));
	write_card(to, missing > 0, "Copies missing", plot_text(text, PLOT_COUNT, missing));
	write_card(to, staged > 0, "Staged", plot_text(text, PLOT_BYTES, staged));
	fputs("</section>\n", to);
}

static void
write_card(FILE *to, bool bad, const char *label, const char *value)
{
	fprintf(to, "<div class=\"card%s\"><span>%s</span><b>", bad ? " bad" : "", label);
	html_text(to, value);
	fputs("</b></div>", to);
}

static void
write_plots(FILE *to, const Samples *samples)
{
	if (samples->count < 2)
	{
		fputs("<h2>Plots</h2><div class=\"table none\">There are plots once two samples have been taken: every difs.sample_interval, where the keeper runs and the claim is held.</div>\n", to);
		return;
	}
	write_totals(to, samples);
	write_of_servers(to, samples);
	write_upkeep(to, samples);
}

static void
write_totals(FILE *to, const Samples *samples)
{
	Plot		plot;

	fputs("<h2>Throughput and latency</h2>\n<section class=\"plots\">\n", to);
	plot = begin_plot(samples, "Throughput", PLOT_BYTES_A_SECOND, "Content read from and written to chunk servers; each copy counts.");
	add_series(&plot, samples, NULL, "read", rate, "read_bytes");
	add_series(&plot, samples, NULL, "written", rate, "written_bytes");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Requests", PLOT_A_SECOND, "Segments read from and written to chunk servers, and requests that failed.");
	add_series(&plot, samples, NULL, "reads", rate, "reads");
	add_series(&plot, samples, NULL, "writes", rate, "writes");
	add_series(&plot, samples, NULL, "failed", rate, "errors");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Latency of reads", PLOT_MS, "From request to answer: half of them, and 99 of 100, stay below.");
	add_series(&plot, samples, NULL, "half", median, "read_histogram");
	add_series(&plot, samples, NULL, "99 %", slowest, "read_histogram");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Latency of writes", PLOT_MS, "The same, until the disk has made it durable.");
	add_series(&plot, samples, NULL, "half", median, "write_histogram");
	add_series(&plot, samples, NULL, "99 %", slowest, "write_histogram");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Shared cache", PLOT_PERCENT, "Share of blocks that were found in it, so that no chunk server was asked.");
	add_series(&plot, samples, NULL, "found", hit_share, "");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Queue", PLOT_COUNT, "Segments that waited for the streamer, or for an acknowledgement, when the sample was taken.");
	add_series(&plot, samples, NULL, "queued", level, "queued");
	add_series(&plot, samples, NULL, "in flight", level, "in_flight");
	end_plot(to, &plot);
	fputs("</section>\n", to);
}

static void
write_of_servers(FILE *to, const Samples *samples)
{
	static const struct
	{
		const char *title;
		PlotUnit	unit;
		const char *note;
		ValueOf		of;
		const char *what;
	}			plots[] = {
		{"Space used", PLOT_BYTES, "By block groups, of all databases.", level, "used_bytes"},
		{"Space free", PLOT_BYTES, "On the disk of each chunk server.", level, "free_bytes"},
		{"Written, by server", PLOT_BYTES_A_SECOND, "Content that this database has stored there.", rate, "written_bytes"},
		{"Time of a sync", PLOT_MS, "Mean time that the disk takes to make data durable, for all databases. A dying disk is slow first.", mean_sync, ""}
	};
	json_t	   *servers = json_object_get(samples->rows[samples->count - 1], "servers");

	fputs("<h2>Space and disks</h2>\n<section class=\"plots\">\n", to);
	for (size_t i = 0; i < sizeof(plots) / sizeof(plots[0]); i++)
	{
		Plot		plot = begin_plot(samples, plots[i].title, plots[i].unit, plots[i].note);
		const char *name;
		const json_t *server;

		json_object_foreach(servers, name, server)
			add_series(&plot, samples, name, name, plots[i].of, plots[i].what);
		end_plot(to, &plot);
	}
	fputs("</section>\n", to);
	if (json_object_size(servers) > PLOT_MAX_SERIES)
		fprintf(to, "<p class=\"none\">The first %d of %zu chunk servers; all are in the table below.</p>\n", PLOT_MAX_SERIES, json_object_size(servers));
}

static void
write_upkeep(FILE *to, const Samples *samples)
{
	Plot		plot;

	fputs("<h2>Repair and collection</h2>\n<section class=\"plots\">\n", to);
	plot = begin_plot(samples, "To repair", PLOT_COUNT, "Copies of block groups to make anew or to move, and files with too few good copies.");
	add_series(&plot, samples, NULL, "copies missing", level, "copies_missing");
	add_series(&plot, samples, NULL, "copies to move", level, "copies_to_move");
	add_series(&plot, samples, NULL, "files", level, "files_to_repair");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Staged", PLOT_BYTES, "What the database kept itself, as too few chunk servers took it.");
	add_series(&plot, samples, NULL, "staged", level, "staged_bytes");
	end_plot(to, &plot);
	plot = begin_plot(samples, "Found by scrubs", PLOT_COUNT, "Bad copies of segments when each block group was last read, and segments that are lost.");
	add_series(&plot, samples, NULL, "bad", level, "bad_copies");
	add_series(&plot, samples, NULL, "mended", level, "mended_copies");
	add_series(&plot, samples, NULL, "lost", level, "lost_segments");
	end_plot(to, &plot);
	plot = begin_plot(samples, "To collect", PLOT_COUNT, "Deleted contents that still take space.");
	add_series(&plot, samples, NULL, "contents", level, "doomed");
	end_plot(to, &plot);
	fputs("</section>\n", to);
}

static Plot
begin_plot(const Samples *samples, const char *title, PlotUnit unit, const char *note)
{
	return (Plot) {.title = title, .note = note, .unit = unit, .times = samples->times, .points = samples->count};
}

/* server NULL: of all. */
static void
add_series(Plot *plot, const Samples *samples, const char *server, const char *name, ValueOf of, const char *what)
{
	double	   *values;

	if (plot->count == PLOT_MAX_SERIES)
		return;
	values = need_memory(samples->count * sizeof(double));
	for (size_t i = 0; i < samples->count; i++)
	{
		const json_t *now = samples->rows[i];
		const json_t *before = i > 0 ? samples->rows[i - 1] : NULL;
		double		seconds = i > 0 ? samples->times[i] - samples->times[i - 1] : NAN;

		if (server != NULL)
		{
			now = json_object_get(json_object_get(now, "servers"), server);
			before = json_object_get(json_object_get(before, "servers"), server);
		}
		values[i] = seconds > GAP_FACTOR * samples->usual_gap ? NAN : of(now, before, seconds, what);
	}
	plot->series[plot->count++] = (PlotSeries) {name, values};
}

static void
end_plot(FILE *to, Plot *plot)
{
	plot_write(to, plot);
	for (int i = 0; i < plot->count; i++)
		free((double *) (uintptr_t) plot->series[i].values);
}

static double
level(const json_t *now, const json_t *before, double seconds, const char *what)
{
	(void) before, (void) seconds;
	return look_number(now, what);
}

static double
rate(const json_t *now, const json_t *before, double seconds, const char *what)
{
	return look_grown(now, before, what) / seconds;
}

static double
median(const json_t *now, const json_t *before, double seconds, const char *what)
{
	(void) seconds;
	return look_quantile(now, before, what, 0.5);
}

static double
slowest(const json_t *now, const json_t *before, double seconds, const char *what)
{
	(void) seconds;
	return look_quantile(now, before, what, 0.99);
}

static double
hit_share(const json_t *now, const json_t *before, double seconds, const char *what)
{
	double		hits = look_grown(now, before, "cache_hits");
	double		blocks = hits + look_grown(now, before, "cache_misses");

	(void) seconds, (void) what;
	return blocks > 0 ? 100 * hits / blocks : NAN;
}

static double
mean_sync(const json_t *now, const json_t *before, double seconds, const char *what)
{
	double		syncs = look_grown(now, before, "syncs");

	(void) seconds, (void) what;
	return syncs > 0 ? look_grown(now, before, "sync_ms") / syncs : NAN;
}

static void
write_servers(FILE *to, const json_t *look)
{
	json_t	   *servers = json_object_get(look, "servers");
	const json_t *server;
	const char *name;
	char		text[32];

	fputs("<h2>Chunk servers now</h2>\n<div class=\"table\"><table><thead><tr><th>server</th><th class=\"text\">state</th><th>used</th><th>free</th>"
		  "<th>read</th><th>written</th><th class=\"text\">problem</th></tr></thead><tbody>\n", to);
	json_object_foreach(servers, name, server)
	{
		bool		alive = json_is_true(json_object_get(server, "alive"));

		fputs("<tr>", to);
		write_cell(to, "text", name);
		write_cell(to, alive ? "text good" : "text bad", alive ? look_text(server, "state") : "down");
		write_cell(to, "", plot_text(text, PLOT_BYTES, look_number(server, "used_bytes")));
		write_cell(to, "", plot_text(text, PLOT_BYTES, look_number(server, "free_bytes")));
		write_cell(to, "", plot_text(text, PLOT_BYTES, look_number(server, "read_bytes")));
		write_cell(to, "", plot_text(text, PLOT_BYTES, look_number(server, "written_bytes")));
		write_cell(to, "text bad", look_text(server, "problem"));
		fputs("</tr>\n", to);
	}
	fputs("</tbody></table></div>\n", to);
}

static void
write_duties(FILE *to, const json_t *look)
{
	const json_t *duties = json_object_get(look, "duties");
	const json_t *duty;
	size_t		i;
	char		text[32];

	fputs("<h2>Duties of the keeper</h2>\n<div class=\"table\"><table><thead><tr><th>duty</th><th class=\"text\">last round</th><th>rounds</th><th>took</th>"
		  "<th class=\"text\">problem</th></tr></thead><tbody>\n", to);
	json_array_foreach(duties, i, duty)
	{
		bool		failed = strcmp(look_text(duty, "outcome"), "failed") == 0;
		bool		running = json_is_true(json_object_get(duty, "running"));

		fputs("<tr>", to);
		write_cell(to, "text", look_text(duty, "duty"));
		write_cell(to, failed ? "text bad" : "text", running ? "running" : look_text(duty, "outcome"));
		write_cell(to, "", plot_text(text, PLOT_COUNT, look_number(duty, "rounds")));
		write_cell(to, "", plot_text(text, PLOT_MS, look_number(duty, "took_ms")));
		write_cell(to, "text bad", look_text(duty, "problem"));
		fputs("</tr>\n", to);
	}
	fputs("</tbody></table></div>\n", to);
}

static void
write_cell(FILE *to, const char *class, const char *text)
{
	fprintf(to, "<td class=\"%s\">", class);
	html_text(to, text);
	fputs("</td>", to);
}
