/*
 * launcher.h - the background worker that starts the others.
 */
#ifndef DIFS_LAUNCHER_H
#define DIFS_LAUNCHER_H

#include "postgres.h"

/* Registers the launcher with the postmaster. From _PG_init while preloading. */
extern void difs_launcher_register(void);

#endif
