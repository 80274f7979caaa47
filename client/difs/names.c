/*
 * names.c - difs cp, mv, rm, mkdir, stat: names in the database.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

const Option cp_options[] = {
	{'r', "recursive", NULL, "directories with all that is in them"},
	{'n', "no-clobber", NULL, "leave files alone that are there"},
	{'T', "no-target-directory", NULL, "the last PATH is the file itself, not a directory to put it into"},
	{272, "version", "N", "an old version of the source"},
	{270, "exclude", "PATTERN", "leave out what matches"},
	{275, "dry-run", NULL, "only say what would be done"},
	{0},
};

const Option mv_options[] = {
	{'n', "no-clobber", NULL, "leave files alone that are there"},
	{'T', "no-target-directory", NULL, "the last PATH is the name itself, not a directory to move it into"},
	{0},
};

const Option rm_options[] = {
	{'r', "recursive", NULL, "directories with all that is in them"},
	{'f', "force", NULL, "what is not there is no error"},
	{275, "dry-run", NULL, "only say what would be done"},
	{0},
};

const Option mkdir_options[] = {
	{'p', "parents", NULL, "make those on the way, and be content if all are there"},
	{'m', "mode", "MODE", "octal, as for chmod"},
	{0},
};

const Option stat_options[] = {
	{272, "version", "N", "an old version"},
	{'L', "dereference", NULL, "of what a symbolic link leads to"},
	{0},
};

static bool copy_plan(const Plan *plan, bool no_replace, Summary *summary);
static void print_status(const DifsEntry *entry);

int
run_cp(int argc, char **argv)
{
	bool recursive = false;
	bool no_replace = false;
	bool exact = false;
	bool dry_run = false;
	int64_t version = 0;
	Plan plan = {0};
	Summary summary;
	Target target;
	int letter;
	int exit_code;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'r': recursive = true; break;
			case 'n': no_replace = true; break;
			case 'T': exact = true; break;
			case 272: version = number_argument("--version", optarg); break;
			case 270: exclude_add(optarg); break;
			case 275: dry_run = true; break;
		}
	if (argc - optind < 2)
		return complain_usage("copying needs two paths");
	if (!target_argument(argc, argv, exact, &target))
		return EXIT_FAILED;
	summary_begin(&summary, "copied");
	for (int i = optind; i < argc - 1; i++)
	{
		char *to = target_name(&target, argv[i]);

		if (version != 0)
		{
			if (dry_run)
				printf("would copy version %lld of %s -> %s\n", (long long) version, argv[i], to);
			else if (difs_copy(client, argv[i], version, to))
				summary.files++;
			else
			{
				complain_of(argv[i]);
				summary.failed++;
			}
		}
		else
			plan_remote(&plan, argv[i], to, recursive);
		free(to);
	}
	/* a copy of a directory into itself would never come to an end elsewhere; here the list is made first, and it would only surprise */
	for (size_t i = 0; i < plan.count; i++)
		if (plan.items[i].kind == DIFS_KIND_DIRECTORY && strncmp(plan.items[i].to, plan.items[i].from, strlen(plan.items[i].from)) == 0 &&
			(plan.items[i].to[strlen(plan.items[i].from)] == '/' || plan.items[i].to[strlen(plan.items[i].from)] == '\0'))
			return complain_text("\"%s\" cannot be copied into itself", plan.items[i].from);
	summary.failed += plan.failed;
	if (dry_run)
		plan_print(&plan, "copy");
	else if (plan.count > 0)
		copy_plan(&plan, no_replace, &summary);
	plan_free(&plan);
	if (dry_run)
		return summary.failed > 0 ? EXIT_FAILED : EXIT_DONE;
	settings.quiet |= !settings.verbose; /* as cp */
	exit_code = summary_end(&summary);
	return PQstatus(sql()) == CONNECTION_OK ? exit_code : EXIT_CONNECTION;
}

/* One transaction: the copy of a tree is there as a whole or not at all. */
static bool
copy_plan(const Plan *plan, bool no_replace, Summary *summary)
{
	bool done = difs_begin(client);

	for (size_t i = 0; done && i < plan->count; i++)
	{
		const Item *item = &plan->items[i];
		char *target = NULL;
		DifsEntry there;

		if (no_replace && item->kind != DIFS_KIND_DIRECTORY)
		{
			const char *exists[] = {item->to};
			PGresult *result = query("SELECT 1 WHERE difs_exists($1)", 1, exists);
			bool is_there = result != NULL && PQntuples(result) == 1;

			PQclear(result);
			if (is_there)
				continue;
		}
		switch (item->kind)
		{
			case DIFS_KIND_DIRECTORY:
				done = difs_mkdir(client, item->to, true) && difs_chmod(client, item->to, item->mode);
				summary->directories++;
				break;
			case DIFS_KIND_SYMLINK:
				done = difs_readlink(client, item->from, &target) && difs_symlink(client, target, item->to);
				summary->links++;
				break;
			default:
				done = difs_copy(client, item->from, 0, item->to) && difs_stat(client, item->to, 0, true, &there);
				summary->files++;
				summary->bytes += item->size;
		}
		free(target);
		if (!done)
			complain_of(item->from);
		else if (settings.verbose && !settings.json)
			printf("%s -> %s\n", item->from, item->to);
	}
	if (done && !difs_commit(client))
	{
		complain();
		done = false;
	}
	if (!done)
	{
		difs_rollback(client);
		summary->failed += plan->files > 0 ? plan->files : 1;
		summary->files = summary->directories = summary->links = summary->bytes = 0;
	}
	return done;
}

