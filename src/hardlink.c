/*
 * hardlink.c - difs_link(), and taking names away from inodes that may have several.
 *
 * Order of locks: names.c.  A link is a new entry first (steps 2 and 3), and then
 * the inode's row is locked and counts one more (step 4).  If the inode is gone by
 * then, the entry goes again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/doom.h"
#include "src/hardlink.h"
#include "src/marker.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/table.h"

static void make_link(const text *existing, const text *new);
static bool is_reached(const DifsVolume *volume, int64 ino);
static void check_link(const DifsWalk *existing, const DifsWalk *new);
static void count_links(DifsInode *inode, int change);

/* One name is what most have: then no lock but the DELETE's own is needed, which finds out if it is not true any more. */
void
difs_inode_unlink(const DifsInode *inode, const char *path)
{
	DifsInode now = *inode;
	bool policy = false;

	while (now.nlink > 1 || !difs_inode_remove(now.ino, &policy))
	{
		if (!difs_inode_lock(&now))
			return; /* somebody has removed its row by hand */
		if (now.nlink > 1)
		{
			difs_policy_refuse_removal(&now, path);
			count_links(&now, -1);
			return;
		}
	}
	if (policy)
		difs_policy_remove(&now, path);
	if (now.kind == DIFS_KIND_FILE)
		difs_doom_inode(now.ino);
}

void
difs_name_remove(int64 parent, HeapTuple row, const DifsInode *inode, const char *path)
{
	if (inode->policy)
		path = difs_policy_path(inode);
	difs_change_removing(parent, inode);
	difs_row_delete(DIFS_REL_DENTRY, row);
	difs_inode_unlink(inode, path);
}

static void
make_link(const text *existing, const text *new)
{
	for (;; difs_names_again())
	{
		DifsWalk from;
		DifsWalk to;

		difs_path_find(existing, &from);
		difs_path_walk_entry(new, &to);
		check_link(&from, &to);
		difs_perm_require(&from.inode, DIFS_MAY_READ | DIFS_MAY_WRITE, from.path->text);
		difs_perm_require_entry(to.volume.id, to.parent.ino, to.path->text);
		difs_change_enter(&to.volume);
		if (!difs_directory_enter(&to.parent) || !difs_dentry_insert(to.parent.ino, to.name, from.inode.ino))
			continue;
		if (difs_inode_lock(&from.inode) && difs_marker_still_named(&from, &from.inode) && is_reached(&to.volume, from.inode.ino))
		{
			difs_change_linking(&from.inode, from.parent.ino, to.parent.ino, to.path->text);
			count_links(&from.inode, 1);
			return;
		}
		difs_dentry_take_back(to.parent.ino, to.name, from.inode.ino);
	}
}

/* Both names must be where paths lead: a directory may have gone to the trash meanwhile. */
static bool
is_reached(const DifsVolume *volume, int64 ino)
{
	return !volume->has_trash || difs_quota_count_names(volume, ino) > 1;
}

static void
check_link(const DifsWalk *existing, const DifsWalk *new)
{
	if (existing->inode.kind != DIFS_KIND_FILE)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is a directory", existing->path->text),
				errdetail("Only files can have more than one name."),
				errhint("difs_symlink() makes a symbolic link to a directory."));
	if (existing->volume.id != new->volume.id)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot link \"%s\" to \"%s\" in another volume", existing->path->text, new->path->text),
				errhint("difs_symlink() makes a symbolic link, and difs_copy() a copy that moves no bytes."));
	if (new->found)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_EXISTS),
				errmsg("file or directory \"%s\" already exists", new->path->text));
	if (new->path->directory)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" cannot be a file", new->path->text),
				errdetail("A slash at the end of a path says that it is a directory."));
	if (existing->inode.nlink == PG_INT32_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("file \"%s\" cannot have more names", existing->path->text));
}

/* The inode's row is locked. */
static void
count_links(DifsInode *inode, int change)
{
	Datum values[DIFS_INODE_COLUMNS] = {0};
	bool nulls[DIFS_INODE_COLUMNS] = {false};
	bool replace[DIFS_INODE_COLUMNS] = {false};

	values[DIFS_INODE_NLINK - 1] = Int32GetDatum(inode->nlink + change);
	values[DIFS_INODE_CTIME - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	replace[DIFS_INODE_NLINK - 1] = true;
	replace[DIFS_INODE_CTIME - 1] = true;
	difs_inode_update(inode, values, nulls, replace);
}

PG_FUNCTION_INFO_V1(difs_link);

Datum
difs_link(PG_FUNCTION_ARGS)
{
	DIFS_ARG_NOT_NULL(0, "existing_path");
	DIFS_ARG_NOT_NULL(1, "new_path");

	difs_write_begin("difs_link");
	make_link(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1));
	difs_write_end();
	PG_RETURN_VOID();
}
