/*
 * group_rows.h - rows of difs.block_group, as the keeper writes them.
 */
#ifndef DIFS_GROUP_ROWS_H
#define DIFS_GROUP_ROWS_H

#include "postgres.h"

#include "src/shmem.h"

/* Each of these within difs_keeper_begin() and difs_keeper_commit(). */

/* Takes an id for the group, into group->id, and inserts its row as open. */
extern void difs_group_rows_insert(DifsOpenGroup *group);

/* The group takes nothing more. Sizes are what a member said, or unknown. */
extern void difs_group_rows_seal(uint64 group, bool sizes_known, uint64 segments, uint64 bytes);

/* The group could not be made, and has never been used. */
extern void difs_group_rows_delete(uint64 group);

/* Open groups with an id greater than after, in order, at most limit of them; the number found. */
extern int difs_group_rows_open(uint64 after, DifsOpenGroup *groups, uint64 *epochs, int limit);

#endif
