/*
 * group_stock.c - how many block groups are kept open, and where.
 *
 * For each class that the streamer has asked for, a small stock of groups is kept
 * open, so that it has another at once when one is full or fails.  A group counts
 * while all its members are alive.  When one cannot be opened although somebody
 * waits for it, the reason goes to classes[] of the database's entry, for the
 * error message of who waits, and once into the log.
 *
 * Where a group goes is chosen by placement.c, or by a function of the volume, which place.c asks.
 *
 * State: when to try again, in the keeper's memory.
 */
#include "postgres.h"

#include "common/fault.h"
#include "src/settings.h"
#include "worker/duties.h"
#include "worker/group_jobs.h"
#include "worker/group_rows.h"
#include "worker/group_stock.h"
#include "worker/keeper.h"
#include "worker/placement.h"
#include "worker/process.h"

#define MIN_STOCK 2
#define MAX_STOCK 8
#define TRY_AGAIN_MS 1000

static TimestampTz class_retry_at[DIFS_MAX_CLASSES];

static bool open_class(int index, const DifsWantedClass *wanted, const DifsSharedServer *servers, int count,
					   TimestampTz *next);
static int count_open(const DifsClass *class, const DifsSharedServer *servers, int count);
static int count_creating(const DifsClass *class);
static DifsLoad *measure_load(const DifsSharedServer *servers, int count);
static bool choose(int index, const DifsSharedServer *servers, int count, DifsOpenGroup *group, DifsError *problem, bool *asking);
static bool take_answer(int index, DifsOpenGroup *group, DifsError *refusal, bool *asking);
static bool all_usable(const DifsOpenGroup *group, const DifsSharedServer *servers, const DifsLoad *load, int count);
static bool may_open_another(void);
static bool make_room(const DifsClass *class);
static TimestampTz wanted_at(const DifsClass *class);
static bool start_create(DifsOpenGroup *group);
static void note_problem(int index, const DifsClass *class, const DifsError *problem);
static bool all_alive(const DifsOpenGroup *group, const DifsSharedServer *servers, int count);

bool
difs_group_stock_fill(TimestampTz *next)
{
	DifsWantedClass *classes = palloc(sizeof(difs_keeper_database->classes));
	DifsSharedServer *servers = NULL;
	int count = 0;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	memcpy(classes, difs_keeper_database->classes, sizeof(difs_keeper_database->classes));
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		if (classes[i].class.replicas == 0)
			continue;
		if (servers == NULL)
			servers = difs_health_servers(&count);
		if (!open_class(i, &classes[i], servers, count, next))
			return false;
	}
	return true;
}

void
difs_group_stock_hurry(void)
{
	memset(class_retry_at, 0, sizeof(class_retry_at));
}

/* Begins as many groups of one class as are missing from its stock, and at least one if the streamer waits for it. */
static bool
open_class(int index, const DifsWantedClass *wanted, const DifsSharedServer *servers, int count,
		   TimestampTz *next)
{
	const DifsClass *class = &wanted->class;
	int fitting = difs_placement_servers(class, servers, count);
	int stock = Min(Max((fitting + class->replicas - 1) / class->replicas, MIN_STOCK), MAX_STOCK);
	int creating = count_creating(class);
	int missing = stock - count_open(class, servers, count) - creating;

	if (wanted->wanted && creating == 0)
		missing = Max(missing, 1);
	if (missing > 0 && GetCurrentTimestamp() < class_retry_at[index])
	{
		difs_process_by(next, class_retry_at[index]);
		return true;
	}
	for (; missing > 0 && may_open_another(); missing--)
	{
		DifsOpenGroup group = {.class = *class, .capacity_bytes = (uint64) difs_block_group_size * 1024};
		DifsError problem;
		bool asking = false;

		if (!choose(index, servers, count, &group, &problem, &asking))
		{
			if (asking)
				break; /* the answer wakes us */
			if (wanted->wanted && count_creating(class) == 0 && difs_health_settled())
				note_problem(index, class, &problem);
			class_retry_at[index] = difs_process_in(TRY_AGAIN_MS);
			difs_process_by(next, class_retry_at[index]);
			break;
		}
		if (!start_create(&group))
			return false;
	}
	if (missing > 0 && wanted->wanted && creating == 0 && !may_open_another() && make_room(class))
		difs_process_by(next, GetCurrentTimestamp()); /* to seal it */
	return true;
}

/* By the built-in rules, or as the class's placement function has said; asking: that is still to come. */
static bool
choose(int index, const DifsSharedServer *servers, int count, DifsOpenGroup *group, DifsError *problem, bool *asking)
{
	DifsLoad *load = measure_load(servers, count);

	if (group->class.placement == 0)
		return difs_placement_choose(&group->class, group->capacity_bytes, servers, load, count, group->member, problem);
	if (!take_answer(index, group, problem, asking))
		return false;
	errno = 0;
	return all_usable(group, servers, load, count) ||
		difs_error_set(problem, DIFS_ERROR_NETWORK, "a chunk server that was chosen for a block group cannot be used any more");
}

