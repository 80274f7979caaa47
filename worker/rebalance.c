/*
 * rebalance.c - moves copies from full servers to empty ones, when asked to (repair.h).
 *
 * Within each tier, copies of sealed groups go from the fullest server to the emptiest one that may have
 * them, one at a time, until no two servers differ by more than a tenth of their mean, or no copy that would bring them nearer
 * is left.  A copy does so if it is smaller than the difference: two servers that may exchange any copy end within a tenth
 * or one block group.  Each move makes the sum of bytes^2 / weight smaller, so that a round comes to an end.
 *
 * A group whose size nobody knows stays where it is, and the survey asks for sizes first; so does one that a placement function
 * has placed.  How full a server is, is what the copies of this database take there, for its weight.
 *
 * State: none that lasts: what a round that dies has moved has moved.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "worker/repair.h"

#define TOLERANCE 0.10
#define CANDIDATES 64 /* copies that are looked at for one move */

typedef struct Load
{
	DifsSharedServer server;
	double bytes; /* of copies; -1 = not to be used */
	bool stuck;	  /* nothing on it can be moved */
} Load;

static bool take_wish(void);
static Load *measure(int *count);
static double copied_bytes(int32 server);
static double fullness(const Load *load);
static int64 balance_tier(Load *loads, int count, const char *tier);
static bool move_one(Load *from, Load *to, Load *loads, int count);
static int find_candidates(const Load *from, const Load *to, double half, uint64 *ids, double *bytes);
static bool move_group(uint64 id, const Load *from, const Load *to);
static bool zone_fits(const DifsSealedGroup *group, int place, const DifsSharedServer *to,
					  const DifsSharedServer *servers, int count);

int64
difs_rebalance_run(void)
{
	Load *loads;
	int count;
	int64 moved = 0;

	if (!take_wish())
		return 0;
	loads = measure(&count);
	for (int i = 0; i < count; i++)
	{
		bool first = true;

		for (int j = 0; j < i; j++)
			first = first && strcmp(loads[j].server.tier, loads[i].server.tier) != 0;
		if (first)
			moved += balance_tier(loads, count, loads[i].server.tier);
	}
	return moved;
}

static bool
take_wish(void)
{
	bool wanted;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	wanted = difs_duty_database->rebalance_wanted;
	difs_duty_database->rebalance_wanted = false;
	LWLockRelease(&difs_shared->lock);
	return wanted;
}

static Load *
measure(int *count)
{
	int server_count;
	DifsSharedServer *servers = difs_repair_servers(&server_count);
	Load *loads = palloc0(sizeof(Load) * Max(server_count, 1));

	*count = 0;
	for (int i = 0; i < server_count; i++)
	{
		if (!servers[i].alive || !servers[i].accepts_groups)
			continue;
		loads[*count].server = servers[i];
		loads[(*count)++].bytes = copied_bytes(servers[i].id);
	}
	return loads;
}

static double
copied_bytes(int32 server)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(server)};
	double bytes;
	bool null;

	difs_repair_begin();
	SPI_execute_with_args("SELECT coalesce(sum(bytes), 0)::pg_catalog.float8 FROM difs.block_group "
						  "WHERE $1 = ANY (members) AND state = 'sealed'",
						  1, types, values, NULL, true, 1);
	bytes = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	difs_repair_commit();
	return bytes;
}

static double
fullness(const Load *load)
{
	return load->bytes / load->server.weight;
}

static int64
balance_tier(Load *loads, int count, const char *tier)
{
	int64 moved = 0;

	for (;;)
	{
		Load *fullest = NULL;
		Load *emptiest = NULL;
		double sum = 0;
		int of_tier = 0;

		for (int i = 0; i < count; i++)
		{
			if (strcmp(loads[i].server.tier, tier) != 0)
				continue;
			of_tier++;
			sum += fullness(&loads[i]);
			if (!loads[i].stuck && (fullest == NULL || fullness(&loads[i]) > fullness(fullest)))
				fullest = &loads[i];
			if (emptiest == NULL || fullness(&loads[i]) < fullness(emptiest))
				emptiest = &loads[i];
		}
		if (fullest == NULL || fullness(fullest) - fullness(emptiest) <= TOLERANCE * sum / of_tier)
			return moved;
		if (move_one(fullest, emptiest, loads, count))
			moved++;
		else
			fullest->stuck = true;
	}
}

