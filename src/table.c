/*
 * table.c - the relations of schema difs, and snapshots for calls.
 *
 * What finds rows is in scan.c, what changes them in row.c.
 *
 * The only state is a cache of OIDs, this process's own, filled only if the
 * extension is of a version that this library knows.  It is emptied when
 * PostgreSQL says that one of the relations has changed, which it does when they
 * are dropped, also when the transaction that created them is rolled back; so
 * DROP EXTENSION and CREATE EXTENSION in one session work.
 *
 * Everything else lives in the transaction: locks and snapshots belong
 * to its resource owner, which cleans up after an error.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/claim.h"
#include "src/compat.h"
#include "src/extension.h"
#include "src/slow.h"
#include "src/table.h"

/* Name of a relation in schema difs; number of columns of a table. */
static const struct
{
	const char *name;
	int columns;
} relations[DIFS_RELATIONS] = {
	[DIFS_REL_CLUSTER] = {"cluster", DIFS_CLUSTER_COLUMNS},
	[DIFS_REL_CLUSTER_PKEY] = {"cluster_pkey"},
	[DIFS_REL_VOLUME] = {"volume", DIFS_VOLUME_COLUMNS},
	[DIFS_REL_VOLUME_PKEY] = {"volume_pkey"},
	[DIFS_REL_VOLUME_NAME] = {"volume_name_key"},
	[DIFS_REL_INODE] = {"inode", DIFS_INODE_COLUMNS},
	[DIFS_REL_INODE_PKEY] = {"inode_pkey"},
	[DIFS_REL_DENTRY] = {"dentry", DIFS_DENTRY_COLUMNS},
	[DIFS_REL_DENTRY_PKEY] = {"dentry_pkey"},
	[DIFS_REL_DENTRY_INO] = {"dentry_ino"},
	[DIFS_REL_VERSION] = {"version", DIFS_VERSION_COLUMNS},
	[DIFS_REL_VERSION_PKEY] = {"version_pkey"},
	[DIFS_REL_VERSION_MAP] = {"version_map"},
	[DIFS_REL_MANIFEST] = {"manifest", DIFS_MANIFEST_COLUMNS},
	[DIFS_REL_MANIFEST_PKEY] = {"manifest_pkey"},
	[DIFS_REL_MANIFEST_SEGMENT] = {"manifest_segment"},
	[DIFS_REL_BLOCK_GROUP] = {"block_group", DIFS_BLOCK_GROUP_COLUMNS},
	[DIFS_REL_BLOCK_GROUP_PKEY] = {"block_group_pkey"},
	[DIFS_REL_SERVER] = {"server", DIFS_SERVER_COLUMNS},
	[DIFS_REL_SERVER_PKEY] = {"server_pkey"},
	[DIFS_REL_DOOMED] = {"doomed", DIFS_DOOMED_COLUMNS},
	[DIFS_REL_HOLD] = {"hold", DIFS_HOLD_COLUMNS},
	[DIFS_REL_HOLD_PKEY] = {"hold_pkey"},
	[DIFS_REL_STAGING] = {"staging", DIFS_STAGING_COLUMNS},
	[DIFS_REL_STAGING_PKEY] = {"staging_pkey"},
	[DIFS_REL_INLINE] = {"inline", DIFS_INLINE_COLUMNS},
	[DIFS_REL_INLINE_PKEY] = {"inline_pkey"},
	[DIFS_REL_FRAGMENTED] = {"fragmented", DIFS_FRAGMENTED_COLUMNS},
	[DIFS_REL_FRAGMENTED_PKEY] = {"fragmented_pkey"},
	[DIFS_REL_QUOTA] = {"quota", DIFS_QUOTA_COLUMNS},
	[DIFS_REL_QUOTA_PKEY] = {"quota_pkey"},
	[DIFS_REL_USAGE] = {"usage", DIFS_USAGE_COLUMNS},
	[DIFS_REL_USAGE_PKEY] = {"usage_pkey"},
	[DIFS_REL_JOURNAL] = {"journal", DIFS_JOURNAL_COLUMNS},
	[DIFS_REL_LOCK] = {"lock", DIFS_LOCK_COLUMNS},
	[DIFS_REL_LOCK_INO] = {"lock_ino"},
	[DIFS_REL_UPLOAD] = {"upload", DIFS_UPLOAD_COLUMNS},
	[DIFS_REL_UPLOAD_PKEY] = {"upload_pkey"},
	[DIFS_REL_UPLOAD_XID] = {"upload_xid"},
	[DIFS_REL_RECEIPT] = {"receipt", DIFS_RECEIPT_COLUMNS},
	[DIFS_REL_RECEIPT_PKEY] = {"receipt_pkey"},
	[DIFS_REL_SEQ_UPLOAD] = {"upload_id"},
	[DIFS_REL_INSERT] = {"insert_process", DIFS_INSERT_COLUMNS},
	[DIFS_REL_SEQ_INSERT] = {"insert_id"},
	[DIFS_REL_SEQ_FENCE] = {"fence"},
	[DIFS_REL_SEQ_INO] = {"ino"},
	[DIFS_REL_SEQ_VOLUME] = {"volume_id"},
	[DIFS_REL_SEQ_SERVER] = {"server_id"},
	[DIFS_REL_SEQ_BLOCK_GROUP] = {"block_group_id"},
	[DIFS_REL_SEQ_SEGMENT] = {"segment_id"},
	[DIFS_REL_FILE_POLICY] = {"file_policy", DIFS_FILE_POLICY_COLUMNS},
	[DIFS_REL_FILE_POLICY_PKEY] = {"file_policy_pkey"},
	[DIFS_REL_FILE_POLICY_VOLUME] = {"file_policy_volume"},
	[DIFS_REL_EXPIRING] = {"expiring", DIFS_EXPIRING_COLUMNS},
	[DIFS_REL_EXPIRING_PKEY] = {"expiring_pkey"},
	[DIFS_REL_DISCARDED] = {"discarded", DIFS_DISCARDED_COLUMNS},
	[DIFS_REL_DISCARDED_PKEY] = {"discarded_pkey"},
	[DIFS_REL_DISCARDED_PATH] = {"discarded_path"},
	[DIFS_REL_SEQ_TRASH] = {"trash_id"},
};

