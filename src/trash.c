/*
 * trash.c - the trash of a volume: rows of difs.discarded (trash.h).
 *
 * No state here.  A row is changed under its lock.  A directory comes back under
 * the volume's rename lock, as any directory moves.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/names.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/table.h"
#include "src/trash.h"

static char *path_text(const DifsPath *path);
static bool may_have(int32 volume, Oid owner, Oid deleted_by);
static void decode(HeapTuple row, TupleDesc desc, DifsDiscarded *discarded);

void
difs_trash_put(const DifsWalk *walk, HeapTuple row)
{
	Datum values[DIFS_DISCARDED_COLUMNS];
	DifsInode file = walk->inode;

	if (file.kind == DIFS_KIND_DIRECTORY)
	{
		difs_policy_refuse_tree(&walk->inode);
		difs_change_discarding(walk->parent.ino, &walk->inode);
	}
	else
	{
		difs_change_removing(walk->parent.ino, &walk->inode);
		if (difs_inode_lock(&file))
		{
			difs_policy_refuse_removal(&file, walk->path->text);
			file.ctime = GetCurrentTimestamp();
			difs_inode_store_history(&file); /* who waits for the row looks for its name again */
		}
	}

	values[DIFS_DISCARDED_ID - 1] = Int64GetDatum(difs_sequence_next(DIFS_REL_SEQ_TRASH));
	values[DIFS_DISCARDED_VOLUME - 1] = Int32GetDatum(walk->volume.id);
	values[DIFS_DISCARDED_PATH - 1] = CStringGetTextDatum(path_text(walk->path));
	values[DIFS_DISCARDED_INO - 1] = Int64GetDatum(walk->inode.ino);
	values[DIFS_DISCARDED_DELETED_BY - 1] = ObjectIdGetDatum(GetUserId());
	values[DIFS_DISCARDED_DELETED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	difs_row_insert(DIFS_REL_DISCARDED, values, NULL);
	difs_row_delete(DIFS_REL_DENTRY, row);
}

bool
difs_trash_find(int64 id, DifsDiscarded *discarded)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	DIFS_KEY(&key, DIFS_DISCARDED_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = difs_scan_begin(DIFS_REL_DISCARDED, DIFS_REL_DISCARDED_PKEY, 1, &key);
	row = difs_scan_next(scan, false);
	if (row != NULL)
		decode(row, difs_scan_desc(scan), discarded);
	difs_scan_end(scan);
	return row != NULL;
}

/* Who has deleted something can bring it back, who owns it, and who may do everything in its volume. */
static bool
may_have(int32 volume, Oid owner, Oid deleted_by)
{
	return has_privs_of_role(GetUserId(), owner) || has_privs_of_role(GetUserId(), deleted_by) || difs_perm_privileged(volume);
}

void
difs_trash_require(const DifsDiscarded *discarded, const DifsInode *inode)
{
	if (!may_have(discarded->volume, inode->owner, discarded->deleted_by))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %lld in the trash", (long long) discarded->id),
				 errdetail("Role \"%s\" has neither deleted nor does it own it.", GetUserNameFromId(GetUserId(), false))));
}

bool
difs_trash_find_path(const DifsPath *path, const DifsVolume *volume, DifsDiscarded *discarded)
{
	ScanKeyData keys[2];
	DifsScan *scan;
	HeapTuple row;
	bool found = false;

	DIFS_KEY(&keys[0], DIFS_DISCARDED_VOLUME, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(volume->id));
	DIFS_KEY(&keys[1], DIFS_DISCARDED_PATH, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(path_text(path)));
	scan = difs_scan_begin(DIFS_REL_DISCARDED, DIFS_REL_DISCARDED_PATH, 2, keys);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsDiscarded one;
		DifsInode inode;

		decode(row, difs_scan_desc(scan), &one);
		if ((found && one.id < discarded->id) || !difs_inode_find(one.ino, &inode) ||
			!may_have(one.volume, inode.owner, one.deleted_by))
			continue;
		*discarded = one;
		found = true;
	}
	difs_scan_end(scan);
	return found;
}

