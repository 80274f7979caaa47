/*
 * inflate.h - some bytes of a large compressed segment, without its whole.
 *
 * A segment of up to 128 MiB may be stored as one zstd frame.  Who wants a few of
 * its bytes decompresses it from the beginning, chunk by chunk, and keeps only what
 * is wanted, so memory stays at the frame's window and one chunk.  Who then wants
 * the bytes behind (difs_read(), piece by piece) goes on where the last one stopped:
 * the state is parked until then, at the longest until the transaction ends.
 * Segments never change, so a parked state is never wrong.
 */
#ifndef DIFS_INFLATE_H
#define DIFS_INFLATE_H

#include "postgres.h"

#include "common/error.h"
#include "src/stream.h"

#define DIFS_INFLATE_CHUNK (1024 * 1024) /* bytes of stored form to be fed at once; whole blocks */

typedef struct DifsInflate DifsInflate;

/* A state for the bytes from raw_offset on: the parked one if it serves, or a new one. */
extern DifsInflate *difs_inflate_begin(const DifsStored *stored, uint32 raw_offset);

/* Where in the stored form the next chunk begins. */
extern uint32 difs_inflate_stored_at(const DifsInflate *inflate);

/* Feeds the next chunk (NULL: what is left of the one before) and copies of bytes [raw_offset, raw_offset + length)
 * what comes to out. *done tells whether all of them have come. False with DIFS_ERROR_CORRUPT if the chunk cannot
 * be decompressed. */
extern bool difs_inflate_feed(DifsInflate *inflate, const char *chunk, uint32 chunk_length,
							  uint32 raw_offset, uint32 length, char *out, bool *done, DifsError *error);

/* Not needed for now: parks it. */
extern void difs_inflate_park(DifsInflate *inflate);

/* Frees one (NULL is fine). Never errors. */
extern void difs_inflate_drop(DifsInflate *inflate);

#endif
