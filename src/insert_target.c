/*
 * insert_target.c - may difs_insert() write a file (insert.h)?
 *
 * The call must not wait for those who are writing the file, so it looks and locks
 * nothing; what counts is what the helper finds, when it begins and when it ends.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "src/create.h"
#include "src/insert.h"
#include "src/perm.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/table.h"

static void check_found(const DifsWalk *walk, int32 if_version);
static void check_missing(const DifsWalk *walk, int32 if_version);
static bool reaches_parent(const text *path);
static void check_nearest(const text *path);

void
difs_insert_check_target(const text *path, int32 if_version, bool parents)
{
	DifsWalk walk;

	if (parents && !reaches_parent(path))
	{
		check_nearest(path);
		return;
	}
	difs_path_walk(path, &walk);
	difs_path_expect_file(&walk);
	if (walk.found)
		check_found(&walk, if_version);
	else
		check_missing(&walk, if_version);
}

static void
check_found(const DifsWalk *walk, int32 if_version)
{
	difs_perm_require(&walk->inode, DIFS_MAY_WRITE, walk->path->text);
	if (if_version == 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_EXISTS),
				errmsg("file \"%s\" already exists", walk->path->text));
	if (if_version != DIFS_ANY_VERSION && walk->inode.version != if_version)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_CHANGED),
				errmsg("file \"%s\" has changed since", walk->path->text),
				errdetail("Its current version is %d, not %d.", walk->inode.version, if_version));
}

static void
check_missing(const DifsWalk *walk, int32 if_version)
{
	DifsRoots roots;

	difs_perm_require_entry(walk->volume.id, walk->parent.ino, walk->path->text);
	if (if_version > 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_CHANGED),
				errmsg("file \"%s\" has changed since", walk->path->text),
				errdetail("It does not exist, and its version was to be %d.", if_version));
	if (walk->volume.accounting == DIFS_ACCOUNTING_NONE)
		return;
	difs_quota_roots(&walk->volume, walk->parent.ino, &roots);
	for (int i = 0; i < roots.count; i++)
		difs_quota_check(roots.ino[i], 0, 1);
}

/* Is the directory there that is to hold the file? */
static bool
reaches_parent(const text *path)
{
	DifsPath *parsed = difs_path_parse(path);
	DifsWalk walk;

	return parsed->count <= 1 || difs_path_look(cstring_to_text(difs_path_leading(parsed, parsed->count - 1)), &walk);
}

/* The file's directories are to be made, below the last one that is there. */
static void
check_nearest(const text *path)
{
	DifsPath *parsed = difs_path_parse(path);

	if (parsed->directory)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is not the name of a file", parsed->text));
	for (int count = parsed->count - 1; count >= 0; count--)
	{
		DifsWalk walk;
		text *above = cstring_to_text(difs_path_leading(parsed, count));

		if (!difs_path_look(above, &walk))
			continue;
		if (walk.inode.kind != DIFS_KIND_DIRECTORY)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_WRONG_KIND),
					errmsg("\"%s\" is not a directory", text_to_cstring(above)));
		difs_perm_require_entry(walk.inode.volume, walk.inode.ino, parsed->text);
		return;
	}
}

void
difs_insert_check_still(const DifsWalk *walk, const DifsInode *inode, bool created)
{
	if (created)
		difs_perm_require_entry(walk->volume.id, walk->parent.ino, walk->path->text);
	else
		difs_perm_require(inode, DIFS_MAY_WRITE, walk->path->text);
}

void
difs_insert_check_quota(const DifsWalk *walk, int64 bytes)
{
	DifsRoots roots;
	int64 more = walk->found ? bytes - walk->inode.size : bytes;

	if (walk->volume.accounting == DIFS_ACCOUNTING_NONE || more <= 0)
		return;
	difs_quota_roots(&walk->volume, walk->parent.ino, &roots);
	for (int i = 0; i < roots.count; i++)
		difs_quota_check(roots.ino[i], more, 0);
}
