/*
 * roster.h - rows of difs.cluster and difs.server, in shared memory.
 */
#ifndef DIFS_ROSTER_H
#define DIFS_ROSTER_H

#include "postgres.h"

#include "src/shmem.h"

/* Each of these within difs_keeper_begin() and difs_keeper_commit(). */

/* Reads who this database is to chunk servers; false if that is not what the entry says (the extension has been
 * created anew, or a claim has raised the epoch). With first, puts it into the entry instead. */
extern bool difs_roster_identity(bool first);

/* Adds or corrects the rows of embedded servers that listen. */
extern void difs_roster_announce(void);

/* Publishes the servers of this database. True if one came, went or changed. */
extern bool difs_roster_publish(void);

/* roster_log.c: says in the server log which servers have come, gone, moved, or been drained. */
extern void difs_roster_log(const DifsSharedServer *before, int before_count, const DifsSharedServer *after, int after_count);

/* Without a transaction: a copy of the servers in use, in the current memory context. */
extern DifsSharedServer *difs_roster_copy(int *count);

#endif
