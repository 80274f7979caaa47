/*
 * tls.h - TLS below the wire protocol, for both sides, without sockets.
 *
 * A context is what the files say: certificate, private key, whom to believe.  It
 * is made from them once, serves any number of connections, and is replaced by a
 * new one when the files have changed; connections keep the one that they began
 * with.  Contexts may be shared between threads, a DifsTls may not.
 *
 * A DifsTls turns bytes of the wire into bytes of the protocol and back.  Its owner
 * moves the former between it and a socket, in whatever way suits the owner:
 *
 *	socket -> difs_tls_room() + difs_tls_arrived() -> difs_tls_read()  -> frames
 *	frames -> difs_tls_write() -> difs_tls_take()                      -> socket
 *
 * Anything that reads may leave something to be sent, so take after each.  The
 * handshake is done by difs_tls_handshake(), or by reading.
 *
 * Only TLS 1.3 is spoken: both ends are ours.  So there is no renegotiation, and
 * difs_tls_binding() is a secret that no other connection has (RFC 9266).  It goes
 * into the proofs of auth.h: whoever stands between two parties, even with a
 * certificate that both would take, has two connections with two bindings, and
 * proofs for one of them are wrong on the other.
 *
 * Session tickets and early data are off.  An end of the connection without
 * close_notify is an ordinary end, since frames say how long they are.
 */
#ifndef DIFS_TLS_H
#define DIFS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define DIFS_BINDING_SIZE 32
#define DIFS_TLS_ROOM (32 * 1024) /* bytes that may arrive and wait to be read */

/* How a client looks at the server's certificate; the words are those of libpq's sslmode. Travels in PULL: never changes. */
typedef enum DifsTlsMode
{
	DIFS_TLS_OFF = 0,		 /* no TLS */
	DIFS_TLS_REQUIRE = 1,	 /* any certificate will do: the server is known by the cluster key alone */
	DIFS_TLS_VERIFY_CA = 2,	 /* it must come from a CA of the file */
	DIFS_TLS_VERIFY_FULL = 3 /* and be for the host (name or address) that was connected to */
} DifsTlsMode;

/* Names of PEM files; NULL or empty for none. */
typedef struct DifsTlsFiles
{
	const char *certificate; /* chain, own first */
	const char *key;		 /* of the certificate; only its owner may read it (a group may, if it is root's) */
	const char *ca;			 /* whose certificates are believed */
} DifsTlsFiles;

typedef enum DifsTlsResult
{
	DIFS_TLS_DONE,
	DIFS_TLS_WAIT,	 /* more must arrive first */
	DIFS_TLS_CLOSED, /* the peer has ended it */
	DIFS_TLS_FAILED	 /* see the error */
} DifsTlsResult;

typedef struct ssl_ctx_st DifsTlsContext;
typedef struct DifsTls DifsTls;

/* NULL with *error, which names the file. A client needs no certificate unless the server asks for one. */
extern DifsTlsContext *difs_tls_client_context(DifsTlsMode mode, const DifsTlsFiles *files, DifsError *error);

/* clients_too: clients must show a certificate from files->ca. */
extern DifsTlsContext *difs_tls_server_context(const DifsTlsFiles *files, bool clients_too, DifsError *error);
extern DifsTlsContext *difs_tls_context_hold(DifsTlsContext *context);
extern void difs_tls_context_release(DifsTlsContext *context); /* NULL is fine */

/* host: what the client connects to; NULL at a server. NULL with *error. */
extern DifsTls *difs_tls_create(DifsTlsContext *context, const char *host, DifsError *error);
extern void difs_tls_destroy(DifsTls *tls); /* NULL is fine */

/* Where bytes from the socket go, and how many fit: never 0 after a DIFS_TLS_WAIT. */
extern uint8_t *difs_tls_room(DifsTls *tls, size_t *size);
extern void difs_tls_arrived(DifsTls *tls, size_t length);

extern DifsTlsResult difs_tls_handshake(DifsTls *tls, DifsError *error);

/* DONE: *got bytes, 1 to size. size is not 0. */
extern DifsTlsResult difs_tls_read(DifsTls *tls, void *buffer, size_t size, size_t *got, DifsError *error);

/* After the handshake. All of it is taken, so write little at a time. */
extern bool difs_tls_write(DifsTls *tls, const void *bytes, size_t length, DifsError *error);

/* Hands over what is to be sent, from malloc(), to be freed by the caller; NULL if there is nothing. */
extern uint8_t *difs_tls_take(DifsTls *tls, size_t *length);

/* After the handshake. */
extern bool difs_tls_binding(DifsTls *tls, uint8_t binding[DIFS_BINDING_SIZE], DifsError *error);

#endif
