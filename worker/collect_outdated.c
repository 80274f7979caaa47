/*
 * collect_outdated.c - what time alone makes old: versions that retention does not
 * keep any longer, and what has been in the trash for long enough (collect.h).
 *
 * An early part of a round of collection, so that what it lets go of is
 * collected by the rounds that follow.  Each file and each entry of the trash goes
 * in a transaction of its own; one that cannot go, as a file in it is held or a
 * foreign key names it, is reported and left for a later round.
 *
 * No state.  A crash leaves the rest to the next round.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "src/retain.h"
#include "src/table.h"
#include "src/trash.h"
#include "worker/collect.h"
#include "worker/duties.h"

#define BATCH 256

static bool take_from_dropped(void);
static bool apply_to_volumes(void);
static bool work_off(const char *query, int64 argument, void (*one)(int64));
static int read_batch(const char *query, int64 after, int64 argument, int64 *found);
static void try_one(int64 number, void (*one)(int64));
static void expire_file(int64 ino);
static void purge(int64 trash);

/* False if the extension is gone. */
bool
difs_collect_outdated(void)
{
	static const char *const files = "SELECT ino FROM difs.expiring WHERE due <= pg_catalog.clock_timestamp() AND ino > $1"
									 " AND NOT EXISTS (SELECT FROM difs.volume v WHERE v.root = expiring.ino) ORDER BY ino LIMIT " CppAsString2(BATCH);
	static const char *const trash = "SELECT d.id FROM difs.discarded d JOIN difs.volume v ON v.id = d.volume"
									 " WHERE d.deleted + v.trash_for <= pg_catalog.clock_timestamp() AND d.id > $1 ORDER BY d.id LIMIT " CppAsString2(BATCH);

	return take_from_dropped() && apply_to_volumes() && work_off(files, 0, expire_file) && work_off(trash, 0, purge);
}

/* Volumes whose rules have changed: a row with the root's number stands for all files. It goes after them, unless it is a newer one by then. */
static bool
apply_to_volumes(void)
{
	static const char *const files = "SELECT ino FROM difs.inode WHERE volume = $2::integer AND kind = 'f' AND version > 1 AND ino > $1"
									 " ORDER BY ino LIMIT " CppAsString2(BATCH);
	Oid types[] = {INT8OID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(0), 0};
	bool found = true;

	while (found)
	{
		int64 volume = 0;
		bool null;

		if (!difs_duty_begin())
			return false;
		SPI_execute_with_args("SELECT e.ino, e.due, v.id::pg_catalog.int8 FROM difs.expiring e JOIN difs.volume v ON v.root = e.ino"
							  " WHERE e.ino > $1 ORDER BY e.ino LIMIT 1",
							  1, types, values, NULL, true, 0);
		found = SPI_processed > 0;
		for (int i = 0; found && i < lengthof(values); i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &null);
		if (found)
			volume = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null));
		difs_duty_commit();
		if (!found)
			break;
		if (!work_off(files, volume, expire_file) || !difs_duty_begin())
			return false;
		SPI_execute_with_args("DELETE FROM difs.expiring WHERE ino = $1 AND due = $2", 2, types, values, NULL, false, 0);
		difs_duty_commit();
	}
	return true;
}

/* What was on its way to the trash of a volume that was dropped meanwhile; as in volume_admin.c. */
static bool
take_from_dropped(void)
{
	if (!difs_duty_begin())
		return false;
	SPI_execute("WITH gone AS (DELETE FROM difs.discarded d WHERE NOT EXISTS (SELECT FROM difs.volume v WHERE v.id = d.volume) RETURNING d.ino),"
				" removed AS (DELETE FROM difs.inode i USING gone WHERE i.ino = gone.ino RETURNING i.ino, i.kind, i.volume),"
				" doomed AS (INSERT INTO difs.doomed (ino, xid, lsn, doomed) SELECT ino, pg_catalog.pg_current_xact_id(),"
				"  pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp() FROM removed WHERE kind = 'f')"
				" INSERT INTO difs.dropped (ino, volume, xid) SELECT ino, volume, pg_catalog.pg_current_xact_id() FROM removed WHERE kind = 'd'",
				false, 0);
	difs_duty_commit();
	return true;
}

static bool
work_off(const char *query, int64 argument, void (*one)(int64))
{
	static int64 found[BATCH];
	int64 after = 0;
	int count;

	do
	{
		if (!difs_duty_begin())
			return false;
		count = read_batch(query, after, argument, found);
		difs_duty_commit();
		for (int i = 0; i < count; i++)
		{
			if (!difs_duty_begin())
				return false;
			try_one(found[i], one);
			difs_duty_commit();
			after = found[i];
		}
	} while (count == BATCH);
	return true;
}

static int
read_batch(const char *query, int64 after, int64 argument, int64 *found)
{
	Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(after), Int64GetDatum(argument)};

	if (SPI_execute_with_args(query, lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what has expired");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool null;

		found[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	}
	return (int) SPI_processed;
}

/* In a subtransaction; what fails is reported. */
static void
try_one(int64 number, void (*one)(int64))
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		difs_write_begin(NULL);
		one(number);
		difs_write_end();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN || error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		ereport(LOG,
				(errmsg("difs: could not remove what has expired, and will try again: %s", error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* A file that is gone takes its row with it. */
static void
expire_file(int64 ino)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(ino)};

	if (!difs_retain_apply(ino, true))
		SPI_execute_with_args("DELETE FROM difs.expiring WHERE ino = $1", 1, types, values, NULL, false, 0);
}

static void
purge(int64 trash)
{
	(void) difs_trash_purge(trash);
}
