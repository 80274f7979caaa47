/*
 * plot.c - see plot.h.
 *
 * Coordinates are those of a picture of WIDTH to HEIGHT, which the page scales. Colours come from the page's style sheet: class s0 to s7.
 */
#include "plot.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define WIDTH 640
#define HEIGHT 220
#define LEFT 66
#define RIGHT 10
#define TOP 8
#define BOTTOM 22
#define Y_TICKS 4
#define X_TICKS 6

static bool has_values(const Plot *plot);
static double highest(const Plot *plot);
static double round_up(double value, bool binary);
static void write_legend(FILE *to, const Plot *plot);
static void write_axes(FILE *to, const Plot *plot, double top);
static void write_times(FILE *to, const Plot *plot);
static void write_curve(FILE *to, const Plot *plot, int series, double top, bool filled);
static void write_numbers(FILE *to, const Plot *plot);
static double x_of(const Plot *plot, double time);
static double y_of(double value, double top);

void
plot_write(FILE *to, const Plot *plot)
{
	double top = highest(plot);

	fputs("<figure class=\"plot\"><figcaption><h3>", to);
	html_text(to, plot->title);
	fputs("</h3><p>", to);
	html_text(to, plot->note);
	fputs("</p></figcaption>", to);
	write_legend(to, plot);
	fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
	html_text(to, plot->title);
	fputs("\">", to);
	write_axes(to, plot, top);
	write_times(to, plot);
	for (int i = 0; i < plot->count; i++)
		write_curve(to, plot, i, top, plot->count <= 2);
	if (!has_values(plot))
		fprintf(to, "<text class=\"x\" x=\"%d\" y=\"%d\">there was nothing to measure</text>", (LEFT + WIDTH - RIGHT) / 2, HEIGHT / 2);
	fprintf(to, "<line class=\"cursor\" y1=\"%d\" y2=\"%d\"/></svg>", TOP, HEIGHT - BOTTOM);
	write_numbers(to, plot);
	fputs("</figure>\n", to);
}

