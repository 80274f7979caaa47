/*
 * path_link.c - symbolic links on the way of a path.
 *
 * A target is text, and read when the link is followed:
 *
 *	"dir/file"		from the link's directory on
 *	"/dir/file"		from the root of the link's volume on, whatever difs.volume says
 *	"volume:/file"	in that volume
 *
 * Unlike in paths, "." and ".." in targets mean what they mean everywhere else;
 * the root's ".." is the root.  All that stands before a link has been resolved
 * when its target is put in its place, so ".." takes the component before it
 * away; and what comes from a target is walked in its turn before a ".." behind
 * it counts, so "link/.." is the directory above the link's target.
 */
#include "postgres.h"

#include "src/path.h"
#include "src/report.h"

/* The components of a path that is being put together. */
typedef struct Builder
{
	DifsPath *path;
	size_t length; /* in bytes, with a slash for each */
} Builder;

static DifsPath *follow_link(const DifsPath *path, int components, const DifsInode *link);
static DifsPath *drop_dots(const DifsPath *path, int components);
static DifsPath *begin(const DifsPath *path, size_t room);
static void add(Builder *builder, char **component, int count);
static void add_target(Builder *builder, char *target);
static char *other_volume(char *target, DifsPath *path);
static bool is_dots(const char *component);

DifsPath *
difs_path_expand(const DifsPath *path, int components, const DifsInode *reached, int *links)
{
	if (reached->kind == DIFS_KIND_DIRECTORY && components < path->count && is_dots(path->component[components]))
		return drop_dots(path, components);
	if (reached->kind != DIFS_KIND_SYMLINK)
		return NULL;

	if (++*links > DIFS_MAX_LINKS)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_TOO_MANY_LINKS),
				errmsg("too many symbolic links on the way to \"%s\"", path->text),
				errdetail("At most %d are followed; they may lead in a circle.", DIFS_MAX_LINKS),
				errhint("difs_readlink() says where a link leads."));
	return follow_link(path, components, reached);
}

static DifsPath *
follow_link(const DifsPath *path, int components, const DifsInode *link)
{
	char *target = pstrdup(link->target);
	Builder builder = {begin(path, path->count + strlen(target) / 2 + 1)};
	char *rest = other_volume(target, builder.path);

	if (rest[0] != '/')
		add(&builder, path->component, components - 1);
	add_target(&builder, rest);
	builder.path->directory = path->directory || (components == path->count && builder.path->directory);
	add(&builder, path->component + components, path->count - components);

	if (builder.length > DIFS_MAX_PATH)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NAME_TOO_LONG),
				errmsg("path \"%s\" is too long once its symbolic links are resolved", path->text),
				errdetail("It has %zu bytes then; at most %d are allowed.", builder.length, DIFS_MAX_PATH));
	return builder.path;
}

/* All "." and ".." that follow one another. */
static DifsPath *
drop_dots(const DifsPath *path, int components)
{
	Builder builder = {begin(path, path->count)};
	int next = components;

	for (; next < path->count && is_dots(path->component[next]); next++)
	{
		if (path->component[next][1] == '.' && components > 0)
			components--;
	}
	add(&builder, path->component, components);
	add(&builder, path->component + next, path->count - next);
	builder.path->directory = path->directory || next == path->count;
	return builder.path;
}

/* A path without components, with room for some. */
static DifsPath *
begin(const DifsPath *path, size_t room)
{
	DifsPath *begun = palloc(sizeof(DifsPath) + room * sizeof(char *));

	*begun = *path;
	begun->count = 0;
	begun->component = (char **) (begun + 1);
	return begun;
}

static void
add(Builder *builder, char **component, int count)
{
	for (int i = 0; i < count; i++)
	{
		builder->path->component[builder->path->count++] = component[i];
		builder->length += strlen(component[i]) + 1;
	}
}

/* Cuts the target into components; path->directory says whether it ends with a slash. */
static void
add_target(Builder *builder, char *target)
{
	size_t length = strlen(target);
	char *rest = NULL;

	builder->path->directory = length > 0 && target[length - 1] == '/';
	for (char *component = strtok_r(target, "/", &rest); component != NULL; component = strtok_r(NULL, "/", &rest))
	{
		if (strlen(component) > DIFS_MAX_COMPONENT)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_NAME_TOO_LONG),
					errmsg("a symbolic link on the way to \"%s\" leads to a name that is too long", builder->path->text),
					errdetail("It has %zu bytes; at most %d are allowed.", strlen(component), DIFS_MAX_COMPONENT));
		add(builder, &component, 1);
	}
}

/* If the target begins with a volume's name, a colon and a slash, that is the path's volume. Returns what follows. */
static char *
other_volume(char *target, DifsPath *path)
{
	char *colon = target + strcspn(target, ":/");

	if (colon == target || colon[0] != ':' || colon[1] != '/')
		return target;
	colon[0] = '\0';
	path->volume = target;
	return colon + 1;
}

static bool
is_dots(const char *component)
{
	return component[0] == '.' && (component[1] == '\0' || (component[1] == '.' && component[2] == '\0'));
}
