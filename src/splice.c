/*
 * splice.c - a new version of a file that keeps parts of the one before (splice.h).
 *
 * Nothing outlives the call but rows and pending segments, which the transaction
 * takes back after an error.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "src/content.h"
#include "src/fetch.h"
#include "src/hook.h"
#include "src/inline.h"
#include "src/pending.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/splice.h"
#include "src/table.h"

#define BATCH 1024

/* A version of more rows is fragmented if on average they have less than a part of a segment: a quarter. */
#define MANY_ROWS 16
#define SMALL_PART 4

static void begin_empty(DifsSplice *splice);
static void keep_inline(DifsSplice *splice, int64 from, int64 to);
static bool goes_on(const DifsSplice *splice, int64 from, int64 to);
static void cut(DifsSplice *splice, int64 from, int64 to);
static void cut_row(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to);
static void keep(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to);
static void insert(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to, int64 at);
static bool take_part(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to, int64 at, DifsExtent *taken);
static void share_bytes(DifsSplice *splice, const char *path, const DifsVersion *from, int64 offset, int64 length, int64 at);
static void let_go_held(DifsSplice *splice, int64 from, int64 to);
static void put_segments(DifsSplice *splice, int64 at, const char *bytes, int64 length);
static void grow(DifsSplice *splice, int64 end);
static void note_fragmented(const DifsSplice *splice);

void
difs_splice_begin(DifsSplice *splice, const DifsWalk *walk, DifsInode *inode, int64 from, int64 to)
{
	int32 number;

	memset(splice, 0, sizeof(*splice));
	splice->path = walk->path->text;
	splice->volume = &walk->volume;
	splice->inode = inode;
	splice->digested = -1;
	difs_number_choose(walk, inode, DIFS_NEXT_VERSION, &splice->number);
	number = splice->number.version;
	if (inode->version > 0 && !difs_version_find(inode->ino, inode->version, &splice->old))
		elog(ERROR, "version %d of inode " INT64_FORMAT " is missing", inode->version, inode->ino);
	if (splice->old.deleted)
		memset(&splice->old, 0, sizeof(splice->old));
	splice->made = (DifsVersion){
		.ino = inode->ino,
		.version = number,
		.size = splice->old.size,
		.base = number,
		.extent = walk->volume.segment_size,
		.map_ino = inode->ino,
		.map_version = number,
		.author = GetUserId(),
	};
	from = Min(from, splice->old.size);
	to = Min(to, splice->old.size);
	if (from == 0 && to == splice->old.size)
		begin_empty(splice);
	else if (difs_version_is_inline(&splice->old))
		keep_inline(splice, from, to);
	else if (goes_on(splice, from, to))
		cut(splice, from, to);
	else
	{
		difs_splice_share(splice, splice->path, &splice->old, 0, from, 0);
		difs_splice_share(splice, splice->path, &splice->old, to, splice->old.size - to, to);
	}
}

/* Nothing is kept: it may well become a tiny file. */
static void
begin_empty(DifsSplice *splice)
{
	if (splice->made.size <= splice->volume->inline_limit && splice->volume->inline_limit > 0)
		splice->held = palloc0(splice->volume->inline_limit);
}

/* The volume's limit may be lower than it was. */
static void
keep_inline(DifsSplice *splice, int64 from, int64 to)
{
	char *bytes = palloc0(Max(splice->old.size, splice->volume->inline_limit));

	difs_inline_read(splice->path, &splice->old, 0, splice->old.size, bytes);
	memset(bytes + from, 0, to - from);
	if (splice->old.size <= splice->volume->inline_limit)
		splice->held = bytes;
	else
	{
		put_segments(splice, 0, bytes, from);
		put_segments(splice, to, bytes + to, splice->old.size - to);
	}
}

/*
 * Can the rows of the current version go on to hold for the new one?  They must be its own, and its number must be the last that was given:
 * rows of versions in between, which were deleted, would count.
 */
