/*
 * names.c - making, moving and removing names.
 *
 * Each function resolves its paths without locks, locks what it is about to
 * change and looks again (dentry.h); if that is not what it found, it begins
 * again.  The order of locks is the same for all, so single calls do not deadlock
 * with one another:
 *
 *	1. the volume's rename lock, if a directory moves;
 *	2. inode numbers of directories, in their order: shared where an entry is
 *	   made or moved away, exclusive where the directory is removed (and then
 *	   top-down, as far as the removal goes);
 *	3. rows of difs.dentry, those that are made included, in the order of their keys;
 *	4. the row of an inode that is removed, or gets or loses a link, which waits for its writer.
 *
 * Only a recursive removal may cross others: its second step goes top-down, with
 * the rows of the third between, and a directory's number says nothing of its
 * depth.  PostgreSQL then ends one of the two (40P01).
 *
 * A put holds its file's inode row while it waits for chunk servers, and takes
 * no other lock after it, so waiting for it in step 4 ends.
 *
 * Removing a file does not touch its versions or manifest: one doomed row does,
 * so the cost does not depend on the size.  A volume's policy may keep what is
 * deleted (removal.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/hardlink.h"
#include "src/history.h"
#include "src/marker.h"
#include "src/names.h"
#include "src/perm.h"
#include "src/removal.h"
#include "src/report.h"
#include "src/table.h"

/* What a rename changes. */
typedef struct Move
{
	DifsWalk	from;
	DifsWalk	to;
	HeapTuple	from_row;		/* dentries, once they are locked */
	HeapTuple	to_row;			/* NULL if there is no target: then the new entry is made while the rows are locked */
} Move;

/* What is removed with a directory. */
typedef struct Removal
{
	const char *path;			/* for messages */
	bool		recursive;
	bool		discarded;		/* it is in the trash, where nobody counts it */
} Removal;

static int64 make_directory(const text *path, bool parents);
static int64 remove_entry(const text *path, bool directory_only, bool recursive);
static bool keeps_tree(const DifsWalk *walk, bool directory_only, bool recursive);
static void require_tree(const DifsInode *directory, const char *path);
static int64 remove_below(const DifsInode *directory, const Removal *removal);
static int64 remove_child(int64 directory, HeapTuple row, int64 ino, const Removal *removal);
static void rename_entry(const text *from, const text *to, bool no_replace);
static bool check_move(const Move *move, bool no_replace);
static void require_rights(const Move *move);
static bool lock_move(Move *move);
static void refuse_cycle(const Move *move);
static bool lock_directories(Move *move);
static bool lock_rows(Move *move);
static bool secure_target(Move *move);
static void carry_out_move(Move *move);
static void replace_target(Move *move);

/* Returns its ino. */
static int64
make_directory(const text *path, bool parents)
{
	DifsPath   *parsed = difs_path_parse(path);

	for (;; difs_names_again())
	{
		DifsWalk	walk;
		DifsInode	made;

		if (parents && !difs_directories_create(parsed))
			continue;
		if (parents)
			difs_path_walk(path, &walk);
		else
			difs_path_walk_entry(path, &walk);
		difs_change_enter(&walk.volume);
		if (walk.found && parents && walk.inode.kind == DIFS_KIND_DIRECTORY)
			return walk.inode.ino;
		if (walk.found)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_EXISTS),
					 errmsg("file or directory \"%s\" already exists", parsed->text)));
		difs_perm_require_entry(walk.volume.id, walk.parent.ino, parsed->text);
		if (difs_entry_create(&walk.parent, walk.name, DIFS_KIND_DIRECTORY, &made))
			return made.ino;
	}
}

/* Returns the number of entries removed. */
static int64
remove_entry(const text *path, bool directory_only, bool recursive)
{
	for (;; difs_names_again())
	{
		DifsWalk	walk;
		HeapTuple	row;
		int64		removed = 1;

		difs_path_find_entry(path, &walk);
		if (walk.name == NULL)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_ARGUMENT),
					 errmsg("cannot remove the root of volume \"%s\"", walk.volume.name)));
		if (directory_only && walk.inode.kind != DIFS_KIND_DIRECTORY)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_WRONG_KIND),
					 errmsg("\"%s\" is not a directory", walk.path->text)));

		difs_perm_require_removal(walk.parent.ino, &walk.inode, walk.path->text);
		if (keeps_tree(&walk, directory_only, recursive))
			require_tree(&walk.inode, walk.path->text);
		difs_change_enter_tree(&walk.volume, keeps_tree(&walk, directory_only, recursive));
		if (!difs_removal_prepare(&walk))
			continue;
		if (walk.inode.kind == DIFS_KIND_DIRECTORY && !keeps_tree(&walk, directory_only, recursive))
			difs_inode_exclude(&walk.inode);
		row = difs_dentry_lock(walk.parent.ino, walk.name, walk.inode.ino);
		if (row == NULL)
			continue;
		if ((walk.inode.kind != DIFS_KIND_DIRECTORY || keeps_tree(&walk, directory_only, recursive)) && difs_removal_keeps(&walk, row))
			return 1;

		if (walk.inode.kind == DIFS_KIND_DIRECTORY)
			removed += remove_below(&walk.inode, &(Removal) {.path = walk.path->text, .recursive = recursive});
		difs_name_remove(walk.parent.ino, row, &walk.inode, walk.path->text);
		return removed;
	}
}

