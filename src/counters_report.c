/*
 * counters_report.c - what was counted, as SQL sees it: the functions behind difs.stat_io and difs.stat_streamer, and difs_stat_reset().
 *
 * Numbers are read one after the other while others count, so a row may be a request ahead of another one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/counters.h"
#include "src/stream.h"

enum IoColumn
{
	IO_SERVER,
	IO_OPERATION,
	IO_OPERATIONS,
	IO_ERRORS,
	IO_BYTES,
	IO_TIME,
	IO_HALF,
	IO_MOST,
	IO_HISTOGRAM,
	IO_SINCE,
	IO_COLUMNS,
};

enum StreamerColumn
{
	STREAMER_RUNNING,
	STREAMER_QUEUED,
	STREAMER_QUEUED_BYTES,
	STREAMER_IN_FLIGHT,
	STREAMER_IN_FLIGHT_BYTES,
	STREAMER_OLDEST,
	STREAMER_BATCHES,
	STREAMER_SENT,
	STREAMER_TRIED_AGAIN,
	STREAMER_STORED,
	STREAMER_BYTES,
	STREAMER_FAILED,
	STREAMER_WAITED,
	STREAMER_STORING,
	STREAMER_SINCE,
	STREAMER_COLUMNS,
};

static const char *const operations[DIFS_IO_KINDS] = {[DIFS_IO_GET] = "get", [DIFS_IO_PUT] = "put", [DIFS_IO_CALL] = "call"};

static void put_io(ReturnSetInfo *result, DifsCounters *counters, DifsServerCounters *server, DifsIoKind kind);
static float8 quantile_ms(const int64 *histogram, int64 total, float8 share);
static void put_queue(DifsDatabase *database, Datum *values, bool *nulls);

PG_FUNCTION_INFO_V1(difs_io_counters);
PG_FUNCTION_INFO_V1(difs_streamer_state);
PG_FUNCTION_INFO_V1(difs_stat_reset);

Datum
difs_io_counters(PG_FUNCTION_ARGS)
{
	DifsCounters *counters = difs_counters_of(MyDatabaseId, NULL);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; counters != NULL && i < DIFS_MAX_SERVERS; i++)
		for (int kind = 0; kind < DIFS_IO_KINDS; kind++)
			put_io((ReturnSetInfo *) fcinfo->resultinfo, counters, &counters->servers[i], kind);
	return (Datum) 0;
}

Datum
difs_streamer_state(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	DifsCounters *counters = database != NULL ? difs_counters_of(MyDatabaseId, NULL) : NULL;
	Datum values[STREAMER_COLUMNS];
	bool nulls[STREAMER_COLUMNS] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (counters == NULL)
		return (Datum) 0;
	put_queue(database, values, nulls);
	for (int i = 0; i < DIFS_STREAMER_WAITED_US; i++)
		values[STREAMER_BATCHES + i] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->streamer[i]));
	values[STREAMER_WAITED] = Float8GetDatum(pg_atomic_read_u64(&counters->streamer[DIFS_STREAMER_WAITED_US]) / 1000.0);
	values[STREAMER_STORING] = Float8GetDatum(pg_atomic_read_u64(&counters->streamer[DIFS_STREAMER_STORING_US]) / 1000.0);
	values[STREAMER_SINCE] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&counters->since));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

Datum
difs_stat_reset(PG_FUNCTION_ARGS)
{
	DifsCounters *counters;

	difs_shmem_require();
	counters = difs_counters_of(MyDatabaseId, NULL);
	if (counters != NULL)
		difs_counters_reset(counters);
	PG_RETURN_VOID();
}

/* A row for a kind of request, if a server has had any. */
static void
put_io(ReturnSetInfo *result, DifsCounters *counters, DifsServerCounters *server, DifsIoKind kind)
{
	pg_atomic_uint64 *count = server->io[kind];
	Datum values[IO_COLUMNS];
	bool nulls[IO_COLUMNS] = {false};
	int64 histogram[DIFS_IO_BUCKETS];
	Datum elements[DIFS_IO_BUCKETS];
	int64 total = 0;

	for (int i = 0; i < DIFS_IO_BUCKETS; i++)
	{
		histogram[i] = (int64) pg_atomic_read_u64(&count[DIFS_IO_TOOK + i]);
		elements[i] = Int64GetDatum(histogram[i]);
		total += histogram[i];
	}
	if (total == 0 && pg_atomic_read_u64(&count[DIFS_IO_ERRORS]) == 0)
		return;
	values[IO_SERVER] = Int32GetDatum((int32) pg_atomic_read_u32(&server->server));
	values[IO_OPERATION] = CStringGetTextDatum(operations[kind]);
	values[IO_OPERATIONS] = Int64GetDatum(total);
	values[IO_ERRORS] = Int64GetDatum((int64) pg_atomic_read_u64(&count[DIFS_IO_ERRORS]));
	values[IO_BYTES] = Int64GetDatum((int64) pg_atomic_read_u64(&count[DIFS_IO_BYTES]));
	values[IO_TIME] = Float8GetDatum(pg_atomic_read_u64(&count[DIFS_IO_TIME_US]) / 1000.0);
	values[IO_HALF] = Float8GetDatum(quantile_ms(histogram, total, 0.5));
	values[IO_MOST] = Float8GetDatum(quantile_ms(histogram, total, 0.99));
	nulls[IO_HALF] = nulls[IO_MOST] = total == 0;
	values[IO_HISTOGRAM] = PointerGetDatum(construct_array(elements, DIFS_IO_BUCKETS, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[IO_SINCE] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&counters->since));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* That share of requests took less than this. */
static float8
quantile_ms(const int64 *histogram, int64 total, float8 share)
{
	int64 so_far = 0;

	for (int i = 0; i < DIFS_IO_BUCKETS - 1; i++)
	{
		so_far += histogram[i];
		if (so_far >= share * total)
			return ((int64) DIFS_IO_FIRST_US << i) / 1000.0;
	}
	return get_float8_infinity();
}

/* What is on its way now, by the states of its slots. */
static void
put_queue(DifsDatabase *database, Datum *values, bool *nulls)
{
	DifsStreamCount count;

	difs_stream_count(database - difs_shared->databases, &count);
	values[STREAMER_RUNNING] = BoolGetDatum(database->streamer != -1);
	values[STREAMER_QUEUED] = Int64GetDatum(count.queued);
	values[STREAMER_QUEUED_BYTES] = Int64GetDatum(count.queued_bytes);
	values[STREAMER_IN_FLIGHT] = Int64GetDatum(count.in_flight);
	values[STREAMER_IN_FLIGHT_BYTES] = Int64GetDatum(count.in_flight_bytes);
	values[STREAMER_OLDEST] = TimestampTzGetDatum(count.oldest);
	nulls[STREAMER_OLDEST] = count.oldest == DT_NOEND;
}
