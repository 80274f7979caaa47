/*
 * token.c - tokens and receipts (token.h).  No state.
 */
#include "token.h"

#include <string.h>

#include <openssl/crypto.h>

#include "bytes.h"

#define VERSION 1
#define RECEIPT_MARK 'R'

_Static_assert(DIFS_TOKEN_BODY_SIZE == DIFS_WIRE_TOKEN_SIZE, "HELLO_TOKEN carries a token's body");
_Static_assert(DIFS_MAC_SIZE == DIFS_KEY_SIZE, "a MAC is used as a key");
_Static_assert(DIFS_KEY_SIZE == DIFS_PROOF_SIZE, "a proof is as long as a MAC");
_Static_assert(DIFS_MAX_PACKED_SIZE + DIFS_TOKEN_USE_SIZE <= DIFS_WIRE_MAX_CONTROL, "a PUT by token fits into a control");

static bool mac_of(const uint8_t key[DIFS_KEY_SIZE], const char *kind, const uint8_t *body, size_t length,
				   uint8_t mac[DIFS_MAC_SIZE]);
static bool use_proof(const uint8_t mac[DIFS_MAC_SIZE], const uint8_t session[DIFS_PROOF_SIZE],
					  uint8_t proof[DIFS_PROOF_SIZE]);
static bool unpack_token(const uint8_t body[DIFS_TOKEN_BODY_SIZE], DifsToken *token);

bool
difs_token_sign(DifsToken *token, const uint8_t key[DIFS_KEY_SIZE], uint8_t out[DIFS_TOKEN_SIZE])
{
	if (!difs_key_id(key, token->key_id))
		return false;
	out[0] = VERSION;
	out[1] = (uint8_t) token->operation;
	memcpy(out + 2, token->key_id, DIFS_KEY_ID_SIZE);
	memcpy(out + 10, token->cluster, DIFS_UUID_SIZE);
	difs_put64(out + 26, token->epoch);
	memcpy(out + 34, token->claim, DIFS_CLAIM_SIZE);
	difs_put64(out + 50, token->group);
	difs_put64(out + 58, token->segment);
	difs_put64(out + 66, token->xid);
	difs_put64(out + 74, token->upload);
	difs_put64(out + 82, token->number);
	difs_put32(out + 90, token->max_bytes);
	difs_put64(out + 94, token->expires);
	return mac_of(key, "difs token", out, DIFS_TOKEN_BODY_SIZE, out + DIFS_TOKEN_BODY_SIZE);
}

bool
difs_token_open(const uint8_t body[DIFS_TOKEN_BODY_SIZE], const DifsKeyring *keyring, DifsToken *token,
				uint8_t mac[DIFS_MAC_SIZE], DifsError *error)
{
	int key;

	if (!unpack_token(body, token))
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "this is no token");
	key = difs_keyring_find(keyring, token->key_id);
	if (key < 0)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the token's key is not one of this server's");
	return mac_of(keyring->key[key], "difs token", body, DIFS_TOKEN_BODY_SIZE, mac) ||
		difs_error_set(error, DIFS_ERROR_MEMORY, "could not compute the code of a token");
}

bool
difs_token_is_valid(const DifsToken *token, uint64_t now, DifsError *error)
{
	if (now < token->expires)
		return true;
	return difs_error_set(error, DIFS_ERROR_REFUSED, "the token expired %llu s ago", (unsigned long long) (now - token->expires));
}

bool
difs_token_use_check(const uint8_t mac[DIFS_MAC_SIZE], const uint8_t session[DIFS_PROOF_SIZE],
					 const uint8_t proof[DIFS_PROOF_SIZE])
{
	uint8_t expected[DIFS_PROOF_SIZE];

	return use_proof(mac, session, expected) && difs_auth_equal(expected, proof);
}

size_t
difs_receipt_sign(const DifsReceipt *receipt, const DifsKeyring *keyring, uint8_t out[DIFS_RECEIPT_MAX_SIZE])
{
	size_t name_length = strnlen(receipt->server, DIFS_NAME_SIZE - 1);
	size_t length = DIFS_RECEIPT_FIXED_SIZE + name_length;
	int key = difs_keyring_find(keyring, receipt->key_id);

	out[0] = VERSION;
	out[1] = RECEIPT_MARK;
	memcpy(out + 2, receipt->key_id, DIFS_KEY_ID_SIZE);
	memcpy(out + 10, receipt->cluster, DIFS_UUID_SIZE);
	difs_put64(out + 26, receipt->epoch);
	difs_put64(out + 34, receipt->group);
	difs_put64(out + 42, receipt->segment);
	difs_put64(out + 50, receipt->xid);
	difs_put64(out + 58, receipt->upload);
	difs_put64(out + 66, receipt->number);
	difs_put32(out + 74, receipt->raw_length);
	difs_put32(out + 78, receipt->stored_length);
	difs_put32(out + 82, receipt->crc);
	out[86] = receipt->codec;
	memcpy(out + DIFS_RECEIPT_FIXED_SIZE, receipt->server, name_length);
	if (key < 0 || !mac_of(keyring->key[key], "difs receipt", out, length, out + length))
		return 0;
	return length + DIFS_MAC_SIZE;
}

