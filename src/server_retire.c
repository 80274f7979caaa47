/*
 * server_retire.c - chunk servers that leave: difs_server_drain() and difs_server_remove().
 *
 *	active <--> draining --> drained        difs_server_drain(), and worker/drain.c when no block group is left
 *	any ------> removed --> no row          difs_server_remove(), and worker/drain.c
 *
 * Only rows of difs.server change here.  The keeper opens no block groups on a server that is not active, and
 * repair moves or replaces the copies.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "src/report.h"
#include "src/server_admin.h"
#include "src/shmem.h"
#include "src/table.h"

#define MAX_LISTED 20 /* block groups in a message */

static void require_superuser(const char *what);
static int32 lock_server(const char *name, char **state, bool *embedded);
static int64 count_groups(int32 id);
static void set_state(int32 id, const char *state);
static void refuse_removal(const char *name, int32 id, int64 groups);
static char *list_only_copies(int32 id);

static void
require_superuser(const char *what)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to %s a chunk server", what)));
	difs_shmem_require();
}

static int32
lock_server(const char *name, char **state, bool *embedded)
{
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	HeapTuple row;
	bool null;

	SPI_execute_with_args("SELECT id, state, embedded FROM difs.server "
						  "WHERE name OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.<>) 'removed' FOR UPDATE",
						  1, types, values, NULL, false, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("chunk server \"%s\" does not exist", name)));
	row = SPI_tuptable->vals[0];
	*state = SPI_getvalue(row, SPI_tuptable->tupdesc, 2);
	*embedded = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &null));
	return DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null));
}

/* Block groups that have it among their members. */
static int64
count_groups(int32 id)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(id)};
	bool null;

	SPI_execute_with_args("SELECT pg_catalog.count(*) FROM difs.block_group WHERE $1 OPERATOR(pg_catalog.=) ANY (members)",
						  1, types, values, NULL, false, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

static void
set_state(int32 id, const char *state)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(id), CStringGetTextDatum(state)};

	SPI_execute_with_args("UPDATE difs.server SET state = $2 WHERE id OPERATOR(pg_catalog.=) $1",
						  2, types, values, NULL, false, 0);
}

static void
refuse_removal(const char *name, int32 id, int64 groups)
{
	char *only = list_only_copies(id);

	ereport(ERROR,
			(errcode(DIFS_ERRCODE_NOT_EMPTY),
			 errmsg("chunk server \"%s\" still has copies of %lld block groups", name, (long long) groups),
			 only[0] != '\0' ?
				 errdetail("It has the only copy of block groups %s.", only) :
				 errdetail("Each of them has another member."),
			 errhint("Move them elsewhere with difs_server_drain(), or give the copies up with force => true: "
					 "those that have another member are made anew from that, the others are lost.")));
}

/* Those of which no other member is a server that is still there. */
static char *
list_only_copies(int32 id)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(id)};
	StringInfoData list;

	initStringInfo(&list);
	SPI_execute_with_args("SELECT id FROM difs.block_group AS g WHERE $1 OPERATOR(pg_catalog.=) ANY (members) AND NOT EXISTS "
						  "(SELECT FROM difs.server AS s WHERE s.id OPERATOR(pg_catalog.=) ANY (g.members) "
						  "AND s.id OPERATOR(pg_catalog.<>) $1 AND s.state OPERATOR(pg_catalog.<>) 'removed') ORDER BY id",
						  1, types, values, NULL, false, MAX_LISTED + 1);
	for (uint64 i = 0; i < Min(SPI_processed, MAX_LISTED); i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	if (SPI_processed > MAX_LISTED)
		appendStringInfoString(&list, " and others");
	return list.data;
}

PG_FUNCTION_INFO_V1(difs_server_drain);
PG_FUNCTION_INFO_V1(difs_server_remove);

Datum
difs_server_drain(PG_FUNCTION_ARGS)
{
	char *name;
	char *state;
	bool embedded;
	int32 id;
	int64 groups;

	DIFS_ARG_NOT_NULL(0, "name");
	DIFS_ARG_NOT_NULL(1, "undo");
	require_superuser("drain");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	difs_admin_begin("difs_server_drain");
	SPI_connect();
	id = lock_server(name, &state, &embedded);
	if (PG_GETARG_BOOL(1))
		set_state(id, "active");
	else if (strcmp(state, "active") == 0)
		set_state(id, "draining");
	groups = count_groups(id);
	SPI_finish();
	difs_write_end();
	difs_wake_keeper_at_commit(true);
	PG_RETURN_INT64(groups);
}

Datum
difs_server_remove(PG_FUNCTION_ARGS)
{
	char *name;
	char *state;
	bool embedded;
	int32 id;
	int64 groups;

	DIFS_ARG_NOT_NULL(0, "name");
	DIFS_ARG_NOT_NULL(1, "force");
	require_superuser("remove");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	difs_admin_begin("difs_server_remove");
	SPI_connect();
	id = lock_server(name, &state, &embedded);
	groups = count_groups(id);
	if (groups > 0 && !PG_GETARG_BOOL(1))
		refuse_removal(name, id, groups);
	set_state(id, "removed");
	if (groups == 0 && !embedded)
	{
		Oid types[] = {INT4OID};
		Datum values[] = {Int32GetDatum(id)};

		SPI_execute_with_args("DELETE FROM difs.server WHERE id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL, false, 0);
	}
	SPI_finish();
	difs_write_end();
	difs_wake_keeper_at_commit(true);
	PG_RETURN_VOID();
}
