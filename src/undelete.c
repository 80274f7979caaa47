/*
 * undelete.c - difs_undelete(): a deleted file or tree comes back.
 *
 * By path: what was deleted there last, from the history of its directory
 * (marker.h) or from the trash (trash.h); by number: what has that number in
 * difs.trash.  It comes back where it was or, with to_path, under that name; one
 * that is taken is refused.
 *
 * No state here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/history.h"
#include "src/marker.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"
#include "src/trash.h"

static int64 undelete_path(const text *path, const text *to);
static int64 undelete_trash(int64 id, const text *to);
static void walk_target(const text *path, DifsWalk *target);
static bool find_marker(const text *path, DifsMarkerEntry *entry);
static bool revive(const DifsWalk *target, const DifsMarkerEntry *entry);
static bool restore(const DifsWalk *target, const DifsDiscarded *discarded);
static void refuse_volume(const DifsWalk *target, int32 volume);

/* Both return the ino. */
static int64
undelete_path(const text *path, const text *to)
{
	DifsPath *parsed = difs_path_parse(path);
	DifsVolume volume;

	difs_volume_find(parsed->volume, &volume);
	for (;; difs_names_again())
	{
		DifsWalk target;
		DifsMarkerEntry entry;
		DifsDiscarded discarded;
		bool marked = volume.versioning && find_marker(path, &entry);
		bool in_trash = difs_trash_find_path(parsed, &volume, &discarded);

		walk_target(to == NULL ? path : to, &target);
		if (!in_trash && to == NULL) /* with symbolic links resolved */
			in_trash = difs_trash_find_path(target.path, &target.volume, &discarded);
		if (!marked && !in_trash)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_NO_FILE),
					 errmsg("no deleted file or directory was \"%s\"", parsed->text),
					 errhint("The view difs.trash lists what is in the trash.")));
		if (marked && (!in_trash || entry.inode.ctime >= discarded.deleted))
		{
			if (revive(&target, &entry))
				return entry.inode.ino;
		}
		else if (restore(&target, &discarded))
			return discarded.ino;
	}
}

static int64
undelete_trash(int64 id, const text *to)
{
	for (;; difs_names_again())
	{
		DifsDiscarded discarded;
		DifsVolume volume;
		DifsInode inode;
		DifsWalk target;

		if (!difs_trash_find(id, &discarded) || !difs_volume_find_id(discarded.volume, &volume))
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_NO_FILE),
					 errmsg("there is no %lld in the trash", (long long) id),
					 errhint("The view difs.trash lists what there is.")));
		if (difs_inode_find(discarded.ino, &inode))
			difs_trash_require(&discarded, &inode);
		walk_target(to != NULL ? to : cstring_to_text(psprintf("%s:%s", volume.name, discarded.path)), &target);
		if (restore(&target, &discarded))
			return discarded.ino;
	}
}

static void
walk_target(const text *path, DifsWalk *target)
{
	difs_path_walk_entry(path, target);
	if (target->found)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_EXISTS),
				 errmsg("file or directory \"%s\" already exists", target->path->text),
				 errhint("difs_undelete() with to_path brings back what was deleted under another name.")));
}

static bool
find_marker(const text *path, DifsMarkerEntry *entry)
{
	DifsWalk walk;

	difs_path_walk_entry(path, &walk);
	if (walk.name == NULL || !difs_marker_find(&walk, entry))
		return false;
	difs_perm_require_removal(walk.parent.ino, &entry->inode, walk.path->text);
	return true;
}

/* Without its markers, the file is what it was before. */
static bool
revive(const DifsWalk *target, const DifsMarkerEntry *entry)
{
	DifsVersion version;
	DifsInode inode;

	refuse_volume(target, entry->inode.volume);
	difs_perm_require_entry(target->volume.id, target->parent.ino, target->path->text);
	difs_change_enter(&target->volume);
	if (!difs_marker_revive(target, entry, &inode))
		return false;
	difs_names_again();
	for (;;)
	{
		DifsVersion marker;

		if (!difs_version_find(inode.ino, inode.version, &marker))
			elog(ERROR, "version %d of inode " INT64_FORMAT " is missing", inode.version, inode.ino);
		if (!marker.deleted)
			break;
		difs_history_remove(&inode, &marker);
		if (!difs_history_before(inode.ino, marker.version, &version))
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_NO_FILE),
					 errmsg("deleted file \"%s\" has no version left", target->path->text)));
		difs_history_make_current(&inode, &version);
	}
	difs_inode_store_history(&inode);
	difs_change_returning(target->parent.ino, &inode, "undelete");
	return true;
}

static bool
restore(const DifsWalk *target, const DifsDiscarded *discarded)
{
	refuse_volume(target, discarded->volume);
	difs_perm_require_entry(target->volume.id, target->parent.ino, target->path->text);
	return difs_trash_restore(discarded, target);
}

static void
refuse_volume(const DifsWalk *target, int32 volume)
{
	if (target->volume.id != volume)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot undelete to \"%s\", in another volume", target->path->text)));
}

PG_FUNCTION_INFO_V1(difs_undelete);
PG_FUNCTION_INFO_V1(difs_undelete_trash);

/* difs_undelete(path, to_path) */
Datum
difs_undelete(PG_FUNCTION_ARGS)
{
	int64 ino;

	DIFS_ARG_NOT_NULL(0, "path");
	difs_write_begin("difs_undelete");
	ino = undelete_path(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	difs_write_end();
	PG_RETURN_INT64(ino);
}

/* difs_undelete(trash, to_path) */
Datum
difs_undelete_trash(PG_FUNCTION_ARGS)
{
	int64 ino;

	DIFS_ARG_NOT_NULL(0, "trash");
	difs_write_begin("difs_undelete");
	ino = undelete_trash(PG_GETARG_INT64(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	difs_write_end();
	PG_RETURN_INT64(ino);
}