const char *
plot_text(char buffer[32], PlotUnit unit, double value)
{
	static const char *const binary[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	bool bytes = unit == PLOT_BYTES || unit == PLOT_BYTES_A_SECOND;
	int step = 0;

	if (!isfinite(value))
		return "-";
	for (; bytes && value >= 1024 && step < 5; step++)
		value /= 1024;
	if (unit == PLOT_MS && value >= 1000)
		snprintf(buffer, 32, "%.4g s", value / 1000);
	else if (bytes)
		snprintf(buffer, 32, "%.4g %s%s", value, binary[step], unit == PLOT_BYTES_A_SECOND ? "/s" : "");
	else
		snprintf(buffer, 32, value < 10000 ? "%.4g%s" : "%.0f%s", value, unit == PLOT_MS ? " ms" : (unit == PLOT_A_SECOND ? "/s" : (unit == PLOT_PERCENT ? " %" : "")));
	return buffer;
}

void
html_text(FILE *to, const char *text)
{
	for (const unsigned char *at = (const unsigned char *) text; *at != '\0'; at++)
	{
		int more = *at < 0x80 ? 0 : (*at >= 0xc2 && *at < 0xe0 ? 1 : (*at >= 0xe0 && *at < 0xf0 ? 2 : (*at >= 0xf0 && *at < 0xf5 ? 3 : -1)));
		bool whole = more >= 0;

		for (int i = 1; i <= more; i++)
			whole = whole && (at[i] & 0xc0) == 0x80;
		if (!whole || (*at < ' ' && *at != '\n' && *at != '\t') || *at == 127)
			fputc('?', to);
		else if (strchr("<>&\"'", *at) != NULL)
			fprintf(to, "&#%d;", *at);
		else
		{
			fwrite(at, 1, (size_t) more + 1, to);
			at += more;
		}
	}
}

static bool
has_values(const Plot *plot)
{
	for (int i = 0; i < plot->count; i++)
		for (size_t j = 0; j < plot->points; j++)
			if (isfinite(plot->series[i].values[j]))
				return true;
	return false;
}

/* A round number that no value is above. */
static double
highest(const Plot *plot)
{
	double top = 0;

	for (int i = 0; i < plot->count; i++)
		for (size_t j = 0; j < plot->points; j++)
			if (isfinite(plot->series[i].values[j]) && plot->series[i].values[j] > top)
				top = plot->series[i].values[j];
	if (plot->unit == PLOT_PERCENT)
		return 100;
	if (plot->unit == PLOT_COUNT && top <= 100)
		return top <= 0 ? Y_TICKS : ceil(top / Y_TICKS) * Y_TICKS;
	return round_up(top, plot->unit == PLOT_BYTES || plot->unit == PLOT_BYTES_A_SECOND);
}

/* One, two, four or eight, times a power of ten; of bytes, of 1024, and in it of two. */
static double
round_up(double value, bool binary)
{
	static const double steps[] = {1, 2, 4, 6, 8, 10};
	double unit = 1;

	if (value <= 0)
		return binary ? 1024 : Y_TICKS;
	while (binary && value > unit * 1000)
		unit *= 1024;
	value /= unit;
	unit *= pow(10, floor(log10(value)));
	value /= pow(10, floor(log10(value)));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (value <= steps[i] * (1 + 1e-9))
			return steps[i] * unit;
	return 10 * unit;
}

static void
write_legend(FILE *to, const Plot *plot)
{
	char text[32];

	fputs("<ul class=\"legend\">", to);
	for (int i = 0; i < plot->count; i++)
	{
		double last = NAN;

		for (size_t j = plot->points; j > 0 && isnan(last); j--)
			last = plot->series[i].values[j - 1];
		fprintf(to, "<li class=\"s%d\"><i></i>", i);
		html_text(to, plot->series[i].name);
		fprintf(to, " <b>%s</b></li>", plot_text(text, plot->unit, last));
	}
	fputs("</ul>", to);
}

static void
write_axes(FILE *to, const Plot *plot, double top)
{
	char text[32];

	for (int i = 0; i <= Y_TICKS; i++)
	{
		double value = top * i / Y_TICKS;

		fprintf(to, "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"y\" x=\"%d\" y=\"%.1f\">%s</text>",
				i == 0 ? "base" : "grid", LEFT, WIDTH - RIGHT, y_of(value, top), y_of(value, top), LEFT - 6, y_of(value, top) + 3.5,
				plot_text(text, plot->unit, value));
	}
}

/* At full minutes, hours or days. */
static void
write_times(FILE *to, const Plot *plot)
{
	static const int spans[] = {1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000};
	double span = plot->times[plot->points - 1] - plot->times[0];
	size_t i = 0;
	time_t at = (time_t) plot->times[0];
	struct tm parts;

	while (i + 1 < sizeof(spans) / sizeof(spans[0]) && span / spans[i] > X_TICKS)
		i++;
	localtime_r(&at, &parts);
	/* by the local clock, so that days begin at midnight here */
	at = (at + parts.tm_gmtoff) / spans[i] * spans[i] - parts.tm_gmtoff;
	for (; (double) at <= plot->times[plot->points - 1]; at += spans[i])
	{
		char text[32];

		if ((double) at < plot->times[0])
			continue;
		localtime_r(&at, &parts);
		strftime(text, sizeof(text), spans[i] >= 86400 ? "%e %b" : (spans[i] < 60 ? "%H:%M:%S" : (span > 86400 ? "%e %b %H:%M" : "%H:%M")), &parts);
		fprintf(to, "<text class=\"x\" x=\"%.1f\" y=\"%d\">%s</text>", x_of(plot, (double) at), HEIGHT - 6, text);
	}
}

/* A line for each run of known values; a value alone is a dot. */
static void
write_curve(FILE *to, const Plot *plot, int series, double top, bool filled)
{
	const double *values = plot->series[series].values;

	for (size_t i = 0; i < plot->points; i++)
	{
		size_t begin = i;

		if (!isfinite(values[i]))
			continue;
		while (i + 1 < plot->points && isfinite(values[i + 1]))
			i++;
		if (begin == i)
		{
			fprintf(to, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"1.5\"/>", series, x_of(plot, plot->times[i]), y_of(values[i], top));
			continue;
		}
		for (int pass = filled ? 0 : 1; pass < 2; pass++)
		{
			fprintf(to, "<path class=\"s%d%s\" d=\"", series, pass == 0 ? " fill" : "");
			for (size_t j = begin; j <= i; j++)
				fprintf(to, "%c%.1f %.1f", j == begin ? 'M' : 'L', x_of(plot, plot->times[j]), y_of(values[j], top));
			if (pass == 0)
				fprintf(to, "V%dH%.1fZ", HEIGHT - BOTTOM, x_of(plot, plot->times[begin]));
			fputs("\"/>", to);
		}
	}
}

/* For the tooltip, as JSON; "<" does not occur in it but in names, where it is escaped. */
static void
write_numbers(FILE *to, const Plot *plot)
{
	char text[32];

	fprintf(to, "<script type=\"application/json\">{\"left\":%d,\"right\":%d,\"times\":[", LEFT, WIDTH - RIGHT);
	for (size_t i = 0; i < plot->points; i++)
		fprintf(to, "%s%.0f", i > 0 ? "," : "", plot->times[i]);
	fputs("],\"values\":[", to);
	for (int i = 0; i < plot->count; i++)
	{
		fputs(i > 0 ? ",[" : "[", to);
		for (size_t j = 0; j < plot->points; j++)
			fprintf(to, "%s\"%s\"", j > 0 ? "," : "", plot_text(text, plot->unit, plot->series[i].values[j]));
		fputs("]", to);
	}
	fputs("]}</script>", to);
}

static double
x_of(const Plot *plot, double time)
{
	double span = plot->times[plot->points - 1] - plot->times[0];

	return LEFT + (span > 0 ? (time - plot->times[0]) / span : 0) * (WIDTH - LEFT - RIGHT);
}

static double
y_of(double value, double top)
{
	return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
}
