/*
 * metrics_page.h - a page of metrics in Prometheus' text format (version 0.0.4).
 *
 * A page is families one after the other, and of each its samples.  Nothing fails
 * on the way: a page that memory did not suffice for is marked as failed.
 */
#ifndef DIFS_METRICS_PAGE_H
#define DIFS_METRICS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Histograms of times: bucket i counts what took less than DIFS_METRICS_FIRST_US << i microseconds and not less than the one
 * before; the last one counts the rest. */
#define DIFS_METRICS_BUCKETS 20
#define DIFS_METRICS_FIRST_US 64

typedef struct DifsMetricsPage
{
	char *text; /* from malloc(); the caller's at the end */
	size_t length;
	size_t size;
	bool failed;		/* no memory */
	const char *family; /* that was begun last */
} DifsMetricsPage;

typedef struct DifsMetricsLabel
{
	const char *name;
	const char *value; /* any bytes */
} DifsMetricsLabel;

/* Labels of a sample, as an argument: DIFS_LABELS({"server", name}, {"operation", "get"}) or DIFS_NO_LABELS. */
#define DIFS_LABELS(...) ((const DifsMetricsLabel[]){__VA_ARGS__, {NULL, NULL}})
#define DIFS_NO_LABELS ((const DifsMetricsLabel[]){{NULL, NULL}})

/* Begins a family: type is "counter", "gauge" or "histogram"; the name is kept by reference until the next one. */
extern void difs_metrics_family(DifsMetricsPage *page, const char *type, const char *name, const char *help);

/* A sample of the family begun last. */
extern void difs_metrics_sample(DifsMetricsPage *page, const DifsMetricsLabel *labels, double value);

/* The samples of a histogram: DIFS_METRICS_BUCKETS counts as above, and the sum of all times in microseconds. */
extern void difs_metrics_histogram(DifsMetricsPage *page, const DifsMetricsLabel *labels, const uint64_t *counts, uint64_t sum_us);

/* A family of one sample without labels. */
extern void difs_metrics_value(DifsMetricsPage *page, const char *type, const char *name, const char *help, double value);

/* Which bucket a time belongs to. */
extern int difs_metrics_bucket(uint64_t us);

/* What Prometheus knows of every process: CPU time, memory, when it was started. */
extern void difs_metrics_process(DifsMetricsPage *page);

#endif
