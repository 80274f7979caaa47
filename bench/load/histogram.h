/*
 * histogram.h - latencies, in buckets that are 1.6 % wide, so that percentiles are exact enough and memory does not grow.
 */
#ifndef DIFS_BENCH_HISTOGRAM_H
#define DIFS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64 /* buckets for each doubling */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 40)

typedef struct Histogram
{
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t total;
	double longest; /* seconds */
} Histogram;

extern void histogram_add(Histogram *histogram, double seconds);
extern void histogram_merge(Histogram *into, const Histogram *from);
extern double histogram_percentile(const Histogram *histogram, double percent);

#endif
