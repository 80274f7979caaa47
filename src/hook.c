/*
 * hook.c - SQL functions of a volume's owner that are asked about changes (hook.h).
 *
 * State: which volumes' functions run now, in frames on the stack.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "src/attrs.h"
#include "src/compat.h"
#include "src/hook.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/volume.h"

#define BEFORE_PUT_ARGUMENTS 6
#define SAFE_PATH "pg_catalog, pg_temp"

/* path, ino, version, size, media_type, owner */
static const Oid before_put_types[BEFORE_PUT_ARGUMENTS] = {TEXTOID, INT8OID, INT4OID, INT8OID, TEXTOID, REGROLEOID};

typedef struct Frame
{
	const DifsVolume *volume;
	const char *path;
	struct Frame *outer;
} Frame;

static Frame *running = NULL;

static void call(Oid function, const Frame *frame, const DifsInode *inode, int32 version, int64 size);
static Oid find(const DifsVolume *volume);
static void check(Oid function);
static void refuse_recursion(const DifsVolume *volume, const char *path);
static void say_where(void *arg);

void
difs_hook_before_put(const DifsInode *inode, int32 version, int64 size)
{
	DifsVolume volume;
	Frame frame;
	Oid function;
	Oid user;
	int context;
	int nest_level;

	if (!difs_volume_find_current(inode->volume, &volume) || volume.before_put[0] == '\0')
		return;
	frame = (Frame){.volume = &volume, .path = difs_policy_path(inode), .outer = running};
	refuse_recursion(&volume, frame.path);
	function = find(&volume);
	check(function);

	GetUserIdAndSecContext(&user, &context);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", SAFE_PATH, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (MyBackendType == B_BG_WORKER)
		SetUserIdAndSecContext(user, context | SECURITY_RESTRICTED_OPERATION);
	running = &frame;
	PG_TRY();
	{
		call(function, &frame, inode, version, size);
	}
	PG_FINALLY();
	{
		running = frame.outer;
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(false, nest_level);
}

static void
call(Oid function, const Frame *frame, const DifsInode *inode, int32 version, int64 size)
{
	LOCAL_FCINFO(fcinfo, BEFORE_PUT_ARGUMENTS);
	ErrorContextCallback where = {.callback = say_where, .arg = unconstify(Frame *, frame), .previous = error_context_stack};
	text *media_type = difs_media_type_of(inode->ino);
	FmgrInfo info;

	error_context_stack = &where;
	InvokeFunctionExecuteHook(function);
	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, BEFORE_PUT_ARGUMENTS, InvalidOid, NULL, NULL);
	memset(fcinfo->args, 0, sizeof(NullableDatum) * BEFORE_PUT_ARGUMENTS);
	fcinfo->args[0].value = CStringGetTextDatum(frame->path);
	fcinfo->args[1].value = Int64GetDatum(inode->ino);
	fcinfo->args[2].value = Int32GetDatum(version);
	fcinfo->args[3].value = Int64GetDatum(size);
	fcinfo->args[4].value = PointerGetDatum(media_type);
	fcinfo->args[4].isnull = media_type == NULL;
	fcinfo->args[5].value = ObjectIdGetDatum(inode->owner);
	(void) FunctionCallInvoke(fcinfo);
	error_context_stack = where.previous;
}

/* The name was written by difs_hook_argument(), but superusers may write the table. */
static Oid
find(const DifsVolume *volume)
{
	List *parts = NIL;
	Oid function = InvalidOid;

	if (SplitIdentifierString(pstrdup(volume->before_put), '.', &parts) && list_length(parts) == 2)
		function = LookupFuncName(list_make2(makeString(linitial(parts)), makeString(lsecond(parts))), BEFORE_PUT_ARGUMENTS,
								  before_put_types, true);
	if (!OidIsValid(function))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("before_put of volume \"%s\", function %s(text, bigint, integer, bigint, text, regrole), does not exist",
					   volume->name, volume->before_put),
				errdetail("Without it, nothing can be put into the volume."),
				errhint("Create it again, or have the volume's owner call difs_volume_alter() with another before_put, or with unset => '{before_put}'."));
	return function;
}

/* Is it a function that can be asked, and may the user do so? */
static void
check(Oid function)
{
	HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(row))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("before_put: there is no function with OID %u", function));
	form = (Form_pg_proc) GETSTRUCT(row);
	if (form->prokind != PROKIND_FUNCTION || form->proretset || form->prorettype != VOIDOID || form->proisstrict ||
		form->pronargs != BEFORE_PUT_ARGUMENTS ||
		memcmp(form->proargtypes.values, before_put_types, sizeof(before_put_types)) != 0 || isAnyTempNamespace(form->pronamespace))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				errmsg("before_put: %s is not a function that can be asked", format_procedure(function)),
				errdetail("It must be a function (path text, ino bigint, version integer, size bigint, media_type text, owner regrole) that returns void,"
						  " is CALLED ON NULL INPUT, and is not temporary."));
	if (!difs_may_execute(function, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, NameStr(form->proname));
	ReleaseSysCache(row);
}

static void
refuse_recursion(const DifsVolume *volume, const char *path)
{
	for (const Frame *frame = running; frame != NULL; frame = frame->outer)
	{
		if (frame->volume->id == volume->id)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("before_put of volume \"%s\" puts \"%s\" into the volume itself", volume->name, path),
					errhint("It may write to other volumes. What is to follow a put in the same volume is done after the commit, with difs_changes()."));
	}
}

static void
say_where(void *arg)
{
	const Frame *frame = arg;

	errcontext("before_put function %s of volume \"%s\" for \"%s\"", frame->volume->before_put, frame->volume->name, frame->path);
}

void
difs_hook_argument(FunctionCallInfo fcinfo, int argument, char *name)
{
	Oid function = PG_GETARG_OID(argument);

	check(function);
	strlcpy(name, quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), get_func_name(function)), DIFS_HOOK_NAME_SIZE);
}