int
run_mv(int argc, char **argv)
{
	bool no_replace = false;
	bool exact = false;
	int exit_code = EXIT_DONE;
	Target target;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'n': no_replace = true; break;
			case 'T': exact = true; break;
		}
	if (argc - optind < 2)
		return complain_usage("moving needs two paths");
	if (!target_argument(argc, argv, exact, &target))
		return EXIT_FAILED;
	for (int i = optind; i < argc - 1 && !was_cancelled(); i++)
	{
		char *to;

		path_strip(argv[i]);
		to = target_name(&target, argv[i]);
		if (difs_rename(client, argv[i], to, no_replace))
		{
			if (settings.verbose)
				printf("%s -> %s\n", argv[i], to);
		}
		else if (!(no_replace && difs_failure(client)->status == DIFS_STATUS_EXISTS))
			exit_code = complain_of(argv[i]);
		free(to);
	}
	return exit_code;
}

int
run_rm(int argc, char **argv)
{
	bool recursive = false;
	bool force = false;
	bool dry_run = false;
	int exit_code = EXIT_DONE;
	int64_t count;
	char text[32];
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'r': recursive = true; break;
			case 'f': force = true; break;
			case 275: dry_run = true; break;
		}
	if (argc == optind)
		return force ? EXIT_DONE : complain_usage("what is to be removed?");
	connect_database();
	for (int i = optind; i < argc && !was_cancelled(); i++)
	{
		DifsEntry entry;

		path_strip(argv[i]);
		if (dry_run || !recursive)
		{
			if (!difs_stat(client, argv[i], 0, false, &entry))
			{
				if (!force || difs_failure(client)->status != DIFS_STATUS_NOT_FOUND)
					exit_code = complain_of(argv[i]);
				continue;
			}
			/* as rm: an empty directory is rmdir's, or -r */
			if (entry.kind == DIFS_KIND_DIRECTORY && !recursive)
			{
				exit_code = complain_text("\"%s\" is a directory: use -r", argv[i]);
				continue;
			}
		}
		if (dry_run)
			printf("would remove %s%s\n", argv[i], entry.kind == DIFS_KIND_DIRECTORY ? " and what is in it" : "");
		else if (difs_remove(client, argv[i], recursive, &count))
		{
			if (settings.verbose)
				printf("removed %s (%s)\n", argv[i], count_text(text, count));
		}
		else if (!force || difs_failure(client)->status != DIFS_STATUS_NOT_FOUND)
			exit_code = complain_of(argv[i]);
	}
	return exit_code;
}

int
run_mkdir(int argc, char **argv)
{
	bool parents = false;
	int64_t mode = -1;
	int exit_code = EXIT_DONE;
	char *end;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'p': parents = true; break;
			case 'm':
				mode = strtol(optarg, &end, 8);
				if (*optarg == '\0' || *end != '\0' || mode < 0 || mode > 07777)
					return complain_usage("\"%s\" is not an octal mode", optarg);
				break;
		}
	if (argc == optind)
		return complain_usage("which directory?");
	connect_database();
	for (int i = optind; i < argc && !was_cancelled(); i++)
	{
		path_strip(argv[i]);
		if (!difs_mkdir(client, argv[i], parents) || (mode >= 0 && !difs_chmod(client, argv[i], (uint32_t) mode)))
			exit_code = complain_of(argv[i]);
		else if (settings.verbose)
			printf("made %s\n", argv[i]);
	}
	return exit_code;
}

int
run_stat(int argc, char **argv)
{
	int64_t version = 0;
	bool follow = false;
	int exit_code = EXIT_DONE;
	json_t *list = json_array();
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'L': follow = true; break;
			case 272: version = number_argument("--version", optarg); break;
		}
	if (argc == optind)
		return complain_usage("of what?");
	connect_database();
	for (int i = optind; i < argc && !was_cancelled(); i++)
	{
		DifsEntry entry;
		json_t *object;

		path_strip(argv[i]);
		if (!difs_stat(client, argv[i], version, follow, &entry))
		{
			exit_code = complain_of(argv[i]);
			continue;
		}
		if (!settings.json)
		{
			print_status(&entry);
			continue;
		}
		object = entry_json(&entry, entry.name);
		json_object_set_new(object, "volume", json_string(entry.volume));
		json_object_set_new(object, "nlink", json_integer(entry.nlink));
		json_object_set_new(object, "atime", json_real((double) entry.atime_us / 1e6));
		json_object_set_new(object, "ctime", json_real((double) entry.ctime_us / 1e6));
		json_object_set_new(object, "btime", json_real((double) entry.btime_us / 1e6));
		json_array_append_new(list, object);
	}
	if (settings.json)
		print_json(list);
	else
		json_decref(list);
	return exit_code;
}

static void
print_status(const DifsEntry *entry)
{
	char name[4200];
	char size[32];
	char mode[12];
	char time[40];

	printf("  File: %s\n", shown_name(name, sizeof(name), entry->name));
	printf("  Kind: %s  Volume: %s  Inode: %lld  Links: %lld\n",
		   entry->kind == DIFS_KIND_FILE ? "file" : (entry->kind == DIFS_KIND_DIRECTORY ? "directory" : "symbolic link"), entry->volume,
		   (long long) entry->ino, (long long) entry->nlink);
	if (entry->kind == DIFS_KIND_FILE)
		printf("  Size: %lld (%s)  Version: %lld\n", (long long) entry->size, size_text(size, entry->size), (long long) entry->version);
	printf("Access: (%04o/%s)  Owner: %s\n", entry->mode, mode_text(mode, entry->kind, entry->mode), entry->owner);
	printf("Access: %s\n", time_text(time, entry->atime_us));
	printf("Modify: %s\n", time_text(time, entry->mtime_us));
	printf("Change: %s\n", time_text(time, entry->ctime_us));
	printf(" Birth: %s\n", time_text(time, entry->btime_us));
}
