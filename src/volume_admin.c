/*
 * volume_admin.c - difs_volume_create(), difs_volume_alter() and difs_volume_drop().
 *
 * The last two are for its owner, and lock the volume's row first.  Dropping one that has files in it takes the
 * volume and its root away, and leaves one row of difs.dropped, whatever is in it: the
 * keeper walks it from there (worker/collect_dropped.c).  Only if tables of users
 * reference difs.inode is every file removed at once, so that the foreign keys
 * act.
 *
 * What can still see the volume, a snapshot that is older than the drop, can
 * read it: its rows and bytes go as those of any deleted file.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "src/dentry.h"
#include "src/doom.h"
#include "src/names.h"
#include "src/owner_query.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"
#include "src/trash.h"
#include "src/volume.h"

#define MAIN_VOLUME 1 /* its id */

static void refuse_main(const DifsVolume *volume, const char *what);
static HeapTuple lock_own(const char *name, DifsVolume *volume);
static void unset(ArrayType *names, DifsVolume *volume);
static bool has_entries(const DifsVolume *volume);
static void purge_trash(const DifsVolume *volume);
static void forget_policies(const DifsVolume *volume);
static bool is_referenced(void);
static void leave_to_keeper(const DifsVolume *volume);

/* difs_volume_create(name, replicas, segment_size, compression, compression_level, tier, digest, inline_limit, journal, journal_keep,
 * notify, quota_bytes, quota_files, quota_exact, versioning, keep_versions, keep_for, trash_for, before_put) -> id */
PG_FUNCTION_INFO_V1(difs_volume_create);
Datum
difs_volume_create(PG_FUNCTION_ARGS)
{
	static const char *const argument[] =
		{"name", "replicas", "segment_size", "compression", "compression_level", "tier", "digest", "inline_limit",
		 "journal", "journal_keep", "notify"};
	DifsVolume volume = {0};
	DifsQuota quota;
	char *name;

	for (int i = 0; i < lengthof(argument); i++)
		DIFS_ARG_NOT_NULL(i, argument[i]);
	DIFS_ARG_NOT_NULL(13, "quota_exact");
	DIFS_ARG_NOT_NULL(14, "versioning");

	difs_volume_policy(fcinfo, &volume);
	difs_volume_keeping(fcinfo, 14, &volume);
	if (!PG_ARGISNULL(18))
		difs_hook_argument(fcinfo, 18, volume.before_put);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	difs_volume_check_name(&volume, name);
	strlcpy(volume.name, name, sizeof(volume.name));
	if (!PG_ARGISNULL(11) || !PG_ARGISNULL(12))
		volume.accounting = DIFS_ACCOUNTING_VOLUME;

	difs_admin_begin("difs_volume_create");
	difs_volume_insert(&volume);
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		difs_quota_limits(fcinfo, 11, &quota);
		quota.root = volume.root;
		quota.volume = volume.id;
		difs_quota_insert(&quota, 0, 0);
	}
	difs_write_end();

	PG_RETURN_INT32(volume.id);
}

/* difs_volume_alter(name, replicas, segment_size, compression, compression_level, tier, digest, inline_limit, journal, journal_keep, notify, new_name,
 * versioning, keep_versions, keep_for, trash_for, unset, before_put) */