static bool
goes_on(const DifsSplice *splice, int64 from, int64 to)
{
	const DifsVersion *old = &splice->old;

	if (old->map_ino != old->ino || old->map_version != old->version || old->version != splice->made.version - 1)
		return false;
	return to < old->size || from > old->size / 2;
}

/* Takes a range out of the rows that hold for both. */
static void
cut(DifsSplice *splice, int64 from, int64 to)
{
	DifsVersion *made = &splice->made;
	int count = BATCH;

	made->base = splice->old.base;
	made->extent = Max(made->extent, splice->old.extent);
	made->segments = splice->old.segments;
	splice->covered = splice->old.size - splice->old.holes;
	if (from == to)
		return;
	difs_pending_settle(made->ino);
	for (int64 at = from; count == BATCH;)
	{
		DifsExtent *rows = difs_manifest_range(&splice->old, at, to - at, BATCH, &count);

		for (int i = 0; i < count; i++)
		{
			cut_row(splice, &rows[i], from, to);
			at = rows[i].file_offset + rows[i].length;
		}
		pfree(rows);
	}
}

static void
cut_row(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to)
{
	int64 end = row->file_offset + row->length;

	difs_manifest_close(splice->made.ino, row, splice->made.version);
	splice->made.segments--;
	splice->covered -= row->length;
	keep(splice, row, row->file_offset, Min(from, end));
	keep(splice, row, Max(to, row->file_offset), end);
}

/* The bytes of a row that lie in [from, to) stay where they are. What is left of rows that are cut is at most two, so it may be pending. */
static void
keep(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to)
{
	DifsExtent part;

	if (!take_part(splice, row, from, to, from, &part))
		return;
	difs_pending_share(splice->made.ino, splice->made.version, &part);
}

/* The bytes of a row of any file that lie in [from, to) there become a row of this version. */
static void
insert(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to, int64 at)
{
	DifsExtent part;

	if (!take_part(splice, row, from, to, at, &part))
		return;
	difs_manifest_insert(splice->made.ino, splice->made.version, &part);
}

/* Counts that part as one of this version; false if there are no bytes in it. */
static bool
take_part(DifsSplice *splice, const DifsExtent *row, int64 from, int64 to, int64 at, DifsExtent *taken)
{
	DifsExtent part = *row;

	if (from >= to)
		return false;
	part.file_offset = at;
	part.length = (int32) (to - from);
	part.segment_offset += (uint32) (from - row->file_offset);
	splice->made.segments++;
	splice->made.extent = Max(splice->made.extent, part.length);
	splice->covered += part.length;
	*taken = part;
	return true;
}

void
difs_splice_share(DifsSplice *splice, const char *path, const DifsVersion *from, int64 offset, int64 length, int64 at)
{
	int64 end = offset + length;
	int count = BATCH;

	if (splice->held != NULL && at + length > splice->volume->inline_limit)
		let_go_held(splice, at, at + length);
	difs_pending_settle(from->map_ino);
	if (length > 0 && (splice->held != NULL || difs_version_is_inline(from)))
	{
		share_bytes(splice, path, from, offset, length, at);
		return;
	}
	for (int64 done = offset; done < end && count == BATCH;)
	{
		DifsExtent *rows = difs_manifest_range(from, done, end - done, BATCH, &count);

		for (int i = 0; i < count; i++)
		{
			int64 first = Max(rows[i].file_offset, offset);

			done = Min(rows[i].file_offset + rows[i].length, end);
			if (rows[i].stored.group == 0)
				share_bytes(splice, path, from, first, done - first, at + first - offset);
			else
				insert(splice, &rows[i], first, done, at + first - offset);
		}
		pfree(rows);
	}
	grow(splice, at + length);
}

/* No more than one segment. */
static void
share_bytes(DifsSplice *splice, const char *path, const DifsVersion *from, int64 offset, int64 length, int64 at)
{
	char *bytes = palloc(length);

	difs_fetch_range(path, from, offset, length, difs_cache_for(length), bytes);
	difs_splice_put(splice, at, bytes, length);
	pfree(bytes);
}

