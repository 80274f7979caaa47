/*
 * report_plots.c - which plots difs report has, and their curves, of samples (report.h).
 *
 * The tables say what a plot shows; a curve is a value of each sample, mostly by
 * comparison with the one before.
 */
#include "report.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "command.h"
#include "look.h"
#include "plot.h"

#define GAP_FACTOR 5 /* samples so much further apart than usual have no curve between them: nobody took any */

#define MAX_CURVES 3
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One value of a sample, beside the one before (NULL: there is none); seconds between them. */
typedef double (*ValueOf)(const json_t *now, const json_t *before, double seconds, const char *what);

typedef struct Curve
{
	const char *name; /* NULL: a curve for each chunk server, with its name */
	ValueOf of;
	const char *what;
} Curve;

typedef struct Chart
{
	const char *title;
	PlotUnit unit;
	const char *note;
	Curve curves[MAX_CURVES]; /* up to one without a function */
} Chart;

static double level(const json_t *now, const json_t *before, double seconds, const char *what);
static double rate(const json_t *now, const json_t *before, double seconds, const char *what);
static double median(const json_t *now, const json_t *before, double seconds, const char *what);
static double slowest(const json_t *now, const json_t *before, double seconds, const char *what);
static double hit_share(const json_t *now, const json_t *before, double seconds, const char *what);
static double mean_sync(const json_t *now, const json_t *before, double seconds, const char *what);

/* clang-format off */
static const Chart of_requests[] = {
	{"Throughput", PLOT_BYTES_A_SECOND, "Content read from and written to chunk servers; each copy counts.",
		{{"read", rate, "read_bytes"}, {"written", rate, "written_bytes"}}},
	{"Requests", PLOT_A_SECOND, "Segments read from and written to chunk servers, and requests that failed.",
		{{"reads", rate, "reads"}, {"writes", rate, "writes"}, {"failed", rate, "errors"}}},
	{"Latency of reads", PLOT_MS, "From request to answer: half of them, and 99 of 100, stay below.",
		{{"half", median, "read_histogram"}, {"99 %", slowest, "read_histogram"}}},
	{"Latency of writes", PLOT_MS, "The same, until the disk has made it durable.",
		{{"half", median, "write_histogram"}, {"99 %", slowest, "write_histogram"}}},
	{"Shared cache", PLOT_PERCENT, "Share of blocks that were found in it, so that no chunk server was asked.",
		{{"found", hit_share, ""}}},
	{"Queue", PLOT_COUNT, "Segments that waited for the streamer, or for an acknowledgement, when the sample was taken.",
		{{"queued", level, "queued"}, {"in flight", level, "in_flight"}}},
};
/* clang-format on */

/* clang-format off */
static const Chart of_servers[] = {
	{"Space used", PLOT_BYTES, "By block groups, of all databases.",
		{{NULL, level, "used_bytes"}}},
	{"Space free", PLOT_BYTES, "On the disk of each chunk server.",
		{{NULL, level, "free_bytes"}}},
	{"Written, by server", PLOT_BYTES_A_SECOND, "Content that this database has stored there.",
		{{NULL, rate, "written_bytes"}}},
	{"Time of a sync", PLOT_MS, "Mean time that the disk takes to make data durable, for all databases. A dying disk is slow first.",
		{{NULL, mean_sync, ""}}},
};
/* clang-format on */

/* clang-format off */
static const Chart of_upkeep[] = {
	{"To repair", PLOT_COUNT, "Copies of block groups to make anew or to move, and files with too few good copies.",
		{{"copies missing", level, "copies_missing"}, {"copies to move", level, "copies_to_move"}, {"files", level, "files_to_repair"}}},
	{"Staged", PLOT_BYTES, "What the database kept itself, as too few chunk servers took it.",
		{{"staged", level, "staged_bytes"}}},
	{"Found by scrubs", PLOT_COUNT, "Bad copies of segments when each block group was last read, and segments that are lost.",
		{{"bad", level, "bad_copies"}, {"mended", level, "mended_copies"}, {"lost", level, "lost_segments"}}},
	{"To collect", PLOT_COUNT, "Deleted contents that still take space.",
		{{"contents", level, "doomed"}}},
};
/* clang-format on */

