/*
 * mend.h - replaces a bad copy of a segment by a good one.
 *
 * For the scrub's duty and for SQL functions alike: both may call outside of a
 * transaction or within one.
 */
#ifndef DIFS_MEND_H
#define DIFS_MEND_H

#include "postgres.h"

#include "src/call.h"
#include "src/shmem.h"

/* One member's copy of a segment, as far as is known. */
typedef enum DifsCopyState
{
	DIFS_COPY_GOOD,
	DIFS_COPY_MENDED, /* it was bad */
	DIFS_COPY_DAMAGED,
	DIFS_COPY_MISSING,
	DIFS_COPY_UNREACHABLE /* the server does not answer, or not about this group */
} DifsCopyState;

typedef struct DifsMend
{
	uint64 group;
	uint64 segment;
	bool expected; /* the two that follow are the manifest's: nothing else is a good copy */
	uint32 stored_length;
	uint32 crc;
	int count; /* of copies */
	int32 server[DIFS_MAX_REPLICAS];
	DifsCopyState copy[DIFS_MAX_REPLICAS];
	DifsError error; /* why a copy could not be mended, if there is one */
} DifsMend;

/* One request about a group to one server; as difs_call(), but a connection that has broken meanwhile is made anew, and
 * a server that the keeper knows to be down is not waited for. */
extern bool difs_mend_ask(int32 server, uint64 group, DifsMessage message, const void *control, uint32 control_length,
						  const void *payload, uint32 payload_length, DifsReply *reply, DifsError *error);

/* Has the server's disk a good copy? */
extern DifsCopyState difs_mend_look(int32 server, uint64 group, uint64 segment, DifsError *error);

/* Mends the copies that are DAMAGED or MISSING from one that is GOOD; what becomes of each is in mend->copy. */
extern void difs_mend_segment(DifsMend *mend);

/* No copy is good, and every member has said so. */
extern bool difs_mend_is_lost(const DifsMend *mend);

/* Makes the group's own header and index right. */
extern bool difs_mend_group(int32 server, uint64 group, DifsError *error);

/* Gives a server an empty group again, in the place of one that it cannot read any more if damaged. */
extern bool difs_mend_make_group(int32 server, const DifsCreateGroup *create, bool damaged, DifsError *error);

extern const char *difs_copy_state_name(DifsCopyState state);

#endif
