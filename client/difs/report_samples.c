/*
 * report_samples.c - the keeper's samples, as rows of JSON (report.h).
 */
#include "report.h"

#include <stdlib.h>

#include "command.h"
#include "look.h"

/* At most 600 samples, evenly; each with those of its servers. */
static const char statement[] =
	"WITH chosen AS (SELECT *, row_number() OVER (ORDER BY taken DESC) AS number, count(*) OVER () AS samples"
	"                FROM difs.stat_samples WHERE taken >= now() - $1::interval)"
	" SELECT row_to_json(sample) FROM ("
	"   SELECT extract(epoch FROM taken) AS time, chosen.*,"
	"          (SELECT json_object_agg(server, row_to_json(of_server)) FROM difs.stat_server_samples AS of_server WHERE of_server.taken = chosen.taken) AS servers"
	"   FROM chosen WHERE (number - 1) % greatest(1, (samples + 599) / 600) = 0 ORDER BY taken) AS sample";

static double median_gap(const Samples *samples);
static int by_size(const void *a, const void *b);

bool
report_read_samples(const char *since, Samples *samples)
{
	PGresult *result = query(statement, 1, &since);

	if (result == NULL)
		return false;
	samples->rows = need_memory(((size_t) PQntuples(result) + 1) * sizeof(json_t *));
	samples->times = need_memory(((size_t) PQntuples(result) + 1) * sizeof(*samples->times));
	for (int i = 0; i < PQntuples(result); i++)
	{
		json_t *row = json_loads(PQgetvalue(result, i, 0), JSON_DECODE_INT_AS_REAL, NULL);

		if (row == NULL)
		{
			PQclear(result);
			complain_text("the database's samples could not be read");
			return false;
		}
		samples->rows[samples->count] = row;
		samples->times[samples->count++] = look_number(row, "time");
	}
	PQclear(result);
	samples->usual_gap = median_gap(samples);
	return true;
}

void
report_free_samples(Samples *samples)
{
	for (size_t i = 0; i < samples->count; i++)
		json_decref(samples->rows[i]);
	free(samples->rows);
	free(samples->times);
}

static double
median_gap(const Samples *samples)
{
	double *gaps = need_memory((samples->count + 1) * sizeof(double));
	double middle = 0;

	for (size_t i = 1; i < samples->count; i++)
		gaps[i - 1] = samples->times[i] - samples->times[i - 1];
	if (samples->count > 1)
	{
		qsort(gaps, samples->count - 1, sizeof(double), by_size);
		middle = gaps[(samples->count - 1) / 2];
	}
	free(gaps);
	return middle;
}

static int
by_size(const void *a, const void *b)
{
	double difference = *(const double *) a - *(const double *) b;

	return (difference > 0) - (difference < 0);
}
