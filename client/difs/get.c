/*
 * get.c - difs get and difs cat: files and trees out of the database.
 *
 * Directories are made first, with all rights for their owner, and get their modes and times at the end.  Small files come in batches, large
 * ones each for themselves.  No file is ever there by half: it gets its name when it is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

const Option get_options[] = {
	{'r', "recursive", NULL, "directories with all that is in them"},
	{'n', "no-clobber", NULL, "leave files alone that are there"},
	{'T', "no-target-directory", NULL, "LOCAL is the file itself, not a directory to put it into"},
	{270, "exclude", "PATTERN", "leave out what matches (a glob; with / for the whole name)"},
	{271, "no-preserve", NULL, "do not keep modes and times"},
	{272, "version", "N", "an old version"},
	{273, "range", "OFFSET[:LENGTH]", "a part of the file"},
	{274, "sync", NULL, "sync files to disk"},
	{275, "dry-run", NULL, "only say what would be done"},
	{0},
};

const Option cat_options[] = {
	{272, "version", "N", "an old version"},
	{273, "range", "OFFSET[:LENGTH]", "a part of the file"},
	{0},
};

typedef struct Getting
{
	const Plan *plan;
	const Transfer *transfer;
	Summary *summary;
	Writer *writer;
} Getting;

static void range_argument(const char *text, DifsGetOptions *options);
static int get_single(const char *path, const char *local, DifsGetOptions *options, Summary *summary);
static bool make_directory(const Item *item, Summary *summary);
static size_t get_batch(const Plan *plan, size_t from, const Transfer *transfer, Summary *summary);
static bool got(void *context, int64_t tag, const void *data, size_t length, const DifsFailure *failure);
static void written(void *context, const Item *item, size_t length, int error);
static void get_large(const Item *item, const Transfer *transfer, Summary *summary);
static void get_link(const Item *item, Summary *summary);

int
run_get(int argc, char **argv)
{
	static char here[] = ".";
	Transfer transfer = {.keep_attributes = true};
	DifsGetOptions options = {0};
	Plan plan = {0};
	Summary summary;
	bool recursive = false;
	bool exact = false;
	bool dry_run = false;
	bool part = false;
	Target target;
	int sources;
	int letter;
	int exit_code;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'r': recursive = true; break;
			case 'n': transfer.no_replace = true; break;
			case 'T': exact = true; break;
			case 270: exclude_add(optarg); break;
			case 271: transfer.keep_attributes = false; break;
			case 272: options.version = number_argument("--version", optarg); break;
			case 273:
				range_argument(optarg, &options);
				part = true;
				break;
			case 274: transfer.sync = true; break;
			case 275: dry_run = true; break;
		}
	if (argc == optind)
		return complain_usage("what is to be fetched?");
	target.path = argc - optind > 1 ? argv[argc - 1] : here;
	sources = argc - optind > 1 ? argc - optind - 1 : 1;
	target.into = !exact && (is_local_directory(target.path) || target.path[strlen(target.path) - 1] == '/');
	if (sources > 1 && !target.into)
		return complain_text("\"%s\" is not a directory, and there are several sources", target.path);
	if ((options.version != 0 || part) && (sources > 1 || recursive))
		return complain_usage("--version and --range are for one file");
	connect_database();

	summary_begin(&summary, "got");
	if (strcmp(target.path, "-") == 0 || options.version != 0 || part)
	{
		char *local = target_name(&target, argv[optind]);

		options.keep_attributes = transfer.keep_attributes;
		options.no_replace = transfer.no_replace;
		options.sync = transfer.sync;
		exit_code = get_single(argv[optind], local, &options, &summary);
		free(local);
		return exit_code;
	}
	for (int i = 0; i < sources; i++)
	{
		char *path = argv[optind + i];
		char *local;

		path_strip(path);
		local = target_name(&target, path);
		plan_remote(&plan, path, local, recursive);
		free(local);
	}
	summary.failed += plan.failed;
	if (dry_run)
		plan_print(&plan, "get");
	else if (PQstatus(sql()) == CONNECTION_OK)
		get_plan(&plan, &transfer, &summary);
	plan_free(&plan);
	if (dry_run)
		return summary.failed > 0 ? EXIT_FAILED : EXIT_DONE;
	exit_code = summary_end(&summary);
	return PQstatus(sql()) == CONNECTION_OK ? exit_code : EXIT_CONNECTION;
}

int
run_cat(int argc, char **argv)
{
	DifsGetOptions options = {0};
	int exit_code = EXIT_DONE;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 272: options.version = number_argument("--version", optarg); break;
			case 273: range_argument(optarg, &options); break;
		}
	if (argc == optind)
		return complain_usage("which file?");
	connect_database();
	for (int i = optind; i < argc && !was_cancelled(); i++)
		if (!difs_get_fd(client, argv[i], STDOUT_FILENO, &options, NULL))
			exit_code = complain_of(argv[i]);
	return exit_code;
}

static void
range_argument(const char *text, DifsGetOptions *options)
{
	char *copy = need_copy(text);
	char *colon = strchr(copy, ':');

	if (colon != NULL)
	{
		*colon = '\0';
		options->length = size_argument("--range", colon + 1);
		if (options->length == 0)
			exit(complain_usage("--range: a length of 0"));
	}
	options->offset = size_argument("--range", copy);
	free(copy);
}

static int
get_single(const char *path, const char *local, DifsGetOptions *options, Summary *summary)
{
	bool standard = strcmp(local, "-") == 0;
	int64_t bytes = 0;
	DifsEntry entry;
	int exit_code;

	options->progress = progress_callback;
	summary->data_on_stdout = standard;
	progress_begin(difs_stat(client, path, options->version, true, &entry) && options->length == 0 ? entry.size - options->offset : options->length, 1);
	progress_file(path);
	if (standard ? difs_get_fd(client, path, STDOUT_FILENO, options, &bytes) : difs_get_file(client, path, local, options, &bytes))
	{
		summary->files++;
		summary->bytes = bytes;
		return summary_end(summary);
	}
	exit_code = complain_of(path);
	return exit_code;
}

void
get_plan(const Plan *plan, const Transfer *transfer, Summary *summary)
{
	progress_begin(plan->bytes, plan->files);
	for (size_t i = 0; i < plan->count && !was_cancelled() && PQstatus(sql()) == CONNECTION_OK;)
	{
		const Item *item = &plan->items[i];

		if (item->kind == DIFS_KIND_FILE && item->size < DIFS_BATCH_FILE_MAX)
		{
			i = get_batch(plan, i, transfer, summary);
			continue;
		}
		i++;
		if (item->kind == DIFS_KIND_FILE)
			get_large(item, transfer, summary);
		else if (item->kind == DIFS_KIND_SYMLINK)
			get_link(item, summary);
		else
			make_directory(item, summary);
	}
	if (transfer->keep_attributes)
		for (size_t i = plan->count; i-- > 0;)
			if (plan->items[i].kind == DIFS_KIND_DIRECTORY && is_local_directory(plan->items[i].to) && !set_attributes(&plan->items[i]))
			{
				complain_text("could not set mode and times of \"%s\": %s", plan->items[i].to, strerror(errno));
				summary->failed++;
			}
	if (was_cancelled())
		complain_text("interrupted");
	if (was_cancelled() || PQstatus(sql()) != CONNECTION_OK)
		summary->failed = plan->files - summary->files > summary->failed ? plan->files - summary->files : summary->failed + 1;
}

static bool
make_directory(const Item *item, Summary *summary)
{
	/* what is in it has to be written, whatever its mode will be */
	if (mkdir(item->to, 0777) == 0 || (errno == EEXIST && is_local_directory(item->to)))
	{
		summary->directories++;
		return true;
	}
	complain_text("could not make directory \"%s\": %s", item->to, strerror(errno));
	summary->failed++;
	return false;
}

