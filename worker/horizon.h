/*
 * horizon.h - how far back anybody can still look.
 *
 * What was let go of before the horizon can be seen by nobody: not by a snapshot
 * of any database, a prepared transaction, a replication slot or a standby, and
 * nobody has asked to keep it.
 */
#ifndef DIFS_HORIZON_H
#define DIFS_HORIZON_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "utils/timestamp.h"

typedef struct DifsHorizon
{
	uint64 xid;			/* transactions before it are over, and so they are to every snapshot */
	uint64 next_xid;	/* transactions from it on are of another cluster, or of a future that was lost */
	XLogRecPtr lsn;		/* WAL before it has been replayed by every standby, passed by every slot, and no hold is on it */
	TimestampTz time;	/* older than the retention, and than every hold */
	XLogRecPtr now_lsn; /* WAL that exists */
	bool exact;			/* is one of lsn and time a limit, so that content must be settled first? */
} DifsHorizon;

/* In a transaction with an active snapshot. */
extern void difs_horizon_read(DifsHorizon *horizon);

/* Is that transaction over, for everybody? */
extern bool difs_horizon_passed(const DifsHorizon *horizon, uint64 xid);

/* Tells standbys that transactions up to xid are over for everybody: when they have replayed the WAL up to the place returned, none of their
 * snapshots is older. */
extern XLogRecPtr difs_horizon_tell_standbys(uint64 xid);

#endif
