/*
 * report.h - the parts of difs report (report.c): samples, plots, and what of the page is the same each time.
 */
#ifndef DIFS_REPORT_H
#define DIFS_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct Samples
{
	json_t **rows;
	double *times; /* Unix */
	size_t count;
	double usual_gap; /* seconds: the median */
} Samples;

/* report_samples.c: those since an interval ago; false: it failed, and that has been said. */
extern bool report_read_samples(const char *since, Samples *samples);
extern void report_free_samples(Samples *samples);

/* report_plots.c: all plots, with their headings. */
extern void report_write_plots(FILE *to, const Samples *samples);

/* report_page.c: style sheet and script. */
extern const char report_style[];
extern const char report_script[];

#endif