/* A tree goes into the trash as it is: nobody has to be kept from adding to it, as little as when it moves. */
static bool
keeps_tree(const DifsWalk *walk, bool directory_only, bool recursive)
{
	return walk->volume.has_trash && walk->inode.kind == DIFS_KIND_DIRECTORY && recursive && !directory_only;
}

/* Whoever may not remove a tree piece by piece must not do so by having the keeper empty the trash. */
static void
require_tree(const DifsInode *directory, const char *path)
{
	ScanKeyData key;
	DifsScan   *scan;
	HeapTuple	row;

	if (difs_perm_privileged(directory->volume))
		return;
	check_stack_depth();
	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory->ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsInode	child;

		difs_perm_require(directory, DIFS_MAY_READ, path);
		if (!difs_inode_find(difs_dentry_ino(row, difs_scan_desc(scan)), &child))
			elog(ERROR, "an entry below \"%s\" leads to an inode that is missing", path);
		difs_perm_require_removal(directory->ino, &child, path);
		if (child.kind == DIFS_KIND_DIRECTORY)
			require_tree(&child, path);
		difs_inode_free(&child);
	}
	difs_scan_end(scan);
	difs_marker_require_removal(directory, path);
}

/*
 * Empties a directory that is locked exclusively, so that nobody can add to it
 * any more; if not recursive, sees that it is empty.  Returns the number of
 * entries removed.  Memory is that of one entry for each level.
 */
static int64
remove_below(const DifsInode *directory, const Removal *removal)
{
	MemoryContext entry_context = AllocSetContextCreate(CurrentMemoryContext, "difs removal", ALLOCSET_SMALL_SIZES);
	MemoryContext caller_context = CurrentMemoryContext;
	ScanKeyData key;
	DifsScan   *scan;
	HeapTuple	row;
	int64		removed = 0;

	check_stack_depth();

	difs_latest_begin();
	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory->ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		if (!removal->recursive)
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_NOT_EMPTY),
					 errmsg("directory \"%s\" is not empty", removal->path),
					 errhint("difs_delete() with recursive => true removes what is in it, too.")));
		difs_perm_require(directory, DIFS_MAY_READ, removal->path);
		MemoryContextSwitchTo(entry_context);
		removed += remove_child(directory->ino, heap_copytuple(row), difs_dentry_ino(row, difs_scan_desc(scan)), removal);
		MemoryContextSwitchTo(caller_context);
		MemoryContextReset(entry_context);
	}
	difs_scan_end(scan);
	difs_marker_remove_below(directory, removal->recursive, removal->path);
	difs_latest_end();

	MemoryContextDelete(entry_context);
	return removed;
}

/* One entry of a directory that is being emptied, and what is below it. Returns the number of entries removed: 0 if
 * somebody else was faster. */
static int64
remove_child(int64 directory, HeapTuple row, int64 ino, const Removal *removal)
{
	const char *path = removal->path;
	DifsInode	child;
	int64		removed = 1;

	difs_names_refuse_unseen(row, path);
	if (!difs_inode_find(ino, &child))
		elog(ERROR, "inode " INT64_FORMAT ", to which an entry below \"%s\" leads, is missing", ino, path);
	difs_perm_require_removal(directory, &child, path);
	if (child.kind == DIFS_KIND_DIRECTORY)
		difs_inode_exclude(&child);
	if (!difs_row_lock(DIFS_REL_DENTRY, &row))
		return 0;

	if (child.kind == DIFS_KIND_DIRECTORY)
		removed += remove_below(&child, removal);
	if (removal->discarded)
	{
		difs_change_purging(&child);
		difs_row_delete(DIFS_REL_DENTRY, row);
		difs_inode_unlink(&child, path);
	}
	else
		difs_name_remove(directory, row, &child, path);
	return removed;
}

void
difs_names_refuse_unseen(HeapTuple row, const char *path)
{
	TransactionId creator = HeapTupleHeaderGetXmin(row->t_data);

	if (IsolationUsesXactSnapshot() && !TransactionIdIsCurrentTransactionId(creator) &&
		XidInMVCCSnapshot(creator, GetTransactionSnapshot()))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CHANGED),
				 errmsg("could not serialize access due to concurrent creation below \"%s\"", path)));
}

