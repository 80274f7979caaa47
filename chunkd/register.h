/*
 * register.h - a chunk server makes itself known to a database (--register).
 *
 * A thread of its own connects by libpq and calls difs_server_register(), again and
 * again until that has worked: the server serves meanwhile, and must, as the
 * database comes back to see whether it does.  The thread shares nothing with the
 * rest but the options, which never change, and its own state.
 */
#ifndef DIFS_REGISTER_H
#define DIFS_REGISTER_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

/* Begins, if the options say so. port: the one that is listened on. */
extern void difs_register_start(const DifsOptions *options, uint16_t port);

/* Ends it, if it is still trying. A name server that does not answer is not waited for: then the process is to end without more ado (false). */
extern bool difs_register_stop(void);

#endif
