/*
 * groups.c - the life of a block group, as far as the keeper leads it.
 *
 *	CREATE   row inserted as open, committed -> all members make the group -> published in groups[] as OPEN
 *	DROP     CREATE failed, nobody has used it -> members drop what they have made -> no row
 *	SEAL     FULL or FAILED, nothing in flight, no leases (lease.h) -> members that answer seal it -> row sealed, entry empty
 *	ADOPT    row open from an earlier run -> all members still have it open -> published; otherwise SEAL
 *
 * State: the jobs (group_jobs.c), one for each group on which a step is under way,
 * and how far ADOPT has come.  It dies with the keeper, and the next one finds the
 * same groups as open rows, which it adopts or seals: so every step can be
 * repeated, and a server that is asked twice says the same.
 *
 * A CREATE that fails at one member ends as DROP, never as a smaller group, and not
 * as a sealed one either: if no member had made it, repair would look for copies
 * of nothing.  What a member does not drop belongs to nobody then, and is collected.
 * How many groups are opened, and where, is group_stock.c's.
 *
 * Nothing here waits: asks (health.h) are looked at on each turn until all have
 * ended or the deadline has passed.  Rows are written in short transactions
 * between them.
 */
#include "postgres.h"

#include "common/fault.h"
#include "src/settings.h"
#include "worker/duties.h"
#include "worker/group_jobs.h"
#include "worker/group_rows.h"
#include "worker/group_stock.h"
#include "worker/groups.h"
#include "worker/health.h"
#include "worker/keeper.h"
#include "worker/lease.h"
#include "worker/process.h"

#define ADOPT_AT_ONCE 16
#define FILE_HEADER_BYTES 4096 /* what a member's file holds before the first segment */

static uint64 seen_changes = 0;
static bool adopting = false;
static uint64 adopted_up_to = 0;

static void avoid_the_dead(void);
static void leave_the_lost(void);
static bool adopt_some(void);
static bool is_known(uint64 group);
static bool conclude_jobs(void);
static void conclude_create(DifsJob *job);
static void conclude_adopt(DifsJob *job);
static bool conclude_seal(DifsJob *job);
static bool conclude_drop(DifsJob *job);
static void log_failure(const DifsJob *job, const DifsAsk *ask, const char *what);
static bool publish(const DifsOpenGroup *group);
static void seal_published(TimestampTz *next);

void
difs_groups_begin(void)
{
	adopting = true;
	adopted_up_to = 0;
}

bool
difs_groups_turn(TimestampTz *next)
{
	if (difs_health_changes() != seen_changes)
	{
		seen_changes = difs_health_changes();
		difs_group_stock_hurry();
		avoid_the_dead();
	}
	if (!conclude_jobs() || (adopting && !adopt_some()))
		return false;
	leave_the_lost();
	seal_published(next);
	if (!difs_group_stock_fill(next))
		return false;
	for (int i = 0; i < DIFS_MAX_JOBS; i++)
	{
		if (difs_jobs[i].task != DIFS_TASK_NONE)
			difs_process_by(next, difs_job_ended(&difs_jobs[i]) ? GetCurrentTimestamp() : difs_jobs[i].deadline);
	}
	return true;
}

/* A server that hangs would cost whoever sends to it a part of difs.server_timeout to find out. */
static void
avoid_the_dead(void)
{
	DifsDatabase *database = difs_keeper_database;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &database->groups[i];
		int alive = 0;

		for (int j = 0; j < DIFS_MAX_SERVERS; j++)
			for (int k = 0; database->servers[j].alive && k < group->class.replicas; k++)
				alive += database->servers[j].id != 0 && group->member[k] == database->servers[j].id;
		group->avoided = alive < group->class.replicas;
	}
	LWLockRelease(&difs_shared->lock);
}

/* A group that is not sealed cannot be moved or repaired: so it is, once a member is to be drained, is gone, or has not answered for so
 * long that it is not waited for any more. */
static void
leave_the_lost(void)
{
	DifsDatabase *database = difs_keeper_database;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &database->groups[i];
		int usable = 0;

		if (group->state != DIFS_OPEN_GROUP_OPEN)
			continue;
		for (int j = 0; j < DIFS_MAX_SERVERS; j++)
		{
			const DifsSharedServer *server = &database->servers[j];

			if (server->id == 0 || !server->accepts_groups ||
				(!server->alive && TimestampDifferenceExceeds(server->down_since, now, difs_repair_delay)))
				continue;
			for (int k = 0; k < group->class.replicas; k++)
				usable += group->member[k] == server->id;
		}
		if (usable < group->class.replicas)
		{
			group->state = DIFS_OPEN_GROUP_FULL;
			group->leases = 0; /* nobody is waited for */
		}
	}
	LWLockRelease(&difs_shared->lock);
}

