/*
 * token.h - tokens and receipts: the direct path between clients and chunk servers.
 *
 * A *token* is the database's permission to write one segment, once, or to read
 * one, for a while.  A *receipt* is a chunk server's word that it holds a segment,
 * durably, and what it is like.  Both are a body and a MAC:
 *
 *	MAC = HMAC-SHA-256(key of the kind, body)
 *	key of the kind = HMAC-SHA-256(cluster key, "difs token" or "difs receipt")
 *
 * and name the cluster key that they were made with, so keys can be changed while
 * tokens are in use.  Nobody without that key can make one, or change a byte.
 *
 * A client has no cluster key.  The MAC of its token is a secret between it, the
 * database that gave it (over SQL) and whoever holds the cluster key, so it takes
 * the key's place in the handshake (auth.h) and is never sent: what travels is the
 * body, and proofs that the sender knows the MAC.  So a token that was seen on the
 * wire is of no use, and a server proves itself to the client, too.
 *
 *	token's body, 102 bytes                  receipt's body, 87 bytes and the name
 *	  0  u8      version, 1                    0  u8      version, 1
 *	  1  u8      DifsOperation                 1  u8      'R'
 *	  2  u8[8]   id of the cluster key         2  u8[8]   id of the cluster key
 *	 10  u8[16]  cluster uuid                 10  u8[16]  cluster uuid
 *	 26  u64     epoch                        26  u64     epoch
 *	 34  u8[16]  claim                        34  u64     group
 *	 50  u64     group                        42  u64     segment
 *	 58  u64     segment                      50  u64     xid
 *	 66  u64     xid                          58  u64     upload
 *	 74  u64     upload                       66  u64     number
 *	 82  u64     number                       74  u32     raw_length
 *	 90  u32     raw bytes at most            78  u32     stored_length
 *	 94  u64     expires, seconds since 1970  82  u32     crc
 *	                                          86  u8      codec
 *	                                          87  ...     storage name of the server, 1 .. 255 bytes
 *	102  u8[32]  MAC, not sent                 -  u8[32]  MAC
 *
 * A write token: the epoch and claim are those of the database that gave it, and
 * of the block group; a server obeys only while it obeys that claim.  The segment
 * is written with just that id and xid, into that group, on any of its members,
 * and an id is written once.  upload and number come back in the receipt, so it is
 * clear what a receipt is for: a segment of another upload, or another place in
 * the file, cannot be passed off with it.  A read token: group and segment alone;
 * epoch, claim, xid, upload, number and the bound are 0, since any copy of a
 * segment is as good as any other, and the reader checks it by the manifest's CRC.
 *
 * Time is that of the database when the token is made and of the chunk server when
 * it is used: their clocks must agree to a fraction of difs.token_lifetime.
 *
 * A request by token has its *use* behind its own control: the token's body, and
 *
 *	use proof = HMAC-SHA-256(token's MAC, "difs use" | session)
 *	session   = HMAC-SHA-256(MAC of the token of the handshake, "difs session" | transcript)   (auth.h)
 *
 * so one connection serves any number of tokens of its cluster, the first of which
 * was for the handshake, and a use is worth nothing on another connection.
 */
#ifndef DIFS_TOKEN_H
#define DIFS_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth.h"
#include "segment.h"

#define DIFS_MAC_SIZE 32
#define DIFS_TOKEN_BODY_SIZE 102
#define DIFS_TOKEN_SIZE (DIFS_TOKEN_BODY_SIZE + DIFS_MAC_SIZE)
#define DIFS_TOKEN_USE_SIZE (DIFS_TOKEN_BODY_SIZE + DIFS_PROOF_SIZE)
#define DIFS_RECEIPT_FIXED_SIZE 87
#define DIFS_RECEIPT_MAX_SIZE (DIFS_RECEIPT_FIXED_SIZE + DIFS_NAME_SIZE - 1 + DIFS_MAC_SIZE)