int64
difs_names_purge(const DifsInode *inode, const char *path)
{
	int64		removed = 1;

	if (inode->kind == DIFS_KIND_DIRECTORY)
		removed += remove_below(inode, &(Removal) {.path = path, .recursive = true, .discarded = true});
	difs_change_purging(inode);
	difs_inode_unlink(inode, path);
	return removed;
}

static void
rename_entry(const text *from, const text *to, bool no_replace)
{
	for (;; difs_names_again())
	{
		Move		move = {0};

		difs_path_find_entry(from, &move.from);
		difs_path_walk_entry(to, &move.to);
		if (!check_move(&move, no_replace))
			return;
		require_rights(&move);
		difs_change_enter_move(&move.from.volume, &move.from.inode, move.from.parent.ino, move.to.parent.ino);
		if (lock_move(&move))
		{
			carry_out_move(&move);
			return;
		}
	}
}

/* Errors that follow from what was found. False if there is nothing to do: both names lead to the same inode. */
static bool
check_move(const Move *move, bool no_replace)
{
	const DifsWalk *from = &move->from;
	const DifsWalk *to = &move->to;
	bool		directory = from->inode.kind == DIFS_KIND_DIRECTORY;

	if (from->name == NULL || to->name == NULL)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("cannot rename \"%s\" to \"%s\"", from->path->text, to->path->text),
				 errdetail("The root of a volume has no name.")));
	if (from->volume.id != to->volume.id)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rename \"%s\" to \"%s\" in another volume", from->path->text, to->path->text),
				 errhint("Store the content anew with difs_put() and delete the old file.")));
	if (to->found && no_replace)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_EXISTS),
				 errmsg("file or directory \"%s\" already exists", to->path->text)));
	if (to->found && to->inode.ino == from->inode.ino)
		return false;
	if (!directory && (to->found ? to->inode.kind == DIFS_KIND_DIRECTORY : to->path->directory))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_WRONG_KIND),
				 errmsg("cannot rename \"%s\" to \"%s\"", from->path->text, to->path->text),
				 errdetail("The target is a directory, and the source is not.")));
	if (directory && to->found && to->inode.kind != DIFS_KIND_DIRECTORY)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_WRONG_KIND),
				 errmsg("cannot rename \"%s\" to \"%s\"", from->path->text, to->path->text),
				 errdetail("The source is a directory, and the target is not.")));
	return true;
}

/* An entry is removed, and another one added or replaced. */
static void
require_rights(const Move *move)
{
	const DifsWalk *to = &move->to;

	difs_perm_require_removal(move->from.parent.ino, &move->from.inode, move->from.path->text);
	if (to->found)
		difs_perm_require_removal(to->parent.ino, &to->inode, to->path->text);
	else
		difs_perm_require_entry(to->volume.id, to->parent.ino, to->path->text);
}

/* False if something has changed since the paths were resolved. */
static bool
lock_move(Move *move)
{
	if (move->from.inode.kind == DIFS_KIND_DIRECTORY)
	{
		/* Directories move under this lock only, so the way from the target up to the root stays as it is now. */
		difs_volume_rename_lock(move->from.volume.id);
		refuse_cycle(move);
	}
	return lock_directories(move) && lock_rows(move);
}

/* A snapshot that does not see the cycle is told that it is out of date, so that its owner tries again and learns
 * the reason. */
static void
refuse_cycle(const Move *move)
{
	int64		directory = move->from.inode.ino;
	int64		target = move->to.parent.ino;
	bool		below;

	difs_latest_begin();
	below = difs_dentry_below(target, directory);
	difs_latest_end();
	if (!below)
		return;

	if (IsolationUsesXactSnapshot() && !difs_dentry_below(target, directory))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CHANGED),
				 errmsg("could not serialize access due to concurrent rename of a directory")));
	ereport(ERROR,
			(errcode(DIFS_ERRCODE_ARGUMENT),
			 errmsg("cannot move directory \"%s\" below itself, to \"%s\"",
					move->from.path->text, move->to.path->text)));
}

/* Both parents, and a directory that is replaced, in the order of their numbers. */
static bool
lock_directories(Move *move)
{
	const DifsInode *order[3] = {&move->from.parent, &move->to.parent, NULL};
	int			count = 2;

	if (move->to.found && move->to.inode.kind == DIFS_KIND_DIRECTORY)
		order[count++] = &move->to.inode;
	for (int i = 1; i < count; i++)
	{
		for (int j = i; j > 0 && order[j]->ino < order[j - 1]->ino; j--)
		{
			const DifsInode *lower = order[j];

			order[j] = order[j - 1];
			order[j - 1] = lower;
		}
	}

	for (int i = 0; i < count; i++)
	{
		if (order[i] == &move->to.inode)
			difs_inode_exclude(order[i]);
		else if (!difs_directory_enter(order[i]))
			return false;
	}
	return true;
}

