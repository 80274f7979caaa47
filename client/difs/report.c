/*
 * report.c - difs report: a page with plots of throughput, latency, space and repair, of the samples that the keeper takes.
 *
 * The page needs nothing but itself: curves are SVG, made here (report_plots.c, plot.c); its script only shows numbers where the pointer is. It
 * takes the place of an older one at once, so that a web server may show a file that is made anew every few minutes.
 */
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "look.h"
#include "plot.h"

const Option report_options[] = {
	{'s', "since", "INTERVAL", "what has been since then, such as \"7 days\" (24 hours)"},
	{0},
};

static bool write_file(const char *name, const json_t *look, const Samples *samples, const char *since);
static void write_page(FILE *to, const json_t *look, const Samples *samples, const char *since);
static void write_cards(FILE *to, const json_t *look);
static void write_card(FILE *to, bool bad, const char *label, const char *value);
static void write_servers(FILE *to, const json_t *look);
static void write_duties(FILE *to, const json_t *look);
static void write_cell(FILE *to, const char *class, const char *text);

int
run_report(int argc, char **argv)
{
	const char *since = "24 hours";
	Samples samples = {0};
	json_t *look;
	int letter;
	bool done;

	while ((letter = next_option(argc, argv)) != -1)
		since = letter == 's' ? optarg : since;
	if (argc - optind != 1)
		return complain_usage("into which file? - is standard output");
	connect_database();
	if (!report_read_samples(since, &samples))
		return EXIT_FAILED;
	look = look_take();
	if (look == NULL)
		return EXIT_FAILED;
	done = write_file(argv[optind], look, &samples, since);
	if (done && !settings.quiet && strcmp(argv[optind], "-") != 0)
		printf("%s: %zu samples\n", argv[optind], samples.count);
	report_free_samples(&samples);
	json_decref(look);
	return done ? EXIT_DONE : EXIT_FAILED;
}

static bool
write_file(const char *name, const json_t *look, const Samples *samples, const char *since)
{
	bool is_stdout = strcmp(name, "-") == 0;
	char *temporary = need_memory(strlen(name) + 5);
	FILE *to;
	bool written;

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
	char clock[64];
	time_t now = (time_t) look_number(look, "now");
	struct tm parts;

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
	report_write_plots(to, samples);
	write_servers(to, look);
	write_duties(to, look);
	fprintf(to, "<footer>Made by difs report %s of difs.stat_samples and difs.stat_server_samples.</footer>\n</main>\n<script>\n%s</script>\n</body></html>\n",
			DIFS_VERSION, report_script);
}

static void
write_cards(FILE *to, const json_t *look)
{
	json_t *servers = json_object_get(look, "servers");
	const json_t *server;
	const char *name;
	const json_t *claim = json_object_get(json_object_get(look, "claim"), "held");
	double missing = look_number(json_object_get(look, "repair"), "copies_missing");
	double staged = look_number(json_object_get(look, "staged"), "bytes");
	double used = 0;
	double free_bytes = 0;
	int up = 0;
	char text[32];

	json_object_foreach (servers, name, server)
	{
		bool alive = json_is_true(json_object_get(server, "alive"));

		up += alive;
		used += alive ? look_number(server, "used_bytes") : 0;
		free_bytes += alive ? look_number(server, "free_bytes") : 0;
	}
	fputs("<section class=\"cards\">", to);
	snprintf(text, sizeof(text), "%d of %zu up", up, json_object_size(servers));
	write_card(to, up < (int) json_object_size(servers), "Chunk servers", text);
	write_card(to, !json_is_true(claim), "Claim", json_is_true(claim) ? "held" : (json_is_false(claim) ? "lost" : "no keeper"));
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
write_servers(FILE *to, const json_t *look)
{
	json_t *servers = json_object_get(look, "servers");
	const json_t *server;
	const char *name;
	char text[32];

	fputs("<h2>Chunk servers now</h2>\n<div class=\"table\"><table><thead><tr><th>server</th><th class=\"text\">state</th><th>used</th><th>free</th>"
		  "<th>read</th><th>written</th><th class=\"text\">problem</th></tr></thead><tbody>\n",
		  to);
	json_object_foreach (servers, name, server)
	{
		bool alive = json_is_true(json_object_get(server, "alive"));

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
	size_t i;
	char text[32];

	fputs("<h2>Duties of the keeper</h2>\n<div class=\"table\"><table><thead><tr><th>duty</th><th class=\"text\">last round</th><th>rounds</th><th>took</th>"
		  "<th class=\"text\">problem</th></tr></thead><tbody>\n",
		  to);
	json_array_foreach (duties, i, duty)
	{
		bool failed = strcmp(look_text(duty, "outcome"), "failed") == 0;
		bool running = json_is_true(json_object_get(duty, "running"));

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
