/*
 * test_common_token.c - tokens, their uses, and receipts: what is good, and every byte of it that is changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "token.h"

static DifsKeyring ring;  /* two keys */
static DifsKeyring other; /* another one */
static DifsToken token;
static uint8_t signed_token[DIFS_TOKEN_SIZE];

static int
set_up(void **state)
{
	(void) state;
	ring.count = 2;
	other.count = 1;
	memset(ring.key[0], 1, DIFS_KEY_SIZE);
	memset(ring.key[1], 2, DIFS_KEY_SIZE);
	memset(other.key[0], 3, DIFS_KEY_SIZE);
	assert_true(difs_key_id(ring.key[0], ring.id[0]));
	assert_true(difs_key_id(ring.key[1], ring.id[1]));
	assert_true(difs_key_id(other.key[0], other.id[0]));
	token = (DifsToken){
		.operation = DIFS_OPERATION_WRITE,
		.epoch = 5,
		.group = 6,
		.segment = 7,
		.xid = 8,
		.upload = 9,
		.number = 10,
		.max_bytes = 11,
		.expires = 12,
	};
	memset(token.cluster, 13, DIFS_UUID_SIZE);
	memset(token.claim, 14, DIFS_CLAIM_SIZE);
	assert_true(difs_token_sign(&token, ring.key[1], signed_token));
	return 0;
}

/* With any of the ring's keys, so that the first can be changed while tokens are in use. */
static void
tokens_round_trip(void **state)
{
	uint8_t mac[DIFS_MAC_SIZE];
	DifsToken again = {0};
	DifsToken seen = {0};
	DifsError error;

	(void) state;
	assert_true(difs_token_open(signed_token, &ring, &again, mac, &error));
	assert_memory_equal(again.key_id, ring.id[1], DIFS_KEY_ID_SIZE);
	assert_memory_equal(mac, signed_token + DIFS_TOKEN_BODY_SIZE, DIFS_MAC_SIZE);
	assert_int_equal(again.operation, DIFS_OPERATION_WRITE);
	assert_memory_equal(again.cluster, token.cluster, DIFS_UUID_SIZE);
	assert_memory_equal(again.claim, token.claim, DIFS_CLAIM_SIZE);
	assert_int_equal(again.epoch, 5);
	assert_int_equal(again.group, 6);
	assert_int_equal(again.segment, 7);
	assert_int_equal(again.xid, 8);
	assert_int_equal(again.upload, 9);
	assert_int_equal(again.number, 10);
	assert_int_equal(again.max_bytes, 11);
	assert_int_equal(again.expires, 12);
	assert_true(difs_token_read(signed_token, sizeof(signed_token), &seen, &error));
	assert_int_equal(seen.segment, 7);
	assert_false(difs_token_read(signed_token, sizeof(signed_token) - 1, &seen, &error));
	assert_int_equal(error.code, DIFS_ERROR_ARGUMENT);
}

static void
tokens_expire(void **state)
{
	DifsError error;

	(void) state;
	assert_true(difs_token_is_valid(&token, 11, &error));
	assert_false(difs_token_is_valid(&token, 12, &error));
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
}

/* Whoever has seen a token's body cannot use it, and whoever has a token cannot use it for something else. */
static void
every_changed_byte_shows(void **state)
{
	uint8_t session[DIFS_PROOF_SIZE] = {1, 2, 3};
	uint8_t use[DIFS_TOKEN_USE_SIZE];
	uint8_t mac[DIFS_MAC_SIZE];
	DifsToken again;

	(void) state;
	assert_int_equal(difs_token_use_pack(signed_token, session, use), DIFS_TOKEN_USE_SIZE);
	for (size_t i = 0; i <= DIFS_TOKEN_USE_SIZE; i++)
	{
		bool good;

		if (i < DIFS_TOKEN_USE_SIZE)
			use[i] ^= 0x20;
		good = difs_token_open(use, &ring, &again, mac, NULL) && difs_token_use_check(mac, session, use + DIFS_TOKEN_BODY_SIZE);
		if (good != (i == DIFS_TOKEN_USE_SIZE))
			fail_msg("byte %zu", i);
		if (i < DIFS_TOKEN_USE_SIZE)
			use[i] ^= 0x20;
	}
	session[0]++;
	assert_true(difs_token_open(use, &ring, &again, mac, NULL));
	assert_false(difs_token_use_check(mac, session, use + DIFS_TOKEN_BODY_SIZE));
}

