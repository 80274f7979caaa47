/*
 * owner_query.c - SQL with the rights of the owner of difs' tables (owner_query.h).
 *
 * No state here: after an error, the abort of the (sub)transaction gives the
 * rights back.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/owner_query.h"
#include "src/table.h"

#define MAX_ARGUMENTS 4

bool
difs_owner_query(const char *statement, int argument_count, const int64 *arguments, bool latest, int count, int64 *results)
{
	Oid types[MAX_ARGUMENTS] = {INT8OID, INT8OID, INT8OID, INT8OID};
	Datum values[MAX_ARGUMENTS];
	Relation table = difs_table_open(DIFS_REL_INODE, AccessShareLock);
	Oid owner = table->rd_rel->relowner;
	SPIPlanPtr plan;
	Oid user;
	int context;
	int code;
	bool found;

	Assert(argument_count <= MAX_ARGUMENTS);
	for (int i = 0; i < argument_count; i++)
		values[i] = Int64GetDatum(arguments[i]);
	table_close(table, NoLock);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(statement, argument_count, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", statement, SPI_result_code_string(SPI_result));
	if (latest)
	{
		code = SPI_execute_snapshot(plan, values, NULL, GetLatestSnapshot(), InvalidSnapshot, true, false, 1);
	}
	else
		code = SPI_execute_plan(plan, values, NULL, false, 1);
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement, SPI_result_code_string(code));

	found = SPI_processed > 0;
	for (int i = 0; found && SPI_tuptable != NULL && i < count; i++)
	{
		bool null;
		Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &null);

		results[i] = null ? 0 : DatumGetInt64(value);
	}
	SPI_finish();
	SetUserIdAndSecContext(user, context);
	difs_command_done();
	return found;
}
