/*
 * collect_dropped.c - what was in dropped volumes (collect.h).
 *
 * A row of difs.dropped is a directory without an inode whose entries are still
 * there.  A step takes up to BATCH of them away, those of deleted files with a
 * history (src/marker.h) as well: files become doomed, directories rows of
 * difs.dropped; when nothing is left, the row goes.  Each step is a
 * transaction, so a round that dies has done what it has done.
 *
 * Transactions that found the volume before it was dropped may still add to it.
 * They have all ended when the drop is behind the horizon, and only then a
 * directory is touched.
 *
 * Snapshots that see the volume see its rows, and its bytes are kept for them as
 * those of any doomed file.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/xid8.h"

#include "worker/collect.h"
#include "worker/duties.h"
#include "worker/horizon.h"

#define BATCH "1000"

static bool empty_some(int64 *after, bool *found);
static bool find_next(int64 *ino, uint64 *xid);

bool
difs_collect_dropped(void)
{
	int64 after = 0;
	bool found = true;

	while (found)
	{
		if (!empty_some(&after, &found))
			return false;
	}
	return true;
}

/* One step; *after is behind which directory to go on. False if the extension is gone. */
static bool
empty_some(int64 *after, bool *found)
{
	static const char *const take =
		"WITH gone AS (DELETE FROM difs.dentry d USING (SELECT parent, name FROM difs.dentry WHERE parent IN ($1, -$1) LIMIT " BATCH ") AS few"
		" WHERE d.parent = few.parent AND d.name = few.name RETURNING d.ino),"
		" names AS (SELECT ino, pg_catalog.count(*) AS gone FROM gone GROUP BY ino),"
		" removed AS (DELETE FROM difs.inode i USING names WHERE i.ino = names.ino"
		"  AND names.gone = (SELECT pg_catalog.count(*) FROM difs.dentry d WHERE d.ino = i.ino)"
		"  RETURNING i.ino, i.kind, i.volume),"
		" doomed AS (INSERT INTO difs.doomed (ino, xid, lsn, doomed) SELECT ino, pg_catalog.pg_current_xact_id(),"
		"  pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp() FROM removed WHERE kind = 'f'),"
		" deeper AS (INSERT INTO difs.dropped (ino, volume, xid) SELECT ino, volume, $2::text::xid8 FROM removed WHERE kind = 'd')"
		" SELECT pg_catalog.count(*) FROM gone";
	Oid types[] = {INT8OID, INT8OID};
	DifsHorizon horizon;
	uint64 xid;
	int64 ino = *after;
	bool null;

	if (!difs_collect_begin())
		return false;
	difs_horizon_read(&horizon);
	*found = find_next(&ino, &xid);
	if (*found && difs_horizon_passed(&horizon, xid))
	{
		Datum values[] = {Int64GetDatum(ino), Int64GetDatum((int64) xid)};

		if (SPI_execute_with_args(take, lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not empty a directory of a dropped volume");
		if (DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)) == 0)
			SPI_execute_with_args("DELETE FROM difs.dropped WHERE ino = $1", 1, types, values, NULL, false, 0);
		else
			ino = 0; /* there is more in it, and what was found may come before it */
	}
	*after = ino;
	difs_duty_commit();
	return true;
}

static bool
find_next(int64 *ino, uint64 *xid)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(*ino)};
	bool null;

	SPI_execute_with_args("SELECT ino, xid FROM difs.dropped WHERE ino > $1 ORDER BY ino LIMIT 1",
						  lengthof(types), types, values, NULL, true, 0);
	if (SPI_processed == 0)
		return false;
	*ino = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	*xid = U64FromFullTransactionId(DatumGetFullTransactionId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null)));
	return true;
}