static void
unknown_keys_are_refused(void **state)
{
	uint8_t mac[DIFS_MAC_SIZE];
	DifsToken again;
	DifsError error;

	(void) state;
	assert_false(difs_token_open(signed_token, &other, &again, mac, &error));
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	/* the other key under the first one's id */
	memcpy(other.id[0], ring.id[1], DIFS_KEY_ID_SIZE);
	assert_true(difs_token_open(signed_token, &other, &again, mac, &error));
	assert_memory_not_equal(mac, signed_token + DIFS_TOKEN_BODY_SIZE, DIFS_MAC_SIZE);
	assert_true(difs_key_id(other.key[0], other.id[0]));
}

static void
receipts_round_trip_and_every_changed_byte_shows(void **state)
{
	DifsReceipt receipt = {
		.epoch = 1,
		.group = 2,
		.segment = 3,
		.xid = 4,
		.upload = 5,
		.number = 6,
		.raw_length = 7,
		.stored_length = 8,
		.crc = 9,
		.codec = DIFS_CODEC_ZSTD,
		.server = "/storage01",
	};
	DifsReceipt again;
	uint8_t bytes[DIFS_RECEIPT_MAX_SIZE];
	size_t length;
	DifsError error;

	(void) state;
	assert_int_equal(difs_receipt_sign(&receipt, &ring, bytes), 0); /* by no key */
	memcpy(receipt.key_id, ring.id[0], DIFS_KEY_ID_SIZE);
	memset(receipt.cluster, 1, DIFS_UUID_SIZE);
	length = difs_receipt_sign(&receipt, &ring, bytes);
	assert_int_equal(length, DIFS_RECEIPT_FIXED_SIZE + strlen("/storage01") + DIFS_MAC_SIZE);
	assert_true(difs_receipt_open(bytes, length, &ring, &again, &error));
	assert_memory_equal(&again, &receipt, sizeof(receipt));
	assert_false(difs_receipt_open(bytes, length, &other, &again, &error));
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	for (size_t i = 0; i < length; i++)
	{
		bytes[i] ^= 1;
		if (difs_receipt_open(bytes, length, &ring, &again, &error))
			fail_msg("byte %zu", i);
		bytes[i] ^= 1;
		if (difs_receipt_open(bytes, i, &ring, &again, &error))
			fail_msg("length %zu", i);
	}
	assert_true(difs_receipt_read(bytes, length, &again, &error));
	assert_string_equal(again.server, "/storage01");
}

/* A MAC is good for its kind only: neither a receipt nor a proof of the handshake can be made of a token. */
static void
kinds_do_not_mix(void **state)
{
	uint8_t proof[DIFS_PROOF_SIZE];
	DifsReceipt receipt;
	DifsError error;

	(void) state;
	assert_false(difs_receipt_open(signed_token, sizeof(signed_token), &ring, &receipt, &error));
	signed_token[1] = 'R';
	assert_false(difs_receipt_open(signed_token, sizeof(signed_token), &ring, &receipt, &error));
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	signed_token[1] = DIFS_OPERATION_WRITE;
	assert_true(difs_hmac(ring.key[1], signed_token, DIFS_TOKEN_BODY_SIZE, proof));
	assert_memory_not_equal(proof, signed_token + DIFS_TOKEN_BODY_SIZE, DIFS_MAC_SIZE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_round_trip),
		cmocka_unit_test(tokens_expire),
		cmocka_unit_test(every_changed_byte_shows),
		cmocka_unit_test(unknown_keys_are_refused),
		cmocka_unit_test(receipts_round_trip_and_every_changed_byte_shows),
		cmocka_unit_test(kinds_do_not_mix),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
