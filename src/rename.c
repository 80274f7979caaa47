/*
 * rename.c - moving names.
 *
 * The order of locks is that of names.c.  A rename costs the same whatever is
 * below what it moves: one row of difs.dentry goes and another one comes, or is
 * given another inode, whose old one is removed as by a delete.
 *
 * No state.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/hardlink.h"
#include "src/names.h"
#include "src/perm.h"
#include "src/removal.h"
#include "src/report.h"
#include "src/table.h"

/* What a rename changes. */
typedef struct Move
{
	DifsWalk from;
	DifsWalk to;
	HeapTuple from_row; /* dentries, once they are locked */
	HeapTuple to_row;	/* NULL if there is no target: then the new entry is made while the rows are locked */
} Move;

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

static void
rename_entry(const text *from, const text *to, bool no_replace)
{
	for (;; difs_names_again())
	{
		Move move = {0};

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
	bool directory = from->inode.kind == DIFS_KIND_DIRECTORY;

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
	int64 directory = move->from.inode.ino;
	int64 target = move->to.parent.ino;
	bool below;

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
	int count = 2;

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
	bool to_first = to->parent.ino != from->parent.ino ? to->parent.ino < from->parent.ino : strcmp(to->name, from->name) < 0;

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
	Datum values[DIFS_DENTRY_COLUMNS] = {0};
	bool nulls[DIFS_DENTRY_COLUMNS] = {0};
	bool replace[DIFS_DENTRY_COLUMNS] = {0};

	if (to->inode.kind != DIFS_KIND_DIRECTORY && difs_removal_keeps(to, move->to_row))
	{
		if (!difs_dentry_insert(to->parent.ino, to->name, move->from.inode.ino))
			elog(ERROR, "entry \"%s\", which was locked, is there again", to->path->text);
		return;
	}
	if (to->inode.kind == DIFS_KIND_DIRECTORY)
		difs_directory_empty(&to->inode, false, to->path->text);
	difs_change_removing(to->parent.ino, &to->inode);
	difs_inode_unlink(&to->inode, to->path->text);

	values[DIFS_DENTRY_INO - 1] = Int64GetDatum(move->from.inode.ino);
	replace[DIFS_DENTRY_INO - 1] = true;
	difs_row_update(DIFS_REL_DENTRY, move->to_row, values, nulls, replace);
}

PG_FUNCTION_INFO_V1(difs_rename);

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
