/*
 * atime.h - the time of the last read, if difs.atime says so.
 */
#ifndef DIFS_ATIME_H
#define DIFS_ATIME_H

#include "postgres.h"

#include "src/inode.h"

typedef enum DifsAtimeMode /* difs.atime */
{
	DIFS_ATIME_OFF,
	DIFS_ATIME_RELATIME
} DifsAtimeMode;

/* A file is being read: notes it, to be written when the transaction commits. */
extern void difs_atime_note(const DifsInode *file);

/* At load time. */
extern void difs_atime_install(void);

#endif
