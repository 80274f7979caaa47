/*
 * bench_places.c - where difs bench puts its values: a directory, a table, and numbers of large objects (bench.h).
 */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

/* Names and numbers that nobody has: made of this process and the time. */
bool
bench_make_places(Bench *bench, const char *in)
{
	size_t length = strlen(in);
	char statement[256];
	PGresult *result;

	bench->directory = need_memory(length + 64);
	sprintf(bench->directory, "%s%sdifs-bench-%ld-%ld", in, length > 0 && in[length - 1] == '/' ? "" : "/", (long) getpid(), (long) time(NULL));
	bench->first_object = INT64_C(2000000000) + random() % 1000000000;
	for (int way = 0; way < WAYS; way++)
		atomic_store(&bench->next[way], bench->first_object);

	result = query("SELECT difs_mkdir($1)", 1, (const char *const[]){bench->directory});
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
		bench_remove_places(bench);
		return false;
	}
	PQclear(result);
	snprintf(statement, sizeof(statement), "ALTER TABLE %s ALTER data SET STORAGE EXTERNAL", bench->table);
	PQclear(query(statement, 0, NULL));
	return true;
}

/* By a connection of its own: the command's may have been cancelled. */
void
bench_remove_places(Bench *bench)
{
	PGconn *conn = bench_connect();
	char statement[512];
	PGresult *result = PQexecParams(conn, "SELECT difs_delete($1, recursive => true)", 1, NULL, (const char *const[]){bench->directory}, NULL, NULL, 0);

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
		snprintf(statement, sizeof(statement), "SELECT lo_unlink(oid) FROM pg_largeobject_metadata"
											   " WHERE oid >= %" PRId64 "::int8::oid AND oid < %" PRId64 "::int8::oid AND lomowner = current_user::regrole",
				 at, at + 1000);
		result = PQexec(conn, statement);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			complain_text("large objects from %" PRId64 " on are left: %s", at, PQerrorMessage(conn));
		PQclear(result);
	}
	PQfinish(conn);
}
