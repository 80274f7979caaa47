/*
 * requests.h - what a server does with each message.
 */
#ifndef DIFS_REQUESTS_H
#define DIFS_REQUESTS_H

#include "connection.h"

/* Handles a request of a READY connection. */
extern void difs_requests_handle(DifsRequest *request);

#endif