/* Also links and directories between the files, but only as far as no large file comes. */
static size_t
get_batch(const Plan *plan, size_t from, const Transfer *transfer, Summary *summary)
{
	Getting getting = {plan, transfer, summary, NULL};
	DifsBatch *batch = difs_batch_get_begin(client, got, &getting);
	bool done;
	size_t i;

	if (batch == NULL)
	{
		complain();
		summary->failed++;
		return plan->count;
	}
	getting.writer = writer_begin(transfer, written, &getting);
	for (i = from; i < plan->count; i++)
	{
		const Item *item = &plan->items[i];

		if (item->kind == DIFS_KIND_SYMLINK || (item->kind == DIFS_KIND_FILE && item->size >= DIFS_BATCH_FILE_MAX))
			break;
		if (item->kind == DIFS_KIND_DIRECTORY)
			make_directory(item, summary);
		else if (!difs_batch_get(batch, item->from, item->size, (int64_t) i))
		{
			i = plan->count;
			break;
		}
	}
	done = difs_batch_end(batch, NULL);
	writer_end(getting.writer, was_cancelled());
	if (!done && !was_cancelled())
		complain();
	return done ? i : plan->count;
}

static bool
got(void *context, int64_t tag, const void *data, size_t length, const DifsFailure *failure)
{
	Getting *getting = context;
	const Item *item = &getting->plan->items[tag];

	if (failure == NULL)
		writer_give(getting->writer, item, data, length);
	else
	{
		if (!was_cancelled())
			complain_failure(item->from, failure);
		getting->summary->failed++;
		progress_done(item->size);
	}
	return !was_cancelled();
}

