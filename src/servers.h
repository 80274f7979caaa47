/*
 * servers.h - which chunk servers hold a block group, and how to talk to them.
 *
 * Kept per backend: members of block groups and addresses of servers as last
 * read from the tables.  They may be out of date (repair moves a group to other
 * members): who gets no answer, or "no such group", calls
 * difs_servers_forget() and looks again.
 */
#ifndef DIFS_SERVERS_H
#define DIFS_SERVERS_H

#include "postgres.h"

#include "common/conn.h"
#include "src/shmem.h"

typedef struct DifsMembers
{
	int count;
	int32 server[DIFS_MAX_REPLICAS];
	uint64 epoch; /* of the group's copies */
} DifsMembers;

/* Members of a block group, from the cache or the table. False if there is no such group. */
extern bool difs_group_members(uint64 group, DifsMembers *members);

/* The name, address, cluster uuid, claim and key with which this database talks to a server: what
 * difs_conn_create() wants. False if there is no such server. Errors out if the key file cannot be read (58030,
 * with the hint where it is looked for). */
extern bool difs_server_peer(int32 server, DifsPeer *peer);

/* Name and address alone. */
extern bool difs_server_address(int32 server, DifsPeer *peer);

/* The same without the address, for a server that has no row yet. */
extern void difs_servers_identity(DifsPeer *peer);

/* The cluster uuid of this database, as the newest snapshot has it. Valid until the next transaction. */
extern const uint8 *difs_servers_cluster(void);

/* Drops what is cached of a group and its members. */
extern void difs_servers_forget(uint64 group);

/* The cluster key in force (the first of the key file), read anew by each call. Errors out if it cannot be read. */
extern const uint8 *difs_cluster_key(void);

/* All keys of the file, read anew or as they were read last. */
extern const DifsKeyring *difs_cluster_keyring(bool anew);

/* Changes when the extension has been dropped and created again: ids and the cluster's uuid are others then. */
extern Oid difs_servers_generation(void);

#endif
