/*
 * played_server.h - the server's part of a connection, as tests play it.
 *
 * There is one thread: a DifsConn never waits, so a test lets it go as far as it
 * can and then does the server's part on the other end of a real TCP connection.
 * Whatever is waited for has a deadline.
 */
#ifndef PLAYED_SERVER_H
#define PLAYED_SERVER_H

#include "conn.h"

#define DEADLINE_S 20
#define REPLY(message) ((message) | DIFS_WIRE_REPLY)

/* What the server knows of the handshake. */
typedef struct Server
{
	int fd;
	uint8_t hello[DIFS_WIRE_MAX_GREETING];
	size_t hello_length;
	DifsChallenge challenge;
} Server;

extern int listener;
extern uint16_t port; /* of listener, and of the next client */
extern const uint8_t right_key[DIFS_KEY_SIZE];
extern const uint8_t wrong_key[DIFS_KEY_SIZE];

extern int start_listening(void **state);
extern int stop_listening(void **state);
extern DifsConn *connect_to(const char *host, const char *name, const uint8_t *key);

/* Advances until something happens. */
extern DifsEvent next_event(DifsConn *conn, DifsFrame *frame);

/* Advances until everything that is queued has left. */
extern void send_all(DifsConn *conn);

/* Waits until that many bytes, or an end, have arrived at the client. */
extern void wait_for_bytes(DifsConn *conn, int wanted);
extern void write_all(int fd, const void *bytes, size_t length);
extern void read_all(int fd, void *bytes, size_t length);

/* Reads a request's header and control. */
extern DifsFrame read_request(int fd, uint8_t *control);

/* Appends a reply to a stream and returns its new end. */
extern uint8_t *add_reply(uint8_t *at, uint8_t message, uint8_t status, uint64_t request,
						  const void *control, size_t control_length, const void *payload, size_t payload_length);
extern void send_reply(int fd, uint8_t message, uint8_t status, uint64_t request,
					   const void *control, size_t control_length);

/* Accepts the client and reads its HELLO. */
extern Server accept_hello(DifsConn *conn);
extern size_t make_challenge(Server *server, const char *name, const uint8_t *key, uint16_t version, uint8_t *out);
extern void send_challenge(Server *server, const char *name, const uint8_t *key, uint16_t version);
extern void expect_proof(Server *server);
extern size_t make_welcome(uint8_t *out);

/* The whole handshake; the server's end comes back. */
extern int make_ready(DifsConn *conn);
extern void assert_broken(DifsConn *conn, DifsErrorCode code, const char *text);

/* The client has hung up without sending anything more. */
extern void assert_closed_without_a_word(int fd);
extern uint64_t send_get(DifsConn *conn, uint64_t request);
extern uint8_t *pattern(size_t length, uint8_t seed);

#endif