/* Begins with some of the open rows that an earlier run has left. */
static bool
adopt_some(void)
{
	DifsOpenGroup found[ADOPT_AT_ONCE];
	uint64 epochs[ADOPT_AT_ONCE];
	int room = 0;
	int count;

	for (int i = 0; i < DIFS_MAX_JOBS && room < ADOPT_AT_ONCE; i++)
		room += difs_jobs[i].task == DIFS_TASK_NONE;
	if (room == 0)
		return true;
	if (!difs_keeper_begin())
		return false;
	count = difs_group_rows_open(adopted_up_to, found, epochs, room);
	difs_keeper_commit();

	for (int i = 0; i < count; i++)
	{
		adopted_up_to = found[i].id;
		if (is_known(found[i].id))
			continue;
		difs_job_start(epochs[i] == difs_keeper_database->epoch ? DIFS_TASK_ADOPT : DIFS_TASK_SEAL, &found[i], -1);
	}
	adopting = count == room;
	return true;
}

/* Is it published, or is something being done about it? */
static bool
is_known(uint64 group)
{
	bool known = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		const DifsOpenGroup *entry = &difs_keeper_database->groups[i];

		known = known || (entry->state != DIFS_OPEN_GROUP_UNUSED && entry->id == group);
	}
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < DIFS_MAX_JOBS; i++)
		known = known || (difs_jobs[i].task != DIFS_TASK_NONE && difs_jobs[i].group.id == group);
	return known;
}

static bool
conclude_jobs(void)
{
	for (int i = 0; i < DIFS_MAX_JOBS; i++)
	{
		DifsJob *job = &difs_jobs[i];

		if (job->task == DIFS_TASK_NONE || !difs_job_ended(job))
			continue;
		if (job->task == DIFS_TASK_CREATE)
			conclude_create(job);
		else if (job->task == DIFS_TASK_ADOPT)
			conclude_adopt(job);
		else if (job->task == DIFS_TASK_SEAL ? !conclude_seal(job) : !conclude_drop(job))
			return false;
	}
	return true;
}

/* All members have made it, or it is dropped and those that have not get no groups for a while. */
static void
conclude_create(DifsJob *job)
{
	bool made = true;

	for (int i = 0; i < job->group.class.replicas; i++)
	{
		DifsAsk *ask = &job->asks[i];

		if (ask->state == DIFS_ASK_ANSWERED)
		{
			difs_health_well(ask->server);
			continue;
		}
		made = false;
		if (ask->state == DIFS_ASK_WAITING)
			difs_error_set(&ask->error, DIFS_ERROR_ARGUMENT, "%s: no answer within %d ms",
						   difs_health_name(ask->server), difs_server_timeout / 2);
		if (ask->error.code == DIFS_ERROR_EXISTS) /* of a lost future: the next id may be free */
			job->strangers |= 1U << i;
		else if (ask->error.code != DIFS_ERROR_NETWORK) /* which the health check judges */
			difs_health_rest(ask->server, &ask->error, false);
		ereport(LOG,
				(errmsg("difs: could not create block group " UINT64_FORMAT ": %s", job->group.id, ask->error.text)));
	}
	difs_group_stock_hurry();
	job->group.reserved_bytes = FILE_HEADER_BYTES;
	DIFS_FAULT("keeper.group.created");
	if (made && publish(&job->group))
	{
		ereport(LOG,
				(errmsg("difs: block group " UINT64_FORMAT " is open", job->group.id)));
		job->task = DIFS_TASK_NONE;
	}
	else
		difs_job_begin(job, DIFS_TASK_DROP);
	DIFS_FAULT("keeper.group.published");
}

/* Used again only if every member has it as open as ever. */
static void
conclude_adopt(DifsJob *job)
{
	bool open = job->group.class.replicas > 0;

	job->group.reserved_bytes = FILE_HEADER_BYTES;
	for (int i = 0; i < job->group.class.replicas; i++)
	{
		DifsAsk *ask = &job->asks[i];
		DifsGroupEntry entry;

		if (ask->state != DIFS_ASK_ANSWERED || ask->reply_length < DIFS_GROUP_ENTRY_SIZE)
		{
			open = false;
			break;
		}
		difs_group_entry_unpack(ask->reply, &entry);
		if (entry.group != job->group.id || entry.epoch != difs_keeper_database->epoch ||
			entry.state != DIFS_GROUP_OPEN)
			open = false;
		job->group.reserved_bytes = Max(job->group.reserved_bytes, entry.file_bytes);
	}
	DIFS_FAULT("keeper.adopt.answered");
	if (open && publish(&job->group))
		job->task = DIFS_TASK_NONE;
	else
		difs_job_begin(job, DIFS_TASK_SEAL);
}

