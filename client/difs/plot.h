/*
 * plot.h - plots over time as inline SVG, for difs report.
 */
#ifndef DIFS_PLOT_H
#define DIFS_PLOT_H

#include <stddef.h>
#include <stdio.h>

#define PLOT_MAX_SERIES 8

typedef enum PlotUnit
{
	PLOT_BYTES,
	PLOT_BYTES_A_SECOND,
	PLOT_A_SECOND,
	PLOT_MS,
	PLOT_PERCENT,
	PLOT_COUNT
} PlotUnit;

typedef struct PlotSeries
{
	const char *name;	  /* any bytes */
	const double *values; /* one for each time; NAN: not known */
} PlotSeries;

typedef struct Plot
{
	const char *title;
	const char *note; /* a sentence below the title */
	PlotUnit unit;
	const double *times; /* Unix, ascending */
	size_t points;
	PlotSeries series[PLOT_MAX_SERIES];
	int count;
} Plot;

/* A <figure> with title, legend and curves; and the numbers, for the page's script. */
extern void plot_write(FILE *to, const Plot *plot);

/* A number with its unit: "1.2 MiB/s". */
extern const char *plot_text(char buffer[32], PlotUnit unit, double value);

/* Text for HTML: < > & " ' are escaped, and what is not valid UTF-8 becomes ?. */
extern void html_text(FILE *to, const char *text);

#endif
