/*
 * doom.c - rows of difs.doomed.
 *
 * Written here, read and removed by the keeper only.  What stands in a row is
 * what the keeper needs to know when nobody can want the content any more: the
 * transaction that let go of it (older than every snapshot?), the place in WAL
 * (replayed by every standby?) and the time (older than the retention?).
 *
 * The transaction is the top one: it is what snapshots know, and a row of a
 * subtransaction that was rolled back is not visible at all.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "common/fault.h"
#include "src/doom.h"
#include "src/table.h"

static void doom(int64 ino, int32 version);

void
difs_doom_inode(int64 ino)
{
	doom(ino, 0);
}

void
difs_doom_version(int64 ino, int32 version)
{
	doom(ino, version);
}

/* version 0: all. */
static void
doom(int64 ino, int32 version)
{
	Datum values[DIFS_DOOMED_COLUMNS] = {0};
	bool nulls[DIFS_DOOMED_COLUMNS] = {0};

	values[DIFS_DOOMED_INO - 1] = Int64GetDatum(ino);
	values[DIFS_DOOMED_VERSION - 1] = Int32GetDatum(version);
	nulls[DIFS_DOOMED_VERSION - 1] = version == 0;
	values[DIFS_DOOMED_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[DIFS_DOOMED_LSN - 1] = LSNGetDatum(GetXLogInsertRecPtr());
	values[DIFS_DOOMED_DOOMED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[DIFS_DOOMED_SETTLED - 1] = BoolGetDatum(false);
	difs_row_insert(DIFS_REL_DOOMED, values, nulls);
	DIFS_FAULT("backend.delete.doomed");
}
