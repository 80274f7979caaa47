/*
 * test_common_auth.c - proofs against values computed elsewhere, and key files.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "FF0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static char directory[] = "/tmp/difs-test-XXXXXX";
static char path[64];

static int
make_directory(void **state)
{
	(void) state;
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/key", directory);
	return 0;
}

static int
remove_directory(void **state)
{
	(void) state;
	unlink(path);
	return rmdir(directory);
}

static void
write_file(const void *text, size_t length, mode_t mode)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), length);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
assert_load_fails(const char *text, DifsErrorCode code)
{
	DifsKeyring keyring;
	DifsError error;

	write_file(text, strlen(text), 0600);
	assert_false(difs_keyring_load(path, &keyring, &error));
	assert_int_equal(error.code, code);
	assert_non_null(strstr(error.text, path));
	assert_int_equal(keyring.count, 0);
}

static void
parse_hex(const char *text, uint8_t *out, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		unsigned int byte;

		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t) byte;
	}
}

static void
proofs_are_as_specified(void **state)
{
	uint8_t key[DIFS_KEY_SIZE];
	uint8_t hello[66 + 10];
	DifsChallenge challenge = {.version = 1, .name = "/storage01"};
	uint8_t proof[DIFS_PROOF_SIZE];
	uint8_t expected[DIFS_PROOF_SIZE];
	uint8_t id[DIFS_KEY_ID_SIZE];

	(void) state;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) i;
	for (size_t i = 0; i < 66; i++)
		hello[i] = (uint8_t) i;
	memcpy(hello + 66, "/storage01", 10);
	for (size_t i = 0; i < DIFS_NONCE_SIZE; i++)
		challenge.nonce[i] = (uint8_t) (0xa0 + i);

	parse_hex("96bf432da1debbb5", expected, DIFS_KEY_ID_SIZE);
	assert_true(difs_key_id(key, id));
	assert_memory_equal(id, expected, DIFS_KEY_ID_SIZE);

	parse_hex("d8456bdcce099b3ea41a5896ad8ff738bf6b2d2db3e94cdcf8d9e417cdcc5aea", expected, DIFS_PROOF_SIZE);
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, sizeof(hello), &challenge, NULL, proof));
	assert_memory_equal(proof, expected, DIFS_PROOF_SIZE);
	assert_true(difs_auth_equal(proof, expected));

	parse_hex("57e55e175c6b3327bda8fef26b48c47383a458c8ed139c822865c14d080426c5", expected, DIFS_PROOF_SIZE);
	assert_false(difs_auth_equal(proof, expected));
	assert_true(difs_auth_proof(key, DIFS_SIDE_CLIENT, hello, sizeof(hello), &challenge, NULL, proof));
	assert_memory_equal(proof, expected, DIFS_PROOF_SIZE);
}

/* Whatever is said differently in the handshake, the proof is another. */
static void
proofs_depend_on_everything(void **state)
{
	uint8_t key[DIFS_KEY_SIZE] = {1};
	uint8_t hello[DIFS_WIRE_MAX_GREETING + 1] = {2};
	DifsChallenge challenge = {.version = 1, .name = "/storage01"};
	DifsChallenge other;
	uint8_t proof[DIFS_PROOF_SIZE];
	uint8_t changed[DIFS_PROOF_SIZE];
	uint8_t binding[DIFS_BINDING_SIZE] = {0};

	(void) state;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &challenge, NULL, proof));
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &challenge, binding, changed));
	assert_true(difs_auth_equal(proof, changed));
	binding[31] = 1;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &challenge, binding, changed));
	assert_false(difs_auth_equal(proof, changed));
	hello[79] ^= 1;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &challenge, NULL, changed));
	assert_false(difs_auth_equal(proof, changed));
	hello[79] ^= 1;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 79, &challenge, NULL, changed));
	assert_false(difs_auth_equal(proof, changed));
	key[31] ^= 1;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &challenge, NULL, changed));
	assert_false(difs_auth_equal(proof, changed));
	key[31] ^= 1;
	other = challenge;
	other.version = 2;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &other, NULL, changed));
	assert_false(difs_auth_equal(proof, changed));
	other = challenge;
	other.nonce[31] ^= 1;
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &other, NULL, changed));
	assert_false(difs_auth_equal(proof, changed));
	other = challenge;
	other.name[9] = '2';
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &other, NULL, changed));
	assert_false(difs_auth_equal(proof, changed));
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, 80, &challenge, NULL, changed));
	assert_true(difs_auth_equal(proof, changed));
	assert_true(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, DIFS_WIRE_MAX_GREETING, &challenge, NULL, changed));
	assert_false(difs_auth_proof(key, DIFS_SIDE_SERVER, hello, DIFS_WIRE_MAX_GREETING + 1, &challenge, NULL, changed));
}

