/*
 * served.h - how a process that works for the keeper of a database (a duty's round, a helper of difs_insert()) begins a
 * transaction.
 */
#ifndef DIFS_SERVED_H
#define DIFS_SERVED_H

#include "postgres.h"

#include "src/shmem.h"

/* Begins a transaction in which the extension can be neither dropped nor upgraded. False, and no transaction, if the process
 * has to end: the extension is gone, the workers of the database are to stop, or its tables are not those that the keeper
 * serves. The memory context is the transaction's, or that of its end. */
extern bool difs_served_begin(DifsDatabase *database);

#endif