/* The copy that leaves the smallest difference; to the emptiest server, else to another one that is emptier. */
static bool
move_one(Load *from, Load *to, Load *loads, int count)
{
	uint64 ids[CANDIDATES];
	double bytes[CANDIDATES];

	for (int tried = -1; tried < count; tried++)
	{
		Load *target = tried < 0 ? to : &loads[tried];
		double half;
		int found;

		if (target == from || (tried >= 0 && target == to) || strcmp(target->server.tier, from->server.tier) != 0)
			continue;
		/* Both are as full for their weight once b has moved: b/w_f + b/w_t = difference; twice that only turns it round, and a
		 * hundredth less keeps rounding errors from sending a copy to and fro */
		half = (fullness(from) - fullness(target)) / (1.0 / from->server.weight + 1.0 / target->server.weight);
		if (half <= 0)
			continue;
		found = find_candidates(from, target, half, ids, bytes);
		for (int i = 0; i < found; i++)
		{
			if (!move_group(ids[i], from, target))
				continue;
			from->bytes -= bytes[i];
			target->bytes += bytes[i];
			LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
			difs_duty_database->rebalanced++;
			LWLockRelease(&difs_shared->lock);
			return true;
		}
	}
	return false;
}

static int
find_candidates(const Load *from, const Load *to, double half, uint64 *ids, double *bytes)
{
	Oid types[] = {INT4OID, INT4OID, FLOAT8OID};
	Datum values[] = {
		Int32GetDatum(from->server.id),
		Int32GetDatum(to->server.id),
		Float8GetDatum(half),
	};
	int count;

	difs_repair_begin();
	SPI_execute_with_args("SELECT id, bytes::pg_catalog.float8 FROM difs.block_group "
						  "WHERE state = 'sealed' AND $1 = ANY (members) AND NOT $2 = ANY (members) "
						  "AND bytes > 0 AND bytes <= 1.99 * $3 AND placement = 0 "
						  "AND NOT EXISTS (SELECT FROM difs.missing WHERE block_group = id) "
						  "ORDER BY pg_catalog.abs(bytes - $3), id",
						  3, types, values, NULL, true, CANDIDATES);
	count = (int) SPI_processed;
	for (int i = 0; i < count; i++)
	{
		bool null;

		ids[i] = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
		bytes[i] = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &null));
	}
	difs_repair_commit();
	return count;
}

static bool
move_group(uint64 id, const Load *from, const Load *to)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(before, "difs rebalance", ALLOCSET_DEFAULT_SIZES);
	DifsSealedGroup group;
	DifsJudgement judgement;
	DifsSharedServer *servers;
	DifsError error;
	bool moved = false;
	int place = -1;
	int count;

	MemoryContextSwitchTo(context);
	servers = difs_repair_servers(&count);
	difs_repair_begin();
	if (difs_repair_rows_find(id, &group))
	{
		for (int i = 0; i < group.members; i++)
			place = group.member[i] == from->server.id ? i : place;
	}
	difs_repair_commit();
	if (place >= 0 && zone_fits(&group, place, &to->server, servers, count))
	{
		difs_survey_judge(&group, servers, count, difs_copies_list(servers, count, id - 1, id), &judgement);
		moved = judgement.verdict[place] == DIFS_COPY_GOOD && judgement.file_bytes <= to->server.free_bytes &&
			difs_replace_copy(&group, place, to->server.id, &judgement, false, &error);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return moved;
}

/* Never two members in one zone that were not before. */
static bool
zone_fits(const DifsSealedGroup *group, int place, const DifsSharedServer *to, const DifsSharedServer *servers, int count)
{
	const DifsSharedServer *from = difs_repair_server(servers, count, group->member[place]);

	for (int i = 0; i < group->members; i++)
	{
		const DifsSharedServer *other = difs_repair_server(servers, count, group->member[i]);

		if (i == place || other == NULL || strcmp(other->zone, to->zone) != 0)
			continue;
		if (from == NULL || strcmp(from->zone, other->zone) != 0)
			return false;
	}
	return true;
}
