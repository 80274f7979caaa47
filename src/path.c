/*
 * path.c - paths as users write them, and the way from a path to an inode.
 *
 * No state here.  A walk is one look for a dentry for each component (path_step.c),
 * and then the inode at its end.  Inodes on the way are not
 * read: a dentry below one proves that it is a directory, and whether it may be
 * searched is kept (perm.c).  Only if a step finds nothing must the inode that was
 * reached say whether it is one.  So symbolic links cost nothing where there are none: no
 * entry leads on from one, so the walk ends there, is told by the inode, and begins again
 * with its target.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "src/compat.h"
#include "src/path.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/slow.h"
#include "src/table.h"

/* How to walk. */
enum
{
	WALK_FOLLOW = 1,	   /* a symbolic link at the end, too */
	WALK_WHOLE_PARENT = 2, /* read the parent's inode */
	WALK_LOOK = 4,		   /* no errors: found says it */
};

static char *take_volume(DifsPath *path, char *copy);
static void take_components(DifsPath *path, char *rest);
static void check_component(const DifsPath *path, const char *component, size_t length);
static void walk_path(const text *path, int how, DifsWalk *walk);
static int reach(DifsWalk *walk, int how, DifsInode *reached, int64 *parent);
static int follow(const DifsPath *path, int32 volume, int64 *ino, int64 *parent);
static void read_inode(const DifsWalk *walk, int64 ino, DifsInode *inode);
static void require_found(const DifsWalk *walk);
pg_noreturn static void report_not_directory(const DifsPath *path, int count);

/* One piece of memory: the struct, the array of components, the text as given, and a copy that is cut into
 * components. */
DifsPath *
difs_path_parse(const text *path)
{
	size_t length = VARSIZE_ANY_EXHDR(path);
	const char *slash = memchr(VARDATA_ANY(path), '/', Min(length, NAMEDATALEN));
	size_t volume_length = slash != NULL ? slash - VARDATA_ANY(path) : 0;
	size_t max_components = length / 2 + 1;
	DifsPath *parsed;
	char *text;
	char *copy;

	if (length == 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("path must not be empty"),
				errhint("The root of a volume is \"/\"."));
	if (length - volume_length > DIFS_MAX_PATH)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NAME_TOO_LONG),
				errmsg("path \"%.*s...\" is too long", pg_mbcliplen(VARDATA_ANY(path), length, 128), VARDATA_ANY(path)),
				errdetail("It has %zu bytes; at most %d are allowed.", length - volume_length, DIFS_MAX_PATH));

	parsed = palloc(sizeof(DifsPath) + max_components * sizeof(char *) + 2 * (length + 1));
	parsed->component = (char **) (parsed + 1);
	text = (char *) (parsed->component + max_components);
	copy = text + length + 1;
	memcpy(text, VARDATA_ANY(path), length);
	text[length] = '\0';
	memcpy(copy, text, length + 1);

	parsed->text = text;
	take_components(parsed, take_volume(parsed, copy));
	difs_slow_path(text);

	return parsed;
}

void
difs_path_walk(const text *path, DifsWalk *walk)
{
	walk_path(path, WALK_FOLLOW | WALK_WHOLE_PARENT, walk);
}

void
difs_path_walk_entry(const text *path, DifsWalk *walk)
{
	walk_path(path, WALK_WHOLE_PARENT, walk);
}

bool
difs_path_look(const text *path, DifsWalk *walk)
{
	walk_path(path, WALK_FOLLOW | WALK_LOOK, walk);
	return walk->found;
}

void
difs_path_find(const text *path, DifsWalk *walk)
{
	walk_path(path, WALK_FOLLOW, walk);
	require_found(walk);
}

void
difs_path_find_entry(const text *path, DifsWalk *walk)
{
	walk_path(path, 0, walk);
	require_found(walk);
}

static void
require_found(const DifsWalk *walk)
{
	if (!walk->found)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NO_FILE),
				errmsg("file or directory \"%s\" does not exist", walk->path->text));
}

void
difs_path_find_file(const text *path, DifsWalk *walk)
{
	difs_path_find(path, walk);
	difs_path_expect_file(walk);
}

void
difs_path_expect_file(const DifsWalk *walk)
{
	if (walk->found && walk->inode.kind == DIFS_KIND_DIRECTORY)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is a directory", walk->path->text));
	if (walk->found && walk->inode.kind != DIFS_KIND_FILE)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is not a regular file", walk->path->text));
	if (walk->path->directory)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" cannot be a file", walk->path->text),
				errdetail("A slash at the end of a path says that it is a directory."));
}

/* What follows the volume, beginning with a slash. */
static char *
take_volume(DifsPath *path, char *copy)
{
	char *rest = copy + strcspn(copy, ":/");

	if (copy[0] == '/')
	{
		path->volume = pstrdup(difs_volume);
		return copy;
	}

	if (rest == copy || rest[0] != ':' || rest[1] != '/')
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("path \"%s\" does not begin with a slash", path->text),
				errhint("Paths begin with a slash, or with the name of a volume, a colon and a slash."));

	rest[0] = '\0';
	path->volume = copy;
	return rest + 1;
}

