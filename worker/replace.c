/*
 * replace.c - makes one copy of a block group and enters it into the row (repair.h).
 *
 *	1. the row's generation is raised and committed: no other copy carries this number, not even one that an older
 *	   owner of the database makes on a server that has not heard of the newer one yet
 *	2. the target pulls the group from those that have it, and says so when all of it is durable
 *	3. the row names the target
 *
 * A death after 1 costs a number; after 2 it leaves a copy that no row names, which
 * the survey drops, or the next try replaces since its number is higher.  Until 3, readers
 * use the members that there were; the copy that is no longer named afterwards is dropped by a later survey,
 * so who has just read the row still finds it.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/fault.h"
#include "src/settings.h"
#include "worker/copy_epoch.h"
#include "worker/duties.h"
#include "worker/repair.h"

#define NO_PROGRESS_MS 60000 /* of a pull, while its target answers */
#define MAX_FAILURES 3		 /* of a request in a row, as when the target has just been started again */

static bool raise_generation(DifsSealedGroup *group, uint64 highest_epoch, DifsError *error);
static bool make_request(const DifsSealedGroup *group, const DifsJudgement *judgement, DifsPull *pull, DifsError *error);
static bool pull_copy(const DifsSealedGroup *group, int32 target, const DifsPull *pull, DifsError *error);

bool
difs_replace_copy(DifsSealedGroup *group, int place, int32 target, const DifsJudgement *judgement, bool damaged_too,
				  DifsError *error)
{
	DifsPull *pull = palloc0(sizeof(DifsPull));
	bool entered;

	errno = 0;
	if (!raise_generation(group, judgement->highest_epoch, error) || !make_request(group, judgement, pull, error))
		return false;
	DIFS_FAULT("keeper.repair.generation");
	pull->flags = (damaged_too ? DIFS_PULL_DAMAGED : 0) | difs_tls << DIFS_PULL_TLS_SHIFT;
	if (!pull_copy(group, target, pull, error))
	{
		ereport(LOG,
				(errmsg("difs repair: could not copy block group " UINT64_FORMAT ": %s", group->id, error->text)));
		return false;
	}
	DIFS_FAULT("keeper.repair.pulled");
	difs_repair_begin();
	entered = difs_repair_rows_move(group, place, target);
	DIFS_FAULT("keeper.repair.moved");
	difs_repair_commit();
	DIFS_FAULT("keeper.repair.entered");
	if (!entered)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "the row of block group " UINT64_FORMAT " has changed", group->id);
	ereport(LOG,
			(errmsg("difs repair: block group " UINT64_FORMAT " is on server %d now, in place of server %d",
					group->id, target, group->member[place])));
	group->member[place] = target;
	return true;
}

static bool
raise_generation(DifsSealedGroup *group, uint64 highest_epoch, DifsError *error)
{
	uint64 epoch = difs_copy_epoch_next(difs_duty_database->epoch, Max(highest_epoch, group->epoch + group->generation));
	uint64 generation = epoch - group->epoch;
	bool raised;

	if (epoch == 0)
		return difs_error_set(error, DIFS_ERROR_FENCED, "a later owner has made a copy of block group " UINT64_FORMAT, group->id);
	difs_repair_begin();
	raised = difs_repair_rows_generation(group, generation);
	difs_repair_commit();
	if (!raised)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "the row of block group " UINT64_FORMAT " has changed", group->id);
	group->generation = generation;
	return true;
}

static bool
make_request(const DifsSealedGroup *group, const DifsJudgement *judgement, DifsPull *pull, DifsError *error)
{
	int count;
	DifsSharedServer *servers = difs_repair_servers(&count);

	pull->group = group->id;
	pull->epoch = group->epoch + group->generation;
	pull->capacity = group->capacity_bytes;
	pull->rate = (uint64) difs_repair_rate * 1024;
	for (int i = 0; i < judgement->holder_count && pull->count < DIFS_PULL_MAX_SOURCES; i++)
	{
		const DifsSharedServer *server = difs_repair_server(servers, count, judgement->holder[i]);
		DifsPullSource *source = &pull->sources[pull->count];

		if (server == NULL || !server->alive)
			continue;
		strlcpy(source->name, server->name, sizeof(source->name));
		strlcpy(source->host, server->host, sizeof(source->host));
		source->port = server->port;
		pull->count++;
	}
	return pull->count > 0 || difs_error_set(error, DIFS_ERROR_NETWORK, "no server that answers has a copy");
}

/* Asks again and again, until it is done or does not go on. */
static bool
pull_copy(const DifsSealedGroup *group, int32 target, const DifsPull *pull, DifsError *error)
{
	uint8 *control = palloc(DIFS_WIRE_MAX_CONTROL);
	uint32 length = (uint32) difs_pull_pack(pull, control);
	TimestampTz moved_at = GetCurrentTimestamp();
	uint64 bytes = 0;
	int failures = 0;

	for (;;)
	{
		DifsReply reply;
		DifsPullProgress progress = {0};

		if (!difs_repair_call(target, DIFS_MESSAGE_PULL, control, length, &reply, error))
		{
			if (error->code != DIFS_ERROR_NETWORK || ++failures == MAX_FAILURES)
				return false;
			continue;
		}
		failures = 0;
		if (!difs_pull_progress_unpack(reply.control, reply.control_length, &progress, error))
			return false;
		pfree(reply.control);
		if (progress.done)
			return true;
		DIFS_FAULT("keeper.repair.asked");
		if (progress.bytes != bytes)
			moved_at = GetCurrentTimestamp();
		bytes = progress.bytes;
		if (TimestampDifferenceExceeds(moved_at, GetCurrentTimestamp(), NO_PROGRESS_MS))
			return difs_error_set(error, DIFS_ERROR_NETWORK, "a copy of block group " UINT64_FORMAT " does not get on", group->id);
	}
}