static void write_section(FILE *to, const Samples *samples, const char *heading, const Chart *charts, size_t count);
static void write_chart(FILE *to, const Samples *samples, const Chart *chart);
static void add_curve(Plot *plot, const Samples *samples, const Curve *curve);
static void add_series(Plot *plot, const Samples *samples, const char *server, const char *name, ValueOf of, const char *what);
static const json_t *servers_of(const Samples *samples);

void
report_write_plots(FILE *to, const Samples *samples)
{
	if (samples->count < 2)
	{
		fputs("<h2>Plots</h2><div class=\"table none\">There are plots once two samples have been taken: every difs.sample_interval, where the keeper runs and the claim is held.</div>\n", to);
		return;
	}
	write_section(to, samples, "Throughput and latency", of_requests, COUNT(of_requests));
	write_section(to, samples, "Space and disks", of_servers, COUNT(of_servers));
	if (json_object_size(servers_of(samples)) > PLOT_MAX_SERIES)
		fprintf(to, "<p class=\"none\">The first %d of %zu chunk servers; all are in the table below.</p>\n", PLOT_MAX_SERIES,
				json_object_size(servers_of(samples)));
	write_section(to, samples, "Repair and collection", of_upkeep, COUNT(of_upkeep));
}

static void
write_section(FILE *to, const Samples *samples, const char *heading, const Chart *charts, size_t count)
{
	fprintf(to, "<h2>%s</h2>\n<section class=\"plots\">\n", heading);
	for (size_t i = 0; i < count; i++)
		write_chart(to, samples, &charts[i]);
	fputs("</section>\n", to);
}

static void
write_chart(FILE *to, const Samples *samples, const Chart *chart)
{
	Plot plot = {.title = chart->title, .note = chart->note, .unit = chart->unit, .times = samples->times, .points = samples->count};

	for (int i = 0; i < MAX_CURVES && chart->curves[i].of != NULL; i++)
		add_curve(&plot, samples, &chart->curves[i]);
	plot_write(to, &plot);
	for (int i = 0; i < plot.count; i++)
		free((double *) (uintptr_t) plot.series[i].values);
}

static void
add_curve(Plot *plot, const Samples *samples, const Curve *curve)
{
	const json_t *server;
	const char *name;

	if (curve->name != NULL)
	{
		add_series(plot, samples, NULL, curve->name, curve->of, curve->what);
		return;
	}
	json_object_foreach ((json_t *) (uintptr_t) servers_of(samples), name, server)
		add_series(plot, samples, name, name, curve->of, curve->what);
}

/* server NULL: of all. */
static void
add_series(Plot *plot, const Samples *samples, const char *server, const char *name, ValueOf of, const char *what)
{
	double *values;

	if (plot->count == PLOT_MAX_SERIES)
		return;
	values = need_memory(samples->count * sizeof(double));
	for (size_t i = 0; i < samples->count; i++)
	{
		const json_t *now = samples->rows[i];
		const json_t *before = i > 0 ? samples->rows[i - 1] : NULL;
		double seconds = i > 0 ? samples->times[i] - samples->times[i - 1] : NAN;

		if (server != NULL)
		{
			now = json_object_get(json_object_get(now, "servers"), server);
			before = json_object_get(json_object_get(before, "servers"), server);
		}
		values[i] = seconds > GAP_FACTOR * samples->usual_gap ? NAN : of(now, before, seconds, what);
	}
	plot->series[plot->count++] = (PlotSeries){name, values};
}

/* Those that there were when the last sample was taken. */
static const json_t *
servers_of(const Samples *samples)
{
	return json_object_get(samples->rows[samples->count - 1], "servers");
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
	double hits = look_grown(now, before, "cache_hits");
	double blocks = hits + look_grown(now, before, "cache_misses");

	(void) seconds, (void) what;
	return blocks > 0 ? 100 * hits / blocks : NAN;
}

static double
mean_sync(const json_t *now, const json_t *before, double seconds, const char *what)
{
	double syncs = look_grown(now, before, "syncs");

	(void) seconds, (void) what;
	return syncs > 0 ? look_grown(now, before, "sync_ms") / syncs : NAN;
}
