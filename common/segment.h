/*
 * segment.h - what a segment looks like, on the wire and on disk alike.
 *
 * A segment is an immutable run of bytes with a 64-bit id.  Its *raw* form is
 * what the user stored; its *stored* form is what servers keep: the raw bytes,
 * or one zstd frame of them if that is smaller.  In front of the stored form
 * stands a packed header:
 *
 *	  0  u32  magic         "DSEG", or "DEAD" once the segment is deleted
 *	  4  u32  header_crc    CRC-32C of bytes 8 .. 64 + 4 * blocks
 *	  8  u64  segment       its id, never 0
 *	 16  u64  xid           64-bit transaction id of its creator
 *	 24  u64  group         the block group that it is in
 *	 32  u64  synced        on disk: this many bytes of the group file were known to be durable when this was
 *	                        written (see chunkd/group_recover.c); on the wire: 0
 *	 40  u32  raw_length    bytes, 1 .. DIFS_MAX_SEGMENT_SIZE
 *	 44  u32  stored_length bytes, 1 .. raw_length
 *	 48  u32  crc           CRC-32C of the whole stored form
 *	 52  u16  blocks        number of 64 KiB blocks of the stored form, the last one short
 *	 54  u8   codec         DifsCodec
 *	 55  u8   DIFS_SEGMENT_FORMAT; whatever it is, magic, header_crc and the lengths are where they are here
 *	 56  u64  reserved, 0
 *	 64  u32  block_crc[blocks]   CRC-32C of each block of the stored form
 *
 * crc follows from block_crc by difs_crc32c_combine().  The manifest row holds
 * crc too, so a reader of a few blocks proves them without reading the rest:
 * header_crc and the combination of block_crc tie the header to the manifest,
 * and each block_crc ties its block to the header.  A lost, stale or misplaced
 * write cannot pass, because the manifest row was written elsewhere.
 *
 * A holder of the packed header needs nothing else: block CRCs are read in
 * place, by difs_segment_block_crc().
 */
#ifndef DIFS_SEGMENT_H
#define DIFS_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define DIFS_SEGMENT_MAGIC 0x47455344	   /* "DSEG" */
#define DIFS_SEGMENT_MAGIC_DEAD 0x44414544 /* "DEAD" */
#define DIFS_SEGMENT_FORMAT 0
#define DIFS_SEGMENT_HEADER_SIZE 64
#define DIFS_BLOCK_SIZE 65536
#define DIFS_MIN_SEGMENT_SIZE 4096
#define DIFS_MAX_SEGMENT_SIZE (128 * 1024 * 1024)
#define DIFS_MAX_BLOCKS (DIFS_MAX_SEGMENT_SIZE / DIFS_BLOCK_SIZE)
#define DIFS_MAX_PACKED_SIZE (DIFS_SEGMENT_HEADER_SIZE + 4 * DIFS_MAX_BLOCKS)

typedef enum DifsCodec
{
	DIFS_CODEC_RAW = 0,
	DIFS_CODEC_ZSTD = 1
} DifsCodec;

/* The fixed part of a header, unpacked. */
typedef struct DifsSegment
{
	uint64_t segment;
	uint64_t xid;
	uint64_t group;
	uint64_t synced;
	uint32_t raw_length;
	uint32_t stored_length;
	uint32_t crc;
	uint8_t codec;
	bool dead;
} DifsSegment;

/* Number of blocks, and size in bytes of the packed header, of a segment whose stored form has that many bytes. */
static inline uint32_t
difs_segment_blocks(uint32_t stored_length)
{
	return (stored_length + DIFS_BLOCK_SIZE - 1) / DIFS_BLOCK_SIZE;
}

static inline size_t
difs_segment_packed_size(uint32_t stored_length)
{
	return DIFS_SEGMENT_HEADER_SIZE + 4 * (size_t) difs_segment_blocks(stored_length);
}

/* Computes the CRC of each block of the stored form into block_crc, and of the whole into *crc, in one pass. */
extern void difs_segment_checksum(const void *stored, uint32_t stored_length, uint32_t *block_crc, uint32_t *crc);

/* Writes the packed header, difs_segment_packed_size() bytes, to out. block_crc may already stand at out + 64 in
 * little-endian form, in which case it is NULL. */
extern void difs_segment_pack(const DifsSegment *segment, const uint32_t *block_crc, uint8_t *out);

/* Reads a packed header of at most size bytes.  False, with DIFS_ERROR_CORRUPT, if it is cut short, its magic,
 * bounds, reserved bytes or header_crc are wrong, or block_crc does not combine to crc.  A dead header is accepted. */
extern bool difs_segment_unpack(const uint8_t *packed, size_t size, DifsSegment *segment, DifsError *error);

/* The CRC of one block, from a packed header. */
extern uint32_t difs_segment_block_crc(const uint8_t *packed, uint32_t block);

/* Checks length bytes of the stored form, which begin at block first_block and end at a block's end or the segment's,
 * against a packed header that difs_segment_unpack() accepted.  False with DIFS_ERROR_CORRUPT naming segment and block. */
extern bool difs_segment_verify(const uint8_t *packed, uint32_t first_block, const void *bytes, uint32_t length,
								DifsError *error);

/* A reusable compression context.  Not thread-safe: one for each thread. */
typedef struct DifsEncoder DifsEncoder;
extern DifsEncoder *difs_encoder_create(void);
extern void difs_encoder_destroy(DifsEncoder *encoder);

/* Turns raw_length bytes at raw into the stored form at out, which has room for raw_length bytes and does not overlap
 * raw.  level 0 asks for DIFS_CODEC_RAW, 1 .. 19 for zstd at that level; where zstd does not save at least 1/16, the raw
 * form is kept.  Returns the length of the stored form and sets *codec. */
extern uint32_t difs_segment_encode(DifsEncoder *encoder, const void *raw, uint32_t raw_length, int level,
									void *out, DifsCodec *codec);

/* The way back for a whole stored form, for codecs other than raw too; out has room for raw_length bytes and the result has
 * exactly that many, or false with DIFS_ERROR_CORRUPT.  Thread-safe (contexts are per thread). */
extern bool difs_segment_decode(DifsCodec codec, const void *stored, uint32_t stored_length,
								void *out, uint32_t raw_length, DifsError *error);

/* Frees what this thread's calls of difs_segment_decode() kept; for threads that end before their process does. */
extern void difs_segment_thread_end(void);

#endif