bool
difs_receipt_open(const uint8_t *in, size_t length, const DifsKeyring *keyring, DifsReceipt *receipt, DifsError *error)
{
	uint8_t mac[DIFS_MAC_SIZE];
	int key;

	if (!difs_receipt_read(in, length, receipt, error))
		return false;
	key = difs_keyring_find(keyring, receipt->key_id);
	if (key < 0)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the receipt's key is not in the key file");
	if (!mac_of(keyring->key[key], "difs receipt", in, length - DIFS_MAC_SIZE, mac))
		return difs_error_set(error, DIFS_ERROR_MEMORY, "could not compute the code of a receipt");
	if (!difs_auth_equal(mac, in + length - DIFS_MAC_SIZE))
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the receipt has not been signed by a chunk server");
	return true;
}

bool
difs_token_read(const uint8_t *in, size_t length, DifsToken *token, DifsError *error)
{
	if (length != DIFS_TOKEN_SIZE || !unpack_token(in, token))
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "these %zu bytes are no token of version %d", length, VERSION);
	return true;
}

bool
difs_receipt_read(const uint8_t *in, size_t length, DifsReceipt *receipt, DifsError *error)
{
	size_t name_length;

	if (length <= DIFS_RECEIPT_FIXED_SIZE + DIFS_MAC_SIZE || length > DIFS_RECEIPT_MAX_SIZE || in[0] != VERSION ||
		in[1] != RECEIPT_MARK)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "these %zu bytes are no receipt of version %d", length, VERSION);
	name_length = length - DIFS_RECEIPT_FIXED_SIZE - DIFS_MAC_SIZE;
	memset(receipt, 0, sizeof(*receipt));
	memcpy(receipt->key_id, in + 2, DIFS_KEY_ID_SIZE);
	memcpy(receipt->cluster, in + 10, DIFS_UUID_SIZE);
	receipt->epoch = difs_get64(in + 26);
	receipt->group = difs_get64(in + 34);
	receipt->segment = difs_get64(in + 42);
	receipt->xid = difs_get64(in + 50);
	receipt->upload = difs_get64(in + 58);
	receipt->number = difs_get64(in + 66);
	receipt->raw_length = difs_get32(in + 74);
	receipt->stored_length = difs_get32(in + 78);
	receipt->crc = difs_get32(in + 82);
	receipt->codec = in[86];
	memcpy(receipt->server, in + DIFS_RECEIPT_FIXED_SIZE, name_length);
	return true;
}

size_t
difs_token_use_pack(const uint8_t token[DIFS_TOKEN_SIZE], const uint8_t session[DIFS_PROOF_SIZE], uint8_t *out)
{
	memcpy(out, token, DIFS_TOKEN_BODY_SIZE);
	return use_proof(token + DIFS_TOKEN_BODY_SIZE, session, out + DIFS_TOKEN_BODY_SIZE) ? DIFS_TOKEN_USE_SIZE : 0;
}

/* By the key of that kind, so that a token is never taken for a receipt, or for a proof of the handshake. */
static bool
mac_of(const uint8_t key[DIFS_KEY_SIZE], const char *kind, const uint8_t *body, size_t length, uint8_t mac[DIFS_MAC_SIZE])
{
	uint8_t kind_key[DIFS_KEY_SIZE];
	bool ok = difs_hmac(key, kind, strlen(kind), kind_key) && difs_hmac(kind_key, body, length, mac);

	OPENSSL_cleanse(kind_key, sizeof(kind_key));
	return ok;
}

static bool
use_proof(const uint8_t mac[DIFS_MAC_SIZE], const uint8_t session[DIFS_PROOF_SIZE], uint8_t proof[DIFS_PROOF_SIZE])
{
	static const char label[] = "difs use";
	uint8_t text[sizeof(label) - 1 + DIFS_PROOF_SIZE];

	memcpy(text, label, sizeof(label) - 1);
	memcpy(text + sizeof(label) - 1, session, DIFS_PROOF_SIZE);
	return difs_hmac(mac, text, sizeof(text), proof);
}

static bool
unpack_token(const uint8_t body[DIFS_TOKEN_BODY_SIZE], DifsToken *token)
{
	if (body[0] != VERSION || (body[1] != DIFS_OPERATION_READ && body[1] != DIFS_OPERATION_WRITE))
		return false;
	token->operation = (DifsOperation) body[1];
	memcpy(token->key_id, body + 2, DIFS_KEY_ID_SIZE);
	memcpy(token->cluster, body + 10, DIFS_UUID_SIZE);
	token->epoch = difs_get64(body + 26);
	memcpy(token->claim, body + 34, DIFS_CLAIM_SIZE);
	token->group = difs_get64(body + 50);
	token->segment = difs_get64(body + 58);
	token->xid = difs_get64(body + 66);
	token->upload = difs_get64(body + 74);
	token->number = difs_get64(body + 82);
	token->max_bytes = difs_get32(body + 90);
	token->expires = difs_get64(body + 94);
	return true;
}
