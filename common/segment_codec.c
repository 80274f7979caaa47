/*
 * segment_codec.c - between the raw and the stored form of a segment.
 *
 * State: a decompression context for each thread that has decoded something,
 * kept because making one costs more than decoding a small segment.  A thread
 * that ends before its process gives it back by difs_segment_thread_end().
 */
#include "segment.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct DifsEncoder
{
	ZSTD_CCtx *context;
};

static _Thread_local ZSTD_DCtx *decode_context;

DifsEncoder *
difs_encoder_create(void)
{
	DifsEncoder *encoder = malloc(sizeof(*encoder));

	if (encoder == NULL)
		return NULL;
	encoder->context = ZSTD_createCCtx();
	if (encoder->context == NULL)
	{
		free(encoder);
		return NULL;
	}
	return encoder;
}

void
difs_encoder_destroy(DifsEncoder *encoder)
{
	if (encoder == NULL)
		return;
	ZSTD_freeCCtx(encoder->context);
	free(encoder);
}

uint32_t
difs_segment_encode(DifsEncoder *encoder, const void *raw, uint32_t raw_length, int level, void *out, DifsCodec *codec)
{
	if (level > 0)
	{
		/* zstd gives up by itself, early, where the result would not fit into what it may use */
		size_t worthwhile = raw_length - (raw_length + 15) / 16;
		size_t stored_length = ZSTD_compressCCtx(encoder->context, out, worthwhile, raw, raw_length, level);

		if (!ZSTD_isError(stored_length))
		{
			*codec = DIFS_CODEC_ZSTD;
			return (uint32_t) stored_length;
		}
	}
	memcpy(out, raw, raw_length);
	*codec = DIFS_CODEC_RAW;
	return raw_length;
}

bool
difs_segment_decode(DifsCodec codec, const void *stored, uint32_t stored_length,
					void *out, uint32_t raw_length, DifsError *error)
{
	size_t length;

	if (codec == DIFS_CODEC_RAW)
	{
		if (stored_length != raw_length)
			return difs_error_set(error, DIFS_ERROR_CORRUPT, "raw segment has %u bytes instead of %u",
								  stored_length, raw_length);
		memcpy(out, stored, raw_length);
		return true;
	}
	if (codec != DIFS_CODEC_ZSTD)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment has the unknown codec %u", (unsigned int) codec);

	if (decode_context == NULL)
		decode_context = ZSTD_createDCtx();
	if (decode_context == NULL)
		return difs_error_set(error, DIFS_ERROR_MEMORY, "out of memory for a decompression context");
	length = ZSTD_decompressDCtx(decode_context, out, raw_length, stored, stored_length);
	if (ZSTD_isError(length))
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment cannot be decompressed: %s",
							  ZSTD_getErrorName(length));
	if (length != raw_length)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "segment decompresses to %zu bytes instead of %u",
							  length, raw_length);
	return true;
}

void
difs_segment_thread_end(void)
{
	ZSTD_freeDCtx(decode_context);
	decode_context = NULL;
}
