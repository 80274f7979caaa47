/*
 * conn.h - the client's end of a connection to a chunk server.
 *
 * A DifsConn never waits.  Its owner waits for its socket, in whatever way suits
 * the owner (a wait set in a backend, poll() in a program), and then calls
 * difs_conn_advance(), which sends and receives what it can.  Connecting and the
 * handshake happen in the same way, so an owner with many connections never
 * stands still for one of them.
 *
 *	CONNECTING -> SECURING -> GREETING -> READY -> BROKEN
 *
 * SECURING is the TLS handshake, if the peer has a TLS context.
 *
 * BROKEN is final: destroy it and create another.  Nothing is kept for a broken
 * connection; what was in flight is the owner's to send elsewhere.
 *
 * Sending is zero-copy for payloads: difs_conn_send() copies the control (small)
 * and keeps a pointer to the payload, which must stay as it is until
 * difs_conn_sent() has passed the value that difs_conn_send() returned, or the
 * connection is destroyed.
 *
 * Receiving hands out one frame at a time.  DIFS_EVENT_HEAD: header and control
 * are there (and checked) and a payload follows; the owner says where it shall go,
 * with difs_conn_payload_into(), or that it is not wanted, with NULL.
 * DIFS_EVENT_FRAME: the frame is complete.  A frame without payload gives FRAME only.
 */
#ifndef DIFS_CONN_H
#define DIFS_CONN_H

#include "auth.h"

/* Requests that may stand in the queue of one connection; one more breaks it, with DIFS_ERROR_MEMORY. */
#define DIFS_CONN_MAX_QUEUE 65536

typedef struct DifsConn DifsConn;

typedef enum DifsConnState
{
	DIFS_CONN_CONNECTING,
	DIFS_CONN_SECURING,
	DIFS_CONN_GREETING,
	DIFS_CONN_READY,
	DIFS_CONN_BROKEN
} DifsConnState;

typedef enum DifsEvent
{
	DIFS_EVENT_NONE,  /* nothing more without waiting */
	DIFS_EVENT_READY, /* the handshake is done; reported once */
	DIFS_EVENT_HEAD,
	DIFS_EVENT_FRAME,
	DIFS_EVENT_BROKEN /* see difs_conn_error(); reported at every call from then on */
} DifsEvent;

/* Whom to talk to and as whom. Copied by difs_conn_create(). */
typedef struct DifsPeer
{
	char name[DIFS_NAME_SIZE]; /* storage name, proved by the handshake; empty: whoever answers */
	char host[256];			   /* name or numeric address */
	uint16_t port;
	uint8_t cluster[DIFS_UUID_SIZE];
	uint64_t epoch;
	uint8_t claim[DIFS_CLAIM_SIZE]; /* all zeros: only to read */
	uint8_t key[DIFS_KEY_SIZE];
	const uint8_t *token; /* NULL: as one who holds the key. Else DIFS_TOKEN_SIZE bytes (token.h): as their holder, and cluster, epoch,
								 * claim and key do not count; needed only while difs_conn_create() runs */
	DifsTlsContext *tls;  /* NULL: no TLS; needed only while difs_conn_create() runs */
} DifsPeer;

/* Starts to connect. Waits only for the resolver, and only if host is not numeric. Never NULL but when memory is short;
 * a connection that cannot even begin is BROKEN. Frames may be queued at once; they leave when the handshake is done.
 * TCP_NODELAY and keep-alive are set, the descriptor is close-on-exec. */
extern DifsConn *difs_conn_create(const DifsPeer *peer);
extern void difs_conn_destroy(DifsConn *conn); /* closes; NULL is fine */

/* -1 if broken. While CONNECTING, the number changes when the next of the host's addresses is tried. The wait must be
 * level-triggered. */
extern int difs_conn_fd(const DifsConn *conn);
extern DifsConnState difs_conn_state(const DifsConn *conn);
extern bool difs_conn_wants_write(const DifsConn *conn);			   /* wait for the socket to be writable too */
extern const DifsError *difs_conn_error(const DifsConn *conn);		   /* why it is broken: "/storage01 (host:port): …" */
extern const char *difs_conn_label(const DifsConn *conn);			   /* "/storage01 (host:port)" for messages */
extern const char *difs_conn_name(const DifsConn *conn);			   /* storage name: the peer's; once READY, what the server proved */
extern const DifsServerStatus *difs_conn_status(const DifsConn *conn); /* what WELCOME said, once READY */
extern const uint8_t *difs_conn_session(const DifsConn *conn);		   /* by token, once READY: what difs_token_use_pack() wants; else NULL */

/* Queues a request. Returns a number, greater than any before on this connection, for difs_conn_sent(). frame's lengths
 * must be right. Nothing is written before difs_conn_advance() or difs_conn_flush(). */
extern uint64_t difs_conn_send(DifsConn *conn, const DifsFrame *frame, const void *control, const void *payload);

/* Everything up to and including this number has been handed to the kernel, or encrypted: its payload is not needed. */
extern uint64_t difs_conn_sent(const DifsConn *conn);

/* Bytes that have been sent and received so far: a connection on which this grows is alive. */
extern uint64_t difs_conn_moved(const DifsConn *conn);

/* Takes a request that has not begun to leave out of the queue, by its number; false if it is too late. */
extern bool difs_conn_unsend(DifsConn *conn, uint64_t number);

/* Writes what the socket takes. False if the connection broke. */
extern bool difs_conn_flush(DifsConn *conn);

/* Sends what it can, receives what it can, and reports the next thing that happened. Call until NONE or BROKEN. After
 * HEAD, say where the payload goes before the next call; *frame and difs_conn_control() are valid until then, and again
 * at FRAME. */
extern DifsEvent difs_conn_advance(DifsConn *conn, DifsFrame *frame);
extern const uint8_t *difs_conn_control(const DifsConn *conn);
extern void difs_conn_payload_into(DifsConn *conn, void *buffer);

/* Turns a reply with a status into an error: code, and "label: text". */
extern void difs_conn_reply_error(const DifsConn *conn, const DifsFrame *frame, DifsError *error);

#endif
