/*
 * repair.c - the duty that gives block groups back the members that they lost (repair.h).
 *
 * A round first surveys: it asks all servers which copies they have and writes down
 * in difs.missing what is wrong.  Then it works: groups with the fewest good copies come first.
 * So difs.missing says at any time what is to be done, and why not if it cannot.
 *
 * State: the table difs.missing, rewritten by each survey, and the generation of
 * each row of difs.block_group.  A round that dies is repeated by the next one: a copy that was made and not
 * entered into the row is dropped as nobody's, or replaced by one of a higher generation.
 *
 * Only a round changes the members of a sealed group, and there is one at a time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "common/fault.h"
#include "src/settings.h"
#include "worker/place.h"
#include "worker/repair.h"

static MemoryContext before_transaction;

static int64 repair_group(uint64 id);
static bool repair_member(DifsSealedGroup *group, int place, const DifsJudgement *judgement,
						  const DifsSharedServer *servers, int count, DifsError *error);
static bool choose_target(const DifsSealedGroup *group, int place, const DifsJudgement *judgement, bool self_fails,
						  const DifsSharedServer *servers, int count, int32 *target, DifsError *error);
static DifsSharedServer *with_good_disks(const DifsSharedServer *servers, int count);

void
difs_repair_round(void)
{
	difs_duty_phase("looking at copies");
	difs_duty_result(DIFS_REPAIR_DROPPED, difs_survey_run());
	DIFS_FAULT("keeper.repair.surveyed");
	difs_duty_phase("making copies");
	difs_duty_result(DIFS_REPAIR_COPIED, difs_repair_work());
	difs_drain_settle();
	difs_duty_phase("rebalancing");
	difs_duty_result(DIFS_REPAIR_MOVED, difs_rebalance_run());
}

void
difs_repair_begin(void)
{
	before_transaction = CurrentMemoryContext;
	if (!difs_duty_begin())
		proc_exit(0);
}

void
difs_repair_commit(void)
{
	difs_duty_commit();
	MemoryContextSwitchTo(before_transaction);
}

DifsSharedServer *
difs_repair_servers(int *count)
{
	DifsSharedServer *all = palloc(sizeof(difs_duty_database->servers));
	DifsSharedServer *servers = palloc(sizeof(difs_duty_database->servers));

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	memcpy(all, difs_duty_database->servers, sizeof(difs_duty_database->servers));
	LWLockRelease(&difs_shared->lock);
	*count = 0;
	difs_repair_begin();
	SPI_execute("SELECT id, state = 'active' FROM difs.server WHERE state <> 'removed' ORDER BY id", true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		bool null;
		int32 id = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null));
		const DifsSharedServer *known = difs_repair_server(all, DIFS_MAX_SERVERS, id);

		if (known == NULL)
			continue;
		servers[*count] = *known;
		servers[(*count)++].accepts_groups = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &null));
	}
	difs_repair_commit();
	pfree(all);
	return servers;
}

const DifsSharedServer *
difs_repair_server(const DifsSharedServer *servers, int count, int32 id)
{
	for (int i = 0; i < count; i++)
	{
		if (servers[i].id == id)
			return &servers[i];
	}
	return NULL;
}

/* The transaction is for reading the server's address, if it is not known yet. */
bool
difs_repair_call(int32 server, DifsMessage message, const void *control, uint32 length, DifsReply *reply,
				 DifsError *error)
{
	MemoryContext context = CurrentMemoryContext;
	bool done;

	CHECK_FOR_INTERRUPTS();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	done = difs_call(server, message, control, length, NULL, 0, difs_server_timeout / 2, reply, error);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return done;
}

int64
difs_repair_work(void)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(before, "difs repair", ALLOCSET_DEFAULT_SIZES);
	uint64 *groups;
	int64 copied = 0;
	int count;

	groups = difs_missing_work(&count);
	for (int i = 0; i < count; i++)
	{
		difs_duty_progress(i, count);
		MemoryContextSwitchTo(context);
		copied += repair_group(groups[i]);
		difs_duty_result(DIFS_REPAIR_COPIED, copied);
		MemoryContextSwitchTo(before);
		MemoryContextReset(context);
	}
	difs_duty_progress(count, count);
	MemoryContextDelete(context);
	return copied;
}

