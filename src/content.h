/*
 * content.h - cutting the content of a new version into segments.
 *
 * The caller begins, gives the bytes in pieces of exactly the volume's segment
 * size (only the last may be shorter), and ends; each piece is compressed, or
 * copied, straight into the stream pool and queued there.  Nobody waits for
 * chunk servers but when pool or slots are used up.  Memory does not grow with
 * the content.  What is not longer than the volume's inline_limit goes to
 * difs.inline instead (inline.h).
 */
#ifndef DIFS_CONTENT_H
#define DIFS_CONTENT_H

#include "postgres.h"

#include "src/version.h"
#include "src/volume.h"

typedef struct DifsContent DifsContent;

/* Palloc'd; freed with its memory context. */
extern DifsContent *difs_content_begin(const DifsVolume *volume, int64 ino, int32 version);

/* The content is only a part of the version, and begins there. */
extern void difs_content_at(DifsContent *content, int64 file_offset);

/* A piece that is in memory already. */
extern void difs_content_add(DifsContent *content, const char *raw, uint32 length);

/* A piece that is read into place: room for one segment, then how much of it is used (0 = none: nothing is added). No other function of difs is
 * called between the two. */
extern char *difs_content_room(DifsContent *content);
extern void difs_content_filled(DifsContent *content, uint32 length);

/* Fills in the version row's fields that follow from the content: size, segments, base, extent, digest. */
extern void difs_content_end(DifsContent *content, DifsVersion *version);

/* The digest of bytes in memory; returns its length, 0 if the volume wants none. out has room for 32. */
extern int difs_content_digest(DifsDigest digest, const char *raw, uint32 length, uint8 *out);

#endif
