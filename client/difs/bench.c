/*
 * bench.c - difs bench: how fast this installation is, beside what else one could use in the same database.
 *
 * Values are put and got in transactions of their own, by several connections at once: as files, as large objects, as rows of a table with
 * a bytea column.  The three take turns, so that whatever else the machine does hits all of them, and what is said is the median of the
 * turns and the median of the ratios turn by turn.  Everything is made in a directory and a table of its own, and goes at the end, also
 * after an interrupt.  What the benchmark of the project does at length (bench/ in its source), in half a minute.
 */
#include <endian.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define TURNS		3
#define MAX_CLIENTS	256
#define WAYS		3

const Option bench_options[] = {
	{'c', "clients", "N", "connections at once (4)"},
	{'t', "seconds", "N", "of each of the three turns (1)"},
	{276, "size", "SIZE", "of the values (4k and 1M)"},
	{277, "in", "PATH", "directory, or volume:/, to do it in (/)"},
	{0}
};

typedef enum Doing
{
	DOING_PUT,
	DOING_GET
} Doing;

/* Places for the directory or table. Both statements take a number, bigint or oid; the put takes the value, too. */
typedef struct Way
{
	const char *name;
	const char *put;
	const char *get;
	bool		number_is_oid;
} Way;

static const Way ways[WAYS] = {
	{"difs", "SELECT difs_put(%s || '/' || $1::int8, $2)", "SELECT difs_get(%s || '/' || $1::int8)", false},
	{"large object", "SELECT lo_from_bytea($1::oid, $2)", "SELECT lo_get($1::oid)", true},
	{"bytea", "INSERT INTO %s VALUES ($1::int8, $2)", "SELECT data FROM %s WHERE id = $1::int8", false}
};

/* One turn of one way. */
typedef struct Turn
{
	const Way  *way;
	Doing		doing;
	const char *value;
	size_t		size;
	double		until;
	_Atomic int64_t *next;		/* put: the next number */
	int64_t		first;			/* get: these are there */
	int64_t		count;
} Turn;

typedef struct Worker
{
	pthread_t	thread;
	PGconn	   *conn;
	const Turn *turn;
	unsigned int seed;
	int64_t		done;
	double		ended;
	char	   *error;			/* NULL: none */
} Worker;

typedef struct Bench
{
	int			clients;
	double		seconds;
	Worker		workers[MAX_CLIENTS];
	char	   *place[WAYS];	/* as the statements want it */
	char	   *directory;
	char		table[64];
	int64_t		first_object;
	_Atomic int64_t next[WAYS];
} Bench;

static void connect_workers(Bench *bench);
static PGconn *connect_again(void);
static bool make_places(Bench *bench, const char *in);
static void remove_places(Bench *bench);
static void prepare_all(Bench *bench);
static bool compare(Bench *bench, Doing doing, size_t size, const char *value, const int64_t *first, double (*rates)[TURNS]);
static bool take_turn(Bench *bench, Turn *turn, double *rate);
static void *work(void *argument);
static bool work_once(Worker *worker, int64_t number);
static void report(Doing doing, size_t size, double (*rates)[TURNS], json_t *rows);
static double median(const double *values);
static void describe(const Bench *bench, json_t *about);

int
run_bench(int argc, char **argv)
{
	static Bench bench;
	size_t		sizes[] = {4096, 1 << 20};
	int			size_count = 2;
	const char *in = "/";
	int64_t		seconds = 1;
	json_t	   *rows = json_array();
	json_t	   *about = json_object();
	bool		good = true;
	int			letter;

	bench.clients = 4;
	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'c': bench.clients = (int) number_argument("--clients", optarg); break;
			case 't': seconds = number_argument("--seconds", optarg); break;
			case 276: sizes[0] = (size_t) size_argument("--size", optarg); size_count = 1; break;
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
	connect_workers(&bench);
	if (!make_places(&bench, in))
		return EXIT_FAILED;
	prepare_all(&bench);
	describe(&bench, about);
	for (int i = 0; i < size_count && good && !was_cancelled(); i++)
	{
		char	   *value = need_memory(sizes[i]);
		int64_t		first[WAYS];
		double		rates[WAYS][TURNS];

		for (size_t at = 0; at < sizes[i]; at++)
			value[at] = (char) random();	/* does not compress */
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
	remove_places(&bench);
	if (settings.json)
	{
		json_object_set_new(about, "results", rows);
		print_json(about);
	}
	return good && !was_cancelled() ? EXIT_DONE : EXIT_FAILED;
}

/* As the command itself is connected. */
static void
connect_workers(Bench *bench)
{
	for (int i = 0; i < bench->clients; i++)
	{
		bench->workers[i].conn = connect_again();
		bench->workers[i].seed = (unsigned int) i + 1;
	}
}

static PGconn *
connect_again(void)
{
	PQconninfoOption *options = PQconninfo(sql());
	const char *names[64];
	const char *values[64];
	int			count = 0;
	PGconn	   *conn;

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL && count < 63; option++)
		if (option->val != NULL && option->val[0] != '\0')
		{
			names[count] = option->keyword;
			values[count++] = option->val;
		}
	names[count] = values[count] = NULL;
	conn = PQconnectdbParams(names, values, 0);
	PQconninfoFree(options);
	if (PQstatus(conn) != CONNECTION_OK)
	{
		complain_text("%s", PQerrorMessage(conn));
		exit(EXIT_CONNECTION);
	}
	return conn;
}