/* The survey is old by now: judges the group again. */
static int64
repair_group(uint64 id)
{
	DifsSealedGroup group;
	DifsJudgement judgement;
	int count;
	DifsSharedServer *servers = difs_repair_servers(&count);
	bool found;
	int64 copied = 0;

	difs_repair_begin();
	found = difs_repair_rows_find(id, &group);
	difs_repair_commit();
	if (!found)
		return 0;
	difs_survey_judge(&group, servers, count, difs_copies_list(servers, count, id - 1, id), &judgement);
	for (int i = 0; i < group.members; i++)
	{
		int32 server = group.member[i];
		DifsError error = {0};
		bool settled = judgement.verdict[i] == DIFS_COPY_GOOD;

		if (judgement.verdict[i] == DIFS_COPY_AWAY)
			continue;
		if (!settled && repair_member(&group, i, &judgement, servers, count, &error))
		{
			settled = true;
			copied++;
			judgement.highest_epoch = group.epoch + group.generation;
		}
		difs_repair_begin();
		if (settled)
			difs_missing_settle(id, server);
		else
			difs_missing_explain(id, server, error.text);
		difs_repair_commit();
	}
	return copied;
}

static bool
repair_member(DifsSealedGroup *group, int place, const DifsJudgement *judgement, const DifsSharedServer *servers,
			  int count, DifsError *error)
{
	/* Where there is something left that a copy with less in it would replace, there must be nothing less in it. */
	bool damaged_too = judgement->verdict[place] == DIFS_COPY_LOST || judgement->verdict[place] == DIFS_COPY_ABSENT;
	int32 target;

	errno = 0;
	if (judgement->holder_count == 0)
		return difs_error_set(error, DIFS_ERROR_NO_GROUP, "no server that answers has a copy");
	if (!choose_target(group, place, judgement, false, servers, count, &target, error))
		return false;
	if (difs_replace_copy(group, place, target, judgement, damaged_too, error))
		return true;
	return target == group->member[place] &&
		choose_target(group, place, judgement, true, servers, count, &target, error) &&
		target != group->member[place] && difs_replace_copy(group, place, target, judgement, damaged_too, error);
}

/* The server itself if it only lacks bytes; another one if the server or its disk is not to be used, unless there is none. */
static bool
choose_target(const DifsSealedGroup *group, int place, const DifsJudgement *judgement, bool self_fails,
			  const DifsSharedServer *servers, int count, int32 *target, DifsError *error)
{
	DifsVerdict verdict = judgement->verdict[place];
	const DifsSharedServer *self = difs_repair_server(servers, count, group->member[place]);
	bool usable = self != NULL && self->alive && self->accepts_groups;
	bool good_disk = usable && self->problem[0] == '\0' && !self_fails;
	DifsLoad *load = palloc0(sizeof(DifsLoad) * Max(count, 1));
	int32 others[DIFS_MAX_REPLICAS];

	*target = group->member[place];
	if (good_disk && (verdict == DIFS_COPY_ABSENT || verdict == DIFS_COPY_SHORT))
		return true;

	/* The one to be replaced stands last, and counts for zones only if it stays usable. */
	for (int i = 0, n = 0; i < group->members; i++)
	{
		if (i != place)
			others[n++] = group->member[i];
	}
	others[group->members - 1] = group->member[place];
	for (int i = 0; i < count; i++)
		load[i].groups = (int) Min(servers[i].used_bytes / ((uint64) 16 * 1024 * 1024), 1000000);
	if (difs_place_one(&group->class, judgement->file_bytes, with_good_disks(servers, count), load, count, others,
					   usable ? group->members : group->members - 1, target, error))
		return true;
	*target = group->member[place];
	return usable && (verdict == DIFS_COPY_FAILED || verdict == DIFS_COPY_ABSENT || verdict == DIFS_COPY_SHORT);
}

/* Those with a problem, although they answer, get no copies. */
static DifsSharedServer *
with_good_disks(const DifsSharedServer *servers, int count)
{
	DifsSharedServer *good = palloc(sizeof(DifsSharedServer) * Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		good[i] = servers[i];
		good[i].accepts_groups = servers[i].accepts_groups && servers[i].problem[0] == '\0';
	}
	return good;
}
