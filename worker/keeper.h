/*
 * keeper.h - what the duties of the keeper share: its database and its transactions.
 *
 * Each duty is a file of its own: roster.c, health.c, groups.c.
 */
#ifndef DIFS_KEEPER_H
#define DIFS_KEEPER_H

#include "postgres.h"

#include "src/shmem.h"

/* The entry of the keeper's database. */
extern DifsDatabase *difs_keeper_database;

/* What users set for sessions must neither stop nor slow down a keeper or its duties. */
extern void difs_keeper_settings(void);

/* Begins a short transaction with SPI and a snapshot, in which the extension cannot be dropped; false, and no
 * transaction, if it is not there any more. No network and no wait but for row locks before difs_keeper_commit(). */
extern bool difs_keeper_begin(void);

/* The end of it; the memory context is that of the keeper's turn afterwards. */
extern void difs_keeper_commit(void);

#endif