PG_FUNCTION_INFO_V1(difs_volume_alter);
Datum
difs_volume_alter(PG_FUNCTION_ARGS)
{
	DifsVolume volume;
	DifsVolume other;
	HeapTuple row;

	DIFS_ARG_NOT_NULL(0, "name");
	DIFS_ARG_NOT_NULL(16, "unset");
	difs_admin_begin("difs_volume_alter");
	row = lock_own(text_to_cstring(PG_GETARG_TEXT_PP(0)), &volume);
	difs_volume_policy(fcinfo, &volume);
	unset(PG_GETARG_ARRAYTYPE_P(16), &volume);
	difs_volume_keeping(fcinfo, 12, &volume);
	if (!PG_ARGISNULL(17))
		difs_hook_argument(fcinfo, 17, volume.before_put);
	if (!PG_ARGISNULL(13) || !PG_ARGISNULL(14) || ARR_NDIM(PG_GETARG_ARRAYTYPE_P(16)) > 0)
		difs_retain_volume(&volume);
	if (!PG_ARGISNULL(11))
	{
		const char *name = text_to_cstring(PG_GETARG_TEXT_PP(11));

		refuse_main(&volume, "rename");
		difs_volume_check_name(&volume, name);
		if (difs_volume_find_name(name, &other) && other.id != volume.id)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_EXISTS),
					errmsg("volume \"%s\" already exists", name));
		strlcpy(volume.name, name, sizeof(volume.name));
	}
	difs_volume_check_name(&volume, volume.name); /* notify allows fewer bytes */
	difs_volume_store(row, &volume);
	difs_write_end();
	PG_RETURN_VOID();
}

/* Asked before the lock, for which strangers are not to wait, and after it. */
static HeapTuple
lock_own(const char *name, DifsVolume *volume)
{
	HeapTuple row;

	difs_volume_find(name, volume);
	difs_perm_require_volume(volume);
	row = difs_volume_lock(name, volume);
	difs_perm_require_volume(volume);
	return row;
}

/* Without trash_for there is no trash, and what is in it stays until somebody takes it out. */
static void
unset(ArrayType *names, DifsVolume *volume)
{
	Datum *name;
	bool *null;
	int count;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &name, &null, &count);
	for (int i = 0; i < count; i++)
	{
		const char *what = null[i] ? "" : TextDatumGetCString(name[i]);

		if (strcmp(what, "keep_versions") == 0)
			volume->retention.keep_versions = 0;
		else if (strcmp(what, "keep_for") == 0)
			volume->retention.has_keep_for = false;
		else if (strcmp(what, "trash_for") == 0)
			volume->has_trash = false;
		else if (strcmp(what, "before_put") == 0)
			volume->before_put[0] = '\0';
		else
			ereport(ERROR,
					errcode(DIFS_ERRCODE_ARGUMENT),
					errmsg("\"%s\" cannot be unset", what),
					errhint("keep_versions, keep_for, trash_for and before_put can."));
	}
}

/* difs_volume_drop(name, force) */
PG_FUNCTION_INFO_V1(difs_volume_drop);
Datum
difs_volume_drop(PG_FUNCTION_ARGS)
{
	DifsVolume volume;
	DifsInode root;
	HeapTuple row;
	bool policy;

	DIFS_ARG_NOT_NULL(0, "name");
	DIFS_ARG_NOT_NULL(1, "force");
	difs_write_begin("difs_volume_drop");
	row = lock_own(text_to_cstring(PG_GETARG_TEXT_PP(0)), &volume);
	refuse_main(&volume, "drop");
	if (!difs_inode_find(volume.root, &root))
		elog(ERROR, "root of volume \"%s\" is missing", volume.name);

	/* from here on nobody makes an entry in the root */
	root.own = false;
	difs_inode_exclude(&root);
	difs_policy_refuse_tree(&root);
	if (has_entries(&volume))
	{
		if (!PG_GETARG_BOOL(1))
			ereport(ERROR,
					errcode(DIFS_ERRCODE_NOT_EMPTY),
					errmsg("volume \"%s\" is not empty", volume.name),
					errhint("difs_volume_drop() with force => true removes what is in it, too."));
		if (is_referenced())
		{
			difs_directory_empty(&root, true, psprintf("%s:/", volume.name));
			purge_trash(&volume);
		}
		else
			leave_to_keeper(&volume);
	}
	difs_inode_remove(root.ino, &policy);
	forget_policies(&volume);
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		int64 id = volume.id;

		(void) difs_owner_query("DELETE FROM difs.usage WHERE root OPERATOR(pg_catalog.=) ANY"
								" (SELECT root FROM difs.quota WHERE volume OPERATOR(pg_catalog.=) $1)",
								1, &id, false, 0, NULL);
		(void) difs_owner_query("DELETE FROM difs.quota WHERE volume OPERATOR(pg_catalog.=) $1", 1, &id, false, 0, NULL);
	}
	difs_volume_remove(row);
	difs_write_end();
	PG_RETURN_VOID();
}

