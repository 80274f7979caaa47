/*
 * pending.c - what this transaction has handed to the streamer (pending.h).
 *
 * An entry leaves the list as soon as its manifest row is written at the level
 * that made it: from then on the row shares the entry's fate by itself.  So the
 * list stays short also for a transaction that stores a terabyte, and only
 * entries whose row was written by an inner subtransaction are kept along, in
 * case that one is rolled back.
 *
 * The list lives in TopTransactionContext.  Nothing outlives the transaction but
 * the slots, which the abort callback abandons; a process that dies runs its
 * abort callbacks in its exit hook.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "common/fault.h"
#include "src/duty.h"
#include "src/pending.h"
#include "src/slow.h"
#include "src/staging.h"
#include "src/stream.h"
#include "src/table.h"
#include "src/version.h"

/* Rows of segments that are stored are written early when this many have gathered. */
#define WRITE_BATCH 256

#define UNSTAGE_PAUSE_MS 1000

typedef struct DifsPending
{
	int slot; /* -1: reaped, and "extent.stored" is filled in */
	int64 ino;
	int32 version;
	DifsExtent extent;
	DifsStaged *staged; /* to be staged: its bytes, until its rows share its fate; NULL otherwise */
	int level;			/* nesting level that made it */
	int written;		/* nesting level that wrote its row, 0 = not written */
} DifsPending;

static DifsPending *entries = NULL;
static int entry_count = 0;
static int entry_room = 0;
static int reaped_count = 0;   /* entries that are reaped and not written */
static DifsClass staged_class; /* of a segment that this transaction, or a part of it that was rolled back, has staged; replicas 0: none */

static DifsPending *new_entry(int64 ino, int32 version);
static void on_transaction(XactEvent event, void *arg);
static void on_subtransaction(SubXactEvent event, SubTransactionId my, SubTransactionId parent, void *arg);
static void settle_all(void);
static bool resume_statement_timeout(void);
static void settle(int64 ino);
static void reap(DifsPending *entry);
static void reap_some(bool wait);
static void write_gathered(void);
static void write_rows(int64 ino);
static void write_staged(DifsPending *entry);
static void drop_staged(DifsPending *entry);
static void compact(void);
static void want_unstage(void);
static void abort_level(int level);
static void commit_level(int level);
static void forget_all(void);

void
difs_pending_install(void)
{
	RegisterXactCallback(on_transaction, NULL);
	RegisterSubXactCallback(on_subtransaction, NULL);
	difs_stream_reap_hook = reap_some;
}

void
difs_pending_add(int slot, int64 ino, int32 version, int64 file_offset, int32 length)
{
	DifsPending *entry = new_entry(ino, version);

	entry->slot = slot;
	entry->extent.file_offset = file_offset;
	entry->extent.length = length;
	if (difs_stream_is_kept(slot))
	{
		reap(entry); /* so that it holds no pool memory */
		entry_count -= entry->written == entry->level;
	}
}

void
difs_pending_share(int64 ino, int32 version, const DifsExtent *extent)
{
	DifsPending *entry = new_entry(ino, version);

	entry->slot = -1;
	entry->extent = *extent;
	reaped_count++;
	write_gathered();
}

static DifsPending *
new_entry(int64 ino, int32 version)
{
	DifsPending *entry;

	if (entry_count == entry_room)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		entry_room = Max(64, entry_room * 2);
		entries = entries == NULL ? palloc(entry_room * sizeof(DifsPending)) :
									repalloc_huge(entries, entry_room * sizeof(DifsPending));
		MemoryContextSwitchTo(old);
	}
	entry = &entries[entry_count++];
	memset(entry, 0, sizeof(*entry));
	entry->ino = ino;
	entry->version = version;
	entry->level = GetCurrentTransactionNestLevel();
	return entry;
}

void
difs_pending_settle(int64 ino)
{
	for (int i = 0; i < entry_count; i++)
	{
		if (entries[i].ino != ino || entries[i].written != 0)
			continue;
		settle(ino);
		return;
	}
}

static void
on_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (entry_count > 0 && !DIFS_FAULT_SKIP("backend.commit.settle"))
				settle_all();
			DIFS_FAULT("backend.commit.written");
			break;
		case XACT_EVENT_ABORT:
			difs_stream_cleanup();
			abort_level(0);
			forget_all();
			break;
		case XACT_EVENT_COMMIT:
			DIFS_FAULT("backend.commit.done");
			if (staged_class.replicas > 0)
				want_unstage();
			forget_all();
			break;
		case XACT_EVENT_PREPARE:
			DIFS_FAULT("backend.prepare.done");
			forget_all();
			break;
		default:
			break;
	}
}

static void
on_subtransaction(SubXactEvent event, SubTransactionId my, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		difs_stream_cleanup();
		abort_level(GetCurrentTransactionNestLevel());
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		commit_level(GetCurrentTransactionNestLevel());
}

/* The end of the transaction: no query is active, so the rows need a snapshot of their own. */
static void
settle_all(void)
{
	bool resumed = resume_statement_timeout();
	int count = entry_count;
	DifsSlowMark mark;
	char what[48];

	difs_slow_mark(&mark);
	difs_write_begin(NULL);
	settle(0);
	difs_write_end();
	snprintf(what, sizeof(what), "end of a transaction with %d segments", count);
	difs_slow_report(&mark, what, "");
	if (resumed)
		disable_timeout(STATEMENT_TIMEOUT, false);
}

/* PostgreSQL ends statement_timeout just before it commits, but for the user the statement goes on while we wait here. True if it was
 * started again, to end when it would have ended. */
