/*
 * plan.c - what is to be moved: a list, directories before what is in them, that is filled first and then worked off, so that totals
 * are known from the beginning.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define MAX_EXCLUDES 64

/* What difs_list() is to add to. */
typedef struct Below
{
	Plan *plan;
	const char *path;
	const char *to;
	char *skipped; /* an excluded directory: what is below it goes with it */
} Below;

static const char *excludes[MAX_EXCLUDES];
static int exclude_count;

static bool add_entry(void *context, const DifsEntry *entry);
static bool safe_name(const char *name);

bool
target_argument(int argc, char **argv, bool exact, Target *target)
{
	target->path = argv[argc - 1];
	connect_database();
	target->into = !exact && (target->path[strlen(target->path) - 1] == '/' || is_directory(target->path));
	if (argc - optind > 2 && !target->into)
	{
		complain_text("\"%s\" is not a directory, and there are several sources", target->path);
		return false;
	}
	path_strip(target->path);
	return true;
}

/* Of ".", ".." and "/": their content. */
char *
target_name(const Target *target, const char *source)
{
	char *base = path_base(source);
	bool named = base[0] != '\0' && strcmp(base, ".") != 0 && strcmp(base, "..") != 0;
	char *name = target->into && named ? path_join(target->path, base) : need_copy(target->path);

	free(base);
	return name;
}

Item *
plan_add(Plan *plan, const char *from, const char *to, DifsKind kind, uint32_t mode, int64_t size, int64_t mtime_us)
{
	if (plan->count == plan->room)
	{
		plan->room = plan->room > 0 ? 2 * plan->room : 256;
		plan->items = realloc(plan->items, plan->room * sizeof(Item));
		if (plan->items == NULL)
			exit(complain_text("out of memory"));
	}
	plan->items[plan->count] = (Item){need_copy(from), need_copy(to), kind, mode, size, mtime_us};
	if (kind == DIFS_KIND_FILE)
	{
		plan->files++;
		plan->bytes += size;
	}
	return &plan->items[plan->count++];
}

void
plan_free(Plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
	{
		free(plan->items[i].from);
		free(plan->items[i].to);
	}
	free(plan->items);
	memset(plan, 0, sizeof(*plan));
}

/* Symbolic links below a directory are links, the path itself is what it leads to, as with cp -r. */
bool
plan_remote(Plan *plan, const char *path, const char *to, bool recursive)
{
	DifsEntry entry;
	Below below = {plan, path, to, NULL};
	bool listed;

	if (!difs_stat(client, path, 0, true, &entry))
	{
		plan->exit_code = complain_of(path);
		plan->failed++;
		return false;
	}
	if (entry.kind == DIFS_KIND_DIRECTORY && !recursive)
	{
		plan->exit_code = complain_text("\"%s\" is a directory: use -r", path);
		plan->failed++;
		return false;
	}
	plan_add(plan, path, to, entry.kind, entry.mode, entry.size, entry.mtime_us);
	if (entry.kind != DIFS_KIND_DIRECTORY)
		return true;
	listed = difs_list(client, path, true, NULL, add_entry, &below);
	free(below.skipped);
	if (!listed)
	{
		plan->exit_code = complain_of(path);
		plan->failed++;
	}
	return listed;
}

static bool
add_entry(void *context, const DifsEntry *entry)
{
	Below *below = context;
	char *from;
	char *to;

	if (below->skipped != NULL && strncmp(entry->name, below->skipped, strlen(below->skipped)) == 0 && entry->name[strlen(below->skipped)] == '/')
		return true;
	if (!safe_name(entry->name))
	{
		complain_text("\"%s\" is a name that is not followed", entry->name);
		below->plan->failed++;
		return true;
	}
	if (excluded(entry->name))
	{
		if (entry->kind == DIFS_KIND_DIRECTORY)
		{
			free(below->skipped);
			below->skipped = need_copy(entry->name);
		}
		return true;
	}
	from = path_join(below->path, entry->name);
	to = path_join(below->to, entry->name);
	plan_add(below->plan, from, to, entry->kind, entry->mode, entry->size, entry->mtime_us);
	free(from);
	free(to);
	return true;
}

/* A server that is not what it says could name what lies elsewhere. */
static bool
safe_name(const char *name)
{
	for (const char *at = name; at != NULL; at = strchr(at, '/') != NULL ? strchr(at, '/') + 1 : NULL)
		if (*at == '/' || *at == '\0' || (at[0] == '.' && (at[1] == '/' || at[1] == '\0')) ||
			(at[0] == '.' && at[1] == '.' && (at[2] == '/' || at[2] == '\0')))
			return false;
	return true;
}

void
plan_print(const Plan *plan, const char *verb)
{
	char size[32];

	for (size_t i = 0; i < plan->count; i++)
	{
		const Item *item = &plan->items[i];

		if (item->kind == DIFS_KIND_FILE)
			printf("would %s %s -> %s (%s)\n", verb, item->from, item->to, size_text(size, item->size));
		else
			printf("would make %s %s\n", item->kind == DIFS_KIND_DIRECTORY ? "directory" : "link", item->to);
	}
}

void
exclude_add(const char *pattern)
{
	if (exclude_count == MAX_EXCLUDES)
		exit(complain_usage("more than %d --exclude", MAX_EXCLUDES));
	excludes[exclude_count++] = pattern;
}

/* A pattern without a slash is one for the last component, with one for the whole name below what is moved. */
bool
excluded(const char *relative_name)
{
	const char *slash = strrchr(relative_name, '/');

	for (int i = 0; i < exclude_count; i++)
	{
		const char *pattern = excludes[i][0] == '/' ? excludes[i] + 1 : excludes[i];
		bool whole = strchr(excludes[i], '/') != NULL;

		if (fnmatch(pattern, whole || slash == NULL ? relative_name : slash + 1, FNM_PATHNAME) == 0)
			return true;
	}
	return false;
}
