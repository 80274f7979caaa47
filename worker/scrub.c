/*
 * scrub.c - the duty that reads everything again, and mends what has rotted.
 *
 * difs.scrub says when each copy of each block group was read last.  A copy is due
 * when that is half of difs.scrub_interval ago, so that a slow or missed round does no
 * harm; a round reads those that are due, the longest unread first and at random among
 * those of one hour, and a round that was asked for reads them all.
 *
 * For each group:
 *
 *	1. which segments manifest rows name in it                          a transaction
 *	2. what each member lists, and which of it is bad on its disk       no transaction
 *	3. which bad or missing ones any version that lives still needs     a transaction
 *	4. each is mended from a member that has it                         no transaction
 *	5. when each copy was read, and what is lost, is written down       a transaction
 *
 * Whatever dies, the group is due still, and the next round begins with it.  What is mended twice is the same.
 *
 * A sealed group that a member has lost altogether, or cannot open any more, is made
 * there anew, empty, if the other members have all of it; then everything is missing, and mended.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/settings.h"
#include "worker/duties.h"
#include "worker/mend.h"
#include "worker/scrub.h"
#include "worker/scrub_copy.h"
#include "worker/scrub_rows.h"

static int64 results[DIFS_SCRUB_RESULTS];

static bool scrub_group(DifsScrubGroup *group);
static void read_copies(const DifsScrubGroup *group, DifsScrubCopy *copies);
static bool make_anew(const DifsScrubGroup *group, const DifsExpected *expected, int count, DifsScrubCopy *copies);
static bool has_all(const DifsScrubCopy *copy, const DifsExpected *expected, int count);
static uint64 *find_bad(const DifsScrubGroup *group, const DifsExpected *expected, int count,
						const DifsScrubCopy *copies, int *bad_count);
static bool is_bad(const DifsListEntry *entry);
static int compare_ids(const void *a, const void *b);
static void mend_all(const DifsScrubGroup *group, const DifsExpected *expected, int count, DifsScrubCopy *copies,
					 DifsBad *bad);
static void mend_one(const DifsScrubGroup *group, const DifsExpected *wanted, DifsScrubCopy *copies, DifsMend *mend);
static void seal(const DifsScrubGroup *group, const DifsScrubCopy *copies);
static const DifsExpected *find_expected(const DifsExpected *expected, int count, uint64 segment);
static void add_up(const DifsScrubCopy *copies, int count);

void
difs_scrub_round(void)
{
	MemoryContext round_context = CurrentMemoryContext;
	MemoryContext group_context = AllocSetContextCreate(round_context, "difs scrub group", ALLOCSET_DEFAULT_SIZES);
	DifsScrubGroup *groups;
	int count;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	memset(results, 0, sizeof(results));
	groups = difs_scrub_rows_due(difs_duty_asked(), &count);
	for (int i = 0; i < count; i++)
	{
		difs_duty_progress(i, count);
		MemoryContextSwitchTo(group_context);
		if (!scrub_group(&groups[i]))
			return;
		MemoryContextReset(group_context);
		for (int result = 0; result < DIFS_SCRUB_RESULTS; result++)
			difs_duty_result(result, results[result]);
	}
	difs_duty_progress(count, count);
	MemoryContextSwitchTo(round_context);
	MemoryContextDelete(group_context);
	if (count > 0)
		ereport(LOG,
				(errmsg("difs keeper: scrubbed %lld copies of block groups, %lld bytes: %lld bad copies of segments, "
						"%lld mended; %lld segments lost; %lld copies not reached",
						(long long) results[DIFS_SCRUB_COPIES], (long long) results[DIFS_SCRUB_BYTES],
						(long long) results[DIFS_SCRUB_DAMAGED], (long long) results[DIFS_SCRUB_MENDED],
						(long long) results[DIFS_SCRUB_LOST], (long long) results[DIFS_SCRUB_UNREACHABLE])));
}

/* False if the extension is gone. */
static bool
scrub_group(DifsScrubGroup *group)
{
	DifsScrubCopy *copies = palloc0(sizeof(DifsScrubCopy) * DIFS_MAX_REPLICAS);
	DifsExpected *expected;
	DifsBad bad = {0};
	int count;
	uint64 *candidates;
	int candidate_count;

	expected = difs_scrub_rows_expected(group, &count);
	if (expected == NULL)
		return false;
	if (group->count == 0)
		return true;
	read_copies(group, copies);
	if (!make_anew(group, expected, count, copies))
		return false;
	candidates = find_bad(group, expected, count, copies, &candidate_count);
	if (candidate_count > 0)
	{
		if (!difs_scrub_rows_needed(candidates, candidate_count, &bad))
			return false;
		mend_all(group, expected, count, copies, &bad);
	}
	seal(group, copies);
	add_up(copies, group->count);
	results[DIFS_SCRUB_LOST] += bad.lost_count;
	return difs_scrub_rows_done(group, copies, &bad);
}

