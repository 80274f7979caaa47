/*
 * main.c - options in, one line of figures out.
 *
 *	load --system=NAME --operation=NAME [--option=VALUE …]
 *
 * The server is the one that PGHOST and so on name. The line has name=value pairs: operations, the seconds that they took, latencies
 * in microseconds, the processor time of this program, and how many object numbers were used. The first error ends the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define POOL_BYTES (64 * 1024 * 1024) /* of payload, unless an object is larger */

static Options options = {.place = "", .size_bytes = 4096, .objects = 1, .clients = 1, .batch = 1000, .directory_sync = true};
static const char *pool;
static int64_t pool_bytes;
static pthread_barrier_t ready;
static double client_cpu_began;

void
fail(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "load --system=%s --operation=%s: ", options.system, options.operation);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}

double
now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* What an object holds: a place in the payload that follows from its number. */
const char *
payload_of(const Options *unused, int64_t object)
{
	uint64_t places = (uint64_t) (pool_bytes - options.size_bytes) / 64 + 1;

	(void) unused;
	if (pool == NULL)
		fail("--data is missing");
	return pool + (uint64_t) object * 2654435761u % places * 64;
}

/* Objects larger than the ranges that are read are whole payload files. */
void
check_bytes(const Options *unused, int64_t object, int64_t offset, const char *bytes, int64_t length)
{
	const char *expected = options.span_bytes > 0 ? pool + offset : payload_of(unused, object) + offset;

	if (options.check && memcmp(expected, bytes, (size_t) length) != 0)
		fail("object %lld does not hold what was put, at offset %lld", (long long) object, (long long) offset);
}

static void
map_payload(void)
{
	struct stat status;
	int file;

	if (options.data_file == NULL)
		return;
	file = open(options.data_file, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &status) != 0)
		fail("%s: %s", options.data_file, strerror(errno));
	pool_bytes = status.st_size;
	if (pool_bytes < options.size_bytes)
		fail("%s has less than %lld bytes", options.data_file, (long long) options.size_bytes);
	if (options.span_bytes == 0 && options.size_bytes < POOL_BYTES && pool_bytes > POOL_BYTES)
		pool_bytes = POOL_BYTES;
	pool = mmap(NULL, (size_t) pool_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
	if (pool == MAP_FAILED)
		fail("mmap of %s: %s", options.data_file, strerror(errno));
	close(file);
}

static const Operation *
find_operation(void)
{
	static const Operation *const tables[] = {statement_operations, stream_operations, file_operations, loopback_operations};

	for (size_t table = 0; table < sizeof(tables) / sizeof(tables[0]); table++)
		for (const Operation *operation = tables[table]; operation->system != NULL; operation++)
			if (strcmp(operation->system, options.system) == 0 && strcmp(operation->name, options.operation) == 0)
				return operation;
	fail("there is no such operation");
}

static Mode
parse_mode(const char *text)
{
	if (strcmp(text, "transaction") == 0)
		return MODE_TRANSACTION;
	if (strcmp(text, "pipeline") == 0)
		return MODE_PIPELINE;
	return MODE_SINGLE;
}