/* It is what sessions use that choose none, and CREATE EXTENSION makes it again when a dump is restored. */
static void
refuse_main(const DifsVolume *volume, const char *what)
{
	if (volume->id == MAIN_VOLUME)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot %s volume \"%s\"", what, volume->name),
				errhint("It belongs to the extension. difs_delete() removes what is in it."));
}

/* Deleted files with a history count, and so does the trash. */
static bool
has_entries(const DifsVolume *volume)
{
	int64 one;

	return difs_owner_query("SELECT 1::pg_catalog.int8 FROM difs.dentry WHERE parent OPERATOR(pg_catalog.=) $1"
							" OR parent OPERATOR(pg_catalog.=) (OPERATOR(pg_catalog.-) $1)"
							" UNION ALL SELECT 1 FROM difs.discarded WHERE volume OPERATOR(pg_catalog.=) $2",
							2, (int64[]){volume->root, volume->id}, true, 1, &one);
}

static void
purge_trash(const DifsVolume *volume)
{
	int64 id = 0;

	while (difs_owner_query("SELECT id FROM difs.discarded WHERE volume OPERATOR(pg_catalog.=) $1 ORDER BY id",
							1, (int64[]){volume->id}, true, 1, &id))
	{
		if (difs_trash_purge(id) == 0)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_CHANGED),
					errmsg("could not serialize access due to a concurrent change of the trash of volume \"%s\"", volume->name));
	}
}

/* None is in force any more. */
static void
forget_policies(const DifsVolume *volume)
{
	int64 id = volume->id;

	(void) difs_owner_query("DELETE FROM difs.expiring WHERE ino OPERATOR(pg_catalog.=) ANY"
							" (SELECT ino FROM difs.file_policy WHERE volume OPERATOR(pg_catalog.=) $1) OR ino OPERATOR(pg_catalog.=) $2",
							2, (int64[]){id, volume->root}, false, 0, NULL);
	(void) difs_owner_query("DELETE FROM difs.file_policy WHERE volume OPERATOR(pg_catalog.=) $1", 1, &id, false, 0, NULL);
}

/* Are there foreign keys to inodes? */
static bool
is_referenced(void)
{
	int64 inode = difs_relation(DIFS_REL_INODE);
	int64 one;

	return difs_owner_query("SELECT 1::pg_catalog.int8 FROM pg_catalog.pg_constraint WHERE contype OPERATOR(pg_catalog.=) 'f'"
							" AND confrelid OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
							1, &inode, true, 1, &one);
}

/* The trash goes by rows of its own: a tree in it is one more directory to empty, and a file is doomed. */
static void
leave_to_keeper(const DifsVolume *volume)
{
	(void) difs_owner_query("WITH gone AS (DELETE FROM difs.discarded WHERE volume OPERATOR(pg_catalog.=) $1 RETURNING ino),"
							" removed AS (DELETE FROM difs.inode i USING gone WHERE i.ino OPERATOR(pg_catalog.=) gone.ino RETURNING i.ino, i.kind),"
							" doomed AS (INSERT INTO difs.doomed (ino, xid, lsn, doomed) SELECT ino, pg_catalog.pg_current_xact_id(),"
							"  pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.clock_timestamp() FROM removed WHERE kind OPERATOR(pg_catalog.=) 'f')"
							" INSERT INTO difs.dropped (ino, volume, xid) SELECT ino, $1, pg_catalog.pg_current_xact_id() FROM removed"
							" WHERE kind OPERATOR(pg_catalog.=) 'd'",
							1, (int64[]){volume->id}, false, 0, NULL);
	(void) difs_owner_query("INSERT INTO difs.dropped (ino, volume, xid) VALUES ($1, $2, pg_catalog.pg_current_xact_id())",
							2, (int64[]){volume->root, volume->id}, false, 0, NULL);
}
