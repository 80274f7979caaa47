/*
 * horizon.c - how far back anybody can still look (horizon.h).
 *
 * No state: all is read anew in each transaction that decides what may be
 * collected, before it looks at any row.
 *
 * The xid is PostgreSQL's own horizon for tables that all databases share, which
 * has everything in it: running and prepared transactions and snapshots of all
 * databases, xmin and catalog_xmin of slots, feedback of standbys.
 *
 * A standby without feedback has snapshots that we do not know of.  So it gets a
 * record like the one that VACUUM writes before space is used again: to replay it,
 * the standby first waits for such snapshots to end, or cancels them, as its
 * max_standby_streaming_delay says.  Content is only collected when every standby
 * has replayed that record.
 *
 * Holds are read with a dirty snapshot: one that is being made counts.
 */
#include "postgres.h"

#include "access/gist_private.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "storage/procarray.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/fault.h"
#include "src/compat.h"
#include "src/settings.h"
#include "src/table.h"
#include "worker/horizon.h"

static void read_xids(DifsHorizon *horizon);
static void read_standbys_and_slots(DifsHorizon *horizon);
static void read_holds(DifsHorizon *horizon);

void
difs_horizon_read(DifsHorizon *horizon)
{
	horizon->lsn = PG_UINT64_MAX;
	horizon->now_lsn = GetXLogInsertRecPtr();
	horizon->time = DT_NOEND;
	if (difs_retain > 0)
		horizon->time = GetCurrentTimestamp() - difs_retain * USECS_PER_SEC;
	read_xids(horizon);
	read_standbys_and_slots(horizon);
	read_holds(horizon);
	horizon->exact = horizon->lsn != PG_UINT64_MAX || horizon->time != DT_NOEND;
}

bool
difs_horizon_passed(const DifsHorizon *horizon, uint64 xid)
{
	return xid < horizon->xid || xid >= horizon->next_xid;
}

XLogRecPtr
difs_horizon_tell_standbys(uint64 xid)
{
	Relation table;
	Relation index;

	if (!XLogStandbyInfoActive())
		return GetXLogInsertRecPtr();
	table = table_open(difs_relation(DIFS_REL_MANIFEST), AccessShareLock);
	index = index_open(difs_relation(DIFS_REL_MANIFEST_PKEY), AccessShareLock);
	/* It is a GiST record, but says no more than: no snapshot that sees this transaction as running goes on. */
	gistXLogPageReuse(index, table, 0, FullTransactionIdFromU64(xid));
	index_close(index, NoLock);
	table_close(table, NoLock);
	return GetXLogInsertRecPtr();
}

/* next_xid is read last: what began in between is not mistaken for one of a lost future. */
static void
read_xids(DifsHorizon *horizon)
{
	TransactionId oldest = GetOldestNonRemovableTransactionId(NULL);
	FullTransactionId next = ReadNextFullTransactionId();
	uint64 epoch = EpochFromFullTransactionId(next);

	if (oldest > XidFromFullTransactionId(next))
		epoch--; /* the oldest is from before the last wraparound */
	horizon->xid = epoch << 32 | oldest;
	horizon->next_xid = U64FromFullTransactionId(next);
	if (DIFS_FAULT_SKIP("keeper.collect.horizon"))
		horizon->xid = horizon->next_xid;
}

/* A receiver of WAL that replays nothing (pg_receivewal) says no place; a slot that has lost its WAL holds nothing. */
static void
read_standbys_and_slots(DifsHorizon *horizon)
{
	bool null;
	Datum lsn;

	if (SPI_execute("SELECT LEAST((SELECT pg_catalog.min(replay_lsn) FROM pg_catalog.pg_stat_replication), "
					"(SELECT pg_catalog.min(restart_lsn) FROM pg_catalog.pg_replication_slots "
					"WHERE wal_status IS DISTINCT FROM 'lost'))",
					true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read standbys and slots");
	lsn = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	if (!null)
		horizon->lsn = DatumGetLSN(lsn);
}

static void
read_holds(DifsHorizon *horizon)
{
	Relation table = difs_table_open(DIFS_REL_HOLD, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	SnapshotData dirty;
	TableScanDesc scan;

	InitDirtySnapshot(dirty);
	scan = table_beginscan(table, &dirty, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool null;
		Datum datum = slot_getattr(slot, DIFS_HOLD_LSN, &null);

		if (!null)
			horizon->lsn = Min(horizon->lsn, DatumGetLSN(datum));
		datum = slot_getattr(slot, DIFS_HOLD_SINCE, &null);
		if (!null)
			horizon->time = Min(horizon->time, DatumGetTimestampTz(datum));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(table, NoLock);
}
