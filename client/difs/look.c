/*
 * look.c - see look.h.
 */
#include "look.h"

#include <math.h>
#include <string.h>

#include "command.h"

#define FIRST_MS 0.064 /* bound of a histogram's first bucket; each other is twice the one before (difs.stat_io) */

static const char statement[] =
	"SELECT json_build_object("
	" 'now', extract(epoch FROM clock_timestamp()),"
	" 'database', current_database(),"
	" 'claim', (SELECT row_to_json(claim) FROM (SELECT held, problem FROM difs.claim) AS claim),"
	" 'servers', (SELECT json_object_agg(name, server ORDER BY name) FROM (SELECT s.name, row_to_json(s) AS server FROM ("
	"   SELECT name, state, alive, used_bytes, free_bytes, capacity_bytes, puts, gets, syncs, sync_ms, problem, io.*"
	"   FROM difs.servers LEFT JOIN ("
	"     SELECT server, sum(operations) FILTER (WHERE operation = 'get') AS reads, sum(bytes) FILTER (WHERE operation = 'get') AS read_bytes,"
	"       sum(time_ms) FILTER (WHERE operation = 'get') AS read_ms,"
	"       sum(operations) FILTER (WHERE operation = 'put') AS writes, sum(bytes) FILTER (WHERE operation = 'put') AS written_bytes,"
	"       sum(time_ms) FILTER (WHERE operation = 'put') AS write_ms, sum(errors) AS errors"
	"     FROM difs.stat_io GROUP BY server) AS io ON io.server = name) AS s) AS servers),"
	" 'requests', (SELECT json_object_agg(operation, total) FROM (SELECT operation, json_build_object('count', sum(operations), 'bytes', sum(bytes),"
	"    'errors', sum(errors), 'histogram', (SELECT json_agg(n ORDER BY i) FROM (SELECT i, sum(h) AS n FROM difs.stat_io AS io,"
	"      unnest(io.histogram) WITH ORDINALITY AS h(h, i) WHERE io.operation = all_io.operation GROUP BY i) AS buckets)) AS total"
	"    FROM difs.stat_io AS all_io GROUP BY operation) AS totals),"
	" 'stream', (SELECT row_to_json(stream) FROM (SELECT *, extract(epoch FROM clock_timestamp() - oldest) AS age_s FROM difs.stat_streamer) AS stream),"
	" 'staged', (SELECT row_to_json(staged) FROM difs.staged),"
	" 'cache', (SELECT row_to_json(cache) FROM difs.stat_cache AS cache),"
	" 'repair', (SELECT row_to_json(repair) FROM (SELECT groups_missing, copies_missing, bytes_missing, copies_to_move, bytes_to_move"
	"            FROM difs.repair_progress) AS repair),"
	" 'duties', (SELECT json_agg(round) FROM (SELECT *, extract(epoch FROM clock_timestamp() - ended) AS ended_s_ago,"
	"            extract(epoch FROM next - clock_timestamp()) AS next_in_s FROM difs.stat_keeper) AS round))";

json_t *
look_take(void)
{
	PGresult *result = query(statement, 0, NULL);
	json_t *look;

	if (result == NULL)
		return NULL;
	look = json_loads(PQgetvalue(result, 0, 0), JSON_DECODE_INT_AS_REAL, NULL);
	if (look == NULL)
		complain_text("the database's statistics could not be read");
	PQclear(result);
	return look;
}

double
look_number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *
look_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

/* What was not counted yet is 0. */
double
look_grown(const json_t *now, const json_t *before, const char *name)
{
	double is = look_number(now, name);
	double was = look_number(before, name);

	if (before == NULL)
		return NAN;
	is = isnan(is) ? 0 : is;
	was = isnan(was) ? 0 : was;
	return is >= was ? is - was : NAN;
}

double
look_quantile(const json_t *now, const json_t *before, const char *histogram, double share)
{
	return before == NULL ? NAN : histogram_quantile(json_object_get(now, histogram), json_object_get(before, histogram), share);
}

double
histogram_quantile(const json_t *now, const json_t *before, double share)
{
	size_t buckets = json_array_size(now);
	double total = 0;
	double so_far = 0;

	for (size_t i = 0; i < buckets; i++)
		total += json_number_value(json_array_get(now, i)) - json_number_value(json_array_get(before, i));
	for (size_t i = 0; i < buckets && total > 0; i++)
	{
		so_far += json_number_value(json_array_get(now, i)) - json_number_value(json_array_get(before, i));
		if (so_far >= share * total)
			return ldexp(FIRST_MS, (int) i);
	}
	return NAN;
}
