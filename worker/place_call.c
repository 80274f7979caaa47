/*
 * place_call.c - calls a placement function, and reads what it says (place_call.h).
 *
 * The call is a subtransaction, so that an error of the function is an answer, too.  It has the rights of the function's owner and a limit of
 * time.  No state.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/typcache.h"

#include "src/compat.h"
#include "src/placement_function.h"
#include "src/settings.h"
#include "worker/place_call.h"

#define SAFE_PATH "pg_catalog, pg_temp"

/* The columns of difs.candidate. */
enum CandidateColumn
{
	CANDIDATE_SERVER,
	CANDIDATE_ZONE,
	CANDIDATE_TIER,
	CANDIDATE_WEIGHT,
	CANDIDATE_FREE_BYTES,
	CANDIDATE_OPEN_GROUPS,
	CANDIDATE_MEMBER,
	CANDIDATE_COLUMNS,
};

static ArrayType *call(const DifsClass *class, const DifsCandidates *candidates, const DifsPlaced *placed);
static ArrayType *candidate_rows(const DifsClass *class, const DifsCandidates *candidates);
static Datum candidate_row(TupleDesc desc, const DifsSharedServer *server, const DifsLoad *load, bool is_member);
static bool is_member(const DifsCandidates *candidates, int index);
static bool is_candidate(const DifsClass *class, const DifsCandidates *candidates, int index);
static Oid owner_of(Oid function);
static bool read_answer(const DifsClass *class, const DifsCandidates *candidates, ArrayType *names, DifsPlaced *placed, DifsError *problem);
static bool add_server(const DifsClass *class, const DifsCandidates *candidates, const char *name, DifsPlaced *placed);

bool
difs_place_call(const DifsClass *class, const DifsCandidates *candidates, DifsPlaced *placed, DifsError *problem)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool good;

	errno = 0;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		ArrayType *names = call(class, candidates, placed);

		good = read_answer(class, candidates, names, placed, problem);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		disable_timeout(STATEMENT_TIMEOUT, false);
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		good = difs_error_set(problem, DIFS_ERROR_NO_GROUP, "placement function %s of volume \"%s\" failed: %s", placed->function, placed->volume,
							  error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return good;
}

/* Null if that is what it returns. The end of the subtransaction gives rights and settings back if it fails. */
static ArrayType *
call(const DifsClass *class, const DifsCandidates *candidates, const DifsPlaced *placed)
{
	LOCAL_FCINFO(fcinfo, 3);
	Oid function = difs_placement_find(placed->function);
	int nest_level = NewGUCNestLevel();
	FmgrInfo info;
	Datum names;
	Oid user;
	int security;

	GetUserIdAndSecContext(&user, &security);
	(void) set_config_option("search_path", SAFE_PATH, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(owner_of(function), security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	enable_timeout_after(STATEMENT_TIMEOUT, Max(difs_server_timeout / 2, 1));

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 3, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum){CStringGetTextDatum(placed->volume), false};
	fcinfo->args[1] = (NullableDatum){Int32GetDatum(class->replicas), false};
	fcinfo->args[2] = (NullableDatum){PointerGetDatum(candidate_rows(class, candidates)), false};
	names = FunctionCallInvoke(fcinfo);

	disable_timeout(STATEMENT_TIMEOUT, false);
	SetUserIdAndSecContext(user, security);
	AtEOXact_GUC(false, nest_level);
	return fcinfo->isnull ? NULL : DatumGetArrayTypeP(names);
}

static ArrayType *
candidate_rows(const DifsClass *class, const DifsCandidates *candidates)
{
	Oid type = difs_placement_candidate_type();
	TupleDesc desc = lookup_rowtype_tupdesc(type, -1);
	Datum *rows = palloc(sizeof(Datum) * Max(candidates->count, 1));
	int count = 0;

	for (int i = 0; i < candidates->count; i++)
	{
		if (is_candidate(class, candidates, i))
			rows[count++] = candidate_row(desc, &candidates->servers[i], &candidates->load[i], is_member(candidates, i));
	}
	ReleaseTupleDesc(desc);
	return count == 0 ? construct_empty_array(type) : construct_array(rows, count, type, -1, false, TYPALIGN_DOUBLE);
}

static Datum
candidate_row(TupleDesc desc, const DifsSharedServer *server, const DifsLoad *load, bool is_member)
{
	Datum values[CANDIDATE_COLUMNS];
	bool nulls[CANDIDATE_COLUMNS] = {false};

	Assert(desc->natts == CANDIDATE_COLUMNS);
	values[CANDIDATE_SERVER] = CStringGetTextDatum(server->name);
	values[CANDIDATE_ZONE] = CStringGetTextDatum(server->zone);
	values[CANDIDATE_TIER] = CStringGetTextDatum(server->tier);
	values[CANDIDATE_WEIGHT] = Int32GetDatum(server->weight);
	values[CANDIDATE_FREE_BYTES] = Int64GetDatum((int64) difs_placement_room(server, load));
	values[CANDIDATE_OPEN_GROUPS] = Int32GetDatum(load->groups);
	values[CANDIDATE_MEMBER] = BoolGetDatum(is_member);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static bool
is_member(const DifsCandidates *candidates, int index)
{
	for (int i = 0; i < candidates->member_count; i++)
	{
		if (candidates->members[i] == candidates->servers[index].id)
			return true;
	}
	return false;
}

static bool
is_candidate(const DifsClass *class, const DifsCandidates *candidates, int index)
{
	return is_member(candidates, index) ||
		difs_placement_usable(class, candidates->capacity_bytes, &candidates->servers[index], &candidates->load[index]);
}

static Oid
owner_of(Oid function)
{
	HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid owner;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(row))->proowner;
	ReleaseSysCache(row);
	return owner;
}

static bool
read_answer(const DifsClass *class, const DifsCandidates *candidates, ArrayType *names, DifsPlaced *placed, DifsError *problem)
{
	Datum *elements;
	bool *nulls;
	int count;

	placed->count = 0;
	if (names == NULL)
		return difs_error_set(problem, DIFS_ERROR_NO_GROUP, "placement function %s of volume \"%s\" returned null", placed->function, placed->volume);
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		const char *name = nulls[i] ? "" : TextDatumGetCString(elements[i]);

		if (!add_server(class, candidates, name, placed))
			return difs_error_set(problem, DIFS_ERROR_NO_GROUP, "placement function %s of volume \"%s\" named \"%s\", which is not among the candidates",
								  placed->function, placed->volume, name);
	}
	return true;
}

static bool
add_server(const DifsClass *class, const DifsCandidates *candidates, const char *name, DifsPlaced *placed)
{
	for (int i = 0; i < candidates->count; i++)
	{
		bool known = false;

		if (strcmp(candidates->servers[i].name, name) != 0 || !is_candidate(class, candidates, i))
			continue;
		for (int j = 0; j < placed->count; j++)
			known = known || placed->server[j] == candidates->servers[i].id;
		if (!known)
			placed->server[placed->count++] = candidates->servers[i].id;
		return true;
	}
	return false;
}
