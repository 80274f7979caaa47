/*
 * ino.c - from a path to the number of its inode, and back to paths.
 *
 * The number never changes, so other tables can keep it, with a foreign key to
 * difs.inode(ino).  The way back goes up through the entries, one index probe for
 * each directory above; nothing on the way is a stored path.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

/* Deeper than any way through directories can be that are not below themselves; see difs_fsck(). */
#define MAX_DEPTH 100000

static char *path_of_name(int64 parent, const char *name);
static void require_search(int64 directory);
static char *path_of_root(int64 ino);
static char *write_path(const char *volume, List *names);
static char *root_volume(int64 ino);

/* "volume:/…"; NULL if no root is above. */
static char *
path_of_name(int64 parent, const char *name)
{
	List *names = list_make1(unconstify(char *, name)); /* from the end on */
	char *volume;

	for (;;)
	{
		DifsName *above;
		int count;

		CHECK_FOR_INTERRUPTS();
		require_search(parent);
		above = difs_dentry_names(parent, &count);
		if (count == 0)
			break;
		if (list_length(names) == MAX_DEPTH)
			return NULL;
		names = lappend(names, above[0].name);
		parent = above[0].parent;
	}
	volume = root_volume(parent);
	return volume == NULL ? NULL : write_path(volume, names);
}

/* Who may not search a directory on the way may not know the way, so the message has no names. */
static void
require_search(int64 directory)
{
	DifsInode inode;

	if (!difs_inode_find(directory, &inode) || difs_perm_privileged(inode.volume) ||
		(difs_perm_of_directory(inode.volume, directory) & DIFS_MAY_SEARCH) != 0)
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied for a directory on the way to the inode"),
			errdetail("Role \"%s\" may not search inode " INT64_FORMAT ".", GetUserNameFromId(GetUserId(), false), directory));
}

static char *
path_of_root(int64 ino)
{
	char *volume = root_volume(ino);

	return volume == NULL ? NULL : psprintf("%s:/", volume);
}

static char *
write_path(const char *volume, List *names)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfo(&path, "%s:", volume);
	for (int i = list_length(names) - 1; i >= 0; i--)
		appendStringInfo(&path, "/%s", (char *) list_nth(names, i));
	return path.data;
}

/* The volume that has this inode as its root. */
static char *
root_volume(int64 ino)
{
	DifsInode inode;
	DifsVolume volume;

	if (!difs_inode_find(ino, &inode) || !difs_volume_find_id(inode.volume, &volume) || volume.root != ino)
		return NULL;
	return pstrdup(volume.name);
}

PG_FUNCTION_INFO_V1(difs_ino);
PG_FUNCTION_INFO_V1(difs_path);
PG_FUNCTION_INFO_V1(difs_paths);

Datum
difs_ino(PG_FUNCTION_ARGS)
{
	DifsWalk walk;

	DIFS_ARG_NOT_NULL(0, "path");

	difs_read_begin();
	difs_path_find(PG_GETARG_TEXT_PP(0), &walk);
	difs_read_end();
	PG_RETURN_INT64(walk.inode.ino);
}

/* The first in the order of (parent, name), as difs.path_of(). */
Datum
difs_path(PG_FUNCTION_ARGS)
{
	int64 ino = PG_GETARG_INT64(0);
	DifsName *names;
	int count;
	char *path;

	difs_read_begin();
	names = difs_dentry_names(ino, &count);
	path = count == 0 ? path_of_root(ino) : path_of_name(names[0].parent, names[0].name);
	difs_read_end();
	if (path == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(path));
}

Datum
difs_paths(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 ino = PG_GETARG_INT64(0);
	DifsName *names;
	int count;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	difs_read_begin();
	names = difs_dentry_names(ino, &count);
	for (int i = 0; i < Max(count, 1); i++)
	{
		char *path = count == 0 ? path_of_root(ino) : path_of_name(names[i].parent, names[i].name);
		Datum value;
		bool null = false;

		if (path == NULL)
			continue;
		value = CStringGetTextDatum(path);
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &null);
	}
	difs_read_end();
	return (Datum) 0;
}
