/*
 * test_chunkd_harness.h - a real difsd in a temporary directory; its clients are in chunkd_client.h.
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

#include "chunkd_client.h"

typedef struct Server
{
	char directory[64];
	char data[80];			   /* data directory */
	char group_directory[128]; /* of the cluster, in it */
	pid_t pid;				   /* 0: not running */
	DifsPeer peer;			   /* how to reach it */
	int stdin_fd;			   /* write end of its standard input, or -1 */
} Server;

/* A directory with a key; directory NULL for a new one below $TMPDIR or /tmp. */
extern void server_prepare(Server *server, const char *directory);

/* Starts difsd with more options, and waits until it listens.  prefix, such as strace and its options, comes in front
 * of it. */
extern void server_start(Server *server, const char *const *options);
extern void server_start_under(Server *server, const char *const *prefix, const char *const *options);

/* Whether system calls can be made to fail here; says so if not. */
extern bool have_strace(void);

/* Starts it and expects that it ends by itself; returns its exit code. */
extern int server_start_fails(Server *server, const char *const *options);

/* Ends it by a signal and returns the status of waitpid(). */
extern int server_end(Server *server, int signal_number);
extern int server_wait(Server *server);
extern void server_remove(Server *server);

/* Whether the server has logged this text; waits for it. */
extern void expect_log(const Server *server, const char *text);
extern bool has_logged(const Server *server, const char *text);

extern void group_path(const Server *server, uint64_t group, const char *suffix, char path[256]);
extern uint64_t file_bytes(const char *path);
extern uint64_t allocated_bytes(const char *path);
extern void flip_bits(const char *path, uint64_t offset, uint8_t bits); /* of the byte there */

extern Client *client_connect(const Server *server);

#endif