/* Names and numbers that nobody has: made of this process and the time. */
static bool
make_places(Bench *bench, const char *in)
{
	size_t		length = strlen(in);
	char		statement[256];
	PGresult   *result;

	bench->directory = need_memory(length + 64);
	sprintf(bench->directory, "%s%sdifs-bench-%ld-%ld", in, length > 0 && in[length - 1] == '/' ? "" : "/", (long) getpid(), (long) time(NULL));
	bench->first_object = INT64_C(2000000000) + random() % 1000000000;
	for (int way = 0; way < WAYS; way++)
		atomic_store(&bench->next[way], bench->first_object);

	result = query("SELECT difs_mkdir($1)", 1, (const char *const[]) {bench->directory});
	if (result == NULL)
		return false;
	PQclear(result);
	bench->place[0] = PQescapeLiteral(sql(), bench->directory, strlen(bench->directory));
	snprintf(bench->table, sizeof(bench->table), "difs_bench_%ld_%ld", (long) getpid(), (long) time(NULL));
	bench->place[2] = bench->table;
	snprintf(statement, sizeof(statement), "CREATE TABLE %s (id bigint PRIMARY KEY, data bytea STORAGE EXTERNAL)", bench->table);
	if (PQserverVersion(sql()) < 160000)
		snprintf(statement, sizeof(statement), "CREATE TABLE %s (id bigint PRIMARY KEY, data bytea)", bench->table);
	result = query(statement, 0, NULL);
	if (result == NULL)
	{
		bench->table[0] = '\0';
		remove_places(bench);
		return false;
	}
	PQclear(result);
	snprintf(statement, sizeof(statement), "ALTER TABLE %s ALTER data SET STORAGE EXTERNAL", bench->table);
	PQclear(query(statement, 0, NULL));
	return true;
}

