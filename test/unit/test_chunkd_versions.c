/*
 * test_chunkd_versions.c - a data directory and files of a newer version: refused with a message that says so, and left as
 * they are.
 */
#include "chunkd_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"

#define SEGMENT 1
#define LENGTH 10000

/* A server that holds one segment in a sealed group, and is stopped. */
static int
set_up(void **state)
{
	Client *client;

	server_set_up(state);
	client = client_connect(&server);
	assert_int_equal(create_group(client, GROUP, GROUP_BYTES), DIFS_OK);
	assert_int_equal(put(client, GROUP, SEGMENT, LENGTH), DIFS_OK);
	assert_int_equal(seal_group(client, GROUP), DIFS_OK);
	client_close(client);
	server_end(&server, SIGTERM);
	return 0;
}

/* Changes the version in a header, with the checksum that belongs to it; returns the whole file, for a comparison. */
static uint8_t *
set_version(const char *suffix, size_t header_size, uint32_t version, size_t *length)
{
	char path[256];
	uint8_t *bytes;
	int fd;

	group_path(&server, GROUP, suffix, path);
	*length = file_bytes(path);
	bytes = malloc(*length);
	assert_non_null(bytes);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, *length, 0), *length);
	difs_put32(bytes + 8, version);
	difs_put32(bytes + 12, difs_crc32c(difs_crc32c(0, bytes, 12), bytes + 16, header_size - 16));
	assert_int_equal(pwrite(fd, bytes, *length, 0), *length);
	close(fd);
	return bytes;
}

static void
assert_unchanged(const char *suffix, const uint8_t *bytes, size_t length)
{
	char path[256];
	uint8_t *found = malloc(length);
	int fd;

	group_path(&server, GROUP, suffix, path);
	assert_int_equal(file_bytes(path), length);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, found, length, 0), length);
	assert_memory_equal(found, bytes, length);
	close(fd);
	free(found);
}

static void
header_of_a_newer_version(const char *suffix, size_t header_size)
{
	size_t length;
	uint8_t *bytes = set_version(suffix, header_size, 2, &length);
	Client *client;

	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(get(client, GROUP, SEGMENT, LENGTH), DIFS_ERROR_VERSION);
	assert_int_not_equal(put(client, GROUP, SEGMENT + 1, LENGTH), DIFS_OK);
	client_close(client);
	server_end(&server, SIGTERM);
	assert_unchanged(suffix, bytes, length);
	free(bytes);

	/* control: nothing else is wrong with it */
	free(set_version(suffix, header_size, 1, &length));
	server_start(&server, NULL);
	client = client_connect(&server);
	assert_int_equal(get(client, GROUP, SEGMENT, LENGTH), DIFS_OK);
	client_close(client);
}

static void
a_newer_group(void **state)
{
	(void) state;
	header_of_a_newer_version(".group", 4096);
}

static void
a_newer_index(void **state)
{
	(void) state;
	header_of_a_newer_version(".index", 128);
}

/* The rest of it may look different, too. */
static void
a_newer_data_directory(void **state)
{
	static const char text[] = "difs 2\nstorage-name /storage01\n";
	char path[256];
	char found[sizeof(text)];
	int fd;

	(void) state;
	snprintf(path, sizeof(path), "%s/identity", server.data);
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	assert_int_not_equal(server_start_fails(&server, NULL), 0);
	assert_true(has_logged(&server, "is of format 2, not 1"));
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, found, sizeof(found)), strlen(text));
	assert_memory_equal(found, text, strlen(text));
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_newer_group, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_newer_index, set_up, server_tear_down),
		cmocka_unit_test_setup_teardown(a_newer_data_directory, set_up, server_tear_down),
	};

	return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
