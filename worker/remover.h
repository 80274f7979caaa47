/*
 * remover.h - the process that drops the block groups of databases that are gone.
 */
#ifndef DIFS_REMOVER_H
#define DIFS_REMOVER_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Launcher: starts one if there is something to do, and none runs; looks now and then. */
extern void difs_remover_turn(TimestampTz *next);

extern PGDLLEXPORT void difs_remover_main(Datum arg);

#endif