static void
written(void *context, const Item *item, size_t length, int error)
{
	Getting *getting = context;

	if (error == 0)
	{
		if (settings.verbose && !settings.json)
			printf("%s -> %s\n", item->from, item->to);
		getting->summary->files++;
		getting->summary->bytes += (int64_t) length;
	}
	else if (!(error == EEXIST && getting->transfer->no_replace))
	{
		complain_text("could not write \"%s\": %s", item->to, strerror(error));
		getting->summary->failed++;
	}
	progress_file(item->from);
	progress_done(item->size);
}

static void
get_large(const Item *item, const Transfer *transfer, Summary *summary)
{
	DifsGetOptions options = {.keep_attributes = transfer->keep_attributes, .no_replace = transfer->no_replace, .sync = transfer->sync, .progress = progress_callback};
	int64_t bytes;

	progress_file(item->from);
	if (difs_get_file(client, item->from, item->to, &options, &bytes))
	{
		if (settings.verbose && !settings.json)
		{
			progress_clear();
			printf("%s -> %s\n", item->from, item->to);
		}
		summary->files++;
		summary->bytes += bytes;
		progress_done(item->size);
	}
	else if (!was_cancelled() && !(transfer->no_replace && difs_failure(client)->system_errno == EEXIST))
	{
		complain_of(item->from);
		summary->failed++;
	}
}

static void
get_link(const Item *item, Summary *summary)
{
	char *target = NULL;
	char there[4097];
	ssize_t length;

	if (!difs_readlink(client, item->from, &target))
	{
		complain_of(item->from);
		summary->failed++;
		return;
	}
	length = readlink(item->to, there, sizeof(there) - 1);
	if (length >= 0)
		there[length] = '\0';
	if (length >= 0 && strcmp(there, target) == 0)
		summary->links++;
	else if ((length < 0 || unlink(item->to) == 0) && symlink(target, item->to) == 0)
		summary->links++;
	else
	{
		complain_text("could not make link \"%s\": %s", item->to, strerror(errno));
		summary->failed++;
	}
	free(target);
}
