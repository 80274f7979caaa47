/*
 * collect.c - a round of collection, and difs_collect() (collect.h).
 *
 * State: what this round has done, and which servers it has given up.  It dies
 * with the round, which is harmless.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"

#include "src/claim.h"
#include "src/settings.h"
#include "worker/collect.h"
#include "worker/duties.h"

static int64 results[DIFS_COLLECT_RESULTS];
static int32 servers[DIFS_MAX_SERVERS]; /* that have a row and are not removed */
static int server_count = 0;
static int32 given_up[DIFS_MAX_SERVERS];
static int given_up_count = 0;

static bool contains(const int32 *ids, int count, int32 id);
static bool answers(int32 server);

void
difs_collect_round(void)
{
	static const struct
	{
		const char *phase;
		bool (*collect)(void);
	} parts[] = {
		{"dropped volumes", difs_collect_dropped},
		{"expired rows", difs_collect_expired},
		{"old versions and trash", difs_collect_outdated},
		{"deleted content", difs_collect_doomed},
		{"orphans", difs_collect_orphans},
		{"empty block groups", difs_collect_groups},
	};

	for (int i = 0; i < lengthof(parts); i++)
	{
		difs_duty_phase(parts[i].phase);
		if (!parts[i].collect())
			return;
	}
	if (results[DIFS_COLLECTED_DOOMED] + results[DIFS_COLLECTED_ORPHANS] + results[DIFS_COLLECTED_GROUPS] > 0)
		ereport(LOG,
				(errmsg("difs: collected " INT64_FORMAT " files or versions with " INT64_FORMAT " segments, " INT64_FORMAT " orphans, and " INT64_FORMAT " block groups: " INT64_FORMAT " bytes",
						results[DIFS_COLLECTED_DOOMED], results[DIFS_COLLECTED_SEGMENTS],
						results[DIFS_COLLECTED_ORPHANS], results[DIFS_COLLECTED_GROUPS],
						results[DIFS_COLLECTED_BYTES])));
}

void
difs_collect_count(DifsCollectResult result, int64 more)
{
	results[result] += more;
	difs_duty_result(result, results[result]);
}

bool
difs_collect_begin(void)
{
	bool null;

	if (!difs_duty_begin())
		return false;
	if (SPI_execute("SELECT id FROM difs.server WHERE state <> 'removed'", true, DIFS_MAX_SERVERS) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.server");
	server_count = (int) SPI_processed;
	for (int i = 0; i < server_count; i++)
		servers[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	return true;
}

int
difs_collect_servers(const int32 **ids)
{
	*ids = servers;
	return server_count;
}

bool
difs_collect_call(int32 server, DifsMessage message, const void *control, uint32 control_length, DifsReply *reply)
{
	DifsError error;

	if (reply != NULL)
		memset(reply, 0, sizeof(*reply));
	if (!contains(servers, server_count, server))
		return true;
	if (contains(given_up, given_up_count, server) || !answers(server))
		return false;
	if ((message == DIFS_MESSAGE_DELETE || message == DIFS_MESSAGE_DROP_GROUP) && !difs_claim_confirmed(difs_duty_database))
		return false; /* somebody else may hold the claim by now: nothing is deleted on a guess */
	if (difs_call(server, message, control, control_length, NULL, 0, difs_server_timeout / 2, reply, &error))
		return true;
	if (error.code == DIFS_ERROR_NO_GROUP)
		return true;
	if (error.code == DIFS_ERROR_NETWORK || error.code == DIFS_ERROR_FENCED || error.code == DIFS_ERROR_REFUSED)
		given_up[given_up_count++] = server;
	ereport(LOG,
			(errmsg("difs: collection waits for a chunk server: %s", error.text)));
	return false;
}

bool
difs_collect_delete(int32 server, uint64 group, const uint64 *segments, uint32 count)
{
	static uint8 control[DIFS_WIRE_MAX_CONTROL];

	while (count > 0)
	{
		uint32 some = Min(count, DIFS_WIRE_MAX_DELETE);

		if (!difs_collect_call(server, DIFS_MESSAGE_DELETE, control,
							   difs_delete_pack(group, segments, some, control), NULL))
			return false;
		segments += some;
		count -= some;
	}
	return true;
}

static bool
contains(const int32 *ids, int count, int32 id)
{
	for (int i = 0; i < count; i++)
	{
		if (ids[i] == id)
			return true;
	}
	return false;
}

/* What the keeper knows spares us a time-out. */
static bool
answers(int32 server)
{
	DifsSharedServer copy;

	return difs_server_lookup(difs_duty_database, server, &copy) && copy.alive;
}

PG_FUNCTION_INFO_V1(difs_collect);

Datum
difs_collect(PG_FUNCTION_ARGS)
{
	DifsDutyState state;
	TupleDesc desc;
	Datum values[DIFS_COLLECT_RESULTS];
	bool nulls[DIFS_COLLECT_RESULTS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	difs_duty_run(DIFS_DUTY_COLLECT, &state);
	for (int i = 0; i < DIFS_COLLECT_RESULTS; i++)
		values[i] = Int64GetDatum(state.result[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
