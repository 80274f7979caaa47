/*
 * fetch_plan.c - from manifest rows to pieces (fetch_plan.h).
 *
 *	manifest rows      |---- segment 7 ----|   hole   |---- segment 9 ----|
 *	range of the file         |------------------------------|
 *	pieces                    |---- 1 -----|          |- 2 --|
 *
 * Of a raw segment, only the blocks that are needed are asked for, at most
 * MAX_RAW_PIECE bytes at once.  A compressed one is asked for as a whole, or if it
 * is large and not all of it is wanted, in chunks from its beginning.
 *
 * What the cache has of a segment, up to the first byte that it has not, needs no piece.
 *
 * Rows are read in batches under the active snapshot, so the memory for them does
 * not grow with the file.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "src/fetch_plan.h"
#include "src/inflate.h"
#include "src/report.h"
#include "src/servers.h"

#define BATCH 256
#define MAX_RAW_PIECE (4 * 1024 * 1024)
#define LARGE_SEGMENT (4 * 1024 * 1024)

StaticAssertDecl(MAX_RAW_PIECE % DIFS_BLOCK_SIZE == 0, "pieces begin at blocks");

static DifsExtent *next_extent(DifsPlan *plan);
static bool take_cached(DifsPlan *plan, const DifsExtent *extent);
static void check_extent(const DifsPlan *plan, const DifsExtent *extent);
static void make_piece(const DifsPlan *plan, const DifsExtent *extent, DifsPiece *piece);
static void pass(DifsPlan *plan, int64 length);
static void fill_hole(DifsPlan *plan, int64 end);

void
difs_plan_begin(DifsPlan *plan, const char *path, const DifsVersion *version, int64 offset, int64 length,
				DifsCaching caching, char *out)
{
	*plan = (DifsPlan){
		.path = path,
		.version = version,
		.at = offset,
		.end = offset + length,
		.out = out,
		.caching = caching,
	};
}

void
difs_plan_know(DifsPlan *plan, const DifsExtent *rows, int count)
{
	plan->extents = palloc(sizeof(DifsExtent) * Max(count, 1));
	memcpy(plan->extents, rows, sizeof(DifsExtent) * count);
	plan->count = count;
	plan->last_batch = true;
}

bool
difs_plan_next(DifsPlan *plan, DifsPiece *piece)
{
	while (plan->at < plan->end)
	{
		DifsExtent *extent = next_extent(plan);

		CHECK_FOR_INTERRUPTS();
		if (extent == NULL || extent->file_offset >= plan->end)
			break;
		fill_hole(plan, extent->file_offset);
		if (take_cached(plan, extent))
			continue;
		make_piece(plan, extent, piece);
		pass(plan, piece->length);
		return true;
	}
	fill_hole(plan, plan->end);
	if (plan->extents != NULL)
		pfree(plan->extents);
	plan->extents = NULL;
	plan->count = plan->next = 0;
	return false;
}

/* The first row that ends behind plan->at; NULL if there is none. */
static DifsExtent *
next_extent(DifsPlan *plan)
{
	for (;;)
	{
		while (plan->next < plan->count)
		{
			DifsExtent *extent = &plan->extents[plan->next];

			if (extent->file_offset + extent->length > plan->at)
			{
				check_extent(plan, extent);
				return extent;
			}
			plan->next++;
		}
		if (plan->last_batch)
			return NULL;
		if (plan->extents != NULL)
			pfree(plan->extents);
		plan->extents = difs_manifest_range(plan->version, plan->at, plan->end - plan->at, BATCH, &plan->count);
		plan->next = 0;
		plan->last_batch = plan->count < BATCH;
	}
}

/* Puts into place what the cache has of a segment, from plan->at on without a gap. True if that is all of what is wanted of it. */
static bool
take_cached(DifsPlan *plan, const DifsExtent *extent)
{
	int64 skip = plan->at - extent->file_offset;
	int64 length = Min(extent->length - skip, plan->end - plan->at);
	int64 taken;

	if (plan->caching == DIFS_CACHING_NONE)
		return false;
	taken = difs_cache_read(difs_servers_cluster(), &extent->stored, extent->segment_offset + (uint32) skip, (uint32) length,
							plan->caching, plan->out);
	pass(plan, taken);
	return taken == length;
}

bool
difs_plan_fits(const DifsExtent *row)
{
	const DifsStored *stored = &row->stored;

	return row->length > 0 && stored->raw_length <= DIFS_MAX_SEGMENT_SIZE &&
		stored->stored_length > 0 && stored->stored_length <= stored->raw_length &&
		(uint64) row->segment_offset + row->length <= stored->raw_length &&
		(stored->codec != DIFS_CODEC_RAW || stored->stored_length == stored->raw_length);
}

/* A row that lies about its segment must not become an address. */
static void
check_extent(const DifsPlan *plan, const DifsExtent *extent)
{
	if (difs_plan_fits(extent))
		return;
	ereport(ERROR,
			(errcode(DIFS_ERRCODE_CORRUPT),
			 errmsg("manifest of file \"%s\" is damaged", plan->path),
			 errdetail("Its row for version %d at offset %lld does not fit segment %llu.", plan->version->version,
					   (long long) extent->file_offset, (unsigned long long) extent->stored.segment)));
}

static void
make_piece(const DifsPlan *plan, const DifsExtent *extent, DifsPiece *piece)
{
	int64 skip = plan->at - extent->file_offset;
	int64 length = Min(extent->length - skip, plan->end - plan->at);
	uint32 first = extent->segment_offset + (uint32) skip;

	piece->stored = extent->stored;
	piece->file_offset = plan->at;
	piece->raw_offset = first;
	piece->length = (uint32) length;
	piece->out = plan->out;
	piece->get_offset = 0;
	piece->get_length = extent->stored.stored_length;
	piece->chunked = false;
	piece->keep = plan->caching == DIFS_CACHING_KEEP;
	if (extent->stored.codec == DIFS_CODEC_RAW)
	{
		uint32 limit = first - first % MAX_RAW_PIECE + MAX_RAW_PIECE;
		uint32 end;

		piece->length = Min(piece->length, limit - first);
		end = first + piece->length;
		end = Min(end + (DIFS_BLOCK_SIZE - end % DIFS_BLOCK_SIZE) % DIFS_BLOCK_SIZE, extent->stored.stored_length);
		piece->get_offset = first - first % DIFS_BLOCK_SIZE;
		piece->get_length = end - piece->get_offset;
	}
	else if (piece->length < extent->stored.raw_length && extent->stored.raw_length > LARGE_SEGMENT)
	{
		piece->get_length = Min(piece->get_length, DIFS_INFLATE_CHUNK);
		piece->chunked = true;
	}
}

static void
pass(DifsPlan *plan, int64 length)
{
	plan->at += length;
	plan->out += length;
}

static void
fill_hole(DifsPlan *plan, int64 end)
{
	if (end <= plan->at)
		return;
	memset(plan->out, 0, end - plan->at);
	pass(plan, end - plan->at);
}