static Oid relation_oid[DIFS_RELATIONS]; /* InvalidOid: not looked up */
static bool version_fits = false;		 /* of the extension that they belong to */

static void check_version(void);
static Oid look_up(DifsRelation relation);
static void forget_relations(Datum unused, Oid changed);

Oid
difs_relation(DifsRelation relation)
{
	Oid oid = relation_oid[relation];

	if (!OidIsValid(oid))
		oid = look_up(relation);
	if (!OidIsValid(oid))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("extension difs is not installed in database \"%s\"", get_database_name(MyDatabaseId)),
				errdetail("There is no relation difs.%s.", relations[relation].name),
				errhint("Run CREATE EXTENSION difs."));
	return oid;
}

bool
difs_installed(void)
{
	return OidIsValid(relation_oid[DIFS_REL_CLUSTER]) || OidIsValid(look_up(DIFS_REL_CLUSTER));
}

/* Callers have arrays with room for just the columns that they know. */
Relation
difs_table_open(DifsRelation table, LOCKMODE lock)
{
	Relation rel = table_open(difs_relation(table), lock);

	if (RelationGetNumberOfAttributes(rel) != relations[table].columns)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table difs.%s does not have the columns that the library of difs expects",
					   relations[table].name),
				errdetail("It has %d columns, not %d.",
						  (int) RelationGetNumberOfAttributes(rel), relations[table].columns),
				errhint("Library and extension must be of one version: see ALTER EXTENSION difs UPDATE."));
	return rel;
}

void
difs_write_begin(const char *function)
{
	difs_admin_begin(function);
	if (function != NULL)
		difs_claim_require();
}

void
difs_admin_begin(const char *function)
{
	if (function != NULL)
	{
		char name[NAMEDATALEN + 2];

		snprintf(name, sizeof(name), "%s()", function);
		PreventCommandIfReadOnly(name);
		PreventCommandIfParallelMode(name);
	}

	AcceptInvalidationMessages();
	check_version();
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (function != NULL)
		difs_slow_begin(function);
}

void
difs_write_end(void)
{
	difs_slow_end();
	PopActiveSnapshot();
}

void
difs_read_begin(void)
{
	AcceptInvalidationMessages();
	check_version();
	if (IsInParallelMode() ||
		(ActiveSnapshotSet() && GetActiveSnapshot()->curcid == GetCurrentCommandId(false)))
		PushCopiedSnapshot(GetActiveSnapshot());
	else
		PushActiveSnapshot(GetTransactionSnapshot());
	difs_slow_begin("read");
}

void
difs_read_end(void)
{
	difs_slow_end();
	PopActiveSnapshot();
}

/* A snapshot that others hold too must not change; callers have pushed one of their own. */
void
difs_command_done(void)
{
	Snapshot snapshot = GetActiveSnapshot();

	if (snapshot->active_count != 1 || snapshot->regd_count != 0)
		elog(ERROR, "difs rows were written outside difs_write_begin()");

	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

int64
difs_sequence_next(DifsRelation sequence)
{
	return nextval_internal(difs_relation(sequence), false);
}

/* Once, until something changes. */
static void
check_version(void)
{
	static bool watching = false;

	if (!watching)
		CacheRegisterRelcacheCallback(forget_relations, (Datum) 0);
	watching = true;
	if (likely(version_fits))
		return;
	difs_extension_check();
	version_fits = !creating_extension;
}

static Oid
look_up(DifsRelation relation)
{
	Oid schema;
	Oid oid;

	schema = get_namespace_oid("difs", true);
	if (!OidIsValid(schema))
		return InvalidOid;
	check_version();

	oid = get_relname_relid(relations[relation].name, schema);
	relation_oid[relation] = oid;
	return oid;
}

/* A relation's entry in the relation cache is no longer right; InvalidOid means all of them. */
static void
forget_relations(Datum unused, Oid changed)
{
	for (int i = 0; i < DIFS_RELATIONS; i++)
	{
		if (!OidIsValid(changed) || relation_oid[i] == changed)
		{
			relation_oid[i] = InvalidOid;
			version_fits = false;
		}
	}
}