static void
random_is_random(void **state)
{
	uint8_t a[4096] = {0};
	uint8_t b[4096] = {0};
	DifsError error;

	(void) state;
	assert_true(difs_random(a, sizeof(a), &error));
	assert_true(difs_random(b, sizeof(b), &error));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(a + 4064, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_true(difs_random(a, 0, &error));
}

static void
loads_key_files(void **state)
{
	static const char text[] = "# new\n" KEY_A "\n\n# old\n" KEY_B;
	DifsKeyring keyring;
	DifsError error;
	uint8_t id[DIFS_KEY_ID_SIZE];

	(void) state;
	write_file(text, sizeof(text) - 1, 0600);
	assert_true(difs_keyring_load(path, &keyring, &error));
	assert_int_equal(keyring.count, 2);
	assert_int_equal(keyring.key[0][0], 0);
	assert_int_equal(keyring.key[0][31], 0x1f);
	assert_int_equal(keyring.key[1][0], 0xff);
	assert_true(difs_key_id(keyring.key[1], id));
	assert_int_equal(difs_keyring_find(&keyring, id), 1);
	assert_int_equal(difs_keyring_find(&keyring, keyring.id[0]), 0);
	id[7] ^= 1;
	assert_int_equal(difs_keyring_find(&keyring, id), -1);
}

static void
refuses_bad_key_files(void **state)
{
	char many[9 * 65 + 1] = "";
	char big[17000];
	DifsKeyring keyring;
	DifsError error;

	(void) state;
	assert_load_fails("", DIFS_ERROR_ARGUMENT);
	assert_load_fails("# nothing\n\n", DIFS_ERROR_ARGUMENT);
	assert_load_fails("0011\n", DIFS_ERROR_ARGUMENT);
	assert_load_fails(KEY_A "0\n", DIFS_ERROR_ARGUMENT);
	assert_load_fails(KEY_A "\r\n", DIFS_ERROR_ARGUMENT);
	assert_load_fails(KEY_A "\nx00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
					  DIFS_ERROR_ARGUMENT);
	for (int i = 0; i < DIFS_MAX_KEYRING; i++)
		strcat(many, KEY_A "\n");
	write_file(many, strlen(many), 0600);
	assert_true(difs_keyring_load(path, &keyring, &error));
	strcat(many, KEY_A "\n");
	assert_load_fails(many, DIFS_ERROR_ARGUMENT);

	memset(big, '\n', sizeof(big));
	memcpy(big, KEY_A, 64);
	write_file(big, sizeof(big), 0600);
	assert_false(difs_keyring_load(path, &keyring, &error));
	assert_int_equal(error.code, DIFS_ERROR_ARGUMENT);
	write_file(KEY_A "\n\0", 66, 0600);
	assert_false(difs_keyring_load(path, &keyring, &error));
	assert_int_equal(error.code, DIFS_ERROR_ARGUMENT);
}

static void
refuses_files_that_others_may_read(void **state)
{
	const mode_t modes[] = {0640, 0604, 0620, 0602, 0601, 0644};
	DifsKeyring keyring;
	DifsError error;

	(void) state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
	{
		write_file(KEY_A "\n", 65, modes[i]);
		assert_false(difs_keyring_load(path, &keyring, &error));
		assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	}
	write_file(KEY_A "\n", 65, 0400);
	assert_true(difs_keyring_load(path, &keyring, &error));
	assert_false(difs_keyring_load(directory, &keyring, &error));
	assert_int_equal(error.code, DIFS_ERROR_REFUSED);
	unlink(path);
	assert_false(difs_keyring_load(path, &keyring, &error));
	assert_int_equal(error.code, DIFS_ERROR_IO);
	assert_int_equal(error.system_errno, ENOENT);
}

static int
count_files(void)
{
	DIR *dir = opendir(directory);
	int count = -2; /* . and .. */

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
creates_key_files(void **state)
{
	DifsKeyring first;
	DifsKeyring second;
	DifsError error;
	struct stat info;
	mode_t mask = umask(0);
	char missing[128];

	(void) state;
	unlink(path);
	assert_true(difs_keyring_create(path, &error));
	umask(mask);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_true(difs_keyring_load(path, &first, &error));
	assert_int_equal(first.count, 1);

	assert_false(difs_keyring_create(path, &error));
	assert_int_equal(error.code, DIFS_ERROR_EXISTS);
	assert_true(difs_keyring_load(path, &second, &error));
	assert_memory_equal(&first, &second, sizeof(first));
	assert_int_equal(count_files(), 1);

	unlink(path);
	assert_true(difs_keyring_create(path, &error));
	assert_true(difs_keyring_load(path, &second, &error));
	assert_memory_not_equal(first.key[0], second.key[0], DIFS_KEY_SIZE);

	snprintf(missing, sizeof(missing), "%s/none/key", directory);
	assert_false(difs_keyring_create(missing, &error));
	assert_int_equal(error.code, DIFS_ERROR_IO);
	assert_int_equal(error.system_errno, ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proofs_are_as_specified),
		cmocka_unit_test(proofs_depend_on_everything),
		cmocka_unit_test(random_is_random),
		cmocka_unit_test(loads_key_files),
		cmocka_unit_test(refuses_bad_key_files),
		cmocka_unit_test(refuses_files_that_others_may_read),
		cmocka_unit_test(creates_key_files),
	};

	return cmocka_run_group_tests_name("common/auth", tests, make_directory, remove_directory);
}
