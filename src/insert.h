/*
 * insert.h - difs_insert(): content that the database fetches itself.
 *
 *	src/insert.c            the calls: asks for it, cancels it, shows how it goes
 *	src/insert_target.c     may the file be written?
 *	src/insert_url.c        what a source may look like
 *	worker/inserts.c        the keeper's part: begins helpers, clears what has ended long ago
 *	worker/insert_helper.c  a helper: takes one process after the other
 *	worker/insert_run.c     one try at one process
 *	worker/source.h         where the bytes come from
 *
 * A process is a row of difs.insert_process, made in the transaction that calls difs_insert(), and so there after its
 * commit only.  The row is the truth:
 *
 *	accepted -> in progress -> done | failed
 *	accepted | in progress -> cancelled
 *
 * A helper commits "in progress" before it begins, and "done" in the very transaction that makes the file's version, so
 * whatever dies, content is inserted once or not at all.  That transaction changes the row only if it is in progress
 * still, and so a cancellation that has been committed always wins.
 *
 * A row in progress that no entry of inserts[] in shared memory names belongs to a helper that has died: the next
 * one begins again, from the first byte.
 */
#ifndef DIFS_INSERT_H
#define DIFS_INSERT_H

#include "postgres.h"

#include "src/path.h"

#define DIFS_MAX_SOURCE 8192 /* bytes of a source */
#define DIFS_FILE_SCHEME "file:"

/* insert_url.c. Errors: 22023 if it is not a source that difs_insert() takes, 55000 if files are not taken. */
extern void difs_insert_check_source(const char *source);

/* Of a file: the name below difs.insert_directory; else NULL. */
extern const char *difs_insert_source_file(const char *source);

/* insert_target.c. May the current user write the file, as far as can be said before? The errors of difs_put(). */
extern void difs_insert_check_target(const text *path, int32 if_version, bool parents);

/* The same when the content is there, and has taken as long as it took: of a file that was opened for writing. */
extern void difs_insert_check_still(const DifsWalk *walk, const DifsInode *inode, bool created);

/* 53400 if a quota does not allow for so many bytes in place of what is there. */
extern void difs_insert_check_quota(const DifsWalk *walk, int64 bytes);

#endif
