/*
 * call.h - one request to one chunk server, and its reply.
 *
 * For SQL functions and duties, over the connections of link.h.  Waits,
 * interruptibly, so never within a streamer's or keeper's turn, and never under a
 * lock.
 */
#ifndef DIFS_CALL_H
#define DIFS_CALL_H

#include "postgres.h"

#include "common/wire.h"

/* A reply, in the memory context of the call. */
typedef struct DifsReply
{
	uint8 *control;
	uint32 control_length;
	uint8 *payload;
	uint32 payload_length;
} DifsReply;

/* Sends a request and waits for its reply for at most timeout_ms without any byte moving. False with *error if the server cannot be reached, does
 * not answer in time or refuses. reply may be NULL. payload may be NULL. */
extern bool difs_call(int32 server, DifsMessage message, const void *control, uint32 control_length,
					  const void *payload, uint32 payload_length, int timeout_ms, DifsReply *reply, DifsError *error);

#endif
