/*
 * perm_report.c - asking who may do what: difs_access(), and which volumes the
 * view difs.volumes shows.
 *
 * No state.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "src/access.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

enum AccessColumn
{
	ACCESS_KIND,
	ACCESS_ROLE,
	ACCESS_PRIVILEGES,
	ACCESS_INHERITED,
	ACCESS_COLUMNS,
};

static void add_row(ReturnSetInfo *result, const char *kind, Oid role, int may, int inherited);

/* role InvalidOid, inherited 0: null */
static void
add_row(ReturnSetInfo *result, const char *kind, Oid role, int may, int inherited)
{
	Datum values[ACCESS_COLUMNS];
	bool nulls[ACCESS_COLUMNS] = {false};

	values[ACCESS_KIND] = CStringGetTextDatum(kind);
	values[ACCESS_ROLE] = ObjectIdGetDatum(role);
	nulls[ACCESS_ROLE] = !OidIsValid(role);
	values[ACCESS_PRIVILEGES] = CStringGetTextDatum(difs_access_letters(may));
	values[ACCESS_INHERITED] = CStringGetTextDatum(difs_access_letters(inherited));
	nulls[ACCESS_INHERITED] = inherited == 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(difs_access);
PG_FUNCTION_INFO_V1(difs_volume_visible);

/* difs_access(path) */
Datum
difs_access(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DifsWalk walk;
	const DifsInode *inode = &walk.inode;

	DIFS_ARG_NOT_NULL(0, "path");

	InitMaterializedSRF(fcinfo, 0);
	difs_read_begin();
	difs_path_find(PG_GETARG_TEXT_PP(0), &walk);
	add_row(result, "owner", inode->owner, inode->mode >> 6, 0);
	add_row(result, "group", inode->group, inode->mode >> 3, 0);
	add_row(result, "others", InvalidOid, inode->mode, 0);
	for (int i = 0; inode->access != NULL && i < inode->access->count; i++)
		add_row(result, "entry", inode->access->entry[i].role, inode->access->entry[i].mode,
				inode->access->entry[i].mode >> 3 & DIFS_MAY_ALL);
	difs_read_end();
	return (Datum) 0;
}

/* difs.volume_visible(id, root): may the user do anything in its root? */
Datum
difs_volume_visible(PG_FUNCTION_ARGS)
{
	int32 volume = PG_GETARG_INT32(0);
	int64 root = PG_GETARG_INT64(1);
	bool visible;

	difs_read_begin();
	visible = difs_perm_of_directory(volume, root) != 0;
	difs_read_end();
	PG_RETURN_BOOL(visible);
}
