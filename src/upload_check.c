/*
 * upload_check.c - may an upload be begun, and go on? (upload.h)
 *
 * The same questions that difs_put() asks, before there is anything to lock: what
 * is said here may have changed at the commit, which asks them again.  Quotas are
 * looked at as if the file had all of its bytes.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "src/create.h"
#include "src/path.h"
#include "src/perm.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/upload.h"

static void check_new_entry(const DifsUpload *upload, const DifsPath *path, int64 bytes);
static void check_quota(const DifsVolume *volume, int64 directory, int64 bytes, int64 files);

void
difs_upload_check(const DifsUpload *upload, int64 bytes)
{
	DifsPath *path = difs_path_parse(upload->path);
	DifsWalk walk;

	bytes = Max(bytes, 0);
	if (upload->parents && path->count > 1 &&
		!difs_path_look(cstring_to_text(difs_path_write(path, path->count - 1)), &walk))
	{
		check_new_entry(upload, path, bytes);
		return;
	}
	difs_path_walk(upload->path, &walk);
	difs_path_expect_file(&walk);
	if (walk.found && upload->if_version == 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_EXISTS),
				errmsg("file \"%s\" already exists", walk.path->text));
	if (upload->if_version != DIFS_ANY_VERSION && upload->if_version != (walk.found ? walk.inode.version : 0))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_CHANGED),
				errmsg("file \"%s\" has changed since", walk.path->text),
				errdetail("Its current version is %d, not %d.", walk.found ? walk.inode.version : 0, upload->if_version));
	if (walk.found)
		difs_perm_require(&walk.inode, DIFS_MAY_WRITE, walk.path->text);
	else
		difs_perm_require_entry(walk.volume.id, walk.parent.ino, walk.path->text);
	check_quota(&walk.volume, walk.parent.ino, bytes - (walk.found ? walk.inode.size : 0), walk.found ? 0 : 1);
}

/* Directories on the way are missing and will be made: what counts is the last that is there. */
static void
check_new_entry(const DifsUpload *upload, const DifsPath *path, int64 bytes)
{
	int missing = 1;
	DifsWalk walk;

	if (upload->if_version > 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_CHANGED),
				errmsg("file \"%s\" has changed since", path->text),
				errdetail("It does not exist, and its version was to be %d.", upload->if_version));
	while (missing + 1 < path->count &&
		   !difs_path_look(cstring_to_text(difs_path_write(path, path->count - missing - 1)), &walk))
		missing++;
	difs_path_find(cstring_to_text(difs_path_write(path, path->count - missing - 1)), &walk);
	if (walk.inode.kind != DIFS_KIND_DIRECTORY)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is not a directory", walk.path->text));
	difs_perm_require_entry(walk.volume.id, walk.inode.ino, path->text);
	check_quota(&walk.volume, walk.inode.ino, bytes, 1 + missing);
}

static void
check_quota(const DifsVolume *volume, int64 directory, int64 bytes, int64 files)
{
	DifsRoots roots;

	if (volume->accounting == DIFS_ACCOUNTING_NONE)
		return;
	difs_quota_roots(volume, directory, &roots);
	for (int i = 0; i < roots.count; i++)
		difs_quota_check(roots.ino[i], bytes, files);
}
