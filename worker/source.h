/*
 * source.h - where the bytes of difs_insert() come from.
 *
 *	source_file.c   a file below difs.insert_directory
 *	source_http.c   http: and https:, connections that break included
 *	http_request.c  one request, by libcurl
 *
 * A helper has one source open at a time.  Reading waits, interruptibly.  Errors: class 08 if the same may work when it is
 * tried again from the beginning, others if it will not.
 */
#ifndef DIFS_SOURCE_H
#define DIFS_SOURCE_H

#include "postgres.h"

/* A file: 58P01, 42501, 42809. Nothing is asked of a network yet. */
extern void difs_source_file_open(const char *name);
extern void difs_source_http_open(const char *url);

/* Reads until size bytes are there or it ends; returns how many. */
extern uint32 difs_source_file_read(char *room, uint32 size);
extern uint32 difs_source_http_read(char *room, uint32 size);

/* All of it, in bytes; -1 if it is not known (yet). */
extern int64 difs_source_file_total(void);
extern int64 difs_source_http_total(void);

/* Also if none is open, and after errors. Never errors. */
extern void difs_source_file_close(void);
extern void difs_source_http_close(void);

#endif
