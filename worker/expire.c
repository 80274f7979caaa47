/*
 * expire.c - rows whose time is over: the journal's, locks of owners, and uploads.
 *
 * A part of the round of collection.  Each step is a transaction, so a round that
 * dies has done what it has done.
 *
 * The journal of a volume is read from its beginning and only as far as it is too
 * old, so what a round costs does not depend on how much is kept.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "common/fault.h"
#include "worker/collect.h"
#include "worker/duties.h"

#define BATCH "1000"

static bool expire_uploads(void);
static bool expire_journal(int64 volume);
static bool next_volume(int64 *volume, bool *found);

bool
difs_collect_expired(void)
{
	int64 volume = 0;
	bool found = true;

	if (!difs_collect_begin())
		return false;
	SPI_execute("DELETE FROM difs.lock WHERE expires < pg_catalog.clock_timestamp()", false, 0);
	difs_duty_commit();
	if (!expire_uploads())
		return false;

	while (found)
	{
		if (!next_volume(&volume, &found) || (found && !expire_journal(volume)))
			return false;
	}
	return true;
}

/* One that somebody has locked is about to be committed, or expires later. Receipts may have come in while their upload went. */
static bool
expire_uploads(void)
{
	if (!difs_collect_begin())
		return false;
	SPI_execute("DELETE FROM difs.upload WHERE id IN (SELECT id FROM difs.upload WHERE expires < pg_catalog.clock_timestamp()"
				" FOR UPDATE SKIP LOCKED)",
				false, 0);
	SPI_execute("DELETE FROM difs.receipt WHERE NOT EXISTS (SELECT FROM difs.upload WHERE id = upload)", false, 0);
	DIFS_FAULT("keeper.expire.uploads");
	difs_duty_commit();
	DIFS_FAULT("keeper.expire.committed");
	return true;
}

/* The next volume that has rows in the journal, dropped or not. */
static bool
next_volume(int64 *volume, bool *found)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(*volume)};
	bool null;

	if (!difs_collect_begin())
		return false;
	SPI_execute_with_args("SELECT pg_catalog.int8(volume) FROM difs.journal WHERE volume > $1::integer ORDER BY volume LIMIT 1",
						  lengthof(types), types, values, NULL, true, 0);
	*found = SPI_processed > 0;
	if (*found)
		*volume = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	difs_duty_commit();
	return true;
}

static bool
expire_journal(int64 volume)
{
	static const char *const take =
		"DELETE FROM difs.journal WHERE (volume, epoch, xid, seq) IN (SELECT volume, epoch, xid, seq FROM"
		" (SELECT j.*, v.id IS NOT NULL AS exists, v.journal_keep FROM difs.journal j LEFT JOIN difs.volume v ON v.id = j.volume"
		"  WHERE j.volume = $1::integer ORDER BY j.volume, j.epoch, j.xid, j.seq LIMIT " BATCH ") AS first"
		" WHERE NOT exists OR journal_keep > 0 AND at < pg_catalog.clock_timestamp() - journal_keep * interval '1 second')";
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(volume)};
	uint64 removed;

	do
	{
		if (!difs_collect_begin())
			return false;
		SPI_execute_with_args(take, lengthof(types), types, values, NULL, false, 0);
		removed = SPI_processed;
		difs_duty_commit();
	} while (removed == atoi(BATCH));
	return true;
}
