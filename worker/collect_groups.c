/*
 * collect_groups.c - block groups in which nothing is left (collect.h).
 *
 * A sealed group without a live segment on any member is dropped, members first,
 * then its row, so that metadata does not grow for ever.  Three things must hold,
 * asked in this order: its row says sealed, so nothing more is written to it; all
 * members answer, and none has a live segment in it; and no row of the manifest
 * names it, which a member that has lost everything could not tell.  A group whose
 * number is still to come is of a dump that is just being restored: its segments'
 * rows may follow.
 *
 * A group of which much is lost to dead segments, small ones or the ends of large
 * ones, which holes do not give back, is rewritten by its servers.  If it is
 * still open, it is retired first: it is published as full, so the keeper seals it.
 *
 * State: copies to be rewritten, in memory of the round.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/hsearch.h"

#include "common/fault.h"
#include "src/ids.h"
#include "src/settings.h"
#include "src/wait.h"
#include "worker/collect.h"
#include "worker/duties.h"
#include "worker/process.h"

#define MAX_CANDIDATES 65536 /* of a round */
#define MAX_REWRITES 1024	 /* of a round */
#define POLL_MS 50

typedef struct Candidate
{
	uint64 group;
	uint64 epoch; /* the highest of any copy */
	DifsMembers members;
} Candidate;

/* What servers have of a group. */
typedef struct Listed
{
	uint64 group;
	uint64 epoch; /* the highest of any copy */
	bool live;	  /* one has a live segment */
} Listed;

static struct
{
	int32 server;
	uint64 group;
} rewrites[MAX_REWRITES];
static int rewrite_count = 0;

static void retire(uint64 group);
static void wait_for_seals(void);
static void rewrite(void);
static bool is_open(uint64 group);
static Candidate *read_candidates(int *count);
static void read_candidate(HeapTuple tuple, TupleDesc desc, Candidate *candidate);
static void rule_out_live(Candidate *candidates, int *count);
static bool list_groups(int32 server, HTAB *groups);
static bool all_listed(const Candidate *candidate, const int32 *servers, const bool *listed, int count);
static bool rule_out_named(Candidate *candidates, int *count);
static bool drop(const Candidate *candidate);

void
difs_collect_rewrite(int32 server, uint64 group)
{
	if (rewrite_count == MAX_REWRITES)
		return; /* another round */
	rewrites[rewrite_count].server = server;
	rewrites[rewrite_count++].group = group;
	retire(group);
}

bool
difs_collect_groups(void)
{
	Candidate *candidates;
	int count;

	wait_for_seals();
	rewrite();
	candidates = read_candidates(&count);
	if (candidates == NULL)
		return false;
	rule_out_live(candidates, &count);
	if (!rule_out_named(candidates, &count))
		return false;
	for (int i = 0; i < count; i++)
	{
		if (!drop(&candidates[i]))
			return false;
	}
	pfree(candidates);
	return true;
}

static void
retire(uint64 group)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *open = &difs_duty_database->groups[i];

		if (open->state == DIFS_OPEN_GROUP_OPEN && open->id == group)
			open->state = DIFS_OPEN_GROUP_FULL;
	}
	LWLockRelease(&difs_shared->lock);
	difs_wake(difs_duty_database->keeper);
}

/* For as long as sealing may take. What is not sealed by then is dropped by a later round. */
static void
wait_for_seals(void)
{
	TimestampTz deadline = difs_process_in(difs_server_timeout);

	for (int i = 0; i < rewrite_count; i++)
	{
		while (is_open(rewrites[i].group) && GetCurrentTimestamp() < deadline)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, difs_wait_event(DIFS_WAIT_SERVER));
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
}

/* To seal again what is sealed is to rewrite it. One that does not do it is asked again by the next round. */
static void
rewrite(void)
{
	for (int i = 0; i < rewrite_count; i++)
	{
		uint8 control[8];

		if (!is_open(rewrites[i].group))
			(void) difs_collect_call(rewrites[i].server, DIFS_MESSAGE_SEAL_GROUP, control,
									 difs_group_pack(rewrites[i].group, control), NULL);
	}
}

static bool
is_open(uint64 group)
{
	bool open = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
		open = open || (difs_duty_database->groups[i].state != DIFS_OPEN_GROUP_UNUSED && difs_duty_database->groups[i].id == group);
	LWLockRelease(&difs_shared->lock);
	return open;
}

/* Sealed groups, and if there are very many, some of them, so that all have their turn. NULL if the extension is gone. */
static Candidate *
read_candidates(int *count)
{
	MemoryContext round_context = CurrentMemoryContext;
	Candidate *candidates;

	if (!difs_collect_begin())
		return NULL;
	if (SPI_execute("SELECT id, members FROM difs.block_group WHERE state = 'sealed' AND "
					"id & ((1::bigint << " CppAsString2(DIFS_ID_EPOCH_SHIFT) ") - 1) <= (SELECT last_value FROM difs.block_group_id WHERE is_called) "
																			 "ORDER BY pg_catalog.random() "
																			 "LIMIT " CppAsString2(MAX_CANDIDATES),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.block_group");
	*count = (int) SPI_processed;
	candidates = MemoryContextAlloc(round_context, Max(*count, 1) * sizeof(Candidate));
	for (int i = 0; i < *count; i++)
		read_candidate(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &candidates[i]);
	difs_duty_commit();
	return candidates;
}

static void
read_candidate(HeapTuple tuple, TupleDesc desc, Candidate *candidate)
{
	Datum *ids;
	bool *nulls;
	bool null;
	int count;

	candidate->group = (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 1, &null));
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(tuple, desc, 2, &null)), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &ids, &nulls, &count);
	candidate->members.count = Min(count, DIFS_MAX_REPLICAS);
	for (int i = 0; i < candidate->members.count; i++)
		candidate->members.server[i] = nulls[i] ? 0 : DatumGetInt32(ids[i]);
}