static void
take_components(DifsPath *path, char *rest)
{
	path->count = 0;
	path->directory = false;

	while (*rest != '\0')
	{
		size_t length;

		while (*rest == '/')
			*rest++ = '\0';

		length = strcspn(rest, "/");
		if (length == 0)
			path->directory = true;
		else
		{
			check_component(path, rest, length);
			path->component[path->count++] = rest;
			rest += length;
		}
	}
}

static void
check_component(const DifsPath *path, const char *component, size_t length)
{
	if (length > DIFS_MAX_COMPONENT)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NAME_TOO_LONG),
				errmsg("a name in path \"%s\" is too long", path->text),
				errdetail("It has %zu bytes; at most %d are allowed.", length, DIFS_MAX_COMPONENT));

	if (component[0] == '.' && (length == 1 || (length == 2 && component[1] == '.')))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("path \"%s\" has the name \"%.*s\" in it", path->text, (int) length, component),
				errhint("Paths are taken as they are written: \".\" and \"..\" are not interpreted."));
}

static void
walk_path(const text *path, int how, DifsWalk *walk)
{
	const DifsPath *parsed;
	DifsInode reached;
	int64 parent;
	int depth;

	walk->path = difs_path_parse(path);
	depth = reach(walk, how, &reached, &parent);
	parsed = walk->path;
	walk->name = parsed->count == 0 ? NULL : parsed->component[parsed->count - 1];
	walk->found = depth == parsed->count && (reached.kind != DIFS_KIND_SYMLINK || (how & WALK_FOLLOW) == 0);

	if (reached.kind != DIFS_KIND_DIRECTORY && (!walk->found || parsed->directory))
	{
		if ((how & WALK_LOOK) == 0)
			report_not_directory(parsed, depth);
		walk->found = false;
	}
	if (depth < parsed->count - 1 && (how & WALK_LOOK) == 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NO_FILE),
				errmsg("directory \"%s\" does not exist", difs_path_leading(parsed, depth + 1)),
				errdetail("It is on the way to \"%s\".", parsed->text));

	if (walk->found)
		walk->inode = reached;
	if (!walk->found || parsed->count == 0)
		walk->parent = reached;
	else if (how & WALK_WHOLE_PARENT)
		read_inode(walk, parent, &walk->parent);
	else
		walk->parent = (DifsInode){.ino = parent, .volume = walk->volume.id, .kind = DIFS_KIND_DIRECTORY};
}

/* Follows walk->path as far as it leads, and replaces it where symbolic links lead elsewhere. Returns the number of
 * components that were found, the inode at their end, and its parent. */
static int
reach(DifsWalk *walk, int how, DifsInode *reached, int64 *parent)
{
	int links = 0;

	for (;;)
	{
		DifsPath *path = walk->path;
		int64 ino;
		int depth;

		difs_volume_find(path->volume, &walk->volume);
		*parent = ino = walk->volume.root;
		depth = follow(path, walk->volume.id, &ino, parent);
		read_inode(walk, ino, reached);

		if (depth == path->count && (how & WALK_FOLLOW) == 0)
			return depth;
		if ((how & WALK_LOOK) != 0 && reached->kind == DIFS_KIND_SYMLINK && links == DIFS_MAX_LINKS)
			return depth;
		path = difs_path_expand(path, depth, reached, &links);
		if (path == NULL)
			return depth;
		walk->path = path;
	}
}

/* From *ino, a root, down as far as there are dentries: so many components. *parent is where the last dentry was. */
static int
follow(const DifsPath *path, int32 volume, int64 *ino, int64 *parent)
{
	DifsSteps steps = {0};
	int depth;

	for (depth = 0; depth < path->count; depth++)
	{
		int64 next;

		difs_perm_search(path, depth, volume, *ino);
		if (!difs_path_step(&steps, *ino, path->component[depth], &next))
			break;
		*parent = *ino;
		*ino = next;
	}
	difs_path_steps_end(&steps);

	return depth;
}

/* A volume is found as it is now (volume.c), so its root may be newer than the snapshot: then, for us, there is no
 * such volume. */
static void
read_inode(const DifsWalk *walk, int64 ino, DifsInode *inode)
{
	if (difs_inode_find(ino, inode))
		return;
	if (ino == walk->volume.root)
		difs_volume_report_missing(walk->volume.name);
	ereport(ERROR,
			errcode(DIFS_ERRCODE_CORRUPT),
			errmsg("inode " INT64_FORMAT " on the way to \"%s\" is missing", ino, walk->path->text));
}

static void
report_not_directory(const DifsPath *path, int count)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_WRONG_KIND),
			errmsg("\"%s\" is not a directory", difs_path_leading(path, count)),
			errdetail("The path is \"%s\".", path->text));
}

char *
difs_path_leading(const DifsPath *path, int count)
{
	char *whole = difs_path_write(path, count);

	return path->text[0] == '/' ? strchr(whole, ':') + 1 : whole;
}

char *
difs_path_write(const DifsPath *path, int count)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s:", path->volume);
	for (int i = 0; i < count; i++)
		appendStringInfo(&text, "/%s", path->component[i]);
	if (count == 0)
		appendStringInfoChar(&text, '/');

	return text.data;
}