static void
read_copies(const DifsScrubGroup *group, DifsScrubCopy *copies)
{
	for (int i = 0; i < group->count; i++)
	{
		copies[i].server = group->server[i];
		copies[i].due = group->due[i];
		difs_scrub_copy_read(&copies[i], group->id);
		if (copies[i].outcome != DIFS_SCRUB_READ)
			ereport(LOG,
					(errmsg("difs keeper: block group %llu cannot be scrubbed on server %d",
							(unsigned long long) group->id, copies[i].server),
					 errdetail_internal("%s", copies[i].error.text)));
	}
}

/* False if the extension is gone. */
static bool
make_anew(const DifsScrubGroup *group, const DifsExpected *expected, int count, DifsScrubCopy *copies)
{
	DifsCreateGroup create = {.group = group->id, .capacity = group->capacity_bytes};
	bool whole = false;

	for (int i = 0; i < group->count; i++)
		whole |= has_all(&copies[i], expected, count);
	if (!group->sealed || !whole)
		return true;
	for (int i = 0; i < group->count; i++)
	{
		DifsScrubCopy *copy = &copies[i];

		if (copy->outcome != DIFS_SCRUB_GONE && copy->outcome != DIFS_SCRUB_UNREADABLE)
			continue;
		if (!difs_scrub_rows_raise(group, &create.epoch))
			return false;
		if (create.epoch == 0)
			return true; /* the next round sees how it is */
		if (!difs_mend_make_group(copy->server, &create, copy->outcome == DIFS_SCRUB_UNREADABLE, &copy->error))
		{
			ereport(LOG,
					(errmsg("difs keeper: block group %llu cannot be made anew on server %d",
							(unsigned long long) group->id, copy->server),
					 errdetail_internal("%s", copy->error.text)));
			continue;
		}
		copy->outcome = DIFS_SCRUB_READ;
		copy->count = 0;
	}
	return true;
}

static bool
has_all(const DifsScrubCopy *copy, const DifsExpected *expected, int count)
{
	if (copy->outcome != DIFS_SCRUB_READ)
		return false;
	for (int i = 0; i < count; i++)
	{
		if (is_bad(difs_scrub_copy_find(copy, expected[i].segment)))
			return false;
	}
	return true;
}

/* What some member has not, or has damaged. */
static uint64 *
find_bad(const DifsScrubGroup *group, const DifsExpected *expected, int count, const DifsScrubCopy *copies,
		 int *bad_count)
{
	Size room = count;
	uint64 *bad;
	int found = 0;
	int kept = 0;

	for (int i = 0; i < group->count; i++)
		room += copies[i].outcome == DIFS_SCRUB_READ ? copies[i].count : 0;
	bad = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint64) * (room + 1));
	for (int i = 0; i < group->count; i++)
	{
		const DifsScrubCopy *copy = &copies[i];

		for (uint32 j = 0; copy->outcome == DIFS_SCRUB_READ && j < copy->count; j++)
		{
			const DifsListEntry *entry = &copy->entries[j];

			if (entry->segment != 0 && !(entry->flags & DIFS_LIST_DEAD) && is_bad(entry))
				bad[found++] = entry->segment;
		}
	}
	for (int j = 0; j < count; j++)
	{
		bool missing = false;

		for (int i = 0; i < group->count; i++)
			missing |= copies[i].outcome != DIFS_SCRUB_NO_ANSWER &&
				difs_scrub_copy_find(&copies[i], expected[j].segment) == NULL;
		if (missing)
			bad[found++] = expected[j].segment;
	}
	qsort(bad, found, sizeof(uint64), compare_ids);
	for (int i = 0; i < found; i++)
	{
		if (kept == 0 || bad[i] != bad[kept - 1])
			bad[kept++] = bad[i];
	}
	*bad_count = kept;
	return bad;
}

