/*
 * changes.c - difs_changes(): the journal of a volume, behind a cursor (journal.h).
 *
 * Rows of transactions that still run, and of all that began after the oldest of
 * them, are left for a later call.  Rows of an earlier epoch are of transactions that
 * are over: but if numbers have gone on, one may be under way, so what is in doubt
 * waits.
 *
 * The journal has the paths of all files, so it is for who may do everything in
 * the volume.  The query runs with the rights of the owner of difs' tables.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "src/compat.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"
#include "src/volume.h"

/* The place of a row: what lies behind it is asked for. */
typedef struct Cursor
{
	int64 epoch;
	uint64 xid;
	int32 seq;
} Cursor;

static void read_cursor(const char *text, Cursor *cursor);
static uint64 read_number(const char **text, uint64 max, char end);
static void read_journal(int32 volume, const Cursor *since, int32 max, ReturnSetInfo *result);

static const char *const query =
	"SELECT pg_catalog.format('%s/%s/%s', j.epoch, j.xid, j.seq), j.at, j.who, j.action, j.ino, j.path, j.from_path, j.version, j.xid"
	" FROM difs.journal j"
	" WHERE j.volume OPERATOR(pg_catalog.=) $1 AND (j.epoch, j.xid, j.seq) OPERATOR(pg_catalog.>) ($2, $3, $4)"
	" AND (j.xid OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"
	"  OR j.epoch OPERATOR(pg_catalog.<) (SELECT c.epoch FROM difs.cluster c)"
	"  AND j.xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))"
	" ORDER BY j.volume, j.epoch, j.xid, j.seq LIMIT $5";

PG_FUNCTION_INFO_V1(difs_changes);

/* difs_changes(volume, since, max) */
Datum
difs_changes(PG_FUNCTION_ARGS)
{
	DifsVolume volume;
	Cursor since = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_GETARG_INT32(2) < 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("volume and max of difs_changes() must not be null, nor max negative"));
	if (!PG_ARGISNULL(1))
		read_cursor(text_to_cstring(PG_GETARG_TEXT_PP(1)), &since);

	InitMaterializedSRF(fcinfo, 0);
	difs_read_begin();
	difs_volume_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), &volume);
	difs_perm_require_volume(&volume);
	if (!volume.journal)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("volume \"%s\" keeps no journal", volume.name),
				errhint("difs_volume_alter() with journal => true begins one."));
	read_journal(volume.id, &since, PG_GETARG_INT32(2), (ReturnSetInfo *) fcinfo->resultinfo);
	difs_read_end();
	return (Datum) 0;
}

/* epoch/xid/seq */
static void
read_cursor(const char *text, Cursor *cursor)
{
	const char *rest = text;

	cursor->epoch = (int64) read_number(&rest, PG_INT64_MAX, '/');
	if (rest != NULL)
		cursor->xid = read_number(&rest, PG_UINT64_MAX, '/');
	if (rest != NULL)
		cursor->seq = (int32) read_number(&rest, PG_INT32_MAX, '\0');
	if (rest == NULL)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid cursor \"%s\"", text),
				errhint("It is what difs_changes() has returned, or null for all that there is."));
}

/* Digits, and what ends them; *text is behind that, or NULL if it is something else. */
static uint64
read_number(const char **text, uint64 max, char end)
{
	const char *at = *text;
	uint64 number = 0;

	while (*at >= '0' && *at <= '9' && number <= (max - (*at - '0')) / 10)
		number = number * 10 + (*at++ - '0');
	*text = at > *text && *at == end ? at + 1 : NULL;
	return number;
}

static void
read_journal(int32 volume, const Cursor *since, int32 max, ReturnSetInfo *result)
{
	Oid types[] = {INT4OID, INT8OID, XID8OID, INT4OID, INT4OID};
	Datum values[] = {
		Int32GetDatum(volume),
		Int64GetDatum(since->epoch),
		FullTransactionIdGetDatum(FullTransactionIdFromU64(since->xid)),
		Int32GetDatum(since->seq),
		Int32GetDatum(max),
	};
	Relation table = difs_table_open(DIFS_REL_JOURNAL, AccessShareLock);
	Oid owner = table->rd_rel->relowner;
	Oid user;
	int context;

	table_close(table, NoLock);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.journal");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	SetUserIdAndSecContext(user, context);
}
