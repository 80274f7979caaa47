/*
 * embedded.h - chunk servers that the launcher starts itself.
 *
 * difs.local_servers of them, /storage01 and so on, as child processes of the
 * launcher, with their data in difs.local_directory.  Where they listen is
 * published in difs_shared->local[].
 */
#ifndef DIFS_EMBEDDED_H
#define DIFS_EMBEDDED_H

#include "postgres.h"

#include "storage/latch.h"
#include "utils/timestamp.h"

#include "common/error.h"

/* Fills in difs_shared->local[]. Once, before the first turn. */
extern void difs_embedded_begin(void);

/* Starts what does not run, notices who began to listen and who died; moves *next to when it wants to be called
 * again at the latest. */
extern void difs_embedded_turn(TimestampTz *next);

/* Adds one event for each child, which fires when it dies. At most DIFS_MAX_LOCAL_SERVERS. */
extern void difs_embedded_wait_for(WaitEventSet *set);

/* Makes their directory this data directory's own; false if it is another's (embedded_owner.c). */
extern bool difs_embedded_own(const char *directory, DifsError *error);

/* Starts one that is to listen at "host:port": its process, and our end of its standard input.  Whatever could not be done, it leaves
 * nothing that runs (embedded_start.c). */
extern bool difs_embedded_start(int index, const char *listen, pid_t *pid, int *link, DifsError *error);

/* What it is told of TLS, as one text: by the settings that are in force. */
extern char *difs_embedded_tls(void);

/* Its data directory and files beside it: "", "/identity", ".address". */
extern char *difs_embedded_path(int index, const char *suffix);

/* Stops them all; waits for that, but not for long. */
extern void difs_embedded_stop(void);

#endif
