/*
 * atime.c - the time of the last read, by the rules of Linux's relatime.
 *
 * A read moves atime if it is not newer than mtime or ctime, or a day old: so
 * programs that compare atime with mtime work, and a hot file is written once a
 * day.  It must not cost a reader anything else:
 *
 *	- the rows are written just before the commit, so no writer waits for a reader that takes its time;
 *	- a row that somebody else has locked is left as it is, and so are all while the table is locked;
 *	- a transaction that may not write (read-only, standby, parallel, without the claim) does not, and SERIALIZABLE
 *	  ones do not either, since they could fail for it;
 *	- a transaction that has written nothing else does not wait for its WAL.
 *
 * What is noted is this process's own, and forgotten at the end of the
 * transaction.  A time that is lost at a rollback or in a crash is written by
 * the next read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "src/atime.h"
#include "src/claim.h"
#include "src/dentry.h"
#include "src/settings.h"
#include "src/table.h"

#define MAX_NOTED 256 /* files read by one transaction; the others' times are left to other reads */

static int64 noted[MAX_NOTED];
static int noted_count;
static TimestampTz noted_time;

static bool due(const DifsInode *file, TimestampTz now);
static void on_transaction(XactEvent event, void *arg);
static void write_noted(void);
static void write_atime(int64 ino);

void
difs_atime_install(void)
{
	RegisterXactCallback(on_transaction, NULL);
}

void
difs_atime_note(const DifsInode *file)
{
	TimestampTz now;

	if (difs_atime == DIFS_ATIME_OFF)
		return;
	now = GetCurrentTimestamp();
	if (!due(file, now) || XactReadOnly || IsInParallelMode() || IsolationIsSerializable() || noted_count == MAX_NOTED)
		return;
	for (int i = 0; i < noted_count; i++)
	{
		if (noted[i] == file->ino)
			return;
	}
	noted[noted_count++] = file->ino;
	noted_time = now;
}

static bool
due(const DifsInode *file, TimestampTz now)
{
	return file->atime <= file->mtime || file->atime <= file->ctime || now - file->atime >= USECS_PER_DAY;
}

static void
on_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && noted_count > 0)
		write_noted();
	if (event != XACT_EVENT_PRE_COMMIT)
		noted_count = 0;
}

static void
write_noted(void)
{
	if (!difs_installed() || !difs_claim_held() ||
		!ConditionalLockRelationOid(difs_relation(DIFS_REL_INODE), RowExclusiveLock))
		return;
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);

	difs_latest_begin();
	for (int i = 0; i < noted_count; i++)
		write_atime(noted[i]);
	difs_latest_end();
	noted_count = 0;
}

/* ctime stays: nobody has changed anything. */
static void
write_atime(int64 ino)
{
	ScanKeyData key;
	HeapTuple row;
	Datum values[DIFS_INODE_COLUMNS] = {0};
	bool nulls[DIFS_INODE_COLUMNS] = {false};
	bool replace[DIFS_INODE_COLUMNS] = {false};

	DIFS_KEY(&key, DIFS_INODE_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	row = difs_row_find(DIFS_REL_INODE, DIFS_REL_INODE_PKEY, 1, &key);
	if (row == NULL || !difs_row_try_lock(DIFS_REL_INODE, &row))
		return;
	values[DIFS_INODE_ATIME - 1] = TimestampTzGetDatum(noted_time);
	replace[DIFS_INODE_ATIME - 1] = true;
	difs_row_update(DIFS_REL_INODE, row, values, nulls, replace);
}