typedef enum DifsOperation
{
	DIFS_OPERATION_READ = 1,
	DIFS_OPERATION_WRITE = 2
} DifsOperation;

typedef struct DifsToken
{
	DifsOperation operation;
	uint8_t key_id[DIFS_KEY_ID_SIZE];
	uint8_t cluster[DIFS_UUID_SIZE];
	uint64_t epoch;
	uint8_t claim[DIFS_CLAIM_SIZE];
	uint64_t group;
	uint64_t segment;
	uint64_t xid;
	uint64_t upload;
	uint64_t number;
	uint32_t max_bytes; /* raw */
	uint64_t expires;	/* seconds since 1970 */
} DifsToken;

typedef struct DifsReceipt
{
	uint8_t key_id[DIFS_KEY_ID_SIZE];
	uint8_t cluster[DIFS_UUID_SIZE];
	uint64_t epoch;
	uint64_t group;
	uint64_t segment;
	uint64_t xid;
	uint64_t upload;
	uint64_t number;
	uint32_t raw_length;
	uint32_t stored_length;
	uint32_t crc;
	uint8_t codec;
	char server[DIFS_NAME_SIZE]; /* storage name */
} DifsReceipt;

/*
 * For who holds the cluster key: the database and chunk servers.
 */

/* Writes body and MAC to out; key_id is set from the key. False if the library of cryptography fails. */
extern bool difs_token_sign(DifsToken *token, const uint8_t key[DIFS_KEY_SIZE], uint8_t out[DIFS_TOKEN_SIZE]);

/* Reads a body and computes the MAC that belongs to it, by the key of the ring that it names. Whether the peer knows that
 * MAC is for the handshake or difs_token_use_check() to say: until then nothing in *token is to be believed.
 * DIFS_ERROR_PROTOCOL: no token; DIFS_ERROR_REFUSED: no such key. */
extern bool difs_token_open(const uint8_t body[DIFS_TOKEN_BODY_SIZE], const DifsKeyring *keyring, DifsToken *token,
							uint8_t mac[DIFS_MAC_SIZE], DifsError *error);

/* Has it not expired? Else DIFS_ERROR_REFUSED. */
extern bool difs_token_is_valid(const DifsToken *token, uint64_t now, DifsError *error);

/* Checks the use proof of a request in that session; mac as difs_token_open() computed it. */
extern bool difs_token_use_check(const uint8_t mac[DIFS_MAC_SIZE], const uint8_t session[DIFS_PROOF_SIZE],
								 const uint8_t proof[DIFS_PROOF_SIZE]);

/* Writes a receipt, signed with the key that receipt->key_id names, and returns its size; 0 if there is no such key. */
extern size_t difs_receipt_sign(const DifsReceipt *receipt, const DifsKeyring *keyring, uint8_t out[DIFS_RECEIPT_MAX_SIZE]);

/* Reads a receipt and checks its MAC. DIFS_ERROR_PROTOCOL: it is none; DIFS_ERROR_REFUSED: nobody with that key has made it. */
extern bool difs_receipt_open(const uint8_t *in, size_t length, const DifsKeyring *keyring, DifsReceipt *receipt,
							  DifsError *error);

/*
 * For clients, who only carry them about.
 */

/* What a token says, as far as its holder can tell. False with DIFS_ERROR_ARGUMENT if these bytes are none. */
extern bool difs_token_read(const uint8_t *in, size_t length, DifsToken *token, DifsError *error);

/* What a receipt says; its MAC is not checked. */
extern bool difs_receipt_read(const uint8_t *in, size_t length, DifsReceipt *receipt, DifsError *error);

/* Appends the use of a token in a session to a request's control, and returns DIFS_TOKEN_USE_SIZE; 0 if the library of
 * cryptography fails. session is difs_conn_session() of the connection that will carry it, which is READY. */
extern size_t difs_token_use_pack(const uint8_t token[DIFS_TOKEN_SIZE], const uint8_t session[DIFS_PROOF_SIZE], uint8_t *out);

#endif
