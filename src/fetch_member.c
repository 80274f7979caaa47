/*
 * fetch_member.c - which member of a block group is asked next, and when to stop asking.
 *
 * The first is chosen by chance, where those are more likely that answer quickly and
 * from which this backend awaits little, so that the load spreads over all members as
 * they can bear it; those that the keeper has found dead, or that failed this backend
 * lately, come last.  Each is asked once a round.  A member that answered without a good copy
 * (its bytes are bad, or it does not have the segment) is not asked again: when all
 * have, and the table names no others, the segment is lost.  Members that do not
 * answer are asked in round after round until difs.server_timeout is over, so that
 * a chunk server that is being restarted is not an error.  One whose bytes crawl is
 * given up after difs.server_timeout and the time that the bytes take at the slowest
 * pace that is worth waiting for.
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "src/compat.h"
#include "src/counters.h"
#include "src/fetch_lane.h"
#include "src/pace.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/shmem.h"

#define PAUSE_MS 100

static int64 choose_patience(const DifsLane *lane);
static int64 time_left_ms(const DifsLane *lane);
static void find_members(DifsLane *lane);
static void put_in_order(DifsLane *lane);
static double draw(int32 server);
static bool seems_alive(DifsDatabase *database, int32 server);
static bool refresh_members(DifsLane *lane);
static char *list_failures(const DifsLane *lane);
pg_noreturn static void report_lost(const DifsLane *lane);
pg_noreturn static void report_silence(const DifsLane *lane);

void
difs_lane_begin(DifsLane *lane, const DifsPiece *piece, const char *path)
{
	*lane = (DifsLane){.piece = *piece, .path = path, .window_bytes = piece->get_length, .direct = -1};
	if (piece->stored.group == 0)
		return; /* staged */
	find_members(lane);
	difs_lane_begin_round(lane);
}

void
difs_lane_begin_round(DifsLane *lane)
{
	lane->state = DIFS_LANE_TO_SEND;
	lane->tried = lane->bad;
	lane->refreshed = false;
	lane->began_ms = difs_link_clock_ms();
}

bool
difs_lane_choose(const DifsLane *lane, int *member, int64 *patience_ms)
{
	for (int i = 0; i < lane->members.count; i++)
	{
		*member = lane->order[i];
		if (((lane->tried | lane->awaited) & (1u << *member)) != 0)
			continue;
		*patience_ms = choose_patience(lane);
		return true;
	}
	return false;
}

void
difs_lane_note_failure(DifsLane *lane, int member, const DifsError *error)
{
	const DifsStored *stored = &lane->piece.stored;

	if (lane->why == NULL)
		lane->why = palloc0(sizeof(DifsError) * DIFS_MAX_REPLICAS);
	lane->why[member] = *error;
	lane->tried |= 1u << member;
	difs_counters_io_failed(DIFS_IO_GET, lane->members.server[member], 1);
	if (error->code != DIFS_ERROR_CORRUPT && error->code != DIFS_ERROR_NO_SEGMENT && error->code != DIFS_ERROR_NO_GROUP)
		return;
	lane->bad |= 1u << member;
	ereport(LOG,
			(errcode(DIFS_ERRCODE_CORRUPT),
			 errmsg("chunk server %d has no good copy of segment %llu of block group %llu",
					lane->members.server[member],
					(unsigned long long) stored->segment, (unsigned long long) stored->group),
			 errdetail_internal("%s", error->text),
			 errcontext("while reading file \"%s\" at offset %lld", lane->path, (long long) lane->piece.file_offset)));
}

void
difs_lane_round_over(DifsLane *lane)
{
	bool changed = refresh_members(lane);

	if (!changed && pg_popcount32(lane->bad) == lane->members.count)
		report_lost(lane);
	if (time_left_ms(lane) <= PAUSE_MS)
		report_silence(lane);
	lane->tried = lane->bad;
	lane->refreshed = true;
	lane->state = DIFS_LANE_PAUSED;
	lane->resume_ms = difs_link_clock_ms() + (changed ? 0 : PAUSE_MS);
}

