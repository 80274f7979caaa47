/*
 * put_plan.c - working off a plan of things to be put, for put and import.
 *
 * Directories, links and small files go in batches, each a transaction; large files each for themselves.  If a batch fails, its items
 * are tried one by one, so that one bad name costs no other file.  Modes and times of directories come last: a directory that may
 * not be written to shall get its files first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define BATCH_BYTES ((int64_t) 32 << 20)

/* What became of an item of a batch. */
typedef enum Sent
{
	SENT,
	LEFT_OUT, /* it cannot be read: to be tried, and reported, by itself */
	BATCH_FAILED
} Sent;

static size_t put_batch(const Plan *plan, size_t from, const Transfer *transfer, Summary *summary);
static Sent put_into_batch(DifsBatch *batch, const Item *item, const Transfer *transfer, int64_t tag);
static bool batchable(const Item *item);
static void put_one(const Item *item, const Transfer *transfer, Summary *summary);
static bool put_one_small(const Item *item, const DifsPutOptions *options);
static bool put_link(const Item *item, bool *complained);
static void put_directory_attributes(const Plan *plan, Summary *summary);
static DifsPutOptions options_of(const Item *item, const Transfer *transfer);
static void count(const Item *item, Summary *summary);
static bool is_utf8(const char *name);

void
put_plan(const Plan *plan, const Transfer *transfer, Summary *summary)
{
	progress_begin(plan->bytes, plan->files);
	for (size_t i = 0; i < plan->count && !was_cancelled() && PQstatus(sql()) == CONNECTION_OK;)
		if (batchable(&plan->items[i]))
			i = put_batch(plan, i, transfer, summary);
		else
			put_one(&plan->items[i++], transfer, summary);
	if (transfer->keep_attributes && !was_cancelled() && PQstatus(sql()) == CONNECTION_OK)
		put_directory_attributes(plan, summary);
	if (was_cancelled())
		complain_text("interrupted");
	if (was_cancelled() || PQstatus(sql()) != CONNECTION_OK)
		summary->failed = plan->files - summary->files > summary->failed ? plan->files - summary->files : summary->failed + 1;
}

static bool
batchable(const Item *item)
{
	return item->kind != DIFS_KIND_FILE || item->size < DIFS_BATCH_FILE_MAX;
}

/* As many as belong together; returns where to go on. */
static size_t
put_batch(const Plan *plan, size_t from, const Transfer *transfer, Summary *summary)
{
	DifsBatch *batch = difs_batch_begin(client);
	bool *alone = need_memory((size_t) transfer->batch * sizeof(*alone)); /* not in the batch */
	int64_t bytes = 0;
	size_t end = from;
	Sent sent = SENT;
	bool done;

	if (batch == NULL)
	{
		complain();
		summary->failed++;
		free(alone);
		return plan->count;
	}
	while (sent != BATCH_FAILED && end < plan->count && (int64_t) (end - from) < transfer->batch && bytes < BATCH_BYTES && batchable(&plan->items[end]))
	{
		const Item *item = &plan->items[end];

		progress_file(item->from);
		progress_bytes(bytes);
		sent = put_into_batch(batch, item, transfer, (int64_t) end);
		alone[end - from] = sent == LEFT_OUT;
		bytes += item->size;
		end++;
	}
	done = difs_batch_end(batch, NULL);
	progress_bytes(0);
	for (size_t i = from; i < end && !was_cancelled() && PQstatus(sql()) == CONNECTION_OK; i++)
		if (done && !alone[i - from])
		{
			count(&plan->items[i], summary);
			progress_done(plan->items[i].size);
		}
		else
			put_one(&plan->items[i], transfer, summary);
	if (!done && PQstatus(sql()) != CONNECTION_OK)
		complain();
	free(alone);
	return end;
}

static Sent
put_into_batch(DifsBatch *batch, const Item *item, const Transfer *transfer, int64_t tag)
{
	DifsPutOptions options = options_of(item, transfer);
	char target[4097];
	size_t length;
	ssize_t target_length;
	char *data;
	bool sent;

	if (!is_utf8(item->to))
		return LEFT_OUT;
	switch (item->kind)
	{
		case DIFS_KIND_DIRECTORY:
			return difs_batch_mkdir(batch, item->to, true, NULL, tag) ? SENT : BATCH_FAILED;
		case DIFS_KIND_SYMLINK:
			target_length = readlink(item->from, target, sizeof(target) - 1);
			if (target_length < 0)
				return LEFT_OUT;
			target[target_length] = '\0';
			return difs_batch_symlink(batch, target, item->to, tag) ? SENT : BATCH_FAILED;
		default:
			data = read_small(item->from, item->size, &length);
			if (data == NULL)
				return LEFT_OUT;
			sent = difs_batch_put(batch, item->to, data, length, &options, tag);
			free(data);
			return sent ? SENT : BATCH_FAILED;
	}
}

static DifsPutOptions
options_of(const Item *item, const Transfer *transfer)
{
	return (DifsPutOptions){
		.create_only = transfer->no_replace,
		.parents = transfer->parents,
		.resume = transfer->resume,
		.mode = transfer->keep_attributes ? &item->mode : NULL,
		.mtime_us = transfer->keep_attributes ? &item->mtime_us : NULL,
		.media_type = transfer->media_type,
		.progress = progress_callback,
	};
}

