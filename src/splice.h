/*
 * splice.h - a new version of a file that keeps parts of the one before.
 *
 * The life of one: begin says which range of the current version is not kept,
 * put and share fill holes with bytes or with parts of other versions, end
 * writes the rows.  What nothing fills is a hole, and reads as zeros.
 *
 *	current version   |--- segment 7 ---|--- segment 8 ---|--- segment 9 ---|
 *	begin, put                   |######### new ########|
 *	new version       |- part 7 -|######### new ########|8|--- segment 9 ---|
 *
 * No byte is moved: rows of the manifest that the range touches are ended, and
 * what is left of them on either side becomes rows of the new version which name
 * the same segments.  Rows that it does not touch hold for both versions.  Two
 * cases have to write a row for all that is kept: a current version that shares
 * the rows of another (copies, restored ones), once; and a truncation to less
 * than half, for which that is less work.
 */
#ifndef DIFS_SPLICE_H
#define DIFS_SPLICE_H

#include "postgres.h"

#include "src/history.h"
#include "src/path.h"
#include "src/version.h"

/* 4 EiB: sums of offsets and lengths stay far from overflow. */
#define DIFS_MAX_FILE_SIZE (INT64CONST(1) << 62)

typedef struct DifsSplice
{
	const char *path; /* for messages */
	const DifsVolume *volume;
	DifsInode *inode;
	DifsNumber number;
	DifsVersion old; /* the current version; of size 0 if there is none */
	DifsVersion made;
	int64 covered;	/* bytes of it that are not in holes */
	int64 digested; /* its digest is that of so many bytes; -1: none */
	char *held;		/* all of it, while it is short enough for difs.inline; NULL: it is not */
} DifsSplice;

/* The file is one that difs_file_open_for_write() has opened, and the active snapshot is from after that (difs_names_again()). All is kept but
 * [from, to), which becomes a hole; the size stays. */
extern void difs_splice_begin(DifsSplice *splice, const DifsWalk *walk, DifsInode *inode, int64 from, int64 to);

/* Fills a part of a hole, or what lies behind the end, with bytes. */
extern void difs_splice_put(DifsSplice *splice, int64 at, const char *bytes, int64 length);

/* The same with bytes [offset, offset + length) of a version, sharing its segments. Those that are staged are written anew: only who
 * holds a file's lock may name them once more (staging.h). path is the version's, for messages. */
extern void difs_splice_share(DifsSplice *splice, const char *path, const DifsVersion *from, int64 offset, int64 length, int64 at);

/* Sets the size. What it cuts off is not kept, or was never there. */
extern void difs_splice_resize(DifsSplice *splice, int64 size);

/* Makes it the file's current version; returns its number. */
extern int32 difs_splice_end(DifsSplice *splice);

#endif
