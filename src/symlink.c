/*
 * symlink.c - making and reading symbolic links.
 *
 * A target is stored as it is given; nothing has to be there.  How it is followed:
 * path_link.c.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

static int64 make_symlink(const char *target, const text *path);

/* Returns its ino. */
static int64
make_symlink(const char *target, const text *path)
{
	for (;; difs_names_again())
	{
		DifsWalk walk;
		DifsInode made;

		difs_path_walk_entry(path, &walk);
		if (walk.found)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_EXISTS),
					errmsg("file or directory \"%s\" already exists", walk.path->text));
		if (walk.path->directory)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_WRONG_KIND),
					errmsg("\"%s\" cannot be a symbolic link", walk.path->text),
					errdetail("A slash at the end of a path says that it is a directory."));
		difs_perm_require_entry(walk.volume.id, walk.parent.ino, walk.path->text);
		difs_change_enter(&walk.volume);
		if (!difs_entry_create(&walk.parent, walk.name, DIFS_KIND_SYMLINK, &made))
			continue;
		made.target = target;
		made.size = strlen(target);
		difs_inode_insert(&made);
		difs_change_made(walk.parent.ino, &made);
		return made.ino;
	}
}

PG_FUNCTION_INFO_V1(difs_symlink);
PG_FUNCTION_INFO_V1(difs_readlink);

Datum
difs_symlink(PG_FUNCTION_ARGS)
{
	char *target;
	int64 ino;

	DIFS_ARG_NOT_NULL(0, "target");
	DIFS_ARG_NOT_NULL(1, "path");
	target = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (target[0] == '\0')
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("target of a symbolic link must not be empty"));
	if (strlen(target) > DIFS_MAX_PATH)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NAME_TOO_LONG),
				errmsg("target of a symbolic link is too long"),
				errdetail("It has %zu bytes; at most %d are allowed.", strlen(target), DIFS_MAX_PATH));

	difs_write_begin("difs_symlink");
	ino = make_symlink(target, PG_GETARG_TEXT_PP(1));
	difs_write_end();
	PG_RETURN_INT64(ino);
}

Datum
difs_readlink(PG_FUNCTION_ARGS)
{
	DifsWalk walk;

	DIFS_ARG_NOT_NULL(0, "path");

	difs_read_begin();
	difs_path_find_entry(PG_GETARG_TEXT_PP(0), &walk);
	if (walk.inode.kind != DIFS_KIND_SYMLINK)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is not a symbolic link", walk.path->text));
	difs_read_end();
	PG_RETURN_TEXT_P(cstring_to_text(walk.inode.target));
}
