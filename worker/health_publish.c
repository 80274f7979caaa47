/*
 * health_publish.c - how a chunk server is, for everybody to see (health_link.h).
 *
 * State: servers[] of the database's entry, written here under the lock; and the
 * number of changes, in the keeper's memory.  The log says once that a server is
 * up, or down.
 */
#include "postgres.h"

#include "src/settings.h"
#include "worker/health_link.h"
#include "worker/keeper.h"

static uint64 changes = 0;

static DifsSharedServer *find_entry(DifsDatabase *database, int32 server);
static void describe_disk(const DifsHealthLink *link, const DifsServerStatus *status, char *problem);

uint64
difs_health_changes(void)
{
	return changes;
}

void
difs_health_changed(void)
{
	changes++;
}

void
difs_health_publish_up(DifsHealthLink *link, const DifsServerStatus *status)
{
	DifsDatabase *database = difs_keeper_database;
	DifsSharedServer *entry;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	entry = find_entry(database, link->server);
	if (entry != NULL)
	{
		entry->alive = true;
		entry->last_seen = GetCurrentTimestamp();
		entry->capacity_bytes = status->capacity_bytes;
		entry->used_bytes = status->used_bytes;
		entry->free_bytes = status->free_bytes;
		entry->puts = status->puts;
		entry->gets = status->gets;
		entry->syncs = status->syncs;
		entry->sync_us = status->sync_us;
		describe_disk(link, status, entry->problem);
	}
	LWLockRelease(&difs_shared->lock);
	if (!link->up)
	{
		difs_health_changed();
		difs_wake(database->streamer);
		ereport(LOG,
				(errmsg("difs: chunk server %s is up", difs_conn_label(link->conn))));
	}
	link->known = link->up = true;
}

/* Under the lock; NULL if nobody publishes that server any more. */
static DifsSharedServer *
find_entry(DifsDatabase *database, int32 server)
{
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
		if (database->servers[i].id == server)
			return &database->servers[i];
	return NULL;
}

/* What is wrong although it answers: it has no room for a block group, or has failed to make or seal one. */
static void
describe_disk(const DifsHealthLink *link, const DifsServerStatus *status, char *problem)
{
	strlcpy(problem, link->rests_why, DIFS_ERROR_TEXT_SIZE);
	if (problem[0] == '\0' && status->free_bytes < (uint64) difs_block_group_size * 1024)
		snprintf(problem, DIFS_ERROR_TEXT_SIZE, "disk full: " UINT64_FORMAT " MB free, a block group takes %d MB",
				 (uint64) status->free_bytes >> 20, difs_block_group_size / 1024);
}

/* Said once in the log. */
void
difs_health_publish_down(DifsHealthLink *link, const char *problem)
{
	DifsDatabase *database = difs_keeper_database;
	DifsSharedServer *entry;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	entry = find_entry(database, link->server);
	if (entry != NULL)
	{
		if (entry->alive)
			entry->down_since = GetCurrentTimestamp();
		entry->alive = false;
		strlcpy(entry->problem, problem, sizeof(entry->problem));
	}
	LWLockRelease(&difs_shared->lock);
	if (link->up || !link->known)
	{
		difs_health_changed();
		ereport(LOG,
				(errmsg("difs: chunk server %s (%s:%u) is down: %s", link->name, link->host, link->port, problem)));
	}
	link->known = true;
	link->up = false;
}
