/*
 * greeting.h - the server's side of the handshake of common/auth.h.
 */
#ifndef DIFS_GREETING_H
#define DIFS_GREETING_H

#include "connection.h"

/* Handles a request of a connection that is not READY. */
extern void difs_greeting_handle(DifsRequest *request);

/* The tenant of an ATTACHING connection knows its epoch durably (error NULL), or could not be made so (tenant.c). */
extern void difs_greeting_attached(DifsConnection *connection, const DifsError *error);

#endif
