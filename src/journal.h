/*
 * journal.h - what was done to the files of a volume, and who is told.
 *
 * Only for volumes that ask for it (difs_volume_create(), difs_volume_alter()).
 * Rows of difs.journal are ordered by (epoch of the claim, transaction, number
 * within it).  Transactions do not commit in the order of their numbers, so
 * difs_changes() shows only those before the oldest that still runs: then no
 * row can come before one that was shown.  The epoch is in front because
 * transaction numbers begin anew where a dump is restored, and a restored
 * database must be claimed before it is written to.
 */
#ifndef DIFS_JOURNAL_H
#define DIFS_JOURNAL_H

#include "postgres.h"

#include "src/volume.h"

/* Channels for LISTEN are named so, and after the volume. */
#define DIFS_CHANNEL_PREFIX "difs_"

/* Notes a change of this transaction, if the volume has a journal, and notifies, if it wants that. path NULL is where ino is now. */
extern void difs_journal_add(const DifsVolume *volume, const char *action, int64 ino, int32 version,
							 const char *from_path, const char *path);

/* Path of an inode within its volume, as of now, the first of several; palloc'd. */
extern char *difs_journal_path(const DifsVolume *volume, int64 ino);

/* Registers the transaction callback. From _PG_init. */
extern void difs_journal_install(void);

#endif
