/*
 * ls.c - difs ls, tree and du: what is in directories.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define MAX_DEPTH 256

const Option ls_options[] = {
	{'l', "long", NULL, "mode, owner, size, time, version"},
	{'R', "recursive", NULL, "all that is below"},
	{'d', "directory", NULL, "the directory itself, not what is in it"},
	{0},
};

const Option tree_options[] = {
	{'d', "directories", NULL, "directories only"},
	{'l', "levels", "N", "as deep as that"},
	{0},
};

const Option du_options[] = {
	{'s', "summarize", NULL, "only the sum"},
	{0},
};

/* A listing in the making. */
typedef struct Listing
{
	bool in_long;
	bool first; /* of a JSON list */
	bool directories_only;
	int64_t levels;
	int64_t directories;
	int64_t files;
	struct Drawn *pending; /* tree: entries, drawn when it is known which are the last of their directory */
	size_t count;
	size_t room;
} Listing;

typedef struct Drawn
{
	char *name;
	int depth;
	bool directory;
} Drawn;

static char **path_arguments(int argc, char **argv, int *count);
static bool print_entry(void *context, const DifsEntry *entry);
static bool keep_entry(void *context, const DifsEntry *entry);
static void draw_tree(const Listing *listing);

int
run_ls(int argc, char **argv)
{
	Listing listing = {.first = true};
	bool recursive = false;
	bool itself = false;
	char **paths;
	int count;
	int exit_code = EXIT_DONE;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'l': listing.in_long = true; break;
			case 'R': recursive = true; break;
			case 'd': itself = true; break;
		}
	paths = path_arguments(argc, argv, &count);
	connect_database();
	if (settings.json)
		putchar('[');
	for (int i = 0; i < count && !was_cancelled(); i++)
	{
		DifsEntry entry;

		path_strip(paths[i]);
		if (!difs_stat(client, paths[i], 0, !itself, &entry))
			exit_code = complain_of(paths[i]);
		else if (itself || entry.kind != DIFS_KIND_DIRECTORY)
			print_entry(&listing, &entry);
		else
		{
			if (count > 1 && !settings.json)
				printf("%s%s:\n", i > 0 ? "\n" : "", paths[i]);
			if (!difs_list(client, paths[i], recursive, NULL, print_entry, &listing))
				exit_code = complain_of(paths[i]);
		}
	}
	if (settings.json)
		printf("%s]\n", listing.first ? "" : "\n");
	return exit_code;
}

/* Those that were given, or the root. */
static char **
path_arguments(int argc, char **argv, int *count)
{
	static char root[] = "/";
	static char *only_root[] = {root};
	bool given = argc > optind;

	*count = given ? argc - optind : 1;
	return given ? argv + optind : only_root;
}

/* One at a time, so that a directory of any size can be listed. */
static bool
print_entry(void *context, const DifsEntry *entry)
{
	Listing *listing = context;
	char name[4200];
	char mode[12];
	char size[32];
	char time[40];
	json_t *object;

	if (settings.json)
	{
		object = entry_json(entry, entry->name);
		printf("%s\n  ", listing->first ? "" : ",");
		json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		json_decref(object);
	}
	else if (listing->in_long)
		printf("%s %-10s %*s %s %4lld %s%s\n", mode_text(mode, entry->kind, entry->mode), entry->owner, settings.human ? 5 : 12,
			   short_size(size, entry->size), time_text(time, entry->mtime_us), (long long) entry->version,
			   shown_name(name, sizeof(name), entry->name), entry->kind == DIFS_KIND_DIRECTORY ? "/" : "");
	else
		printf("%s%s\n", shown_name(name, sizeof(name), entry->name), entry->kind == DIFS_KIND_DIRECTORY ? "/" : "");
	listing->first = false;
	return !ferror(stdout);
}

