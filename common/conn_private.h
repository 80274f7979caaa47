/*
 * conn_private.h - what the files of a connection share.
 *
 *	conn.c            life, connecting, and the order in which things happen
 *	conn_greeting.c   the handshake
 *	conn_send.c       the queue of requests
 *	conn_receive.c    the buffer, and frames out of it
 *	conn_tls.c        in place of the plain socket
 *
 * A DifsConn belongs to one owner, who calls from one thread at a time.
 */
#ifndef DIFS_CONN_PRIVATE_H
#define DIFS_CONN_PRIVATE_H

#include <sys/uio.h>

#include "conn.h"
#include "token.h"

#define CONN_LABEL_SIZE 144
#define CONN_BUFFER_SIZE 65536
#define CONN_MAX_IOVECS 64

_Static_assert(CONN_BUFFER_SIZE > DIFS_WIRE_HEADER_SIZE + DIFS_WIRE_MAX_CONTROL, "a head fits into the buffer");

/* A request in the queue. */
typedef struct Outgoing
{
	struct Outgoing *next;
	uint64_t number;
	const uint8_t *payload; /* the owner's */
	size_t payload_length;
	size_t head_length;
	size_t sent;	/* bytes of head and payload that have left */
	uint8_t head[]; /* header and control */
} Outgoing;

typedef enum ReceivePhase
{
	RECEIVE_HEAD,	 /* header and control are to come */
	RECEIVE_PAYLOAD, /* HEAD was reported */
	RECEIVE_DONE	 /* FRAME was reported; its head still stands in the buffer */
} ReceivePhase;

struct DifsConn
{
	DifsPeer peer;
	char label[CONN_LABEL_SIZE];
	DifsConnState state;
	DifsError error;		 /* set when state becomes BROKEN */
	DifsServerStatus status; /* set when state becomes READY */

	uint64_t moved; /* bytes sent and received */
	int fd;
	struct addrinfo *addresses;	   /* all that the host has */
	struct addrinfo *next_address; /* to be tried if the present one fails */

	/* with TLS: what is encrypted and has not left yet */
	DifsTls *tls;
	uint8_t *sealed;
	size_t sealed_length;
	size_t sealed_sent;
	uint8_t binding[DIFS_BINDING_SIZE]; /* zeros without TLS */

	/* the greeting frame that is leaving: HELLO, then PROOF */
	uint8_t greeting[DIFS_WIRE_HEADER_SIZE + DIFS_WIRE_MAX_GREETING];
	size_t greeting_length;
	size_t greeting_sent;
	bool challenged; /* it is PROOF */
	bool by_token;	 /* peer.key is the MAC of a token */
	uint8_t token[DIFS_TOKEN_BODY_SIZE];
	uint8_t session[DIFS_PROOF_SIZE];

	/* the queue */
	Outgoing *first;
	Outgoing *last;
	uint32_t queued;
	uint64_t last_number; /* given out */
	uint64_t sent_number;
	bool socket_full; /* nothing fits until the owner has waited */

	/*
	 * The buffer.  The frame that is being received has its head (header and control) at frame_at, where it stays until
	 * the frame has been reported; the bytes from unread to end have been received and not looked at.
	 */
	ReceivePhase phase;
	DifsFrame frame;
	size_t frame_at;
	size_t head_length;
	size_t unread;
	size_t end;
	uint32_t payload_left;
	uint8_t *payload_into; /* NULL: not wanted */
	bool socket_empty;	   /* the last recv got less than it asked for */
	uint8_t buffer[CONN_BUFFER_SIZE];
};

/* Makes the connection BROKEN, for good: closes it and keeps why.  Takes errno as difs_error_set() does; is false. */
extern bool difs_conn_break(DifsConn *conn, DifsErrorCode code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for an error that another function has found. */
extern bool difs_conn_break_with(DifsConn *conn, const DifsError *error);

/* Makes the label, from the peer. */
extern void difs_conn_make_label(DifsConn *conn);

/* Puts HELLO in place to be sent.  False if the connection broke. */
extern bool difs_conn_hello(DifsConn *conn);

/* Takes a frame of the greeting.  READY, BROKEN, or NONE for: go on. */
extern DifsEvent difs_conn_greet(DifsConn *conn);

/* Goes on with the TLS handshake.  True when it is done; false: not yet, or BROKEN. */
extern bool difs_conn_secure(DifsConn *conn);

/* In place of sendmsg() and recvmsg() on the socket, with TLS: as many of the bytes as go without waiting.  -1 with errno EAGAIN;
 * CONN_IS_BROKEN; receive: 0 at the end. */
#define CONN_IS_BROKEN (-2)
extern ssize_t difs_conn_tls_send(DifsConn *conn, const struct iovec *iov, int count);
extern ssize_t difs_conn_tls_receive(DifsConn *conn, const struct iovec *iov, int count);

/* Receives what there is, up to the next HEAD, FRAME, NONE or BROKEN. */
extern DifsEvent difs_conn_receive(DifsConn *conn);

#endif
