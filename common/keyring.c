/*
 * keyring.c - key files.
 *
 * State: the file.  It is written under another name, synced, and linked to its
 * own, so at every moment it is either absent or complete; of two processes that
 * create it at once, one wins and the other learns so.  A process that dies
 * half-way leaves "<path>.XXXXXX", which nobody reads and anybody may remove.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mkostemp() */
#endif

#include "auth.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#define HEX_SIZE (2 * DIFS_KEY_SIZE)
#define MAX_FILE_SIZE 16384

static bool read_file(const char *path, char text[MAX_FILE_SIZE + 1], DifsError *error);
static bool parse_keys(const char *path, char *text, DifsKeyring *keyring, DifsError *error);
static bool parse_key(const char *line, uint8_t key[DIFS_KEY_SIZE]);
static int hex_digit(char digit);
static bool write_key(int fd, const char *path, DifsError *error);
static bool sync_parent(const char *path, DifsError *error);

bool
difs_keyring_load(const char *path, DifsKeyring *keyring, DifsError *error)
{
	char text[MAX_FILE_SIZE + 1];
	bool ok;

	memset(keyring, 0, sizeof(*keyring));
	ok = read_file(path, text, error) && parse_keys(path, text, keyring, error);
	OPENSSL_cleanse(text, sizeof(text));
	if (!ok)
		OPENSSL_cleanse(keyring, sizeof(*keyring));
	return ok;
}

bool
difs_keyring_create(const char *path, DifsError *error)
{
	char temporary[PATH_MAX];
	bool ok;
	int fd;

	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int) sizeof(temporary))
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "name of the key file is too long");
	fd = mkostemp(temporary, O_CLOEXEC); /* with mode 0600 */
	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not create file \"%s\"", temporary);
	ok = write_key(fd, temporary, error);
	if (close(fd) != 0 && ok)
		ok = difs_error_set(error, DIFS_ERROR_IO, "could not close file \"%s\"", temporary);
	if (ok && link(temporary, path) != 0)
	{
		if (errno == EEXIST)
			ok = difs_error_set(error, DIFS_ERROR_EXISTS, "key file \"%s\" exists", path);
		else
			ok = difs_error_set(error, DIFS_ERROR_IO, "could not create key file \"%s\"", path);
	}
	if (unlink(temporary) != 0 && ok)
		ok = difs_error_set(error, DIFS_ERROR_IO, "could not remove file \"%s\"", temporary);
	return ok && sync_parent(path, error);
}

int
difs_keyring_find(const DifsKeyring *keyring, const uint8_t id[DIFS_KEY_ID_SIZE])
{
	for (int i = 0; i < keyring->count; i++)
	{
		if (memcmp(keyring->id[i], id, DIFS_KEY_ID_SIZE) == 0)
			return i;
	}
	return -1;
}

/* Reads the whole of a small private file and terminates it. */
static bool
read_file(const char *path, char text[MAX_FILE_SIZE + 1], DifsError *error)
{
	struct stat info;
	size_t length = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not open key file \"%s\"", path);
	if (fstat(fd, &info) != 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not examine key file \"%s\"", path);
		close(fd);
		return false;
	}
	if (!S_ISREG(info.st_mode) || (info.st_mode & 077) != 0)
	{
		close(fd);
		return difs_error_set(error, DIFS_ERROR_REFUSED,
							  "key file \"%s\" must be a file that only its owner may read or write", path);
	}
	do
	{
		got = read(fd, text + length, MAX_FILE_SIZE + 1 - length);
		if (got > 0)
			length += (size_t) got;
	} while ((got < 0 && errno == EINTR) || (got > 0 && length <= MAX_FILE_SIZE));
	if (got < 0)
		difs_error_set(error, DIFS_ERROR_IO, "could not read key file \"%s\"", path);
	close(fd);
	if (got < 0)
		return false;
	if (length > MAX_FILE_SIZE || memchr(text, '\0', length) != NULL)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "\"%s\" is not a key file", path);
	text[length] = '\0';
	return true;
}

static bool
parse_keys(const char *path, char *text, DifsKeyring *keyring, DifsError *error)
{
	unsigned int line_number = 0;
	char *line;

	while ((line = strsep(&text, "\n")) != NULL)
	{
		line_number++;
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (keyring->count == DIFS_MAX_KEYRING)
			return difs_error_set(error, DIFS_ERROR_ARGUMENT, "key file \"%s\" has more than %d keys",
								  path, DIFS_MAX_KEYRING);
		if (!parse_key(line, keyring->key[keyring->count]))
			return difs_error_set(error, DIFS_ERROR_ARGUMENT,
								  "line %u of key file \"%s\" is not a key of %d hexadecimal digits",
								  line_number, path, HEX_SIZE);
		if (!difs_key_id(keyring->key[keyring->count], keyring->id[keyring->count]))
			return difs_error_set(error, DIFS_ERROR_MEMORY, "could not compute the id of a key");
		keyring->count++;
	}
	if (keyring->count == 0)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "key file \"%s\" has no key", path);
	return true;
}

static bool
parse_key(const char *line, uint8_t key[DIFS_KEY_SIZE])
{
	if (strlen(line) != HEX_SIZE)
		return false;
	for (int i = 0; i < DIFS_KEY_SIZE; i++)
	{
		int high = hex_digit(line[2 * i]);
		int low = hex_digit(line[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t) (high * 16 + low);
	}
	return true;
}

static int
hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

/* Writes one new key as a line and makes it durable. */
static bool
write_key(int fd, const char *path, DifsError *error)
{
	uint8_t key[DIFS_KEY_SIZE];
	char line[HEX_SIZE + 2];
	size_t written = 0;

	if (!difs_random(key, sizeof(key), error))
		return false;
	for (int i = 0; i < DIFS_KEY_SIZE; i++)
		snprintf(line + 2 * i, 3, "%02x", key[i]);
	line[HEX_SIZE] = '\n';
	OPENSSL_cleanse(key, sizeof(key));

	while (written < HEX_SIZE + 1)
	{
		ssize_t done = write(fd, line + written, HEX_SIZE + 1 - written);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			break;
		written += (size_t) done;
	}
	OPENSSL_cleanse(line, sizeof(line));
	if (written < HEX_SIZE + 1)
		return difs_error_set(error, DIFS_ERROR_IO, "could not write file \"%s\"", path);
	if (fsync(fd) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not sync file \"%s\"", path);
	return true;
}

/* Makes the name itself durable. */
static bool
sync_parent(const char *path, DifsError *error)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	bool ok;
	int fd;

	if (slash == NULL)
		strcpy(parent, ".");
	else if (slash == path)
		strcpy(parent, "/");
	else
		snprintf(parent, sizeof(parent), "%.*s", (int) (slash - path), path);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not open directory \"%s\"", parent);
	ok = fsync(fd) == 0 || difs_error_set(error, DIFS_ERROR_IO, "could not sync directory \"%s\"", parent);
	close(fd);
	return ok;
}