static bool
is_bad(const DifsListEntry *entry)
{
	return entry == NULL || entry->flags & DIFS_LIST_DAMAGED;
}

static int
compare_ids(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

/* Fills in which segments are lost. */
static void
mend_all(const DifsScrubGroup *group, const DifsExpected *expected, int count, DifsScrubCopy *copies, DifsBad *bad)
{
	bad->lost = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint64) * ((Size) bad->count + 1));
	for (int i = 0; i < bad->count; i++)
	{
		const DifsExpected *wanted = bad->needed[i] ? find_expected(expected, count, bad->segment[i]) : NULL;
		DifsMend mend = {.group = group->id, .segment = bad->segment[i], .expected = wanted != NULL};

		mend_one(group, wanted, copies, &mend);
		if (wanted != NULL && mend.count == group->count && difs_mend_is_lost(&mend))
			bad->lost[bad->lost_count++] = mend.segment;
		if (mend.error.code != DIFS_OK)
			ereport(LOG,
					(errmsg("difs keeper: segment %llu of block group %llu cannot be mended",
							(unsigned long long) mend.segment, (unsigned long long) mend.group),
					 errdetail_internal("%s", mend.error.text)));
	}
}

/* A segment that no version needs is mended where it is damaged, as a snapshot may see it; it is nowhere missing. */
static void
mend_one(const DifsScrubGroup *group, const DifsExpected *wanted, DifsScrubCopy *copies, DifsMend *mend)
{
	DifsScrubCopy *of[DIFS_MAX_REPLICAS];

	if (wanted != NULL)
	{
		mend->stored_length = wanted->stored_length;
		mend->crc = wanted->crc;
	}
	for (int i = 0; i < group->count; i++)
	{
		const DifsListEntry *entry = difs_scrub_copy_find(&copies[i], mend->segment);
		DifsCopyState state = DIFS_COPY_GOOD;

		if (copies[i].outcome == DIFS_SCRUB_NO_ANSWER)
			state = DIFS_COPY_UNREACHABLE;
		else if (copies[i].outcome != DIFS_SCRUB_READ || entry == NULL)
			state = DIFS_COPY_MISSING;
		else if (entry->flags & DIFS_LIST_DAMAGED)
			state = DIFS_COPY_DAMAGED;
		if (wanted == NULL && state == DIFS_COPY_MISSING)
			continue;
		copies[i].bad += state == DIFS_COPY_DAMAGED || state == DIFS_COPY_MISSING;
		of[mend->count] = &copies[i];
		mend->server[mend->count] = copies[i].server;
		mend->copy[mend->count++] = state;
	}
	difs_mend_segment(mend);
	for (int i = 0; i < mend->count; i++)
		of[i]->mended += mend->copy[i] == DIFS_COPY_MENDED;
}

/* A copy may have been made anew, or its server was away when the group was sealed. One that is sealed stays as it is. */
static void
seal(const DifsScrubGroup *group, const DifsScrubCopy *copies)
{
	uint8 control[8];
	DifsError error;

	for (int i = 0; i < group->count && group->sealed; i++)
	{
		if (copies[i].outcome == DIFS_SCRUB_READ &&
			!difs_mend_ask(copies[i].server, group->id, DIFS_MESSAGE_SEAL_GROUP, control,
						   difs_group_pack(group->id, control), NULL, 0, NULL, &error))
			ereport(LOG,
					(errmsg("difs keeper: block group %llu cannot be sealed on server %d",
							(unsigned long long) group->id, copies[i].server),
					 errdetail_internal("%s", error.text)));
	}
}

static const DifsExpected *
find_expected(const DifsExpected *expected, int count, uint64 segment)
{
	int low = 0;
	int high = count;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (expected[middle].segment < segment)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && expected[low].segment == segment ? &expected[low] : NULL;
}

static void
add_up(const DifsScrubCopy *copies, int count)
{
	for (int i = 0; i < count; i++)
	{
		results[DIFS_SCRUB_COPIES] += copies[i].due && copies[i].outcome == DIFS_SCRUB_READ;
		results[DIFS_SCRUB_UNREACHABLE] += copies[i].outcome == DIFS_SCRUB_NO_ANSWER;
		results[DIFS_SCRUB_BYTES] += copies[i].bytes;
		results[DIFS_SCRUB_DAMAGED] += copies[i].bad;
		results[DIFS_SCRUB_MENDED] += copies[i].mended;
	}
}
