/*
 * bench.c - difs bench: how fast this installation is, beside what else one could use in the same database.
 *
 * Values are put and got in transactions of their own, by several connections at once: as files, as large objects, as rows of a table with
 * a bytea column.  The three take turns, so that whatever else the machine does hits all of them, and what is said is the median of the
 * turns and the median of the ratios turn by turn.  Everything is made in a directory and a table of its own, and goes at the end, also
 * after an interrupt (bench_places.c; bench_turn.c is one turn).  What the benchmark of the project does at length (bench/ in its source), in half a minute.
 */
#include "bench.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define TURNS 3

const Option bench_options[] = {
	{'c', "clients", "N", "connections at once (4)"},
	{'t', "seconds", "N", "of each of the three turns (1)"},
	{276, "size", "SIZE", "of the values (4k and 1M)"},
	{277, "in", "PATH", "directory, or volume:/, to do it in (/)"},
	{0},
};

static bool compare(Bench *bench, Doing doing, size_t size, const char *value, const int64_t *first, double (*rates)[TURNS]);
static void report(Doing doing, size_t size, double (*rates)[TURNS], json_t *rows);
static double median(const double *values);
static void describe(const Bench *bench, json_t *about);

int
run_bench(int argc, char **argv)
{
	static Bench bench;
	size_t sizes[] = {4096, 1 << 20};
	int size_count = 2;
	const char *in = "/";
	int64_t seconds = 1;
	json_t *rows = json_array();
	json_t *about = json_object();
	bool good = true;
	int letter;

	bench.clients = 4;
	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'c': bench.clients = (int) number_argument("--clients", optarg); break;
			case 't': seconds = number_argument("--seconds", optarg); break;
			case 276:
				sizes[0] = (size_t) size_argument("--size", optarg);
				size_count = 1;
				break;
			case 277: in = optarg; break;
		}
	if (argc != optind)
		return complain_usage("there are no arguments");
	if (bench.clients < 1 || bench.clients > MAX_CLIENTS)
		return complain_usage("--clients is from 1 to %d", MAX_CLIENTS);
	if (seconds < 1 || sizes[0] < 1 || sizes[0] > (256 << 20))
		return complain_usage("--seconds is at least 1, --size from 1 to 256M");
	bench.seconds = (double) seconds;

	connect_database();
	bench_connect_workers(&bench);
	if (!bench_make_places(&bench, in))
		return EXIT_FAILED;
	if (!bench_prepare(&bench))
	{
		bench_remove_places(&bench);
		return EXIT_FAILED;
	}
	describe(&bench, about);
	for (int i = 0; i < size_count && good && !was_cancelled(); i++)
	{
		char *value = need_memory(sizes[i]);
		int64_t first[WAYS];
		double rates[WAYS][TURNS];

		for (size_t at = 0; at < sizes[i]; at++)
			value[at] = (char) random(); /* does not compress */
		for (int way = 0; way < WAYS; way++)
			first[way] = atomic_load(&bench.next[way]);
		good = compare(&bench, DOING_PUT, sizes[i], value, NULL, rates);
		if (good && !was_cancelled())
		{
			report(DOING_PUT, sizes[i], rates, rows);
			good = compare(&bench, DOING_GET, sizes[i], value, first, rates);
		}
		if (good && !was_cancelled())
			report(DOING_GET, sizes[i], rates, rows);
		free(value);
	}
	bench_remove_places(&bench);
	if (settings.json)
	{
		json_object_set_new(about, "results", rows);
		print_json(about);
	}
	return good && !was_cancelled() ? EXIT_DONE : EXIT_FAILED;
}

/* Rates a second, of each way and turn. first: where the values begin that are got. */
static bool
compare(Bench *bench, Doing doing, size_t size, const char *value, const int64_t *first, double (*rates)[TURNS])
{
	for (int number = 0; number < TURNS; number++)
		for (int each = 0; each < WAYS; each++)
		{
			int way = (number + each) % WAYS;
			Turn turn = {.way = &bench_ways[way], .doing = doing, .value = value, .size = size, .next = &bench->next[way]};

			if (first != NULL)
			{
				turn.first = first[way];
				turn.count = atomic_load(&bench->next[way]) - first[way];
			}
			if (was_cancelled() || !bench_take_turn(bench, &turn, &rates[way][number]))
				return false;
		}
	return true;
}

static void
report(Doing doing, size_t size, double (*rates)[TURNS], json_t *rows)
{
	const char *what = doing == DOING_PUT ? "put" : "get";
	char text[32];

	if (settings.json)
	{
		for (int way = 0; way < WAYS; way++)
			json_array_append_new(rows, json_pack("{s:s, s:I, s:s, s:f, s:f}", "operation", what, "size", (json_int_t) size, "system", bench_ways[way].name, "rate", median(rates[way]), "bytes_rate", median(rates[way]) * (double) size));
		return;
	}
	printf("%s %-8s  ", what, size_text(text, (int64_t) size));
	for (int way = 0; way < WAYS; way++)
	{
		double ratios[TURNS];

		for (int number = 0; number < TURNS; number++)
			ratios[number] = rates[0][number] / rates[way][number];
		printf("%s%-12s  %8.0f/s  %8.1f MB/s", way == 0 ? "" : "              ", bench_ways[way].name, median(rates[way]), median(rates[way]) * (double) size / 1e6);
		if (way > 0)
			printf("  difs is %.2f times as fast", median(ratios));
		putchar('\n');
	}
	fflush(stdout);
}

/* Of TURNS. */
static double
median(const double *values)
{
	double low = values[0] < values[1] ? values[0] : values[1];
	double high = values[0] < values[1] ? values[1] : values[0];

	return values[2] < low ? low : (values[2] > high ? high : values[2]);
}

/* What the figures hang on. */
static void
describe(const Bench *bench, json_t *about)
{
	static const char *const names[] = {"server_version", "fsync", "synchronous_commit", "shared_buffers", "difs.cache_size", NULL};

	if (!settings.json)
		printf("%d clients, each value in a transaction of its own, %d turns of %.0f s; medians\n", bench->clients, TURNS, bench->seconds);
	for (int i = 0; names[i] != NULL; i++)
	{
		PGresult *result = query("SELECT current_setting($1, true)", 1, &names[i]);

		if (result != NULL && settings.json)
			json_object_set_new(about, names[i], json_string(PQgetvalue(result, 0, 0)));
		else if (result != NULL)
			printf("%s%s = %s", i == 0 ? "" : ", ", names[i], PQgetvalue(result, 0, 0));
		PQclear(result);
	}
	if (!settings.json)
		putchar('\n');
	else
		json_object_set_new(about, "clients", json_integer(bench->clients));
	fflush(stdout);
}
