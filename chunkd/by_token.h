/*
 * by_token.h - what clients without the cluster key may do: one PUT or GET for each token (../common/token.h).
 */
#ifndef DIFS_BY_TOKEN_H
#define DIFS_BY_TOKEN_H

#include "connection.h"

/* Takes the use of a token off the request's control, and proves it: request->permit is the token then.  False if that has
 * answered the request. */
extern bool difs_by_token_admit(DifsRequest *request);

/* Does the token allow this PUT, whose header is in request->segment, or this GET?  A request without a token needs none.
 * put prepares the receipt, which nobody sees before the segment is durable.  False if that has answered the request. */
extern bool difs_by_token_may_put(DifsRequest *request);
extern bool difs_by_token_may_get(DifsRequest *request, const DifsGet *get);

#endif
