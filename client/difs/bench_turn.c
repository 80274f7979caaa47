/*
 * bench_turn.c - a turn of difs bench: connections, each with a thread, that put or get one way until the time is over (bench.h).
 */
#include "bench.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

const Way bench_ways[WAYS] = {
	{"difs", "SELECT difs_put(%s || '/' || $1::int8, $2)", "SELECT difs_get(%s || '/' || $1::int8)", false},
	{"large object", "SELECT lo_from_bytea($1::oid, $2)", "SELECT lo_get($1::oid)", true},
	{"bytea", "INSERT INTO %s VALUES ($1::int8, $2)", "SELECT data FROM %s WHERE id = $1::int8", false},
};

static void *work(void *argument);
static bool work_once(Worker *worker, int64_t number);

/* As the command itself is connected. */
void
bench_connect_workers(Bench *bench)
{
	for (int i = 0; i < bench->clients; i++)
	{
		bench->workers[i].conn = bench_connect();
		bench->workers[i].seed = (unsigned int) i + 1;
	}
}

PGconn *
bench_connect(void)
{
	PQconninfoOption *options = PQconninfo(sql());
	const char *names[64];
	const char *values[64];
	int count = 0;
	PGconn *conn;

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

bool
bench_prepare(Bench *bench)
{
	for (int i = 0; i < bench->clients; i++)
		for (int way = 0; way < WAYS; way++)
			for (Doing doing = DOING_PUT; doing <= DOING_GET; doing++)
			{
				char name[32];
				size_t size = 256 + (bench->place[way] != NULL ? strlen(bench->place[way]) : 0);
				char *statement = need_memory(size);
				PGresult *result;
				bool good;

				snprintf(name, sizeof(name), "%d%c", way, doing == DOING_PUT ? 'p' : 'g');
				snprintf(statement, size, doing == DOING_PUT ? bench_ways[way].put : bench_ways[way].get, bench->place[way]);
				result = PQprepare(bench->workers[i].conn, name, statement, 0, NULL);
				good = PQresultStatus(result) == PGRES_COMMAND_OK;
				if (!good)
					complain_text("%s", PQerrorMessage(bench->workers[i].conn));
				PQclear(result);
				free(statement);
				if (!good)
					return false;
			}
	return true;
}

bool
bench_take_turn(Bench *bench, Turn *turn, double *rate)
{
	double began = seconds_now();
	double ended = began;
	int64_t done = 0;
	bool good = true;

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
		Worker *worker = &bench->workers[i];

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
	Worker *worker = argument;
	const Turn *turn = worker->turn;

	do
	{
		int64_t number = turn->doing == DOING_PUT ? atomic_fetch_add(turn->next, 1) : turn->first + rand_r(&worker->seed) % turn->count;

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
	uint64_t wide = htobe64((uint64_t) number);
	uint32_t narrow = htobe32((uint32_t) number);
	const char *values[2] = {turn->way->number_is_oid ? (char *) &narrow : (char *) &wide, turn->value};
	int lengths[2] = {turn->way->number_is_oid ? 4 : 8, (int) turn->size};
	int formats[2] = {1, 1};
	bool put = turn->doing == DOING_PUT;
	char name[32];
	PGresult *result;
	bool good;

	snprintf(name, sizeof(name), "%d%c", (int) (turn->way - bench_ways), put ? 'p' : 'g');
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
