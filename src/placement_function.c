/*
 * placement_function.c - which function places a volume's block groups (placement_function.h).
 *
 * State: columns of difs.volume.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "src/compat.h"
#include "src/placement_function.h"
#include "src/report.h"
#include "src/table.h"

#define ARGUMENTS 3
#define SIGNATURE "(volume text, replicas integer, candidates difs.candidate[])"

static void argument_types(Oid *types);
static void check(Oid function);

Oid
difs_placement_candidate_type(void)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("candidate"), ObjectIdGetDatum(get_namespace_oid("difs", false)));
}

Oid
difs_placement_find(const char *name)
{
	List *parts = NIL;
	Oid function = InvalidOid;
	Oid types[ARGUMENTS];

	argument_types(types);
	if (SplitIdentifierString(pstrdup(name), '.', &parts) && list_length(parts) == 2)
		function = LookupFuncName(list_make2(makeString(linitial(parts)), makeString(lsecond(parts))), ARGUMENTS, types, true);
	if (!OidIsValid(function))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("the function %s%s does not exist", name, SIGNATURE));
	check(function);
	return function;
}

static void
argument_types(Oid *types)
{
	types[0] = TEXTOID;
	types[1] = INT4OID;
	types[2] = get_array_type(difs_placement_candidate_type());
}

static void
check(Oid function)
{
	HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid types[ARGUMENTS];
	Form_pg_proc form;

	if (!HeapTupleIsValid(row))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("there is no function with OID %u", function));
	form = (Form_pg_proc) GETSTRUCT(row);
	argument_types(types);
	if (form->prokind != PROKIND_FUNCTION || form->proretset || form->prorettype != TEXTARRAYOID || form->pronargs != ARGUMENTS ||
		memcmp(form->proargtypes.values, types, sizeof(types)) != 0 || isAnyTempNamespace(form->pronamespace))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				errmsg("%s is not a function that can place block groups", format_procedure(function)),
				errdetail("It must be a function %s that returns text[], and is not temporary.", SIGNATURE));
	ReleaseSysCache(row);
}

/* difs_placement_set(volume, function): null takes it away. */
PG_FUNCTION_INFO_V1(difs_placement_set);
Datum
difs_placement_set(PG_FUNCTION_ARGS)
{
	DifsVolume volume;
	HeapTuple row;

	DIFS_ARG_NOT_NULL(0, "volume");
	difs_admin_begin("difs_placement_set");
	row = difs_volume_lock(text_to_cstring(PG_GETARG_TEXT_PP(0)), &volume);
	if (PG_ARGISNULL(1))
		volume.placement[0] = '\0';
	else
	{
		Oid function = PG_GETARG_OID(1);

		check(function);
		if (!difs_may_execute(function, GetUserId()))
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
		strlcpy(volume.placement, quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), get_func_name(function)),
				sizeof(volume.placement));
		volume.placement_changes++;
	}
	difs_volume_store(row, &volume);
	difs_write_end();
	PG_RETURN_VOID();
}
