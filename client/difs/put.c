/*
 * put.c - difs put: local files and trees into the database.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

const Option put_options[] = {
	{'r', "recursive", NULL, "directories with all that is in them"},
	{'L', "dereference", NULL, "follow symbolic links instead of keeping them"},
	{'n', "no-clobber", NULL, "leave files alone that are there"},
	{'P', "parents", NULL, "make missing directories of PATH"},
	{'T', "no-target-directory", NULL, "PATH is the file itself, not a directory to put it into"},
	{270, "exclude", "PATTERN", "leave out what matches (a glob; with / for the whole name)"},
	{271, "no-preserve", NULL, "do not keep modes and times"},
	{272, "resume", NULL, "go on with uploads of large files that broke off"},
	{273, "batch", "N", "small files in one transaction (1000)"},
	{274, "media-type", "TYPE", "media type of the files"},
	{275, "dry-run", NULL, "only say what would be done"},
	{0},
};

static void put_standard_input(const Target *target, const Transfer *transfer, bool dry_run, Summary *summary);

int
run_put(int argc, char **argv)
{
	Transfer transfer = {.keep_attributes = true, .batch = 1000};
	Plan plan = {0};
	Summary summary;
	bool recursive = false;
	bool dereference = false;
	bool exact = false;
	bool dry_run = false;
	Target target;
	int letter;
	int exit_code;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'r': recursive = true; break;
			case 'L': dereference = true; break;
			case 'n': transfer.no_replace = true; break;
			case 'P': transfer.parents = true; break;
			case 'T': exact = true; break;
			case 270: exclude_add(optarg); break;
			case 271: transfer.keep_attributes = false; break;
			case 272: transfer.resume = true; break;
			case 273:
				transfer.batch = number_argument("--batch", optarg);
				if (transfer.batch < 1 || transfer.batch > 100000)
					return complain_usage("--batch is from 1 to 100000");
				break;
			case 274: transfer.media_type = optarg; break;
			case 275: dry_run = true; break;
		}
	if (argc - optind < 2)
		return complain_usage(argc == optind ? "what is to be put, and where to?" : "where to?");
	if (!target_argument(argc, argv, exact, &target))
		return EXIT_FAILED;
	summary_begin(&summary, "put");
	for (int i = optind; i < argc - 1; i++)
	{
		char *to;

		if (strcmp(argv[i], "-") == 0)
		{
			put_standard_input(&target, &transfer, dry_run, &summary);
			continue;
		}
		to = target_name(&target, argv[i]);
		plan_local(&plan, argv[i], to, recursive, dereference);
		free(to);
	}
	summary.failed += plan.failed;
	if (dry_run)
		plan_print(&plan, "put");
	else
		put_plan(&plan, &transfer, &summary);
	plan_free(&plan);
	if (dry_run)
		return summary.failed > 0 ? EXIT_FAILED : EXIT_DONE;
	exit_code = summary_end(&summary);
	return PQstatus(sql()) == CONNECTION_OK ? exit_code : EXIT_CONNECTION;
}

static void
put_standard_input(const Target *target, const Transfer *transfer, bool dry_run, Summary *summary)
{
	DifsPutOptions options = {.create_only = transfer->no_replace, .parents = transfer->parents, .media_type = transfer->media_type, .progress = progress_callback};
	DifsEntry entry;

	if (target->into)
	{
		complain_text("\"%s\" is a directory: standard input needs the name of a file", target->path);
		summary->failed++;
		return;
	}
	if (dry_run)
	{
		printf("would put standard input -> %s\n", target->path);
		return;
	}
	progress_begin(-1, -1);
	progress_file(target->path);
	if (difs_put_fd(client, target->path, STDIN_FILENO, &options, NULL) && difs_stat(client, target->path, 0, true, &entry))
	{
		summary->files++;
		summary->bytes += entry.size;
	}
	else
	{
		complain_of(target->path);
		summary->failed++;
	}
}
