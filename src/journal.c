/*
 * journal.c - rows of difs.journal, and notifications (journal.h).
 *
 * State: how many rows this transaction has written.  A rolled-back savepoint
 * leaves a gap in the numbers, which is harmless.  difs_changes() is in SQL, and the
 * keeper removes old rows (worker/expire.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "src/dentry.h"
#include "src/journal.h"
#include "src/servers.h"
#include "src/table.h"

static int32 written;

static void insert_row(const DifsVolume *volume, const char *action, int64 ino, int32 version,
					   const char *from_path, const char *path);
static void at_transaction_event(XactEvent event, void *arg);

/* Notifications of one channel and payload are one in a transaction: PostgreSQL sees to that. */
void
difs_journal_add(const DifsVolume *volume, const char *action, int64 ino, int32 version,
				 const char *from_path, const char *path)
{
	if (volume->journal)
		insert_row(volume, action, ino, version, from_path, path != NULL ? path : difs_journal_path(volume, ino));
	if (volume->notify)
	{
		char channel[NAMEDATALEN];

		snprintf(channel, sizeof(channel), DIFS_CHANNEL_PREFIX "%s", volume->name);
		Async_Notify(channel, "");
	}
}

char *
difs_journal_path(const DifsVolume *volume, int64 ino)
{
	char *path = NULL;
	char *name;

	difs_latest_begin();
	while (ino != volume->root && difs_dentry_above(ino, &ino, &name))
		path = psprintf("/%s%s", name, path != NULL ? path : "");
	difs_latest_end();
	return path != NULL ? path : pstrdup("/");
}

void
difs_journal_install(void)
{
	RegisterXactCallback(at_transaction_event, NULL);
}

static void
insert_row(const DifsVolume *volume, const char *action, int64 ino, int32 version,
		   const char *from_path, const char *path)
{
	Datum values[DIFS_JOURNAL_COLUMNS] = {0};
	bool nulls[DIFS_JOURNAL_COLUMNS] = {0};
	FullTransactionId xid = GetTopFullTransactionId();

	values[DIFS_JOURNAL_VOLUME - 1] = Int32GetDatum(volume->id);
	values[DIFS_JOURNAL_EPOCH - 1] = Int64GetDatum((int64) difs_database_require()->epoch);
	values[DIFS_JOURNAL_XID - 1] = FullTransactionIdGetDatum(xid);
	values[DIFS_JOURNAL_SEQ - 1] = Int32GetDatum(++written);
	values[DIFS_JOURNAL_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[DIFS_JOURNAL_WHO - 1] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	values[DIFS_JOURNAL_ACTION - 1] = CStringGetTextDatum(action);
	values[DIFS_JOURNAL_INO - 1] = Int64GetDatum(ino);
	values[DIFS_JOURNAL_PATH - 1] = CStringGetTextDatum(path);
	if (from_path != NULL)
		values[DIFS_JOURNAL_FROM_PATH - 1] = CStringGetTextDatum(from_path);
	nulls[DIFS_JOURNAL_FROM_PATH - 1] = from_path == NULL;
	values[DIFS_JOURNAL_VERSION - 1] = Int32GetDatum(version);
	nulls[DIFS_JOURNAL_VERSION - 1] = version == 0;
	difs_row_insert(DIFS_REL_JOURNAL, values, nulls);
}

static void
at_transaction_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		written = 0;
}