/* By a connection of its own: the command's may have been cancelled. */
static void
remove_places(Bench *bench)
{
	PGconn	   *conn = connect_again();
	char		statement[512];
	PGresult   *result = PQexecParams(conn, "SELECT difs_delete($1, recursive => true)", 1, NULL, (const char *const[]) {bench->directory}, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		complain_text("%s is left: %s", bench->directory, PQerrorMessage(conn));
	PQclear(result);
	if (bench->table[0] != '\0')
	{
		snprintf(statement, sizeof(statement), "DROP TABLE %s", bench->table);
		result = PQexec(conn, statement);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			complain_text("table %s is left: %s", bench->table, PQerrorMessage(conn));
		PQclear(result);
	}
	/* a few at a time, because each takes a lock */
	for (int64_t at = bench->first_object; at < atomic_load(&bench->next[1]); at += 1000)
	{
		snprintf(statement, sizeof(statement), "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid >= %" PRId64 "::int8::oid AND oid < %" PRId64
				 "::int8::oid AND lomowner = current_user::regrole", at, at + 1000);
		result = PQexec(conn, statement);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			complain_text("large objects from %" PRId64 " on are left: %s", at, PQerrorMessage(conn));
		PQclear(result);
	}
	PQfinish(conn);
}

static void
prepare_all(Bench *bench)
{
	for (int i = 0; i < bench->clients; i++)
		for (int way = 0; way < WAYS; way++)
			for (Doing doing = DOING_PUT; doing <= DOING_GET; doing++)
			{
				char		name[32];
				size_t		size = 256 + (bench->place[way] != NULL ? strlen(bench->place[way]) : 0);
				char	   *statement = need_memory(size);
				PGresult   *result;

				snprintf(name, sizeof(name), "%d%c", way, doing == DOING_PUT ? 'p' : 'g');
				snprintf(statement, size, doing == DOING_PUT ? ways[way].put : ways[way].get, bench->place[way]);
				result = PQprepare(bench->workers[i].conn, name, statement, 0, NULL);
				if (PQresultStatus(result) != PGRES_COMMAND_OK)
				{
					complain_text("%s", PQerrorMessage(bench->workers[i].conn));
					remove_places(bench);
					exit(EXIT_FAILED);
				}
				PQclear(result);
				free(statement);
			}
}

/* Rates a second, of each way and turn. first: where the values begin that are got. */
static bool
compare(Bench *bench, Doing doing, size_t size, const char *value, const int64_t *first, double (*rates)[TURNS])
{
	for (int number = 0; number < TURNS; number++)
		for (int each = 0; each < WAYS; each++)
		{
			int			way = (number + each) % WAYS;
			Turn		turn = {.way = &ways[way], .doing = doing, .value = value, .size = size, .next = &bench->next[way]};

			if (first != NULL)
			{
				turn.first = first[way];
				turn.count = atomic_load(&bench->next[way]) - first[way];
			}
			if (was_cancelled() || !take_turn(bench, &turn, &rates[way][number]))
				return false;
		}
	return true;
}

static bool
take_turn(Bench *bench, Turn *turn, double *rate)
{
	double		began = seconds_now();
	double		ended = began;
	int64_t		done = 0;
	bool		good = true;

	turn->until = began + bench->seconds;
	for (int i = 0; i < bench->clients; i++)
	{
		bench->workers[i].turn = turn;
		bench->workers[i].done = 0;
		if (pthread_create(&bench->workers[i].thread, NULL, work, &bench->workers[i]) != 0)
		{
			complain_text("no more threads: fewer --clients");
			exit(EXIT_FAILED);
		}
	}
	for (int i = 0; i < bench->clients; i++)
	{
		Worker	   *worker = &bench->workers[i];

		pthread_join(worker->thread, NULL);
		done += worker->done;
		ended = worker->ended > ended ? worker->ended : ended;
		if (worker->error != NULL && good)
			complain_text("%s: %s", turn->way->name, worker->error);
		good = good && worker->error == NULL;
	}
	*rate = (double) done / (ended - began);
	return good;
}

static void *
work(void *argument)
{
	Worker	   *worker = argument;
	const Turn *turn = worker->turn;

	do
	{
		int64_t		number = turn->doing == DOING_PUT ? atomic_fetch_add(turn->next, 1) : turn->first + rand_r(&worker->seed) % turn->count;

		if (!work_once(worker, number))
			break;
		worker->done++;
		worker->ended = seconds_now();
	} while (worker->ended < turn->until && !was_cancelled());
	return NULL;
}

static bool
work_once(Worker *worker, int64_t number)
{
	const Turn *turn = worker->turn;
	uint64_t	wide = htobe64((uint64_t) number);
	uint32_t	narrow = htobe32((uint32_t) number);
	const char *values[2] = {turn->way->number_is_oid ? (char *) &narrow : (char *) &wide, turn->value};
	int			lengths[2] = {turn->way->number_is_oid ? 4 : 8, (int) turn->size};
	int			formats[2] = {1, 1};
	bool		put = turn->doing == DOING_PUT;
	char		name[32];
	PGresult   *result;
	bool		good;

	snprintf(name, sizeof(name), "%d%c", (int) (turn->way - ways), put ? 'p' : 'g');
	result = PQexecPrepared(worker->conn, name, put ? 2 : 1, values, lengths, formats, 1);
	good = PQresultStatus(result) == PGRES_TUPLES_OK || (put && PQresultStatus(result) == PGRES_COMMAND_OK);
	if (!good)
		worker->error = need_copy(PQresultErrorMessage(result));
	else if (!put && (PQntuples(result) != 1 || (size_t) PQgetlength(result, 0, 0) != turn->size || memcmp(PQgetvalue(result, 0, 0), turn->value, turn->size) != 0))
	{
		worker->error = need_copy("what was got is not what was put");
		good = false;
	}
	PQclear(result);
	return good;
}

static void
report(Doing doing, size_t size, double (*rates)[TURNS], json_t *rows)
{
	const char *what = doing == DOING_PUT ? "put" : "get";
	char		text[32];

	if (settings.json)
	{
		for (int way = 0; way < WAYS; way++)
			json_array_append_new(rows, json_pack("{s:s, s:I, s:s, s:f, s:f}", "operation", what, "size", (json_int_t) size, "system", ways[way].name,
												   "rate", median(rates[way]), "bytes_rate", median(rates[way]) * (double) size));
		return;
	}
	printf("%s %-8s  ", what, size_text(text, (int64_t) size));
	for (int way = 0; way < WAYS; way++)
	{
		double		ratios[TURNS];

		for (int number = 0; number < TURNS; number++)
			ratios[number] = rates[0][number] / rates[way][number];
		printf("%s%-12s  %8.0f/s  %8.1f MB/s", way == 0 ? "" : "              ", ways[way].name, median(rates[way]), median(rates[way]) * (double) size / 1e6);
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
	double		low = values[0] < values[1] ? values[0] : values[1];
	double		high = values[0] < values[1] ? values[1] : values[0];

	return values[2] < low ? low : values[2] > high ? high : values[2];
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
		PGresult   *result = query("SELECT current_setting($1, true)", 1, &names[i]);

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
