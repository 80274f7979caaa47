/*
 * token.h - tokens as the database gives them, and where chunk servers are (common/token.h).
 */
#ifndef DIFS_SRC_TOKEN_H
#define DIFS_SRC_TOKEN_H

#include "postgres.h"

#include "common/token.h"
#include "src/servers.h"

/* For a call that gives tokens: reads the key file and sets what all its tokens have in common, cluster, key and expiry. Errors: 58030. */
extern void difs_token_begin(DifsToken *token, DifsOperation operation);

/* Signs one: a palloc'd bytea. */
extern Datum difs_token_make(DifsToken *token);

/* The members of a block group as of now; count 0: there is no such group. */
extern void difs_token_members(uint64 group, DifsMembers *members);

/* text[] of the members' addresses, "/name=host:port", in order; palloc'd. */
extern Datum difs_token_servers(const int32 *members, int count);

#endif