void
difs_splice_put(DifsSplice *splice, int64 at, const char *bytes, int64 length)
{
	if (splice->held != NULL && at + length > splice->volume->inline_limit)
		let_go_held(splice, at, at + length);
	if (splice->held != NULL)
		memcpy(splice->held + at, bytes, length);
	else
		put_segments(splice, at, bytes, length);
	grow(splice, at + length);
}

/* It is no tiny file any more: its bytes become segments, but for [from, to), which is about to be filled. */
static void
let_go_held(DifsSplice *splice, int64 from, int64 to)
{
	char *held = splice->held;

	splice->held = NULL;
	put_segments(splice, 0, held, Min(from, splice->made.size));
	if (to < splice->made.size)
		put_segments(splice, to, held + to, splice->made.size - to);
	pfree(held);
}

static void
put_segments(DifsSplice *splice, int64 at, const char *bytes, int64 length)
{
	DifsVolume volume = *splice->volume;
	bool first = at == 0 && splice->covered == 0;
	DifsVersion written = {0};
	DifsContent *content;

	if (length == 0)
		return;
	volume.inline_limit = 0;
	if (!first)
		volume.digest = DIFS_DIGEST_NONE;
	content = difs_content_begin(&volume, splice->made.ino, splice->made.version);
	difs_content_at(content, at);
	for (int64 done = 0; done < length; done += volume.segment_size)
		difs_content_add(content, bytes + done, (uint32) Min(length - done, volume.segment_size));
	difs_content_end(content, &written);

	splice->made.segments += written.segments;
	splice->covered += length;
	splice->digested = first ? length : -1;
	splice->made.digest_length = written.digest_length;
	memcpy(splice->made.digest, written.digest, sizeof(written.digest));
}

static void
grow(DifsSplice *splice, int64 end)
{
	splice->made.size = Max(splice->made.size, end);
	if (splice->made.size > DIFS_MAX_FILE_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("file \"%s\" would be too long", splice->path),
				 errdetail("A file has at most " INT64_FORMAT " bytes.", DIFS_MAX_FILE_SIZE)));
}

void
difs_splice_resize(DifsSplice *splice, int64 size)
{
	if (splice->held != NULL && size > splice->volume->inline_limit)
		let_go_held(splice, splice->made.size, splice->made.size);
	if (splice->held != NULL && size < splice->made.size)
		memset(splice->held + size, 0, splice->made.size - size);
	splice->made.size = size;
	grow(splice, size);
}

int32
difs_splice_end(DifsSplice *splice)
{
	DifsVersion *made = &splice->made;
	DifsInode *inode = splice->inode;

	if (splice->held != NULL && made->size > 0)
		difs_inline_insert(made->ino, made->version, splice->held, (uint32) made->size);
	else
		made->holes = made->size - splice->covered;
	if (splice->held != NULL || made->size == 0)
		made->digest_length = difs_content_digest(splice->volume->digest, splice->held, (uint32) made->size, made->digest);
	else if (splice->digested != made->size)
		made->digest_length = 0;
	made->mtime = GetCurrentTimestamp();
	difs_number_store(&splice->number, inode, made);
	difs_retain_after_put(splice->volume, inode);
	difs_inode_store_content(inode);
	note_fragmented(splice);
	difs_hook_before_put(inode, made->version, made->size);
	return made->version;
}

/* For the keeper (worker/compact.c). */
static void
note_fragmented(const DifsSplice *splice)
{
	const DifsVersion *made = &splice->made;
	Datum values[DIFS_FRAGMENTED_COLUMNS] = {[DIFS_FRAGMENTED_INO - 1] = Int64GetDatum(made->ino)};

	if (made->segments > MANY_ROWS && splice->covered / Max(made->extent, 1) < made->segments / SMALL_PART)
		(void) difs_row_insert_unless(DIFS_REL_FRAGMENTED, DIFS_REL_FRAGMENTED_PKEY, values, NULL);
}