/* Each answer is for one group. A round that dies leaves the question, and the next one begins once the duty may. */
static bool
take_answer(int index, DifsOpenGroup *group, DifsError *refusal, bool *asking)
{
	DifsWantedClass *entry = &difs_keeper_database->classes[index];
	DifsDutyState *duty = &difs_keeper_database->duties[DIFS_DUTY_PLACE];
	DifsPlacementState state;
	bool wants;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	state = difs_class_equal(&entry->class, &group->class) ? entry->placing : DIFS_PLACEMENT_ASKED;
	*asking = state == DIFS_PLACEMENT_NONE || state == DIFS_PLACEMENT_ASKED;
	wants = state == DIFS_PLACEMENT_NONE || (state == DIFS_PLACEMENT_ASKED && duty->ended_round == duty->round && !duty->wanted);
	memcpy(group->member, entry->chosen, sizeof(entry->chosen));
	*refusal = entry->refusal;
	if (state == DIFS_PLACEMENT_NONE)
		entry->placing = DIFS_PLACEMENT_ASKED;
	else if (!*asking)
		entry->placing = DIFS_PLACEMENT_NONE;
	LWLockRelease(&difs_shared->lock);
	if (wants)
		difs_duty_want(difs_keeper_database, DIFS_DUTY_PLACE);
	return state == DIFS_PLACEMENT_CHOSEN;
}

static bool
all_usable(const DifsOpenGroup *group, const DifsSharedServer *servers, const DifsLoad *load, int count)
{
	int usable = 0;

	for (int i = 0; i < group->class.replicas; i++)
	{
		for (int j = 0; j < count; j++)
			usable += servers[j].id == group->member[i] && difs_placement_usable(&group->class, group->capacity_bytes, &servers[j], &load[j]);
	}
	return usable == group->class.replicas;
}

/* Groups that are open and all of whose members are alive. */
static int
count_open(const DifsClass *class, const DifsSharedServer *servers, int count)
{
	int open = 0;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		const DifsOpenGroup *group = &difs_keeper_database->groups[i];

		if (group->state == DIFS_OPEN_GROUP_OPEN && difs_class_equal(&group->class, class) &&
			all_alive(group, servers, count))
			open++;
	}
	LWLockRelease(&difs_shared->lock);
	return open;
}

static int
count_creating(const DifsClass *class)
{
	int creating = 0;

	for (int i = 0; i < DIFS_MAX_JOBS; i++)
	{
		if (difs_jobs[i].task == DIFS_TASK_CREATE && difs_class_equal(&difs_jobs[i].group.class, class))
			creating++;
	}
	return creating;
}

/* How many groups each server has open or is about to, and how much these may still take. */
static DifsLoad *
measure_load(const DifsSharedServer *servers, int count)
{
	DifsLoad *load = palloc0(Max(count, 1) * sizeof(DifsLoad));

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		if (difs_keeper_database->groups[i].state == DIFS_OPEN_GROUP_OPEN)
			difs_load_add(load, &difs_keeper_database->groups[i], servers, count);
	}
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < DIFS_MAX_JOBS; i++)
	{
		if (difs_jobs[i].task == DIFS_TASK_CREATE)
			difs_load_add(load, &difs_jobs[i].group, servers, count);
	}
	return load;
}

/* Is there a job for it, and an entry when it is done? */
static bool
may_open_another(void)
{
	int entries = 0;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
		entries += difs_keeper_database->groups[i].state == DIFS_OPEN_GROUP_UNUSED;
	LWLockRelease(&difs_shared->lock);
	for (int i = 0; i < DIFS_MAX_JOBS; i++)
		entries -= difs_jobs[i].task == DIFS_TASK_CREATE || difs_jobs[i].task == DIFS_TASK_ADOPT;
	return entries > 0 && difs_job_free() != NULL;
}

/* All entries are taken: one group of another class takes no more, of that which has been wanted the longest ago, if nothing is on its way to it. */
static bool
make_room(const DifsClass *class)
{
	DifsOpenGroup *idle = NULL;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		DifsOpenGroup *group = &difs_keeper_database->groups[i];

		if (group->state == DIFS_OPEN_GROUP_OPEN && group->in_flight == 0 && group->leases == 0 && !difs_class_equal(&group->class, class) &&
			(idle == NULL || wanted_at(&group->class) < wanted_at(&idle->class)))
			idle = group;
	}
	if (idle != NULL)
		idle->state = DIFS_OPEN_GROUP_FULL;
	LWLockRelease(&difs_shared->lock);
	return idle != NULL;
}

/* 0 if there is no entry for it any more. The lock is held. */
static TimestampTz
wanted_at(const DifsClass *class)
{
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		if (difs_class_equal(&difs_keeper_database->classes[i].class, class))
			return difs_keeper_database->classes[i].wanted_at;
	}
	return 0;
}

static bool
start_create(DifsOpenGroup *group)
{
	if (!difs_keeper_begin())
		return false;
	difs_group_rows_insert(group);
	difs_keeper_commit();
	DIFS_FAULT("keeper.group.inserted");
	difs_job_start(DIFS_TASK_CREATE, group, -1);
	return true;
}

/* Tells those who wait, and the log when it is something new. */
static void
note_problem(int index, const DifsClass *class, const DifsError *problem)
{
	DifsWantedClass *entry = &difs_keeper_database->classes[index];
	bool news;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	news = difs_class_equal(&entry->class, class) && (entry->problem.code != problem->code || strcmp(entry->problem.text, problem->text) != 0);
	if (news)
		entry->problem = *problem;
	LWLockRelease(&difs_shared->lock);
	if (!news)
		return;
	difs_wake(difs_keeper_database->streamer);
	ereport(LOG,
			(errmsg("difs: could not open a block group: %s", problem->text)));
}

static bool
all_alive(const DifsOpenGroup *group, const DifsSharedServer *servers, int count)
{
	int alive = 0;

	for (int i = 0; i < group->class.replicas; i++)
	{
		for (int j = 0; j < count; j++)
			alive += servers[j].id == group->member[i] && servers[j].alive;
	}
	return alive == group->class.replicas;
}
