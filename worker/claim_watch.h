/*
 * claim_watch.h - the keeper's part of the claim (src/claim.h).
 */
#ifndef DIFS_CLAIM_WATCH_H
#define DIFS_CLAIM_WATCH_H

#include "postgres.h"

#include "common/wire.h"
#include "utils/timestamp.h"

/* Finds out whether this database holds the claim, and publishes it. In a transaction, after the identity is known. */
extern void difs_claim_watch_begin(void);

/* A server has said how it is. False with *error if it must not be used: it is another storage than it was, or obeys
 * another. If it obeys a higher epoch, the claim is lost. name is the server's. */
extern bool difs_claim_watch_server(int32 server, const char *name, const DifsServerStatus *status, DifsError *error);

/* difs.auto_claim. */
extern void difs_claim_watch_turn(void);

/* The duty that takes the claim. */
extern void difs_claim_round(void);

#endif
