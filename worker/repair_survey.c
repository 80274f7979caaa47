/*
 * repair_survey.c - judges the copies of all sealed groups (repair.h).
 *
 * A copy whose server is none of the members is nobody's: repair has put another
 * one in its place while the server was away, or a copy was made and never
 * entered.  It is dropped, but only once all members have good copies; until then it may be the last one.
 *
 * State: the table difs.missing.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/fault.h"
#include "src/claim.h"
#include "src/settings.h"
#include "worker/repair.h"

#define BATCH 256

static DifsVerdict judge_member(const DifsSealedGroup *group, int32 id, const DifsSharedServer *servers, int count,
								const DifsCopies *copies);
static bool is_gone(const DifsSharedServer *server);
static bool seal_copy(DifsCopy *copy);
static bool ask_sizes(int32 server, uint64 group, uint64 *segments, uint64 *bytes);
static void learn_sizes(const DifsSealedGroup *group, const DifsJudgement *judgement);
static void compare_members(const DifsSealedGroup *group, const DifsCopies *copies, DifsJudgement *judgement);
static void find_holders(const DifsSealedGroup *group, const DifsCopies *copies, DifsJudgement *judgement);
static int64 survey_batch(const DifsSealedGroup *groups, int count, uint64 after, uint64 last);
static int64 drop_strangers(const DifsSealedGroup *group, const DifsCopies *copies, const DifsJudgement *judgement);
static bool is_member(const DifsSealedGroup *group, int32 server);

const char *
difs_verdict_name(DifsVerdict verdict)
{
	static const char *const names[] = {
		[DIFS_COPY_GOOD] = "good",
		[DIFS_COPY_AWAY] = "away",
		[DIFS_COPY_DRAINING] = "draining",
		[DIFS_COPY_LOST] = "lost",
		[DIFS_COPY_ABSENT] = "absent",
		[DIFS_COPY_FAILED] = "failed",
		[DIFS_COPY_SHORT] = "short",
	};

	return names[verdict];
}

int64
difs_survey_run(void)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(before, "difs survey", ALLOCSET_DEFAULT_SIZES);
	DifsSealedGroup *groups = palloc(sizeof(DifsSealedGroup) * BATCH);
	uint64 after = 0;
	int64 done = 0;
	int64 total;
	int64 dropped = 0;
	int count;

	difs_repair_begin();
	total = difs_repair_rows_count();
	difs_repair_commit();
	do
	{
		uint64 last;

		difs_duty_progress(done, total);
		difs_repair_begin();
		count = difs_repair_rows_read(after, groups, BATCH);
		difs_repair_commit();
		last = count == BATCH ? groups[count - 1].id : PG_INT64_MAX;
		MemoryContextSwitchTo(context);
		dropped += survey_batch(groups, count, after, last);
		MemoryContextSwitchTo(before);
		MemoryContextReset(context);
		after = last;
		done += count;
	} while (count == BATCH);
	MemoryContextDelete(context);
	pfree(groups);
	return dropped;
}

void
difs_survey_judge(const DifsSealedGroup *group, const DifsSharedServer *servers, int count, const DifsCopies *copies,
				  DifsJudgement *judgement)
{
	memset(judgement, 0, sizeof(*judgement));
	for (int i = 0; i < group->members; i++)
		judgement->verdict[i] = judge_member(group, group->member[i], servers, count, copies);
	compare_members(group, copies, judgement);
	for (int i = 0; i < group->members; i++)
	{
		const DifsSharedServer *server = difs_repair_server(servers, count, group->member[i]);

		if (judgement->verdict[i] == DIFS_COPY_GOOD && server != NULL && !server->accepts_groups)
			judgement->verdict[i] = DIFS_COPY_DRAINING;
	}
	find_holders(group, copies, judgement);
}

static DifsVerdict
judge_member(const DifsSealedGroup *group, int32 id, const DifsSharedServer *servers, int count,
			 const DifsCopies *copies)
{
	const DifsSharedServer *server = difs_repair_server(servers, count, id);
	DifsCopy *copy;

	if (is_gone(server))
		return DIFS_COPY_LOST;
	if (difs_copies_silent(copies, id))
		return DIFS_COPY_AWAY;
	copy = difs_copies_of(copies, group->id, id);
	if (copy == NULL)
		return DIFS_COPY_ABSENT;
	if (copy->entry.state == DIFS_GROUP_FAILED)
		return DIFS_COPY_FAILED;
	/* It was down when the others were sealed. */
	if (copy->entry.state == DIFS_GROUP_OPEN && !seal_copy(copy))
		return DIFS_COPY_AWAY;
	return DIFS_COPY_GOOD;
}

