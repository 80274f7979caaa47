/*
 * put.h - a whole content that comes piece by piece becomes a new version of a file.
 */
#ifndef DIFS_PUT_H
#define DIFS_PUT_H

#include "postgres.h"

#include "src/content.h"
#include "src/history.h"
#include "src/path.h"

typedef struct DifsWrite
{
	DifsWalk walk; /* where the file is */
	DifsInode inode;
	DifsNumber number;	  /* of the version */
	bool created;		  /* it was not there before */
	DifsContent *content; /* takes the pieces, of walk.volume.segment_size each but for the last */
} DifsWrite;

/* Opens a file as difs_file_open_for_write() does, and chooses the number of the version as difs_number_choose() does, with their errors. *write must stay where it is. Between difs_write_begin() and _end(). */
extern void difs_write_open(const text *path, bool parents, int32 if_version, int32 number, DifsWrite *write);

/* Makes what came the current version, and returns its number. Errors: 53400 quota. Between difs_write_begin() and _end(), which need not be
 * those of the opening. */
extern int32 difs_write_finish(DifsWrite *write);

#endif
