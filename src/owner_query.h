/*
 * owner_query.h - SQL with the rights of the owner of difs' tables.
 *
 * For what is rare, and shorter in SQL than in scans.  As a foreign key's own
 * queries: through SPI, with the rights of the table's owner, so that its
 * triggers act.
 */
#ifndef DIFS_OWNER_QUERY_H
#define DIFS_OWNER_QUERY_H

#include "postgres.h"

/* Runs a statement with bigint arguments. Fills in up to count bigints from the columns of its first row (0 where null); false if there is no row. With
 * latest, it sees what is committed now, whatever the isolation level, and may not write; else it sees the active snapshot. Between
 * difs_write_begin() and _end(). */
extern bool difs_owner_query(const char *statement, int argument_count, const int64 *arguments, bool latest, int count, int64 *results);

#endif