/* For good, as far as anybody can know. */
static bool
is_gone(const DifsSharedServer *server)
{
	if (server == NULL)
		return true;
	if (server->alive)
		return false;
	return !server->accepts_groups ||
		TimestampDifferenceExceeds(server->down_since, GetCurrentTimestamp(), difs_repair_delay);
}

static bool
seal_copy(DifsCopy *copy)
{
	uint64 segments;

	if (!ask_sizes(copy->server, copy->entry.group, &segments, &copy->entry.live_bytes))
		return false;
	copy->entry.state = DIFS_GROUP_SEALED;
	return true;
}

/* By sealing it, which does nothing to a copy that is sealed. */
static bool
ask_sizes(int32 server, uint64 group, uint64 *segments, uint64 *bytes)
{
	DifsReply reply;
	DifsError error;
	uint8 control[8];

	if (difs_repair_call(server, DIFS_MESSAGE_SEAL_GROUP, control, difs_group_pack(group, control), &reply, &error) &&
		difs_pair_unpack(reply.control, reply.control_length, segments, bytes, &error))
		return true;
	ereport(LOG,
			(errmsg("difs repair: could not seal block group " UINT64_FORMAT ": %s", group, error.text)));
	return false;
}

/* No member answered when the row was sealed. */
static void
learn_sizes(const DifsSealedGroup *group, const DifsJudgement *judgement)
{
	for (int i = 0; i < group->members; i++)
	{
		uint64 segments;
		uint64 bytes;

		if (judgement->verdict[i] != DIFS_COPY_GOOD || !ask_sizes(group->member[i], group->id, &segments, &bytes))
			continue;
		difs_repair_begin();
		difs_repair_rows_sizes(group->id, segments, bytes);
		difs_repair_commit();
		return;
	}
}

/*
 * Copies of the same size are taken to be the same: acknowledged segments are on all members.  Copies on servers that are no members are
 * compared, too: should they have what no member has, it is pulled from there before they are dropped.
 */
static void
compare_members(const DifsSealedGroup *group, const DifsCopies *copies, DifsJudgement *judgement)
{
	int copy_count;
	DifsCopy *found = difs_copies_find(copies, group->id, &copy_count);
	int32 servers[DIFS_MAX_REPLICAS + DIFS_MAX_SERVERS];
	int place[DIFS_MAX_REPLICAS];
	bool lacking[DIFS_MAX_REPLICAS + DIFS_MAX_SERVERS] = {false};
	int members;
	uint64 bytes = 0;
	bool differ = false;
	int count = 0;

	for (int i = 0; i < group->members; i++)
	{
		DifsCopy *copy;

		if (judgement->verdict[i] != DIFS_COPY_GOOD)
			continue;
		copy = difs_copies_of(copies, group->id, group->member[i]);
		differ = differ || (count > 0 && copy->entry.live_bytes != bytes);
		bytes = copy->entry.live_bytes;
		place[count] = i;
		servers[count++] = group->member[i];
	}
	members = count;
	for (int i = 0; members > 0 && i < copy_count && count < lengthof(servers); i++)
	{
		if (is_member(group, found[i].server))
			continue;
		differ = differ || found[i].entry.live_bytes != bytes;
		servers[count++] = found[i].server;
	}
	if (!differ)
		return;
	if (!difs_copies_compare(group->id, servers, count, lacking))
	{
		judgement->unsure = true;
		return;
	}
	for (int i = 0; i < members; i++)
	{
		if (lacking[i])
			judgement->verdict[place[i]] = DIFS_COPY_SHORT;
	}
}

