/*
 * test_common_metrics_page.c - pages of metrics, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "metrics_page.h"

static void
expect(DifsMetricsPage *page, const char *text)
{
	assert_false(page->failed);
	assert_int_equal(page->length, strlen(text));
	assert_memory_equal(page->text, text, page->length);
	free(page->text);
}

static void
samples_follow_their_family(void **state)
{
	DifsMetricsPage page = {0};

	(void) state;
	difs_metrics_family(&page, "counter", "a_total", "What a is.");
	difs_metrics_sample(&page, DIFS_LABELS({"kind", "one"}), 9007199254740992.0);
	difs_metrics_sample(&page, DIFS_LABELS({"kind", "two"}, {"of", "2"}), 0.5);
	difs_metrics_value(&page, "gauge", "b", "What b is.", -1);
	expect(&page, "# HELP a_total What a is.\n# TYPE a_total counter\na_total{kind=\"one\"} 9007199254740992\n"
				  "a_total{kind=\"two\",of=\"2\"} 0.5\n# HELP b What b is.\n# TYPE b gauge\nb -1\n");
}

/* What would end the value or the line is escaped, and what is no UTF-8 is not said. */
static void
labels_may_hold_anything(void **state)
{
	static const char *const values[][2] = {
		{"a\"b\\c\nd", "a\\\"b\\\\c\\nd"},
		{"s\xc3\xa4ule \xf0\x9f\x90\x98", "s\xc3\xa4ule \xf0\x9f\x90\x98"},
		{"s\xe4ule", "s?ule"},
		{"\xc0\x80", "??"},
		{"\xed\xa0\x80", "???"},
		{"cut \xe2\x82", "cut ??"},
		{"", ""},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		DifsMetricsPage page = {0};
		char text[256];

		page.family = "m";
		difs_metrics_sample(&page, DIFS_LABELS({"l", values[i][0]}), 1);
		snprintf(text, sizeof(text), "m{l=\"%s\"} 1\n", values[i][1]);
		expect(&page, text);
	}
}

static void
times_go_to_their_buckets(void **state)
{
	(void) state;
	assert_int_equal(difs_metrics_bucket(0), 0);
	assert_int_equal(difs_metrics_bucket(63), 0);
	assert_int_equal(difs_metrics_bucket(64), 1);
	assert_int_equal(difs_metrics_bucket(127), 1);
	assert_int_equal(difs_metrics_bucket(128), 2);
	assert_int_equal(difs_metrics_bucket((64ull << 18) - 1), 18);
	assert_int_equal(difs_metrics_bucket(64ull << 18), 19);
	assert_int_equal(difs_metrics_bucket(UINT64_MAX), 19);
}

/* Buckets are cumulative, and their bounds are the seconds below which a bucket's times are. */
static void
histograms_add_up(void **state)
{
	uint64_t counts[DIFS_METRICS_BUCKETS] = {[0] = 2, [1] = 3, [19] = 4};
	DifsMetricsPage page = {0};

	(void) state;
	page.family = "h";
	difs_metrics_histogram(&page, DIFS_LABELS({"x", "y"}), counts, 2500000);
	assert_int_equal(strncmp(page.text, "h_bucket{x=\"y\",le=\"6.4e-05\"} 2\nh_bucket{x=\"y\",le=\"0.000128\"} 5\n", 63), 0);
	page.text[page.length - 1] = '\0';
	assert_non_null(strstr(page.text, "\nh_bucket{x=\"y\",le=\"16.777216\"} 5\nh_bucket{x=\"y\",le=\"+Inf\"} 9\n"
									  "h_sum{x=\"y\"} 2.5\nh_count{x=\"y\"} 9"));
	free(page.text);
}

static void
a_process_knows_itself(void **state)
{
	DifsMetricsPage page = {0};
	const char *started;
	unsigned long long now = (unsigned long long) time(NULL);

	(void) state;
	difs_metrics_process(&page);
	page.text[page.length - 1] = '\0';
	assert_non_null(strstr(page.text, "\nprocess_resident_memory_bytes "));
	started = strstr(page.text, "\nprocess_start_time_seconds ");
	assert_non_null(started);
	assert_true(strtoull(started + 28, NULL, 10) >= now - 3600 && strtoull(started + 28, NULL, 10) <= now + 1);
	free(page.text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_follow_their_family),
		cmocka_unit_test(labels_may_hold_anything),
		cmocka_unit_test(times_go_to_their_buckets),
		cmocka_unit_test(histograms_add_up),
		cmocka_unit_test(a_process_knows_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