static bool
conclude_seal(DifsJob *job)
{
	bool known = false;
	uint64 segments = 0;
	uint64 bytes = 0;

	for (int i = 0; i < job->group.class.replicas; i++)
	{
		DifsAsk *ask = &job->asks[i];
		uint64_t its_segments;
		uint64_t its_bytes;

		if (ask->state == DIFS_ASK_ANSWERED &&
			difs_pair_unpack(ask->reply, ask->reply_length, &its_segments, &its_bytes, &ask->error))
		{
			known = true;
			segments = Max(segments, its_segments);
			bytes = Max(bytes, its_bytes);
		}
		else if (ask->state != DIFS_ASK_NONE)
			log_failure(job, ask, "seal");
		difs_health_forget(ask);
	}
	DIFS_FAULT("keeper.seal.answered");
	if (!difs_keeper_begin())
		return false;
	difs_group_rows_seal(job->group.id, known, segments, bytes);
	difs_keeper_commit();
	DIFS_FAULT("keeper.seal.committed");
	ereport(LOG,
			(errmsg("difs: block group " UINT64_FORMAT " is sealed", job->group.id)));
	if (job->entry != -1)
	{
		LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
		memset(&difs_keeper_database->groups[job->entry], 0, sizeof(DifsOpenGroup));
		LWLockRelease(&difs_shared->lock);
	}
	job->task = DIFS_TASK_NONE;
	return true;
}

/* Whatever the members say: no segment can be in it. */
static bool
conclude_drop(DifsJob *job)
{
	for (int i = 0; i < job->group.class.replicas; i++)
	{
		if (job->asks[i].state == DIFS_ASK_WAITING || job->asks[i].state == DIFS_ASK_FAILED)
			log_failure(job, &job->asks[i], "drop");
		difs_health_forget(&job->asks[i]);
	}
	DIFS_FAULT("keeper.group.dropped");
	if (!difs_keeper_begin())
		return false;
	difs_group_rows_delete(job->group.id);
	difs_keeper_commit();
	job->task = DIFS_TASK_NONE;
	return true;
}

/* A member that has failed as a disk does is left alone for a while; one that is down, or has no such group, is no
 * news. */
static void
log_failure(const DifsJob *job, const DifsAsk *ask, const char *what)
{
	if (ask->state == DIFS_ASK_WAITING)
		ereport(LOG,
				(errmsg("difs: could not %s block group " UINT64_FORMAT ": %s: no answer within %d ms",
						what, job->group.id, difs_health_name(ask->server), difs_server_timeout / 2)));
	else if (ask->error.code != DIFS_ERROR_NETWORK && ask->error.code != DIFS_ERROR_NO_GROUP)
	{
		difs_health_rest(ask->server, &ask->error, true);
		ereport(LOG,
				(errmsg("difs: could not %s block group " UINT64_FORMAT ": %s", what, job->group.id, ask->error.text)));
	}
}

/* For the streamer to use. False if all entries are taken. */
static bool
publish(const DifsOpenGroup *group)
{
	DifsDatabase *database = difs_keeper_database;
	DifsOpenGroup *entry = NULL;
	bool relieved = false;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS && entry == NULL; i++)
	{
		if (database->groups[i].state == DIFS_OPEN_GROUP_UNUSED)
			entry = &database->groups[i];
	}
	if (entry != NULL)
	{
		*entry = *group;
		entry->in_flight = 0;
		entry->state = DIFS_OPEN_GROUP_OPEN;
		for (int i = 0; i < DIFS_MAX_CLASSES; i++)
		{
			if (!difs_class_equal(&database->classes[i].class, &group->class))
				continue;
			relieved = database->classes[i].problem.code != DIFS_OK;
			database->classes[i].wanted = false;
			database->classes[i].problem.code = DIFS_OK;
		}
	}
	LWLockRelease(&difs_shared->lock);
	difs_wake(database->streamer);
	if (relieved && pg_atomic_read_u64(&database->staged_bytes) > 0)
		difs_duty_want(database, DIFS_DUTY_UNSTAGE);
	return entry != NULL;
}

/* Begins to seal the groups that streamer and clients have done with. */
static void
seal_published(TimestampTz *next)
{
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup group;
		bool under_way = false;
		bool leased;

		LWLockAcquire(&difs_shared->lock, LW_SHARED);
		group = difs_keeper_database->groups[i];
		leased = difs_lease_holds(difs_keeper_database, &group, GetCurrentTimestamp());
		LWLockRelease(&difs_shared->lock);
		if (leased)
		{
			difs_process_by(next, group.leased_until);
			continue;
		}
		if ((group.state != DIFS_OPEN_GROUP_FULL && group.state != DIFS_OPEN_GROUP_FAILED) || group.in_flight != 0)
			continue;
		for (int j = 0; j < DIFS_MAX_JOBS; j++)
			under_way = under_way || (difs_jobs[j].task == DIFS_TASK_SEAL && difs_jobs[j].entry == i);
		if (!under_way && difs_job_free() != NULL)
			difs_job_start(DIFS_TASK_SEAL, &group, i);
	}
}
