/*
 * slow.h - operations that take longer than difs.log_min_duration are logged, with what they waited for.
 *
 * An operation is a call between difs_write_begin() and _end(), or difs_read_begin() and _end(), the outermost one; the end of a transaction,
 * where its segments are waited for; or a piece of difs_read().  While the setting is -1, it costs a comparison.
 */
#ifndef DIFS_SLOW_H
#define DIFS_SLOW_H

#include "postgres.h"

#include "src/wait.h"

/* What had been counted when it began; began_us 0: it is not watched. */
typedef struct DifsSlowMark
{
	int64 began_us;
	uint64 waited_us[DIFS_WAITS];
	uint64 read_bytes;
	uint64 written_bytes;
} DifsSlowMark;

/* Bytes of content that this process has read and written. */
extern uint64 difs_slow_read_bytes;
extern uint64 difs_slow_written_bytes;

extern void difs_slow_mark(DifsSlowMark *mark);
extern void difs_slow_report(const DifsSlowMark *mark, const char *what, const char *path); /* path may be empty */

/* table.c: after the snapshot has been pushed, and before it is popped. */
extern void difs_slow_begin(const char *what);
extern void difs_slow_end(void);

/* path.c: the first one of an operation is what it is about. */
extern void difs_slow_path(const char *path);

#endif
