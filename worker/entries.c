/*
 * entries.c - taking and emptying entries of difs_shared->databases[].
 *
 * An entry is taken and emptied by the launcher alone, under the lock.  It is
 * emptied when keeper and streamer are gone, so nobody else touches what is in it,
 * but for backends that still wait for a segment: these are told.  A launcher that
 * dies in between leaves an entry as STOPPING, and the next one empties it again.
 */
#include "postgres.h"

#include "src/stream.h"
#include "worker/entries.h"

static void reset_entry(DifsDatabase *database);
static void fail_slots(int index);

DifsTake
difs_entry_take(Oid oid, int *index)
{
	DifsTake take = DIFS_TAKE_NONE_FREE;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < difs_shared->database_count; i++)
	{
		DifsDatabase *database = &difs_shared->databases[i];

		if (database->state == DIFS_DATABASE_UNUSED && take == DIFS_TAKE_NONE_FREE)
		{
			*index = i;
			take = DIFS_TAKE_DONE;
		}
		else if (database->state != DIFS_DATABASE_UNUSED && database->database == oid)
		{
			take = database->state == DIFS_DATABASE_RUNNING ? DIFS_TAKE_NOT_NEEDED : DIFS_TAKE_LATER;
			break;
		}
	}
	if (difs_shared->blocked_database == oid)
		take = DIFS_TAKE_NOT_NEEDED;
	if (take == DIFS_TAKE_DONE)
	{
		difs_shared->databases[*index].database = oid;
		difs_shared->databases[*index].state = DIFS_DATABASE_PROBING;
	}
	LWLockRelease(&difs_shared->lock);
	return take;
}

void
difs_entry_stop(int index)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_shared->databases[index].state = DIFS_DATABASE_STOPPING;
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
	ereport(LOG,
			(errmsg("difs launcher: database %u has gone or does not allow connections",
					difs_shared->databases[index].database)));
}

void
difs_entry_empty(int index)
{
	fail_slots(index);
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	reset_entry(&difs_shared->databases[index]);
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed);
}

static void
reset_entry(DifsDatabase *database)
{
	database->state = DIFS_DATABASE_UNUSED;
	database->database = InvalidOid;
	database->epoch = 0;
	database->claimed = false;
	database->claim_problem[0] = '\0';
	memset(database->claim, 0, sizeof(database->claim));
	database->keeper = -1;
	database->streamer = -1;
	database->servers_generation++;
	database->next_segment = 0;
	database->limit_segment = 0;
	memset(database->cluster, 0, sizeof(database->cluster));
	memset(database->servers, 0, sizeof(database->servers));
	memset(database->groups, 0, sizeof(database->groups));
	memset(database->classes, 0, sizeof(database->classes));
	pg_atomic_write_u64(&database->staged_bytes, 0);
}

/* Segments that no streamer will take any more: who waits for one learns so, and those that nobody wants are freed. */
static void
fail_slots(int index)
{
	while (difs_stream_pop(&difs_shared->databases[index]) != -1)
		; /* popped slots are found below */
	for (int i = 0; i < difs_stream_slot_count(); i++)
	{
		DifsSlot *slot = difs_stream_slot(i);
		uint32 state = pg_atomic_read_u32(&slot->state);

		if (slot->database != index || (state != DIFS_SLOT_QUEUED && state != DIFS_SLOT_SENT))
			continue;
		slot->error_code = DIFS_ERROR_NETWORK;
		strlcpy(slot->error_text, "the workers of difs have stopped in this database", sizeof(slot->error_text));
		difs_stream_end(i, DIFS_SLOT_FAILED);
	}
}
