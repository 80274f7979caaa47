/*
 * volume_admin.c - difs_volume_alter() and difs_volume_drop().
 *
 * Both lock the volume's row first.  Dropping one that has files in it takes the
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
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "src/dentry.h"
#include "src/doom.h"
#include "src/names.h"
#include "src/owner_query.h"
#include "src/report.h"
#include "src/table.h"
#include "src/volume.h"

#define MAIN_VOLUME 1			/* its id */

static void refuse_main(const DifsVolume *volume, const char *what);
static bool has_entries(int64 root);
static bool is_referenced(void);
static void leave_to_keeper(const DifsVolume *volume);

/* difs_volume_alter(name, replicas, segment_size, compression, compression_level, tier, digest, journal, journal_keep, notify, new_name) */
PG_FUNCTION_INFO_V1(difs_volume_alter);
Datum
difs_volume_alter(PG_FUNCTION_ARGS)
{
	DifsVolume	volume;
	DifsVolume	other;
	HeapTuple	row;

	DIFS_ARG_NOT_NULL(0, "name");
	difs_admin_begin("difs_volume_alter");
	row = difs_volume_lock(text_to_cstring(PG_GETARG_TEXT_PP(0)), &volume);
	difs_volume_policy(fcinfo, &volume);
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
	difs_volume_check_name(&volume, volume.name);	/* notify allows fewer bytes */
	difs_volume_store(row, &volume);
	difs_write_end();
	PG_RETURN_VOID();
}

/* difs_volume_drop(name, force) */
PG_FUNCTION_INFO_V1(difs_volume_drop);
Datum
difs_volume_drop(PG_FUNCTION_ARGS)
{
	DifsVolume	volume;
	DifsInode	root;
	HeapTuple	row;

	DIFS_ARG_NOT_NULL(0, "name");
	DIFS_ARG_NOT_NULL(1, "force");
	difs_write_begin("difs_volume_drop");
	row = difs_volume_lock(text_to_cstring(PG_GETARG_TEXT_PP(0)), &volume);
	refuse_main(&volume, "drop");
	if (!difs_inode_find(volume.root, &root))
		elog(ERROR, "root of volume \"%s\" is missing", volume.name);

	/* from here on nobody makes an entry in the root */
	root.own = false;
	difs_inode_exclude(&root);
	if (has_entries(root.ino))
	{
		if (!PG_GETARG_BOOL(1))
			ereport(ERROR,
					errcode(DIFS_ERRCODE_NOT_EMPTY),
					errmsg("volume \"%s\" is not empty", volume.name),
					errhint("difs_volume_drop() with force => true removes what is in it, too."));
		if (is_referenced())
			difs_directory_empty(&root, true, psprintf("%s:/", volume.name));
		else
			leave_to_keeper(&volume);
	}
	difs_inode_remove(root.ino);
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		int64		id = volume.id;

		(void) difs_owner_query("DELETE FROM difs.usage WHERE root OPERATOR(pg_catalog.=) ANY"
								" (SELECT root FROM difs.quota WHERE volume OPERATOR(pg_catalog.=) $1)", 1, &id, false, 0, NULL);
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

static bool
has_entries(int64 root)
{
	int64		one;

	return difs_owner_query("SELECT 1::pg_catalog.int8 FROM difs.dentry WHERE parent OPERATOR(pg_catalog.=) $1",
							1, &root, true, 1, &one);
}

/* Are there foreign keys to inodes? */
static bool
is_referenced(void)
{
	int64		inode = difs_relation(DIFS_REL_INODE);
	int64		one;

	return difs_owner_query("SELECT 1::pg_catalog.int8 FROM pg_catalog.pg_constraint WHERE contype OPERATOR(pg_catalog.=) 'f'"
							" AND confrelid OPERATOR(pg_catalog.=) $1::pg_catalog.oid", 1, &inode, true, 1, &one);
}

static void
leave_to_keeper(const DifsVolume *volume)
{
	(void) difs_owner_query("INSERT INTO difs.dropped (ino, volume, xid) VALUES ($1, $2, pg_catalog.pg_current_xact_id())",
							2, (int64[]) {volume->root, volume->id}, false, 0, NULL);
}
