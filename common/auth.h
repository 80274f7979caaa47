/*
 * auth.h - keys, and the handshake in which both sides prove that they hold one.
 *
 * The cluster key is 32 random bytes.  A key file has one key a line, as 64
 * hexadecimal digits; empty lines and lines that begin with # do not count.  The
 * first key is the one a client uses, a server takes any of them, so keys can be
 * changed one machine after the other.  A key file that group or others may read
 * is refused.
 *
 * Handshake: the client sends HELLO with the id of its key and a nonce.  The
 * server answers with a nonce of its own and a proof, the client with its proof:
 *
 *	server proof = HMAC-SHA-256(key, "difs server" | transcript)
 *	client proof = HMAC-SHA-256(key, "difs client" | transcript)
 *	transcript   = HELLO's control | u16 version | server nonce | binding | storage name
 *
 * Both nonces are fresh, so nothing can be replayed; the two labels differ, so
 * nothing can be reflected; the storage name and cluster uuid are in it, so a
 * proof for one server or cluster is worth nothing at another.  The binding is
 * that of the TLS connection (tls.h), so a proof is worth nothing on another
 * connection either; without TLS it is 32 zeros.  Proofs are compared in constant
 * time.
 *
 * A client without the cluster key, which has a token (token.h), sends HELLO_TOKEN
 * with the token's body in the place of HELLO.  The rest is the same: its control
 * stands in the transcript, and the token's MAC, which both know and nobody sends,
 * takes the place of the key.  Both sides then keep
 *
 *	session = HMAC-SHA-256(token's MAC, "difs session" | transcript)
 *
 * for the uses of this and other tokens on the connection.
 */
#ifndef DIFS_AUTH_H
#define DIFS_AUTH_H

#include "tls.h"
#include "wire.h"

#define DIFS_KEY_SIZE 32
#define DIFS_MAX_KEYRING 8

typedef struct DifsKeyring
{
	int count;
	uint8_t key[DIFS_MAX_KEYRING][DIFS_KEY_SIZE];
	uint8_t id[DIFS_MAX_KEYRING][DIFS_KEY_ID_SIZE]; /* first bytes of HMAC(key, "difs key id") */
} DifsKeyring;

/* Reads a key file. */
extern bool difs_keyring_load(const char *path, DifsKeyring *keyring, DifsError *error);

/* Creates a key file with one new random key, mode 0600, durably; DIFS_ERROR_EXISTS if the file is there. */
extern bool difs_keyring_create(const char *path, DifsError *error);

/* The index of the key with that id, or -1. */
extern int difs_keyring_find(const DifsKeyring *keyring, const uint8_t id[DIFS_KEY_ID_SIZE]);

/* The id of a key. */
extern bool difs_key_id(const uint8_t key[DIFS_KEY_SIZE], uint8_t id[DIFS_KEY_ID_SIZE]);

/* Fills buffer from the system's random source. False if there is none. */
extern bool difs_random(void *buffer, size_t length, DifsError *error);

typedef enum DifsSide
{
	DIFS_SIDE_SERVER,
	DIFS_SIDE_CLIENT
} DifsSide;

/* Computes the proof of one side. hello is HELLO's control as it was sent; challenge needs version, nonce and name; binding
 * is NULL without TLS. */
extern bool difs_auth_proof(const uint8_t key[DIFS_KEY_SIZE], DifsSide side, const uint8_t *hello, size_t hello_length,
							const DifsChallenge *challenge, const uint8_t *binding, uint8_t proof[DIFS_PROOF_SIZE]);

/* Computes the session of a connection by token, in the same way; key is the token's MAC. */
extern bool difs_auth_session(const uint8_t key[DIFS_KEY_SIZE], const uint8_t *hello, size_t hello_length,
							  const DifsChallenge *challenge, const uint8_t *binding, uint8_t session[DIFS_PROOF_SIZE]);

/* HMAC-SHA-256. False if the library fails. */
extern bool difs_hmac(const uint8_t key[DIFS_KEY_SIZE], const void *data, size_t length, uint8_t out[DIFS_PROOF_SIZE]);

/* Compares two proofs in constant time. */
extern bool difs_auth_equal(const uint8_t a[DIFS_PROOF_SIZE], const uint8_t b[DIFS_PROOF_SIZE]);

#endif
