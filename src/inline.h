/*
 * inline.h - tiny files inside the database: rows of difs.inline.
 *
 * A file of no more bytes than its volume's inline_limit has no segments: its
 * bytes are one row beside the version's.  Files that are not inline have no row
 * here and pay nothing; difs_version_is_inline() (version.h) tells them apart
 * without a look.  Copies and restored versions share the row by naming its inode
 * and version, as they share manifest rows.
 */
#ifndef DIFS_INLINE_H
#define DIFS_INLINE_H

#include "postgres.h"

#include "src/version.h"

/* Bytes of the longest inline file: a row must fit into one page, without TOAST. */
#define DIFS_MAX_INLINE 8000

/* Writes the row of a version. */
extern void difs_inline_insert(int64 ino, int32 version, const char *bytes, uint32 length);

/* Reads bytes [offset, offset + length) of an inline version, which lie within its size; XX001 if the row is missing or of another length.
 * path is for messages. */
extern void difs_inline_read(const char *path, const DifsVersion *version, int64 offset, int64 length, char *out);

#endif