/* Keeps those of which all members have answered and none has a live segment. */
static void
rule_out_live(Candidate *candidates, int *count)
{
	HASHCTL control = {.keysize = sizeof(uint64), .entrysize = sizeof(Listed), .hcxt = CurrentMemoryContext};
	HTAB *groups = hash_create("difs groups on servers", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	const int32 *servers;
	int server_count = difs_collect_servers(&servers);
	bool listed[DIFS_MAX_SERVERS];
	int kept = 0;

	for (int i = 0; i < server_count; i++)
		listed[i] = list_groups(servers[i], groups);
	for (int i = 0; i < *count; i++)
	{
		const Listed *found = hash_search(groups, &candidates[i].group, HASH_FIND, NULL);

		if ((found != NULL && found->live) || !all_listed(&candidates[i], servers, listed, server_count))
			continue;
		candidates[i].epoch = found != NULL ? found->epoch : 0;
		candidates[kept++] = candidates[i];
	}
	*count = kept;
	hash_destroy(groups);
}

/* Notes which groups a server has, and in which of them are live segments. */
static bool
list_groups(int32 server, HTAB *groups)
{
	uint64 after = 0;
	uint32 count;

	do
	{
		DifsReply reply;
		uint8 control[8];

		if (!difs_collect_call(server, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(after, control), &reply))
			return false;
		count = reply.payload_length / DIFS_GROUP_ENTRY_SIZE;
		for (uint32 i = 0; i < count; i++)
		{
			DifsGroupEntry entry;
			Listed *listed;
			bool known;

			difs_group_entry_unpack(reply.payload + i * DIFS_GROUP_ENTRY_SIZE, &entry);
			if (entry.group <= after)
				return false; /* not in order: the list would not end */
			after = entry.group;
			listed = hash_search(groups, &entry.group, HASH_ENTER, &known);
			listed->live = (known && listed->live) || entry.live_bytes > 0;
			listed->epoch = known ? Max(listed->epoch, entry.epoch) : entry.epoch;
		}
		if (reply.payload != NULL)
			pfree(reply.payload);
	} while (count > 0);
	return true;
}

/* A server that has been removed has nothing to say. */
static bool
all_listed(const Candidate *candidate, const int32 *servers, const bool *listed, int count)
{
	for (int i = 0; i < candidate->members.count; i++)
	{
		for (int j = 0; j < count; j++)
		{
			if (servers[j] == candidate->members.server[i] && !listed[j])
				return false;
		}
	}
	return true;
}

static bool
rule_out_named(Candidate *candidates, int *count)
{
	Oid type = INT8ARRAYOID;
	Datum *ids;
	Datum value;
	int kept = 0;

	if (*count == 0)
		return true;
	if (!difs_duty_begin())
		return false;
	ids = palloc(*count * sizeof(Datum));
	for (int i = 0; i < *count; i++)
		ids[i] = Int64GetDatum((int64) candidates[i].group);
	value = PointerGetDatum(construct_array(ids, *count, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE));
	if (SPI_execute_with_args("SELECT EXISTS (SELECT FROM difs.manifest WHERE block_group = id) "
							  "FROM pg_catalog.unnest($1) WITH ORDINALITY AS candidate (id, place) ORDER BY place",
							  1, &type, &value, NULL, true, 0) != SPI_OK_SELECT ||
		SPI_processed != *count)
		elog(ERROR, "could not read difs.manifest");
	for (int i = 0; i < *count; i++)
	{
		bool null;

		if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null)))
			candidates[kept++] = candidates[i];
	}
	*count = kept;
	difs_duty_commit();
	return true;
}

/* False if the extension is gone. */
static bool
drop(const Candidate *candidate)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum((int64) candidate->group);
	uint8 control[16];
	bool dropped = true;

	for (int i = 0; i < candidate->members.count; i++)
	{
		dropped = difs_collect_call(candidate->members.server[i], DIFS_MESSAGE_DROP_GROUP, control,
									difs_pair_pack(candidate->group, candidate->epoch, control), NULL) &&
			dropped;
		DIFS_FAULT("keeper.collect.drop");
	}
	if (!dropped)
		return true;
	DIFS_FAULT("keeper.collect.dropped");
	if (!difs_duty_begin())
		return false;
	SPI_execute_with_args("DELETE FROM difs.inventory WHERE block_group = $1", 1, &type, &value, NULL, false, 0);
	SPI_execute_with_args("DELETE FROM difs.block_group WHERE id = $1 AND state = 'sealed'", 1, &type, &value, NULL,
						  false, 0);
	difs_duty_commit();
	difs_collect_count(DIFS_COLLECTED_GROUPS, 1);
	return true;
}
