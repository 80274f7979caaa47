/*
 * role_use.c - which roles the files of this database name (role_use.h).
 *
 * State: roles whose dependency this process knows to be recorded, perhaps by its
 * own transaction; so a rollback empties it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_shdepend.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "src/report.h"
#include "src/role_use.h"
#include "src/table.h"

#define KNOWN 64

static Oid known[KNOWN]; /* a role's place is its number modulo KNOWN; InvalidOid = none there */

static void watch(void);
static void transaction_ends(XactEvent event, void *arg);
static void subtransaction_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);
static bool is_recorded(Oid role);
static void change_dependency(Oid old_role, Oid new_role);

void
difs_role_use(Oid role)
{
	if (known[role % KNOWN] == role || !OidIsValid(role))
		return;

	watch();
	if (!IsPinnedObject(AuthIdRelationId, role) && !is_recorded(role))
		change_dependency(InvalidOid, role);
	known[role % KNOWN] = role;
}

void
difs_role_use_all(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT oid FROM pg_catalog.pg_authid WHERE oid OPERATOR(pg_catalog.=) ANY (ARRAY("
					"SELECT owner::pg_catalog.oid FROM difs.inode UNION SELECT grp::pg_catalog.oid FROM difs.inode"
					" UNION SELECT pg_catalog.unnest(acl_role)::pg_catalog.oid FROM difs.inode))",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list the roles that files name: %s", SPI_result_code_string(SPI_result));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool null;

		difs_role_use(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null)));
	}
	SPI_finish();
}

void
difs_role_use_forget(void)
{
	memset(known, 0, sizeof(known));
}

static void
watch(void)
{
	static bool watching = false;

	if (watching)
		return;
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
	watching = true;
}

static void
transaction_ends(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		difs_role_use_forget();
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		difs_role_use_forget();
}

static bool
is_recorded(Oid role)
{
	Relation table = table_open(SharedDependRelationId, AccessShareLock);
	ScanKeyData keys[4];
	SysScanDesc scan;
	HeapTuple row;
	bool found = false;

	ScanKeyInit(&keys[0], Anum_pg_shdepend_dbid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(MyDatabaseId));
	ScanKeyInit(&keys[1], Anum_pg_shdepend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[2], Anum_pg_shdepend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(difs_relation(DIFS_REL_SEQ_INO)));
	ScanKeyInit(&keys[3], Anum_pg_shdepend_objsubid, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(0));
	scan = systable_beginscan(table, SharedDependDependerIndexId, true, NULL, lengthof(keys), keys);
	while (!found && HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(row);

		found = form->refclassid == AuthIdRelationId && form->refobjid == role && form->deptype == SHARED_DEPENDENCY_ACL;
	}
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return found;
}

/* As GRANT and REVOKE on the sequence would. The arrays are freed by what is called. */
static void
change_dependency(Oid old_role, Oid new_role)
{
	Oid *before = palloc(sizeof(Oid));
	Oid *after = palloc(sizeof(Oid));

	*before = old_role;
	*after = new_role;
	updateAclDependencies(RelationRelationId, difs_relation(DIFS_REL_SEQ_INO), 0, InvalidOid,
						  OidIsValid(old_role) ? 1 : 0, before, OidIsValid(new_role) ? 1 : 0, after);
}

/* Trigger of difs.volume, for rows that come or change in SQL. A role that does not exist here is fsck's business. */
PG_FUNCTION_INFO_V1(difs_volume_owned);
Datum
difs_volume_owned(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple row;
	Oid owner;
	bool null;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("difs.volume_owned can only be called as a trigger for each row"));

	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	owner = DatumGetObjectId(heap_getattr(row, DIFS_VOLUME_OWNER, RelationGetDescr(trigger->tg_relation), &null));
	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		difs_role_use(owner);
	PG_RETURN_POINTER(NULL);
}

/* difs.role_unused(role): nothing of this database names it any more. Part of difs_reassign(). */
PG_FUNCTION_INFO_V1(difs_role_unused);
Datum
difs_role_unused(PG_FUNCTION_ARGS)
{
	if (!superuser())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("only superusers may say that a role is not used"));
	change_dependency(PG_GETARG_OID(0), InvalidOid);
	PG_RETURN_VOID();
}