static void
parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"system", required_argument, NULL, 's'},
		{"operation", required_argument, NULL, 'o'},
		{"place", required_argument, NULL, 'p'},
		{"data", required_argument, NULL, 'd'},
		{"mode", required_argument, NULL, 'm'},
		{"size", required_argument, NULL, 'b'},
		{"span", required_argument, NULL, 'w'},
		{"first", required_argument, NULL, 'f'},
		{"objects", required_argument, NULL, 'n'},
		{"count", required_argument, NULL, 'c'},
		{"seconds", required_argument, NULL, 't'},
		{"clients", required_argument, NULL, 'j'},
		{"batch", required_argument, NULL, 'a'},
		{"warm", required_argument, NULL, 'r'},
		{"check", no_argument, NULL, 'k'},
		{"no-directory-sync", no_argument, NULL, 'y'},
		{0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1)
	{
		switch (letter)
		{
			case 's': options.system = optarg; break;
			case 'o': options.operation = optarg; break;
			case 'p': options.place = optarg; break;
			case 'd': options.data_file = optarg; break;
			case 'm': options.mode = parse_mode(optarg); break;
			case 'b': options.size_bytes = atoll(optarg); break;
			case 'w': options.span_bytes = atoll(optarg); break;
			case 'f': options.first = atoll(optarg); break;
			case 'n': options.objects = atoll(optarg); break;
			case 'c': options.count = atoll(optarg); break;
			case 't': options.seconds = atof(optarg); break;
			case 'j': options.clients = atoi(optarg); break;
			case 'a': options.batch = atoi(optarg); break;
			case 'r': options.warm = atoi(optarg); break;
			case 'k': options.check = true; break;
			case 'y': options.directory_sync = false; break;
			default: exit(2);
		}
	}
	if (options.system == NULL || options.operation == NULL || optind != argc)
	{
		fprintf(stderr, "usage: load --system=NAME --operation=NAME [--option=VALUE …]\n");
		exit(2);
	}
	if (options.clients < 1 || (options.seconds <= 0 && options.count <= 0))
		fail("--clients must be positive, and --seconds or --count must be given");
}

/* One thread for each client; the clock starts when all have connected and warmed up. */
static void *
run_client(void *argument)
{
	Client *client = argument;

	client->operation->open(client);
	for (int i = 0; i < options.warm; i++)
	{
		int64_t object = client_next_object(client);

		if (object < 0)
			fail("there are not enough objects to warm up");
		client->operation->run(client, object);
	}
	if (pthread_barrier_wait(&ready) == PTHREAD_BARRIER_SERIAL_THREAD)
	{
		client_cpu_began = cpu_seconds();
		client_set_start(&options);
	}
	pthread_barrier_wait(&ready);
	client_loop(client);
	return NULL;
}

static void
print_figures(const Client *clients)
{
	static Histogram all;
	double began = clients[0].began;
	double ended = clients[0].ended;
	int64_t done = 0;

	for (int i = 0; i < options.clients; i++)
	{
		histogram_merge(&all, &clients[i].latencies);
		began = clients[i].began < began ? clients[i].began : began;
		ended = clients[i].ended > ended ? clients[i].ended : ended;
		done += clients[i].done;
	}
	printf("operations=%lld seconds=%.6f p50=%.1f p95=%.1f p99=%.1f longest=%.1f client_cpu=%.6f used=%lld backend=%d latencies=",
		   (long long) done, ended - began, histogram_percentile(&all, 50) * 1e6, histogram_percentile(&all, 95) * 1e6,
		   histogram_percentile(&all, 99) * 1e6, all.longest * 1e6, cpu_seconds() - client_cpu_began,
		   (long long) client_objects_used(), PQbackendPID(clients[0].conn));
	for (uint64_t i = 0; i < clients[0].latencies.total && i < FIRST_LATENCIES; i++)
		printf("%s%.1f", i > 0 ? "," : "", clients[0].first[i] * 1e6);
	putchar('\n');
}

int
main(int argc, char **argv)
{
	const Operation *operation;
	pthread_t *threads;
	Client *clients;

	parse_options(argc, argv);
	operation = find_operation();
	map_payload();
	threads = calloc((size_t) options.clients, sizeof(pthread_t));
	clients = calloc((size_t) options.clients, sizeof(Client));
	if (threads == NULL || clients == NULL)
		fail("out of memory");
	pthread_barrier_init(&ready, NULL, (unsigned) options.clients);
	for (int i = 0; i < options.clients; i++)
	{
		clients[i] = (Client){.options = &options, .operation = operation, .random = (uint64_t) i + 1, .directory = -1, .file = -1};
		if (pthread_create(&threads[i], NULL, run_client, &clients[i]) != 0)
			fail("cannot start a thread");
	}
	for (int i = 0; i < options.clients; i++)
		pthread_join(threads[i], NULL);
	print_figures(clients);
	for (int i = 0; i < options.clients; i++)
		PQfinish(clients[i].conn);
	return 0;
}