int
run_tree(int argc, char **argv)
{
	Listing listing = {.first = true, .levels = MAX_DEPTH};
	char **paths;
	int count;
	int exit_code = EXIT_DONE;
	char a[32];
	char b[32];
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'd': listing.directories_only = true; break;
			case 'l': listing.levels = number_argument("--levels", optarg); break;
		}
	paths = path_arguments(argc, argv, &count);
	connect_database();
	if (settings.json)
		putchar('[');
	for (int i = 0; i < count && !was_cancelled(); i++)
	{
		path_strip(paths[i]);
		if (!settings.json)
			printf("%s\n", paths[i]);
		if (!difs_list(client, paths[i], true, NULL, settings.json ? print_entry : keep_entry, &listing))
			exit_code = complain_of(paths[i]);
		draw_tree(&listing);
		for (size_t k = 0; k < listing.count; k++)
			free(listing.pending[k].name);
		listing.count = 0;
	}
	free(listing.pending);
	if (settings.json)
		printf("%s]\n", listing.first ? "" : "\n");
	else if (exit_code == EXIT_DONE)
		printf("\n%s director%s, %s file%s\n", count_text(a, listing.directories), listing.directories == 1 ? "y" : "ies",
			   count_text(b, listing.files), listing.files == 1 ? "" : "s");
	return exit_code;
}

static bool
keep_entry(void *context, const DifsEntry *entry)
{
	Listing *listing = context;
	const char *slash = strrchr(entry->name, '/');
	int depth = 0;

	for (const char *at = entry->name; *at != '\0'; at++)
		depth += *at == '/';
	if (depth >= listing->levels || (listing->directories_only && entry->kind != DIFS_KIND_DIRECTORY))
		return true;
	if (entry->kind == DIFS_KIND_DIRECTORY)
		listing->directories++;
	else
		listing->files++;
	if (listing->count == listing->room)
	{
		listing->room = listing->room > 0 ? 2 * listing->room : 256;
		listing->pending = realloc(listing->pending, listing->room * sizeof(*listing->pending));
		if (listing->pending == NULL)
			exit(complain_text("out of memory"));
	}
	listing->pending[listing->count++] = (Drawn){need_copy(slash != NULL ? slash + 1 : entry->name), depth, entry->kind == DIFS_KIND_DIRECTORY};
	return true;
}

/* From the end, it is seen which entry is the last of its directory: the first one that comes at its depth. */
static void
draw_tree(const Listing *listing)
{
	bool *last = need_memory(listing->count + 1);
	bool open[MAX_DEPTH + 1] = {false};
	char name[4200];

	for (size_t i = listing->count; i-- > 0;)
	{
		int depth = listing->pending[i].depth;

		last[i] = !open[depth];
		open[depth] = true;
		for (int below = depth + 1; below <= MAX_DEPTH && open[below]; below++)
			open[below] = false;
	}
	memset(open, 0, sizeof(open));
	for (size_t i = 0; i < listing->count; i++)
	{
		const Drawn *drawn = &listing->pending[i];

		open[drawn->depth] = !last[i];
		for (int depth = 0; depth < drawn->depth; depth++)
			fputs(open[depth] ? "│   " : "    ", stdout);
		printf("%s%s%s\n", last[i] ? "└── " : "├── ", shown_name(name, sizeof(name), drawn->name), drawn->directory ? "/" : "");
	}
	free(last);
}

int
run_du(int argc, char **argv)
{
	bool sum = false;
	char **paths;
	int count;
	int exit_code = EXIT_DONE;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		sum |= letter == 's';
	paths = path_arguments(argc, argv, &count);
	connect_database();
	for (int i = 0; i < count && !was_cancelled(); i++)
	{
		const char *parameters[] = {paths[i]};
		int shown;

		path_strip(paths[i]);
		shown = show(sum ? "SELECT bytes, files, directories, symlinks, $1::text AS path FROM difs_du($1::text)" :
						   "SELECT d.bytes, d.files, d.directories, d.symlinks, l.path"
						   " FROM (SELECT rtrim($1::text, '/') || '/' || name AS path FROM difs_list($1::text, recursive => true, kind => 'directory')"
						   " UNION ALL SELECT $1::text) AS l, LATERAL difs_du(l.path) AS d",
					 1, parameters, NULL);
		if (shown != EXIT_DONE)
			exit_code = shown;
	}
	return exit_code;
}
