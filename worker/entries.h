/*
 * entries.h - entries of difs_shared->databases[], as the launcher gives them out.
 *
 * Nobody but the launcher calls these.
 */
#ifndef DIFS_ENTRIES_H
#define DIFS_ENTRIES_H

#include "postgres.h"

#include "src/shmem.h"

/* What became of the wish to take an entry for a database. */
typedef enum DifsTake
{
	DIFS_TAKE_DONE,
	DIFS_TAKE_NOT_NEEDED, /* its workers run, or it is blocked: whoever unblocks it gives a hint */
	DIFS_TAKE_LATER,	  /* its former entry is not empty yet */
	DIFS_TAKE_NONE_FREE
} DifsTake;

/* Takes an entry for a database, as PROBING; its index. */
extern DifsTake difs_entry_take(Oid database, int *index);

/* The database has gone, or nobody may connect to it: its workers are to exit. */
extern void difs_entry_stop(int index);

/* Makes the entry of workers that are gone UNUSED. */
extern void difs_entry_empty(int index);

#endif
