/*
 * concat.h - files made of parts of others, without moving bytes.
 */
#ifndef DIFS_CONCAT_H
#define DIFS_CONCAT_H

#include "postgres.h"

/* A part of a file: bytes [offset, offset + length) of a version of it; what lies behind its end is left out. */
typedef struct DifsPart
{
	const text *path;
	int32 version; /* 0: the current one */
	int64 offset;
	int64 length;
} DifsPart;

/* Makes a new version of a file of parts of others, which may be the file itself, one after the other; returns its number. Bytes stay where they
 * are, so volumes must agree where that is (0A000). Between difs_write_begin() and _end(). */
extern int32 difs_concat_parts(const DifsPart *parts, int count, const text *to, int32 if_version);

#endif
