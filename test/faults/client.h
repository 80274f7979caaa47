/*
 * client.h - one connection to a difsd, one request at a time, for programs that expect the server to fail.
 *
 * Nothing here judges: a request ends with the reply's status, or with LOST when the connection broke or the deadline passed.
 */
#ifndef FAULTS_CLIENT_H
#define FAULTS_CLIENT_H

#include "conn.h"

#define CLIENT_LOST (-1)
#define CLIENT_DEADLINE_MS 20000

typedef struct Client
{
	DifsConn *conn;
	uint64_t next_request;
	uint8_t control[DIFS_WIRE_MAX_CONTROL]; /* of the last reply */
	uint32_t control_length;
	uint8_t *payload;
	uint32_t payload_length;
	uint32_t payload_room;
} Client;

/* A peer on this machine, with the first key of a file; ends the program if there is none. */
extern void client_peer(DifsPeer *peer, const char *port, const char *key_file);

/* False if the server does not let us in; why is in difs_conn_error(). */
extern bool client_connect(Client *client, const DifsPeer *peer);
extern void client_close(Client *client);

/* Sends one request, and waits for its reply. */
extern int client_call(Client *client, uint8_t message, const void *control, size_t control_length, const void *payload,
					   uint32_t payload_length);

extern int client_create(Client *client, uint64_t group, uint64_t epoch);
extern int client_group(Client *client, uint8_t message, uint64_t group);
extern int client_drop(Client *client, uint64_t group); /* of whatever epoch */
extern int client_put(Client *client, uint64_t group, uint64_t segment, uint32_t length);
extern int client_delete(Client *client, uint64_t group, uint64_t segment);

/* DIFS_OK only for a reply that holds the segment; *right says whether its bytes are those of client_put(). */
extern int client_get(Client *client, uint64_t group, uint64_t segment, uint32_t length, bool *right);

/* DIFS_OK, with *entry, or DIFS_ERROR_NO_GROUP. */
extern int client_find(Client *client, uint64_t group, DifsGroupEntry *entry);

/* What the server lists of a segment, in a group of which one LIST says all; false if there is nothing. */
extern bool client_find_entry(Client *client, uint64_t group, uint64_t segment, DifsListEntry *entry);

/* Prepares the control of a PUT of a segment, whose bytes follow from its id; bytes has room for length. */
extern size_t client_pack_put(uint64_t group, uint64_t segment, uint32_t length, uint8_t *bytes, uint8_t *control);

#endif
