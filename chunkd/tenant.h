/*
 * tenant.h - the clusters that keep segments here, each with a directory and a claim.
 */
#ifndef DIFS_TENANT_H
#define DIFS_TENANT_H

#include "connection.h"
#include "group.h"

#define DIFS_EPOCH_TEXT_SIZE 64 /* of the file "epoch": the epoch, a space, the claim in hexadecimal, a line end */

_Static_assert(DIFS_CLAIM_SIZE == DIFS_UUID_SIZE, "claims are written as cluster uuids are");

typedef struct DifsTenant
{
	TAILQ_ENTRY(DifsTenant) link;
	struct DifsServer *server;
	uint8_t cluster[DIFS_UUID_SIZE]; /* these two never change */
	char directory[2 * DIFS_UUID_SIZE + 1];

	bool durable;					/* somebody has claimed: directory and epoch file are on disk */
	uint64_t epoch;					/* highest claimed, durable, */
	uint8_t claim[DIFS_CLAIM_SIZE]; /* and who claimed it first */
	bool storing;					/* a job makes a claim durable */
	bool raised;					/* one has become durable, and nobody has been told of it yet */
	uint32_t writes_under_way;		/* requests that change something and are not answered */
	STAILQ_HEAD(, DifsConnection) attaching;

	DifsGroup **groups; /* sorted by id */
	uint32_t group_count;
	uint32_t groups_allocated;
} DifsTenant;

extern DifsTenant *difs_tenant_create(struct DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE]);

/* tenant_load.c: reads what the data directory has: a directory for each tenant, the header of each index.  No segment
 * is looked at, but groups that are not sealed begin to be recovered. */
extern bool difs_tenant_load_all(struct DifsServer *server, DifsError *error);
extern void difs_tenant_free_all(struct DifsServer *server);

/* Gives a connection whose peer has proved itself its tenant; difs_greeting_attached() is called when it is settled whether
 * the connection's claim holds, durably, or when it cannot be made durable. */
extern void difs_tenant_attach(DifsConnection *connection, const uint8_t cluster[DIFS_UUID_SIZE]);

/* Does the connection hold the claim now? */
extern bool difs_tenant_obeys(const DifsTenant *tenant, const DifsConnection *connection);

/* A request that changes something begins, and has been answered. */
extern void difs_tenant_write_begun(DifsTenant *tenant);
extern void difs_tenant_write_done(DifsTenant *tenant);

extern DifsGroup *difs_tenant_find(const DifsTenant *tenant, uint64_t group); /* NULL: none */
extern void difs_tenant_add(DifsTenant *tenant, DifsGroup *group);
extern void difs_tenant_remove(DifsTenant *tenant, DifsGroup *group);

/* LIST_GROUPS' payload: packs up to DIFS_GROUPS_MAX_ENTRIES groups whose id is greater than `after`; returns their
 * number. */
extern uint32_t difs_tenant_list(const DifsTenant *tenant, uint64_t after, uint8_t *out);

extern void difs_tenant_status(const DifsTenant *tenant, DifsServerStatus *status);
extern void difs_tenant_hex(const uint8_t cluster[DIFS_UUID_SIZE], char hex[2 * DIFS_UUID_SIZE + 1]);

#endif
