/*
 * test_chunkd_harness.h - a real difsd in a temporary directory, and clients of it.
 *
 * Whatever goes wrong here fails the test that runs.  All waiting has a deadline.
 */
#ifndef TEST_CHUNKD_HARNESS_H
#define TEST_CHUNKD_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <cmocka.h>

#include "conn.h"

#define DEADLINE_MS	60000
#define GROUP		0x11
#define GROUP_BYTES	(64 * 1024 * 1024)

typedef struct Server
{
	char		directory[64];
	char		data[80];		/* data directory */
	char		group_directory[128];	/* of the cluster, in it */
	pid_t		pid;			/* 0: not running */
	DifsPeer	peer;			/* how to reach it */
	int			stdin_fd;		/* write end of its standard input, or -1 */
} Server;

typedef struct Client
{
	DifsConn   *conn;
	uint64_t	next_request;
	uint8_t	   *payload;		/* of the reply that is being received */
} Client;

typedef struct Reply
{
	uint64_t	request;
	DifsErrorCode status;
	uint8_t		control[DIFS_WIRE_MAX_CONTROL];
	uint32_t	control_length;
	uint8_t	   *payload;		/* freed by reply_free() */
	uint32_t	payload_length;
} Reply;

/* A directory with a key; directory NULL for a new one below $TMPDIR or /tmp. */
extern void server_prepare(Server *server, const char *directory);

/* Starts difsd with more options, and waits until it listens.  prefix, such as strace and its options, comes in front
 * of it. */
extern void server_start(Server *server, const char *const *options);
extern void server_start_under(Server *server, const char *const *prefix, const char *const *options);

/* Whether system calls can be made to fail here; says so if not. */
extern bool have_strace(void);

/* Starts it and expects that it ends by itself; returns its exit code. */
extern int	server_start_fails(Server *server, const char *const *options);

/* Ends it by a signal and returns the status of waitpid(). */
extern int	server_end(Server *server, int signal_number);
extern int	server_wait(Server *server);
extern void server_remove(Server *server);

/* Whether the server has logged this text; waits for it. */
extern void expect_log(const Server *server, const char *text);
extern bool has_logged(const Server *server, const char *text);

extern void group_path(const Server *server, uint64_t group, const char *suffix, char path[256]);
extern uint64_t file_bytes(const char *path);
extern uint64_t allocated_bytes(const char *path);

extern Client *client_connect(const Server *server);
extern Client *client_connect_as(const DifsPeer *peer);
extern DifsErrorCode connect_fails(const DifsPeer *peer);	/* the code that it fails with */
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
extern DifsErrorCode drop_group(Client *client, uint64_t group);	/* of whatever epoch */
extern DifsErrorCode drop_group_up_to(Client *client, uint64_t group, uint64_t epoch);

/* A segment's bytes follow from its id and length, so that a reader needs nothing else to check them. */
extern void fill(uint64_t segment, uint8_t *bytes, size_t length);
extern size_t pack_put(uint64_t group, uint64_t segment, const uint8_t *bytes, uint32_t length, uint8_t *packed);
extern uint64_t send_put(Client *client, uint64_t group, uint64_t segment, uint32_t length, uint8_t *bytes);
extern DifsErrorCode put(Client *client, uint64_t group, uint64_t segment, uint32_t length);

/* Reads a segment and checks that its bytes are those of put(). */
extern DifsErrorCode get(Client *client, uint64_t group, uint64_t segment, uint32_t length);
extern DifsErrorCode delete_segments(Client *client, uint64_t group, const uint64_t *ids, uint32_t count,
									 uint32_t *deleted);
extern DifsErrorCode verify(Client *client, uint64_t group, uint64_t segment);
extern void get_status(Client *client, DifsServerStatus *status);

/* All entries of a group's LIST; freed by the caller. */
extern DifsListEntry *list_group(Client *client, uint64_t group, uint32_t *count);
extern bool find_group(Client *client, uint64_t group, DifsGroupEntry *entry);

extern uint64_t now_ms(void);
extern void pause_ms(int ms);	/* between two looks at something that is waited for */

#endif