bool
difs_trash_restore(const DifsDiscarded *discarded, const DifsWalk *walk)
{
	HeapTuple row = discarded->row;
	DifsInode inode;

	if (!difs_inode_find(discarded->ino, &inode))
		elog(ERROR, "inode " INT64_FORMAT ", which is in the trash, is missing", discarded->ino);
	difs_trash_require(discarded, &inode);
	difs_change_enter_tree(&walk->volume, inode.kind == DIFS_KIND_DIRECTORY);
	if (inode.kind == DIFS_KIND_DIRECTORY)
	{
		bool below;

		difs_volume_rename_lock(walk->volume.id);
		difs_latest_begin();
		below = difs_dentry_below(walk->parent.ino, inode.ino);
		difs_latest_end();
		if (below)
			return false; /* the target has moved into it, and so cannot be reached any more */
	}
	if (!difs_directory_enter(&walk->parent) || !difs_row_lock(DIFS_REL_DISCARDED, &row) ||
		!difs_dentry_insert(walk->parent.ino, walk->name, inode.ino))
		return false;
	difs_row_delete(DIFS_REL_DISCARDED, row);
	difs_change_returning(walk->parent.ino, &inode, "undelete");
	return true;
}

int64
difs_trash_purge(int64 id)
{
	DifsDiscarded discarded;
	DifsInode inode;
	HeapTuple row;
	int64 removed;

	if (!difs_trash_find(id, &discarded))
		return 0;
	row = discarded.row;
	if (!difs_inode_find(discarded.ino, &inode))
		elog(ERROR, "inode " INT64_FORMAT ", which is in the trash, is missing", discarded.ino);
	difs_trash_require(&discarded, &inode);
	if (inode.kind == DIFS_KIND_DIRECTORY)
		difs_inode_exclude(&inode);
	if (!difs_row_lock(DIFS_REL_DISCARDED, &row))
		return 0;
	if (inode.kind == DIFS_KIND_DIRECTORY)
		difs_policy_refuse_tree(&inode);
	removed = difs_names_purge(&inode, discarded.path);
	difs_row_delete(DIFS_REL_DISCARDED, row);
	return removed;
}

/* One slash before each component, and no volume. */
static char *
path_text(const DifsPath *path)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < path->count; i++)
		appendStringInfo(&text, "/%s", path->component[i]);
	return text.data;
}

static void
decode(HeapTuple row, TupleDesc desc, DifsDiscarded *discarded)
{
	Datum values[DIFS_DISCARDED_COLUMNS];
	bool nulls[DIFS_DISCARDED_COLUMNS];

	heap_deform_tuple(row, desc, values, nulls);
	discarded->id = DatumGetInt64(values[DIFS_DISCARDED_ID - 1]);
	discarded->volume = DatumGetInt32(values[DIFS_DISCARDED_VOLUME - 1]);
	discarded->path = TextDatumGetCString(values[DIFS_DISCARDED_PATH - 1]);
	discarded->ino = DatumGetInt64(values[DIFS_DISCARDED_INO - 1]);
	discarded->deleted_by = DatumGetObjectId(values[DIFS_DISCARDED_DELETED_BY - 1]);
	discarded->deleted = DatumGetTimestampTz(values[DIFS_DISCARDED_DELETED - 1]);
	discarded->row = heap_copytuple(row);
}

PG_FUNCTION_INFO_V1(difs_purge);
PG_FUNCTION_INFO_V1(difs_trash_visible);

/* difs_purge(trash) */
Datum
difs_purge(PG_FUNCTION_ARGS)
{
	int64 removed;

	DIFS_ARG_NOT_NULL(0, "trash");
	difs_write_begin("difs_purge");
	removed = difs_trash_purge(PG_GETARG_INT64(0));
	difs_write_end();
	if (removed == 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("there is no %lld in the trash", (long long) PG_GETARG_INT64(0)),
				 errhint("The view difs.trash lists what there is.")));
	PG_RETURN_INT64(removed);
}

/* difs.trash_visible(volume, owner, deleted_by) */
Datum
difs_trash_visible(PG_FUNCTION_ARGS)
{
	bool visible;

	difs_read_begin();
	visible = may_have(PG_GETARG_INT32(0), PG_GETARG_OID(1), PG_GETARG_OID(2));
	difs_read_end();
	PG_RETURN_BOOL(visible);
}
