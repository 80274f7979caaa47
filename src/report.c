/*
 * report.c - errors of difs as PostgreSQL errors.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/lsyscache.h"

#include "src/report.h"

int
difs_report_sqlstate(DifsErrorCode code)
{
	switch (code)
	{
		case DIFS_ERROR_FULL:
			return DIFS_ERRCODE_FULL;
		case DIFS_ERROR_CORRUPT:
			return DIFS_ERRCODE_CORRUPT;
		case DIFS_ERROR_REFUSED:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
		case DIFS_ERROR_FENCED:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		case DIFS_ERROR_ARGUMENT:
			return DIFS_ERRCODE_ARGUMENT;
		default:
			return DIFS_ERRCODE_IO;
	}
}

void
difs_report_null_argument(FunctionCallInfo fcinfo, const char *name)
{
	char *function = get_func_name(fcinfo->flinfo->fn_oid);

	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			errmsg("argument \"%s\" of %s must not be null", name, function != NULL ? function : "the function"));
}
