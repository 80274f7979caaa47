/*
 * content.c - cutting the content of a new version into segments (content.h).
 *
 * The digest is of the raw bytes.  The digest's and the compressor's contexts
 * belong to libraries and are kept for the backend's life, so an error on the way
 * leaves nothing behind; a new content resets them.
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include "common/fault.h"
#include "common/segment.h"
#include "src/content.h"
#include "src/inline.h"
#include "src/pending.h"
#include "src/stream.h"

struct DifsContent
{
	const DifsVolume *volume;
	int64 ino;
	int32 version;
	int64 start; /* where in the version it begins */
	int64 size;
	int32 segments;
	char *scratch; /* raw bytes of one segment, for difs_content_room() of a compressed volume */
	int slot;	   /* between room and filled of an uncompressed volume */
	char *held;	   /* the beginning, while it may be all and short enough for difs.inline; NULL = it is not */
	uint32 held_length;
};

static DifsEncoder *encoder = NULL;
static XXH3_state_t *xxh3 = NULL;
static EVP_MD_CTX *sha256 = NULL;

static void digest_begin(DifsDigest digest);
static void digest_add(DifsDigest digest, const char *raw, uint32 length);
static int digest_end(DifsDigest digest, uint8 *out);
static bool hold(DifsContent *content, const char *raw, uint32 length);
static void let_go_held(DifsContent *content);
static void add_segment(DifsContent *content, const char *raw, uint32 length);
static void encode(DifsContent *content, const char *raw, uint32 length);
static void queue(DifsContent *content, int slot, uint32 length, uint32 stored_length, DifsCodec codec);

DifsContent *
difs_content_begin(const DifsVolume *volume, int64 ino, int32 version)
{
	DifsContent *content = palloc0(sizeof(DifsContent));

	content->volume = volume;
	content->ino = ino;
	content->version = version;
	content->slot = -1;
	digest_begin(volume->digest);
	if (volume->inline_limit > 0)
		content->held = palloc(volume->inline_limit);
	return content;
}

void
difs_content_at(DifsContent *content, int64 file_offset)
{
	content->start = file_offset;
}

void
difs_content_add(DifsContent *content, const char *raw, uint32 length)
{
	if (length == 0 || hold(content, raw, length))
		return;
	let_go_held(content);
	add_segment(content, raw, length);
}

/* What may yet be all, and short enough, is kept. */
static bool
hold(DifsContent *content, const char *raw, uint32 length)
{
	if (content->held == NULL || length > content->volume->inline_limit - content->held_length)
		return false;
	memcpy(content->held + content->held_length, raw, length);
	content->held_length += length;
	return true;
}

/* It was not all: what was kept becomes segments. */
static void
let_go_held(DifsContent *content)
{
	char *held = content->held;

	content->held = NULL;
	for (uint32 done = 0; held != NULL && done < content->held_length; done += content->volume->segment_size)
		add_segment(content, held + done, Min(content->held_length - done, content->volume->segment_size));
}

static void
add_segment(DifsContent *content, const char *raw, uint32 length)
{
	void *room;
	int slot;

	if (content->volume->compression_level > 0)
	{
		encode(content, raw, length);
		return;
	}
	slot = difs_stream_begin(&content->volume->class, length, &room);
	memcpy(room, raw, length);
	digest_add(content->volume->digest, room, length);
	queue(content, slot, length, length, DIFS_CODEC_RAW);
}

char *
difs_content_room(DifsContent *content)
{
	void *room;

	if (content->volume->compression_level > 0 || content->held != NULL)
	{
		if (content->scratch == NULL)
			content->scratch = MemoryContextAllocHuge(CurrentMemoryContext, content->volume->segment_size);
		return content->scratch;
	}
	content->slot = difs_stream_begin(&content->volume->class, content->volume->segment_size, &room);
	return room;
}

void
difs_content_filled(DifsContent *content, uint32 length)
{
	int slot = content->slot;

	content->slot = -1;
	if (length == 0 && slot != -1)
		difs_stream_abandon(slot);
	else if (length > 0 && slot != -1)
	{
		DifsSlot *filled = difs_stream_slot(slot);

		digest_add(content->volume->digest, (char *) difs_pool_address(filled->run) + filled->payload_offset, length);
		queue(content, slot, length, length, DIFS_CODEC_RAW);
	}
	else if (length > 0)
		difs_content_add(content, content->scratch, length);
}

void
difs_content_end(DifsContent *content, DifsVersion *version)
{
	version->ino = version->map_ino = content->ino;
	version->version = version->map_version = version->base = content->version;
	version->size = content->size;
	version->segments = content->segments;
	version->extent = Min(content->size, content->volume->segment_size);
	if (content->held != NULL && content->held_length > 0)
	{
		difs_inline_insert(content->ino, content->version, content->held, content->held_length);
		digest_add(content->volume->digest, content->held, content->held_length);
		version->size = content->held_length;
	}
	version->digest_length = digest_end(content->volume->digest, version->digest);
}

int
difs_content_digest(DifsDigest digest, const char *raw, uint32 length, uint8 *out)
{
	digest_begin(digest);
	digest_add(digest, raw, length);
	return digest_end(digest, out);
}

static void
encode(DifsContent *content, const char *raw, uint32 length)
{
	void *room;
	int slot = difs_stream_begin(&content->volume->class, length, &room);
	DifsCodec codec;
	uint32 stored_length;

	if (encoder == NULL)
		encoder = difs_encoder_create();
	if (encoder == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for a compression context")));
	stored_length = difs_segment_encode(encoder, raw, length, content->volume->compression_level, room, &codec);
	digest_add(content->volume->digest, raw, length);
	queue(content, slot, length, stored_length, codec);
}

static void
queue(DifsContent *content, int slot, uint32 length, uint32 stored_length, DifsCodec codec)
{
	difs_stream_finish(slot, length, stored_length, codec);
	difs_pending_add(slot, content->ino, content->version, content->start + content->size, length);
	content->size += length;
	content->segments++;
	DIFS_FAULT("backend.put.queued");
}

static void
digest_begin(DifsDigest digest)
{
	bool good = true;

	if (digest == DIFS_DIGEST_XXH128)
	{
		if (xxh3 == NULL)
			xxh3 = XXH3_createState();
		good = xxh3 != NULL && XXH3_128bits_reset(xxh3) == XXH_OK;
	}
	else if (digest == DIFS_DIGEST_SHA256)
	{
		if (sha256 == NULL)
			sha256 = EVP_MD_CTX_new();
		good = sha256 != NULL && EVP_DigestInit_ex(sha256, EVP_sha256(), NULL) == 1;
	}
	if (!good)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not set up a digest")));
}

static void
digest_add(DifsDigest digest, const char *raw, uint32 length)
{
	if (digest == DIFS_DIGEST_XXH128)
		(void) XXH3_128bits_update(xxh3, raw, length); /* fails for null pointers only */
	else if (digest == DIFS_DIGEST_SHA256 && EVP_DigestUpdate(sha256, raw, length) != 1)
		elog(ERROR, "could not compute a digest");
}

/* Returns the digest's length in bytes. */
static int
digest_end(DifsDigest digest, uint8 *out)
{
	unsigned int length = 0;

	if (digest == DIFS_DIGEST_XXH128)
	{
		XXH128_canonicalFromHash((XXH128_canonical_t *) out, XXH3_128bits_digest(xxh3));
		length = sizeof(XXH128_canonical_t);
	}
	else if (digest == DIFS_DIGEST_SHA256 && EVP_DigestFinal_ex(sha256, out, &length) != 1)
		elog(ERROR, "could not compute a digest");
	return length;
}
