/*
 * claim_watch.c - the keeper holds the claim, loses it, and takes it
 * (claim_watch.h, src/claim.h).
 *
 * "claimed" of the database's entry is set when the keeper begins, before RUNNING,
 * and stays as it is while the entry lives.  Whatever changes it, a loss here or
 * difs_claim() in a backend or duty, writes the file first and then has the
 * workers start anew.  So nobody has to expect that it changes under them.
 *
 * A loss is final for this data directory: difs.auto_claim takes the claim after
 * promotion and restore, but never back from somebody who has taken it from here,
 * or two servers with that setting would take it from each other for ever.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "src/claim.h"
#include "src/settings.h"
#include "worker/claim_watch.h"
#include "worker/duties.h"
#include "worker/keeper.h"

static const uint8 unknown[DIFS_UUID_SIZE];
static bool may_claim = false; /* not lost to another */

static bool check_storage(int32 server, const DifsServerStatus *status);
static void lose(const char *name, uint64 epoch);

void
difs_claim_watch_begin(void)
{
	DifsDatabase *database = difs_keeper_database;
	DifsClaim claim = {0};
	const char *why = NULL;
	DifsClaimState state = difs_claim_read(database->cluster, database->epoch, &claim, &why);

	may_claim = state == DIFS_CLAIM_NONE || state == DIFS_CLAIM_VOID;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	database->claimed = state == DIFS_CLAIM_HELD;
	memcpy(database->claim, claim.id, sizeof(database->claim));
	strlcpy(database->claim_problem, database->claimed ? "" : why, sizeof(database->claim_problem));
	LWLockRelease(&difs_shared->lock);
	if (!database->claimed)
		ereport(LOG,
				(errmsg("difs: database \"%s\" does not hold the claim to its files: they can be read only",
						get_database_name(MyDatabaseId)),
				 errdetail("%s", why),
				 difs_auto_claim && may_claim ? 0 : errhint("See difs_claim().")));
}

bool
difs_claim_watch_server(int32 server, const char *name, const DifsServerStatus *status, DifsError *error)
{
	DifsDatabase *database = difs_keeper_database;

	errno = 0;
	if (!check_storage(server, status))
		return difs_error_set(error, DIFS_ERROR_REFUSED, "it is another storage than the one in difs.server");
	if (!database->claimed || status->epoch < database->epoch)
		return true;
	if (status->epoch > database->epoch)
	{
		lose(name, status->epoch);
		return difs_error_set(error, DIFS_ERROR_FENCED, "it obeys epoch %llu", (unsigned long long) status->epoch);
	}
	if (memcmp(status->claim, database->claim, sizeof(database->claim)) != 0)
		return difs_error_set(error, DIFS_ERROR_FENCED,
							  "another has claimed epoch %llu there: call difs_claim() to go on with it",
							  (unsigned long long) status->epoch);
	return true;
}

void
difs_claim_watch_turn(void)
{
	DifsDutyState *duty = &difs_keeper_database->duties[DIFS_DUTY_CLAIM];

	if (difs_keeper_database->claimed || !may_claim || !difs_auto_claim)
		return;
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	duty->wanted = duty->wanted || duty->ended_round == duty->round;
	LWLockRelease(&difs_shared->lock);
}

void
difs_claim_round(void)
{
	DifsClaimTry *try;
	uint64 epoch;

	if (!difs_duty_begin())
		return;
	try = difs_claim_prepare(TopMemoryContext);
	difs_duty_commit();
	difs_claim_win(try);
	if (!difs_duty_begin())
		return;
	epoch = difs_claim_record(try);
	difs_duty_commit();
	ereport(LOG,
			(errmsg("difs: has claimed the files of this database: epoch " UINT64_FORMAT, epoch)));
}

/* Notes what it is, for the roster to write down; false if it is known to be another. */
static bool
check_storage(int32 server, const DifsServerStatus *status)
{
	bool same = true;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsSharedServer *entry = &difs_keeper_database->servers[i];

		if (entry->id != server)
			continue;
		same = memcmp(entry->storage, unknown, DIFS_UUID_SIZE) == 0 ||
			memcmp(entry->storage, status->storage, DIFS_UUID_SIZE) == 0;
		memcpy(entry->seen_storage, status->storage, DIFS_UUID_SIZE);
	}
	LWLockRelease(&difs_shared->lock);
	return same;
}

static void
lose(const char *name, uint64 epoch)
{
	DifsDatabase *database = difs_keeper_database;
	DifsClaim claim = {.epoch = database->epoch};

	if (database->state != DIFS_DATABASE_RUNNING)
		return;
	memcpy(claim.id, database->claim, sizeof(claim.id));
	difs_claim_file_write(database->cluster, &claim, DIFS_CLAIM_LOST);
	ereport(WARNING,
			(errmsg("difs: this database has lost the claim to its files"),
			 errdetail("Chunk server %s obeys epoch " UINT64_FORMAT ", this database has epoch " UINT64_FORMAT ".",
					   name, epoch, database->epoch),
			 errhint("Another server has taken over. Files can be read here.")));
	difs_database_restart(database);
}
