/*
 * place_call.h - one call of a placement function (place.h).
 */
#ifndef DIFS_PLACE_CALL_H
#define DIFS_PLACE_CALL_H

#include "postgres.h"

#include "src/hook.h"
#include "src/shmem.h"
#include "worker/placement.h"

/* Among whom it may choose: those that the built-in rules could use, and members of the group that stay, which are marked. */
typedef struct DifsCandidates
{
	uint64 capacity_bytes; /* what there must be room for */
	const DifsSharedServer *servers;
	const DifsLoad *load; /* parallel to servers */
	int count;
	const int32 *members;
	int member_count;
} DifsCandidates;

typedef struct DifsPlaced
{
	bool asked; /* there is a function */
	char function[DIFS_HOOK_NAME_SIZE];
	char volume[NAMEDATALEN];
	int count; /* servers that it named, each once, in its order */
	int32 server[DIFS_MAX_SERVERS];
} DifsPlaced;

/* Within a transaction with a snapshot; placed has the names, and gets the servers. False with *problem if the function fails or says what makes
 * no sense; what it did is undone then. */
extern bool difs_place_call(const DifsClass *class, const DifsCandidates *candidates, DifsPlaced *placed, DifsError *problem);

#endif
