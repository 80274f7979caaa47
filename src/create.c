/*
 * create.c - opening a file for a new version.
 *
 * An existing file's inode row is locked, so writers of one file queue up there.
 * A new file's inode cannot be seen by others before the commit; its name is
 * guarded by the unique key of difs.dentry: a second creator waits there for the
 * first to end.  A rollback removes both rows, and nothing else was done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "src/change.h"
#include "src/create.h"
#include "src/dentry.h"
#include "src/marker.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"

static bool lock_existing(const DifsWalk *walk, int32 if_version, DifsInode *inode);
static bool create_new(const DifsWalk *walk, int32 if_version, DifsInode *inode);

void
difs_file_open_for_write(const text *path, bool parents, int32 if_version,
						 DifsWalk *walk, DifsInode *inode, bool *created)
{
	DifsPath *parsed = difs_path_parse(path);

	for (;; difs_names_again())
	{
		if (parents && !difs_directories_create(parsed))
			continue;
		difs_path_walk(path, walk);
		difs_change_enter(&walk->volume);
		difs_path_expect_file(walk);
		*created = !walk->found;
		if (walk->found ? lock_existing(walk, if_version, inode) : create_new(walk, if_version, inode))
			return;
	}
}

/* False if it is gone. */
static bool
lock_existing(const DifsWalk *walk, int32 if_version, DifsInode *inode)
{
	if (if_version == 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_EXISTS),
				 errmsg("file \"%s\" already exists", walk->path->text)));

	*inode = walk->inode;
	difs_perm_require(inode, DIFS_MAY_WRITE, walk->path->text);
	if (!difs_inode_lock(inode) || !difs_marker_still_named(walk, inode))
		return false;
	difs_perm_require(inode, DIFS_MAY_WRITE, walk->path->text); /* still, after a wait */

	if (if_version != DIFS_ANY_VERSION && inode->version != if_version)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CHANGED),
				 errmsg("file \"%s\" has changed since", walk->path->text),
				 errdetail("Its current version is %d, not %d.", inode->version, if_version)));
	difs_policy_refuse_write(inode, walk->path->text);
	return true;
}

/* False if the directory is gone, or somebody else has taken the name. */
static bool
create_new(const DifsWalk *walk, int32 if_version, DifsInode *inode)
{
	DifsMarkerEntry entry;

	if (if_version > 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CHANGED),
				 errmsg("file \"%s\" has changed since", walk->path->text),
				 errdetail("It does not exist, and its version was to be %d.", if_version)));
	difs_perm_require_entry(walk->volume.id, walk->parent.ino, walk->path->text);
	/* of a file that the user may not write to, the history is not gone on with */
	if (walk->volume.versioning && difs_marker_find(walk, &entry) &&
		(difs_perm_of(&entry.inode) & DIFS_MAY_WRITE) != 0)
	{
		if (!difs_marker_revive(walk, &entry, inode))
			return false;
		difs_change_returning(walk->parent.ino, inode, NULL);
		return true;
	}
	return difs_entry_create(&walk->parent, walk->name, DIFS_KIND_FILE, inode);
}

void
difs_file_store(const DifsVolume *volume, const DifsNumber *number, DifsInode *inode, DifsVersion *version)
{
	version->author = GetUserId();
	version->mtime = GetCurrentTimestamp();
	difs_number_store(number, inode, version);
	difs_retain_after_put(volume, inode);
	inode->new_extent = number->current ? difs_version_extent(version) : inode->extent;
	difs_inode_store_content(inode);
}

int32
difs_if_version_argument(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		return DIFS_ANY_VERSION;
	if (PG_GETARG_INT32(argument) < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("if_version must not be negative"),
				 errhint("0 means that the file must not exist yet.")));
	return PG_GETARG_INT32(argument);
}
