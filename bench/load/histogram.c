/*
 * histogram.c - see histogram.h. Bucket b holds latencies from 2^(b/STEPS) to 2^((b+1)/STEPS) nanoseconds.
 */
#include <math.h>

#include "histogram.h"

void
histogram_add(Histogram *histogram, double seconds)
{
	double nanoseconds = seconds * 1e9;
	int bucket = nanoseconds <= 1 ? 0 : (int) (log2(nanoseconds) * HISTOGRAM_STEPS);

	if (bucket >= HISTOGRAM_BUCKETS)
		bucket = HISTOGRAM_BUCKETS - 1;
	histogram->counts[bucket]++;
	histogram->total++;
	if (seconds > histogram->longest)
		histogram->longest = seconds;
}

void
histogram_merge(Histogram *into, const Histogram *from)
{
	for (int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
		into->counts[bucket] += from->counts[bucket];
	into->total += from->total;
	if (from->longest > into->longest)
		into->longest = from->longest;
}

/* Seconds below which this many percent of the latencies are: the middle of the bucket, and never more than the longest. */
double
histogram_percentile(const Histogram *histogram, double percent)
{
	double wanted = ceil(percent / 100 * (double) histogram->total);
	uint64_t seen = 0;

	for (int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
	{
		seen += histogram->counts[bucket];
		if (histogram->counts[bucket] > 0 && (double) seen >= wanted)
			return fmin(exp2((bucket + 0.5) / HISTOGRAM_STEPS) / 1e9, histogram->longest);
	}
	return 0;
}
