/*
 * chunkd_client.h - clients of a difsd: requests one by one, and their replies.
 *
 * Whatever goes wrong here fails the test that runs.  All waiting has a deadline.
 */
#ifndef CHUNKD_CLIENT_H
#define CHUNKD_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conn.h"

#define DEADLINE_MS 60000
#define GROUP 0x11
#define GROUP_BYTES (64 * 1024 * 1024)

typedef struct Client
{
	DifsConn *conn;
	uint64_t next_request;
	uint8_t *payload; /* of the reply that is being received */
} Client;

typedef struct Reply
{
	uint64_t request;
	DifsErrorCode status;
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	uint32_t control_length;
	uint8_t *payload; /* freed by reply_free() */
	uint32_t payload_length;
} Reply;

extern Client *client_connect_as(const DifsPeer *peer);
extern DifsErrorCode connect_fails(const DifsPeer *peer); /* the code that it fails with */
extern void client_close(Client *client);

extern uint64_t client_send(Client *client, uint8_t message, const void *control, size_t control_length,
							const void *payload, size_t payload_length);

/* Waits for the next reply; false if the connection broke. */
extern bool client_receive(Client *client, Reply *reply);
extern void reply_free(Reply *reply);

/* One request and its reply's status. */
extern DifsErrorCode call(Client *client, uint8_t message, const void *control, size_t control_length, Reply *reply);

extern DifsErrorCode create_group(Client *client, uint64_t group, uint64_t capacity);
extern DifsErrorCode seal_group(Client *client, uint64_t group);
extern DifsErrorCode drop_group(Client *client, uint64_t group); /* of whatever epoch */
extern DifsErrorCode drop_group_up_to(Client *client, uint64_t group, uint64_t epoch);

/* A segment's bytes follow from its id and length, so that a reader needs nothing else to check them. */
extern void fill(uint64_t segment, uint8_t *bytes, size_t length);
extern size_t pack_put(uint64_t group, uint64_t segment, const uint8_t *bytes, uint32_t length, uint8_t *packed);
extern uint64_t send_put(Client *client, uint64_t group, uint64_t segment, uint32_t length, uint8_t *bytes);
extern DifsErrorCode put(Client *client, uint64_t group, uint64_t segment, uint32_t length);

/* Reads a segment and checks that its bytes are those of put(). */
extern DifsErrorCode get(Client *client, uint64_t group, uint64_t segment, uint32_t length);

/* The same of segments first to last, which all succeed. */
extern void put_segments(Client *client, uint64_t group, uint64_t first, uint64_t last, uint32_t length);
extern void get_segments(Client *client, uint64_t group, uint64_t first, uint64_t last, uint32_t length);

extern DifsErrorCode delete_segments(Client *client, uint64_t group, const uint64_t *ids, uint32_t count,
									 uint32_t *deleted);
extern DifsErrorCode verify(Client *client, uint64_t group, uint64_t segment);
extern void get_status(Client *client, DifsServerStatus *status);

/* All entries of a group's LIST; freed by the caller. */
extern DifsListEntry *list_group(Client *client, uint64_t group, uint32_t *count);
extern DifsListEntry list_segment(Client *client, uint64_t group, uint64_t segment); /* the entry of one; zeros: it has none */
extern bool find_group(Client *client, uint64_t group, DifsGroupEntry *entry);

extern uint64_t now_ms(void);
extern void pause_ms(int ms); /* between two looks at something that is waited for */

#endif