/*
 * The source's entry and the target's, in the order of their keys.  A target that
 * is not there yet is made, in its turn: its key is what others may wait for, and
 * if the entry turns out to be taken, the next attempt begins with it again, holding
 * no row behind it.
 */
static bool
lock_rows(Move *move)
{
	const DifsWalk *from = &move->from;
	const DifsWalk *to = &move->to;
	bool		to_first = to->parent.ino != from->parent.ino ? to->parent.ino < from->parent.ino
		: strcmp(to->name, from->name) < 0;

	if (to_first && !secure_target(move))
		return false;
	move->from_row = difs_dentry_lock(from->parent.ino, from->name, from->inode.ino);
	if (move->from_row == NULL && to_first && !to->found)
		difs_dentry_take_back(to->parent.ino, to->name, from->inode.ino);
	if (move->from_row == NULL)
		return false;
	return to_first || secure_target(move);
}

static bool
secure_target(Move *move)
{
	const DifsWalk *to = &move->to;

	if (!to->found)
		return difs_dentry_insert(to->parent.ino, to->name, move->from.inode.ino);
	move->to_row = difs_dentry_lock(to->parent.ino, to->name, to->inode.ino);
	return move->to_row != NULL;
}

static void
carry_out_move(Move *move)
{
	if (move->to.found)
		replace_target(move);
	difs_change_moving(&move->from.inode, move->from.parent.ino, move->from.name, move->to.parent.ino, move->to.name);
	difs_row_delete(DIFS_REL_DENTRY, move->from_row);
}

static void
replace_target(Move *move)
{
	const DifsWalk *to = &move->to;
	Datum		values[DIFS_DENTRY_COLUMNS] = {0};
	bool		nulls[DIFS_DENTRY_COLUMNS] = {0};
	bool		replace[DIFS_DENTRY_COLUMNS] = {0};

	if (to->inode.kind != DIFS_KIND_DIRECTORY && difs_removal_keeps(to, move->to_row))
	{
		if (!difs_dentry_insert(to->parent.ino, to->name, move->from.inode.ino))
			elog(ERROR, "entry \"%s\", which was locked, is there again", to->path->text);
		return;
	}
	if (to->inode.kind == DIFS_KIND_DIRECTORY)
		(void) remove_below(&to->inode, &(Removal) {.path = to->path->text});
	difs_change_removing(to->parent.ino, &to->inode);
	difs_inode_unlink(&to->inode, to->path->text);

	values[DIFS_DENTRY_INO - 1] = Int64GetDatum(move->from.inode.ino);
	replace[DIFS_DENTRY_INO - 1] = true;
	difs_row_update(DIFS_REL_DENTRY, move->to_row, values, nulls, replace);
}

void
difs_directory_empty(const DifsInode *directory, bool recursive, const char *path)
{
	(void) remove_below(directory, &(Removal) {.path = path, .recursive = recursive});
}

PG_FUNCTION_INFO_V1(difs_mkdir);
PG_FUNCTION_INFO_V1(difs_rmdir);
PG_FUNCTION_INFO_V1(difs_rename);
PG_FUNCTION_INFO_V1(difs_delete);

Datum
difs_mkdir(PG_FUNCTION_ARGS)
{
	int64		ino;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "parents");

	difs_write_begin("difs_mkdir");
	ino = make_directory(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(1));
	difs_write_end();
	PG_RETURN_INT64(ino);
}

Datum
difs_rmdir(PG_FUNCTION_ARGS)
{
	DIFS_ARG_NOT_NULL(0, "path");

	difs_write_begin("difs_rmdir");
	(void) remove_entry(PG_GETARG_TEXT_PP(0), true, false);
	difs_write_end();
	PG_RETURN_VOID();
}

Datum
difs_rename(PG_FUNCTION_ARGS)
{
	DIFS_ARG_NOT_NULL(0, "from_path");
	DIFS_ARG_NOT_NULL(1, "to_path");
	DIFS_ARG_NOT_NULL(2, "no_replace");

	difs_write_begin("difs_rename");
	rename_entry(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1), PG_GETARG_BOOL(2));
	difs_write_end();
	PG_RETURN_VOID();
}

Datum
difs_delete(PG_FUNCTION_ARGS)
{
	int64		removed;
	int32		number;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "recursive");

	number = difs_version_argument(fcinfo, 2);

	difs_write_begin("difs_delete");
	if (number != DIFS_NEXT_VERSION)
	{
		difs_delete_version(PG_GETARG_TEXT_PP(0), number);
		removed = 1;
	}
	else
		removed = remove_entry(PG_GETARG_TEXT_PP(0), false, PG_GETARG_BOOL(1));
	difs_write_end();
	PG_RETURN_INT64(removed);
}
