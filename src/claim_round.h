/*
 * claim_round.h - a try to take the claim: what claim.c and claim_round.c share.
 */
#ifndef DIFS_CLAIM_ROUND_H
#define DIFS_CLAIM_ROUND_H

#include "postgres.h"

#include "src/claim.h"

typedef struct DifsClaimServer
{
	char name[DIFS_NAME_SIZE];
	char host[256];
	uint16 port;
	uint8 storage[DIFS_UUID_SIZE]; /* all zeros: not known yet */
	DifsConn *conn;
	bool answered; /* in the last round, as it should */
	uint64 epoch;  /* that it obeys */
	char problem[DIFS_ERROR_TEXT_SIZE];
} DifsClaimServer;

struct DifsClaimTry
{
	uint8 cluster[DIFS_UUID_SIZE];
	uint64 epoch;	 /* of the table */
	DifsClaim claim; /* to be taken */
	int count;
	DifsClaimServer servers[DIFS_MAX_SERVERS];
};

#endif
