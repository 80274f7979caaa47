/*
 * attrs.h - attributes of files, for other functions than difs_setattr().
 */
#ifndef DIFS_ATTRS_H
#define DIFS_ATTRS_H

#include "postgres.h"

/* 22023 unless it is a media type. path is for the message. */
extern void difs_media_type_check(const char *path, const text *type);

/* Sets the media type of a file. Between difs_write_begin() and _end(). */
extern void difs_media_type_set(const text *path, const text *type);

/* The media type of an inode under the active snapshot, palloc'd; NULL if it has none. */
extern text *difs_media_type_of(int64 ino);

#endif
