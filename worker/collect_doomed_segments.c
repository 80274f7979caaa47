/*
 * collect_doomed_segments.c - the segments of doomed content go from chunk servers (collect_doomed.h).
 *
 * Block group by block group; what is staged has no members.  A row counts as gone
 * when all members have answered: the others keep their items for the next round.
 */
#include "postgres.h"

#include "common/fault.h"
#include "worker/collect.h"
#include "worker/collect_doomed.h"
#include "worker/duties.h"

static int compare_groups(const void *a, const void *b);
static void delete_run(DifsDoomedBatch *batch, DifsDoomedRow *rows, int count);

void
difs_doomed_delete_segments(DifsDoomedBatch *batch)
{
	int begin = 0;

	qsort(batch->rows, batch->row_count, sizeof(DifsDoomedRow), compare_groups);
	while (begin < batch->row_count && batch->rows[begin].shared)
		batch->rows[begin++].gone = true;
	for (int i = begin + 1; i <= batch->row_count; i++)
	{
		if (i < batch->row_count && batch->rows[i].group == batch->rows[begin].group)
			continue;
		delete_run(batch, &batch->rows[begin], i - begin);
		begin = i;
	}
}

static int
compare_groups(const void *a, const void *b)
{
	const DifsDoomedRow *left = a;
	const DifsDoomedRow *right = b;

	if (left->shared != right->shared)
		return left->shared ? -1 : 1;
	if (left->group != right->group)
		return left->group < right->group ? -1 : 1;
	return left->segment < right->segment ? -1 : left->segment > right->segment;
}

/* Rows of one block group. */
static void
delete_run(DifsDoomedBatch *batch, DifsDoomedRow *rows, int count)
{
	uint64 *segments = palloc(count * sizeof(uint64));
	DifsMembers members = {0};
	uint64 bytes = 0;
	bool gone = true;
	int segment_count = 0;

	for (int i = 0; i < count; i++)
	{
		if (i > 0 && rows[i].segment == rows[i - 1].segment)
			continue; /* several rows name it */
		segments[segment_count++] = rows[i].segment;
		bytes += rows[i].stored_length;
	}
	if (!difs_duty_begin())
		return;
	difs_servers_forget(rows[0].group);
	(void) difs_group_members(rows[0].group, &members);
	difs_duty_commit();

	for (int i = 0; i < members.count; i++)
	{
		gone = difs_collect_delete(members.server[i], rows[0].group, segments, segment_count) && gone;
		DIFS_FAULT("keeper.collect.member");
	}
	for (int i = 0; i < count; i++)
	{
		rows[i].gone = gone;
		if (!gone)
			difs_doomed_keep(batch, rows[i].item, rows[i].from_version, rows[i].to_version, true);
	}
	if (gone)
	{
		difs_collect_count(DIFS_COLLECTED_SEGMENTS, segment_count);
		difs_collect_count(DIFS_COLLECTED_BYTES, (int64) bytes * (rows[0].group == 0 ? 1 : members.count));
	}
	pfree(segments);
}
