/*
 * auth.c - proofs, key ids and random bytes.  No state.  Key files are in keyring.c.
 */
#include "auth.h"

#include <errno.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "bytes.h"

#define LABEL_SIZE 12 /* the longest */


static bool keyed(const uint8_t key[DIFS_KEY_SIZE], const char *label, size_t label_length, const uint8_t *hello, size_t hello_length,
				  const DifsChallenge *challenge, const uint8_t *binding, uint8_t out[DIFS_PROOF_SIZE]);

bool
difs_key_id(const uint8_t key[DIFS_KEY_SIZE], uint8_t id[DIFS_KEY_ID_SIZE])
{
	static const char label[] = "difs key id";
	uint8_t digest[DIFS_PROOF_SIZE];

	if (!difs_hmac(key, label, sizeof(label) - 1, digest))
		return false;
	memcpy(id, digest, DIFS_KEY_ID_SIZE);
	return true;
}

bool
difs_random(void *buffer, size_t length, DifsError *error)
{
	uint8_t *at = buffer;

	while (length > 0)
	{
		ssize_t got = getrandom(at, length, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return difs_error_set(error, DIFS_ERROR_IO, "could not read random bytes from the system");
		at += got;
		length -= (size_t) got;
	}
	return true;
}

bool
difs_auth_proof(const uint8_t key[DIFS_KEY_SIZE], DifsSide side, const uint8_t *hello, size_t hello_length,
				const DifsChallenge *challenge, const uint8_t *binding, uint8_t proof[DIFS_PROOF_SIZE])
{
	return keyed(key, side == DIFS_SIDE_SERVER ? "difs server" : "difs client", 11, hello, hello_length, challenge, binding,
				 proof);
}

bool
difs_auth_session(const uint8_t key[DIFS_KEY_SIZE], const uint8_t *hello, size_t hello_length,
				  const DifsChallenge *challenge, const uint8_t *binding, uint8_t session[DIFS_PROOF_SIZE])
{
	return keyed(key, "difs session", 12, hello, hello_length, challenge, binding, session);
}

bool
difs_auth_equal(const uint8_t a[DIFS_PROOF_SIZE], const uint8_t b[DIFS_PROOF_SIZE])
{
	return CRYPTO_memcmp(a, b, DIFS_PROOF_SIZE) == 0;
}

bool
difs_hmac(const uint8_t key[DIFS_KEY_SIZE], const void *data, size_t length, uint8_t out[DIFS_PROOF_SIZE])
{
	unsigned int out_length = 0;

	return HMAC(EVP_sha256(), key, DIFS_KEY_SIZE, data, length, out, &out_length) != NULL &&
		out_length == DIFS_PROOF_SIZE;
}

/* HMAC of a label and the transcript. */
static bool
keyed(const uint8_t key[DIFS_KEY_SIZE], const char *label, size_t label_length, const uint8_t *hello, size_t hello_length,
	  const DifsChallenge *challenge, const uint8_t *binding, uint8_t out[DIFS_PROOF_SIZE])
{
	uint8_t text[LABEL_SIZE + DIFS_WIRE_MAX_GREETING + 2 + DIFS_NONCE_SIZE + DIFS_BINDING_SIZE + DIFS_NAME_SIZE];
	size_t name_length = strnlen(challenge->name, DIFS_NAME_SIZE - 1);
	uint8_t *at = text;

	if (hello_length > DIFS_WIRE_MAX_GREETING || label_length > LABEL_SIZE)
		return false;
	memcpy(at, label, label_length);
	at += label_length;
	memcpy(at, hello, hello_length);
	at += hello_length;
	difs_put16(at, challenge->version);
	at += 2;
	memcpy(at, challenge->nonce, DIFS_NONCE_SIZE);
	at += DIFS_NONCE_SIZE;
	if (binding != NULL)
		memcpy(at, binding, DIFS_BINDING_SIZE);
	else
		memset(at, 0, DIFS_BINDING_SIZE);
	at += DIFS_BINDING_SIZE;
	memcpy(at, challenge->name, name_length);
	at += name_length;
	return difs_hmac(key, text, (size_t) (at - text), out);
}
