/*
 * names.c - making and removing names; rename.c moves them.
 *
 * Each function resolves its paths without locks, locks what it is about to
 * change and looks again (dentry.h); if that is not what it found, it begins
 * again.  The order of locks is the same for all, in rename.c too, so single calls do
 * not deadlock with one another:
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

/* What is removed with a directory. */
typedef struct Removal
{
	const char *path; /* for messages */
	bool recursive;
	bool discarded; /* it is in the trash, where nobody counts it */
} Removal;

static int64 make_directory(const text *path, bool parents);
static int64 remove_entry(const text *path, bool directory_only, bool recursive);
static bool keeps_tree(const DifsWalk *walk, bool directory_only, bool recursive);
static void require_tree(const DifsInode *directory, const char *path);
static int64 remove_below(const DifsInode *directory, const Removal *removal);
static int64 remove_child(int64 directory, HeapTuple row, int64 ino, const Removal *removal);

/* Returns its ino. */
static int64
make_directory(const text *path, bool parents)
{
	DifsPath *parsed = difs_path_parse(path);

	for (;; difs_names_again())
	{
		DifsWalk walk;
		DifsInode made;

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
		DifsWalk walk;
		HeapTuple row;
		int64 removed = 1;

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
			removed += remove_below(&walk.inode, &(Removal){.path = walk.path->text, .recursive = recursive});
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
	DifsScan *scan;
	HeapTuple row;

	if (difs_perm_privileged(directory->volume))
		return;
	check_stack_depth();
	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory->ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsInode child;

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
	DifsScan *scan;
	HeapTuple row;
	int64 removed = 0;

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
	DifsInode child;
	int64 removed = 1;

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
	int64 removed = 1;

	if (inode->kind == DIFS_KIND_DIRECTORY)
		removed += remove_below(inode, &(Removal){.path = path, .recursive = true, .discarded = true});
	difs_change_purging(inode);
	difs_inode_unlink(inode, path);
	return removed;
}

void
difs_directory_empty(const DifsInode *directory, bool recursive, const char *path)
{
	(void) remove_below(directory, &(Removal){.path = path, .recursive = recursive});
}

PG_FUNCTION_INFO_V1(difs_mkdir);
PG_FUNCTION_INFO_V1(difs_rmdir);
PG_FUNCTION_INFO_V1(difs_delete);

Datum
difs_mkdir(PG_FUNCTION_ARGS)
{
	int64 ino;

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
difs_delete(PG_FUNCTION_ARGS)
{
	int64 removed;
	int32 number;

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