/* A transaction of its own, and a message of its own. */
static void
put_one(const Item *item, const Transfer *transfer, Summary *summary)
{
	DifsPutOptions options = options_of(item, transfer);
	bool complained = false;
	bool done;

	progress_file(item->from);
	if (!is_utf8(item->to))
	{
		complain_text("\"%s\": the name is not UTF-8, which names in the database have to be", item->from);
		summary->failed++;
		return;
	}
	switch (item->kind)
	{
		case DIFS_KIND_DIRECTORY:
			done = difs_mkdir(client, item->to, true);
			break;
		case DIFS_KIND_SYMLINK:
			done = put_link(item, &complained);
			break;
		default:
			done = batchable(item) ? put_one_small(item, &options) : difs_put_file(client, item->to, item->from, &options, NULL);
	}
	if (!done && transfer->no_replace && difs_failure(client)->status == DIFS_STATUS_EXISTS)
		return;
	if (!done && was_cancelled())
		return;
	if (done)
	{
		count(item, summary);
		progress_done(item->size);
		return;
	}
	if (!complained)
		complain_of(item->from);
	summary->failed++;
}

/* What cannot be read as a small file (any more) is tried as a file of any size, which says what is wrong with it. */
static bool
put_one_small(const Item *item, const DifsPutOptions *options)
{
	size_t length;
	char *data = read_small(item->from, item->size, &length);
	bool done;

	if (data == NULL)
		return difs_put_file(client, item->to, item->from, options, NULL);
	done = difs_put_data(client, item->to, data, length, options, NULL);
	free(data);
	return done;
}

/* Takes the place of another link, but of nothing else. */
static bool
put_link(const Item *item, bool *complained)
{
	char target[4097];
	ssize_t length = readlink(item->from, target, sizeof(target) - 1);
	char *there = NULL;
	bool done;

	if (length < 0)
	{
		complain_text("could not read link \"%s\": %s", item->from, strerror(errno));
		*complained = true;
		return false;
	}
	target[length] = '\0';
	if (difs_symlink(client, target, item->to))
		return true;
	if (difs_failure(client)->status != DIFS_STATUS_EXISTS || !difs_readlink(client, item->to, &there))
		return false;
	done = strcmp(there, target) == 0 || (difs_remove(client, item->to, false, NULL) && difs_symlink(client, target, item->to));
	free(there);
	return done;
}

static void
put_directory_attributes(const Plan *plan, Summary *summary)
{
	DifsBatch *batch = NULL;
	bool good = true;

	for (size_t i = plan->count; good && i-- > 0;)
	{
		const Item *item = &plan->items[i];

		if (item->kind != DIFS_KIND_DIRECTORY || !is_utf8(item->to))
			continue;
		if (batch == NULL && (batch = difs_batch_begin(client)) == NULL)
			break;
		good = difs_batch_chmod(batch, item->to, item->mode, (int64_t) i) && difs_batch_touch(batch, item->to, &item->mtime_us, (int64_t) i);
	}
	if (batch == NULL)
		return;
	if (difs_batch_end(batch, NULL))
		return;
	/* one by one: of the root of a volume, or of a directory of somebody else's, that may not be allowed */
	for (size_t i = plan->count; i-- > 0 && !was_cancelled();)
	{
		const Item *item = &plan->items[i];

		if (item->kind != DIFS_KIND_DIRECTORY || !is_utf8(item->to))
			continue;
		if (!difs_chmod(client, item->to, item->mode) || !difs_touch(client, item->to, NULL, &item->mtime_us))
		{
			complain_of(item->to);
			summary->failed++;
		}
	}
}

static void
count(const Item *item, Summary *summary)
{
	if (settings.verbose && !settings.json)
	{
		progress_clear();
		printf("%s -> %s\n", item->from, item->to);
	}
	switch (item->kind)
	{
		case DIFS_KIND_DIRECTORY: summary->directories++; break;
		case DIFS_KIND_SYMLINK: summary->links++; break;
		default:
			summary->files++;
			summary->bytes += item->size;
	}
}

static bool
is_utf8(const char *name)
{
	const unsigned char *at = (const unsigned char *) name;

	while (*at != '\0')
	{
		int more = *at < 0x80 ? 0 : (*at >= 0xC2 && *at < 0xE0 ? 1 : (*at >= 0xE0 && *at < 0xF0 ? 2 : (*at >= 0xF0 && *at < 0xF5 ? 3 : -1)));
		unsigned char first = *at++;

		if (more < 0)
			return false;
		/* no detours, no surrogates, nothing behind the last plane */
		if ((first == 0xE0 && *at < 0xA0) || (first == 0xED && *at >= 0xA0) || (first == 0xF0 && *at < 0x90) || (first == 0xF4 && *at >= 0x90))
			return false;
		for (; more > 0; more--)
			if ((*at++ & 0xC0) != 0x80)
				return false;
	}
	return true;
}