/* How long the member that is asked now may be silent: the first for half of the time, and the others so that all
 * are asked before it is over. */
static int64
choose_patience(const DifsLane *lane)
{
	int untried = lane->members.count - pg_popcount32(lane->tried);

	if (lane->tried == 0 && !lane->refreshed)
		return difs_server_timeout / 2;
	return Max(time_left_ms(lane) / untried, PAUSE_MS);
}

static int64
time_left_ms(const DifsLane *lane)
{
	return lane->began_ms + difs_server_timeout - difs_link_clock_ms();
}

static void
find_members(DifsLane *lane)
{
	uint64 group = lane->piece.stored.group;

	if (!difs_group_members(group, &lane->members))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("file \"%s\" has bytes in block group %llu, which is not in difs.block_group",
						lane->path, (unsigned long long) group)));
	put_in_order(lane);
}

static void
put_in_order(DifsLane *lane)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	int count = lane->members.count;
	double lots[DIFS_MAX_REPLICAS];

	for (int member = 0; member < count; member++)
	{
		int32 server = lane->members.server[member];
		int place = member;

		lots[member] = count == 1 ? 0 : draw(server);
		if (count > 1 && !seems_alive(database, server))
			lots[member] += 1e30; /* more than any draw */
		for (; place > 0 && lots[lane->order[place - 1]] > lots[member]; place--)
			lane->order[place] = lane->order[place - 1];
		lane->order[place] = member;
	}
}

/* A lot: of several servers, the chance to draw the smallest is inverse to the square of the time in which each would answer. The square keeps
 * the slow ones out of all but a few reads, which is enough to notice when they are quick again. */
static double
draw(int32 server)
{
	double time_us = difs_pace_of(server) * (1.0 + difs_link_in_flight(server));

	return -log(1.0 - pg_prng_double(&pg_global_prng_state)) * time_us * time_us;
}

/* What the keeper and this backend know; on a standby, where no keeper runs, all are presumed to live. */
static bool
seems_alive(DifsDatabase *database, int32 server)
{
	DifsSharedServer known;

	if (difs_link_suspect(server))
		return false;
	return database == NULL || !difs_server_lookup(database, server, &known) || known.alive;
}

/* Reads again who the members are: repair may have moved the group, or a server its address. True if the members
 * are others now. */
static bool
refresh_members(DifsLane *lane)
{
	DifsMembers before = lane->members;

	difs_servers_forget(lane->piece.stored.group);
	find_members(lane);
	if (before.count == lane->members.count &&
		memcmp(before.server, lane->members.server, sizeof(int32) * before.count) == 0)
		return false;
	lane->tried = lane->bad = 0;
	return true;
}

static char *
list_failures(const DifsLane *lane)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lane->members.count; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? "; " : "", lane->why[i].text);
	return list.data;
}

static void
report_lost(const DifsLane *lane)
{
	const DifsPiece *piece = &lane->piece;

	ereport(ERROR,
			(errcode(DIFS_ERRCODE_CORRUPT),
			 errmsg("file \"%s\" is damaged at offset %lld", lane->path, (long long) piece->file_offset),
			 errdetail("No good copy of segment %llu in block group %llu is left: %s.",
					   (unsigned long long) piece->stored.segment, (unsigned long long) piece->stored.group,
					   list_failures(lane)),
			 errhint("Restore the files of one of these chunk servers from a backup, or delete the file.")));
}

static void
report_silence(const DifsLane *lane)
{
	const DifsPiece *piece = &lane->piece;

	ereport(ERROR,
			(errcode(DIFS_ERRCODE_IO),
			 errmsg("could not read file \"%s\" at offset %lld: no chunk server gave an answer in time",
					lane->path, (long long) piece->file_offset),
			 errdetail("Segment %llu in block group %llu: %s.",
					   (unsigned long long) piece->stored.segment, (unsigned long long) piece->stored.group,
					   list_failures(lane)),
			 errhint("See that these chunk servers run and can be reached (difs.servers shows their health), "
					 "and try again; difs.server_timeout is how long a call waits for them.")));
}