/* Good members first, then others that have something. */
static void
find_holders(const DifsSealedGroup *group, const DifsCopies *copies, DifsJudgement *judgement)
{
	int count;
	DifsCopy *found = difs_copies_find(copies, group->id, &count);

	judgement->highest_epoch = group->epoch + group->generation;
	for (int i = 0; i < group->members; i++)
	{
		if (judgement->verdict[i] == DIFS_COPY_GOOD || judgement->verdict[i] == DIFS_COPY_DRAINING)
			judgement->holder[judgement->holder_count++] = group->member[i];
	}
	for (int i = 0; i < count; i++)
	{
		bool known = false;

		for (int j = 0; j < judgement->holder_count; j++)
			known = known || judgement->holder[j] == found[i].server;
		if (!known)
			judgement->holder[judgement->holder_count++] = found[i].server;
		judgement->highest_epoch = Max(judgement->highest_epoch, found[i].entry.epoch);
		judgement->file_bytes = Max(judgement->file_bytes, found[i].entry.file_bytes);
	}
}

static int64
survey_batch(const DifsSealedGroup *groups, int count, uint64 after, uint64 last)
{
	DifsJudgement *judgements = palloc(sizeof(DifsJudgement) * BATCH);
	int server_count;
	DifsSharedServer *servers = difs_repair_servers(&server_count);
	DifsCopies *copies = difs_copies_list(servers, server_count, after, last);
	int64 dropped = 0;

	for (int i = 0; i < count; i++)
		difs_survey_judge(&groups[i], servers, server_count, copies, &judgements[i]);

	difs_repair_begin();
	difs_missing_replace(after, last, groups, judgements, count);
	difs_repair_commit();

	for (int i = 0; i < count; i++)
	{
		if (!groups[i].sizes_known)
			learn_sizes(&groups[i], &judgements[i]);
	}
	for (int i = 0; i < count; i++)
		dropped += drop_strangers(&groups[i], copies, &judgements[i]);
	return dropped;
}

static int64
drop_strangers(const DifsSealedGroup *group, const DifsCopies *copies, const DifsJudgement *judgement)
{
	int count;
	DifsCopy *found = difs_copies_find(copies, group->id, &count);
	int64 dropped = 0;

	if (group->members == 0) /* somebody has changed the row by hand */
		return 0;
	if (judgement->unsure)
		return 0;
	if (!difs_claim_confirmed(difs_duty_database))
		return 0; /* somebody else may hold the claim by now */
	for (int i = 0; i < group->members; i++)
	{
		if (judgement->verdict[i] != DIFS_COPY_GOOD && judgement->verdict[i] != DIFS_COPY_DRAINING)
			return 0;
	}
	for (int i = 0; i < count; i++)
	{
		DifsError error;
		uint8 control[16];

		if (is_member(group, found[i].server))
			continue;
		if (difs_repair_call(found[i].server, DIFS_MESSAGE_DROP_GROUP, control,
							 difs_pair_pack(group->id, found[i].entry.epoch, control), NULL, &error))
		{
			dropped++;
			DIFS_FAULT("keeper.repair.dropped");
		}
		else
			ereport(LOG,
					(errmsg("difs repair: could not drop a copy of block group " UINT64_FORMAT ": %s", group->id, error.text)));
	}
	return dropped;
}

static bool
is_member(const DifsSealedGroup *group, int32 server)
{
	for (int i = 0; i < group->members; i++)
	{
		if (group->member[i] == server)
			return true;
	}
	return false;
}
