/*
 * hold.c - named holds: difs_hold() and difs_release().
 *
 * For backup tools: a hold keeps content that is let go of from a place in WAL, or
 * a time, on.  One that is made before a backup begins, and released when the
 * backup is not to be restored any more, makes every file of that time readable.
 *
 * State: rows of difs.hold, which the keeper reads (worker/horizon.c).  One counts
 * from the call on, even before it is committed, and until its release is.
 * Whoever dies with a hold leaves it there; the view difs.holds says whose it is
 * and since when.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "src/report.h"
#include "src/table.h"

#define MAX_NAME_BYTES 255

PG_FUNCTION_INFO_V1(difs_hold);
PG_FUNCTION_INFO_V1(difs_release);

/* difs_hold(name, lsn, since) → lsn */
Datum
difs_hold(PG_FUNCTION_ARGS)
{
	Datum values[DIFS_HOLD_COLUMNS] = {0};
	bool nulls[DIFS_HOLD_COLUMNS] = {0};
	bool has_time = !PG_ARGISNULL(2);
	XLogRecPtr lsn;

	DIFS_ARG_NOT_NULL(0, "name");
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) > MAX_NAME_BYTES || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("the name of a hold must have 1 to %d bytes", MAX_NAME_BYTES)));
	if (!PG_ARGISNULL(1) && has_time)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("a hold has either an lsn or a time")));

	difs_write_begin("difs_hold");
	lsn = PG_ARGISNULL(1) ? GetXLogInsertRecPtr() : PG_GETARG_LSN(1);
	values[DIFS_HOLD_NAME - 1] = PG_GETARG_DATUM(0);
	values[DIFS_HOLD_LSN - 1] = LSNGetDatum(lsn);
	nulls[DIFS_HOLD_LSN - 1] = has_time;
	values[DIFS_HOLD_SINCE - 1] = PG_GETARG_DATUM(2);
	nulls[DIFS_HOLD_SINCE - 1] = !has_time;
	values[DIFS_HOLD_OWNER - 1] = ObjectIdGetDatum(GetUserId());
	values[DIFS_HOLD_CREATED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (!difs_row_insert_unless(DIFS_REL_HOLD, DIFS_REL_HOLD_PKEY, values, nulls))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("hold \"%s\" exists already", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("difs_release() ends it.")));
	difs_write_end();
	PG_RETURN_LSN(lsn);
}

/* difs_release(name) → boolean */
Datum
difs_release(PG_FUNCTION_ARGS)
{
	ScanKeyData key;
	HeapTuple row;

	DIFS_ARG_NOT_NULL(0, "name");
	difs_write_begin("difs_release");
	DIFS_KEY(&key, DIFS_HOLD_NAME, BTEqualStrategyNumber, F_TEXTEQ, PG_GETARG_DATUM(0));
	row = difs_row_find(DIFS_REL_HOLD, DIFS_REL_HOLD_PKEY, 1, &key);
	if (row != NULL && difs_row_lock(DIFS_REL_HOLD, &row))
		difs_row_delete(DIFS_REL_HOLD, row);
	else
		row = NULL;
	difs_write_end();
	PG_RETURN_BOOL(row != NULL);
}
