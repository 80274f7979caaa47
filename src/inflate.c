/*
 * inflate.c - some bytes of a large compressed segment, without its whole (inflate.h).
 *
 * State: one parked DifsInflate, this backend's alone.  It is malloc'd, as zstd's
 * own memory is, and freed by a callback when the transaction's memory is.
 */
#include "postgres.h"

#include <zstd.h>

#include "utils/memutils.h"

#include "src/inflate.h"

#define MAX_WINDOW_LOG 25 /* what level 19 needs for 128 MiB is 23 */

struct DifsInflate
{
	DifsStored stored;
	ZSTD_DStream *stream;
	uint32 raw_at;		/* bytes that have come out */
	uint32 stored_at;	/* bytes that have been fed, the rest included */
	uint32 rest_length; /* of the last chunk, not yet decompressed */
	char rest[DIFS_INFLATE_CHUNK];
};

static DifsInflate *parked = NULL;
static bool callback_registered = false; /* in this transaction */

static bool is_parked_for(const DifsStored *stored, uint32 raw_offset);
static DifsInflate *create(const DifsStored *stored);
static bool turn(DifsInflate *inflate, ZSTD_inBuffer *in, uint32 raw_offset, uint32 end, char *out, DifsError *error);
static void transaction_ends(void *arg);

DifsInflate *
difs_inflate_begin(const DifsStored *stored, uint32 raw_offset)
{
	DifsInflate *inflate = parked;

	if (!is_parked_for(stored, raw_offset))
		return create(stored);
	parked = NULL;
	return inflate;
}

uint32
difs_inflate_stored_at(const DifsInflate *inflate)
{
	return inflate->stored_at;
}

bool
difs_inflate_feed(DifsInflate *inflate, const char *chunk, uint32 chunk_length,
				  uint32 raw_offset, uint32 length, char *out, bool *done, DifsError *error)
{
	uint32 end = raw_offset + length;
	ZSTD_inBuffer in = {inflate->rest, inflate->rest_length, 0};

	if (chunk != NULL)
	{
		in = (ZSTD_inBuffer){chunk, chunk_length, 0};
		inflate->stored_at += chunk_length;
	}
	while (inflate->raw_at < end)
	{
		uint32 raw_before = inflate->raw_at;
		size_t in_before = in.pos;

		if (!turn(inflate, &in, raw_offset, end, out, error))
			return false;
		if (inflate->raw_at == raw_before && in.pos == in_before)
			break;
	}
	*done = inflate->raw_at >= end;
	inflate->rest_length = in.size - in.pos;
	memmove(inflate->rest, (const char *) in.src + in.pos, inflate->rest_length);
	return true;
}

void
difs_inflate_park(DifsInflate *inflate)
{
	MemoryContextCallback *callback;

	difs_inflate_drop(parked);
	parked = inflate;
	if (callback_registered)
		return;
	callback = MemoryContextAlloc(TopTransactionContext, sizeof(*callback));
	callback->func = transaction_ends;
	callback->arg = NULL;
	MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	callback_registered = true;
}

void
difs_inflate_drop(DifsInflate *inflate)
{
	if (inflate == NULL)
		return;
	ZSTD_freeDStream(inflate->stream);
	free(inflate);
}

static bool
is_parked_for(const DifsStored *stored, uint32 raw_offset)
{
	return parked != NULL && parked->stored.segment == stored->segment && parked->stored.group == stored->group &&
		parked->stored.crc == stored->crc && parked->stored.stored_length == stored->stored_length &&
		parked->raw_at <= raw_offset;
}

static DifsInflate *
create(const DifsStored *stored)
{
	DifsInflate *inflate = malloc(sizeof(*inflate));

	if (inflate != NULL && (inflate->stream = ZSTD_createDStream()) == NULL)
	{
		free(inflate);
		inflate = NULL;
	}
	if (inflate == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	ZSTD_DCtx_setParameter(inflate->stream, ZSTD_d_windowLogMax, MAX_WINDOW_LOG);
	inflate->stored = *stored;
	inflate->raw_at = inflate->stored_at = inflate->rest_length = 0;
	return inflate;
}

/* Decompresses some: into nowhere what comes before raw_offset, then to out. */
static bool
turn(DifsInflate *inflate, ZSTD_inBuffer *in, uint32 raw_offset, uint32 end, char *out, DifsError *error)
{
	char nowhere[65536];
	bool wanted = inflate->raw_at >= raw_offset;
	ZSTD_outBuffer to = {nowhere, 0, 0};
	size_t result;

	if (wanted)
		to.dst = out + (inflate->raw_at - raw_offset);
	to.size = wanted ? end - inflate->raw_at : Min(sizeof(nowhere), raw_offset - inflate->raw_at);
	result = ZSTD_decompressStream(inflate->stream, &to, in);
	errno = 0;
	if (ZSTD_isError(result))
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment cannot be decompressed: %s",
							  ZSTD_getErrorName(result));
	inflate->raw_at += to.pos;
	if (result == 0 && inflate->raw_at < end)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment decompresses to %u bytes instead of %u",
							  inflate->raw_at, inflate->stored.raw_length);
	return true;
}

static void
transaction_ends(void *arg)
{
	difs_inflate_drop(parked);
	parked = NULL;
	callback_registered = false;
}