static bool
resume_statement_timeout(void)
{
	if (StatementTimeout <= 0 || MyBackendType != B_BACKEND || get_timeout_active(STATEMENT_TIMEOUT))
		return false;
	enable_timeout_at(STATEMENT_TIMEOUT,
					  TimestampTzPlusMilliseconds(GetCurrentStatementStartTimestamp(), StatementTimeout));
	return true;
}

/* Waits for and writes the entries of one file, or (0) of all. The last first: see wait_for_end() in stream.c. */
static void
settle(int64 ino)
{
	for (int i = entry_count - 1; i >= 0; i--)
		if (ino == 0 || entries[i].ino == ino)
			reap(&entries[i]);
	DIFS_FAULT("backend.settle.stored");
	write_rows(ino);
}

/* What is to be staged is written at once, so that no more than one segment is in this process's memory. It stays there, though, if an inner
 * subtransaction writes it: that may be rolled back. */
static void
reap(DifsPending *entry)
{
	bool stored;

	if (entry->slot == -1)
		return;
	stored = difs_stream_reap(entry->slot, &entry->extent.stored);
	if (!stored)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		entry->staged = difs_staging_take(entry->slot, &entry->extent.stored);
		MemoryContextSwitchTo(old);
	}
	entry->slot = -1;
	reaped_count++;
	if (!stored)
		write_staged(entry);
}

/* This backend needs a slot or memory and shall not take another: reaps what has ended, or waits for the oldest. */
static void
reap_some(bool wait)
{
	bool any = false;

	for (int i = 0; i < entry_count; i++)
	{
		if (entries[i].slot == -1 || !difs_stream_ended(entries[i].slot))
			continue;
		reap(&entries[i]);
		any = true;
	}
	for (int i = 0; i < entry_count && !any && wait; i++)
	{
		any = entries[i].slot != -1;
		reap(&entries[i]);
	}
	write_gathered();
}

static void
write_gathered(void)
{
	if (reaped_count >= WRITE_BATCH)
		write_rows(0);
}

/* Writes the rows of the reaped entries of one file, or (0) of all, together; and those that are staged one by one. */
static void
write_rows(int64 ino)
{
	DifsManifestRow *rows = palloc(sizeof(DifsManifestRow) * Max(reaped_count, 1));
	int level = GetCurrentTransactionNestLevel();
	int count = 0;

	for (int i = 0; i < entry_count; i++)
	{
		DifsPending *entry = &entries[i];

		if (entry->slot != -1 || entry->written != 0 || (ino != 0 && entry->ino != ino))
			continue;
		if (entry->staged != NULL)
			write_staged(entry);
		else
			rows[count++] = (DifsManifestRow){entry->ino, entry->version, &entry->extent};
	}
	difs_manifest_insert_rows(count, rows);
	for (int i = 0; i < entry_count; i++)
	{
		DifsPending *entry = &entries[i];

		if (entry->slot == -1 && entry->written == 0 && (ino == 0 || entry->ino == ino))
			entry->written = level;
	}
	reaped_count -= count;
	pfree(rows);
	compact();
}

static void
write_staged(DifsPending *entry)
{
	staged_class = entry->staged->class;
	difs_staging_insert(entry->staged, &entry->extent.stored);
	DIFS_FAULT("backend.staging.inserted");
	difs_manifest_insert(entry->ino, entry->version, &entry->extent);
	entry->written = GetCurrentTransactionNestLevel();
	reaped_count--;
	if (entry->written == entry->level)
		drop_staged(entry);
}

static void
drop_staged(DifsPending *entry)
{
	if (entry->staged != NULL)
		difs_staging_drop(entry->staged);
	entry->staged = NULL;
}

/* Drops entries whose row lives and dies with them. */
static void
compact(void)
{
	int kept = 0;

	for (int i = 0; i < entry_count; i++)
	{
		if (entries[i].written != entries[i].level)
			entries[kept++] = entries[i];
		else
			drop_staged(&entries[i]);
	}
	entry_count = kept;
}

/* A level is rolled back (0: the whole transaction). Must not error. */
static void
abort_level(int level)
{
	int kept = 0;

	reaped_count = 0;
	for (int i = 0; i < entry_count; i++)
	{
		DifsPending *entry = &entries[i];

		if (entry->level >= level)
		{
			if (entry->slot != -1)
				difs_stream_abandon(entry->slot);
			drop_staged(entry);
			continue;
		}
		if (entry->written >= level)
			entry->written = 0;
		if (entry->slot == -1 && entry->written == 0)
			reaped_count++;
		entries[kept++] = *entry;
	}
	entry_count = kept;
}

static void
commit_level(int level)
{
	for (int i = 0; i < entry_count; i++)
	{
		entries[i].level = Min(entries[i].level, level - 1);
		entries[i].written = Min(entries[i].written, level - 1);
	}
	compact();
}

/* Servers may be there already: difs.staging = always, or they have come back. If they are not, the keeper says so when they are. Must not error. */
static void
want_unstage(void)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);

	/* one round after the other would cost more than it is worth: what comes just after one waits for difs.unstage_interval */
	if (database != NULL && !difs_staging_is_stuck(database, &staged_class) &&
		TimestampDifferenceExceeds(database->duties[DIFS_DUTY_UNSTAGE].ended, GetCurrentTimestamp(), UNSTAGE_PAUSE_MS))
		difs_duty_want(database, DIFS_DUTY_UNSTAGE);
}

static void
forget_all(void)
{
	entries = NULL;
	entry_count = entry_room = reaped_count = 0;
	staged_class.replicas = 0;
}
