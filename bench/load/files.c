/*
 * files.c - plain files: what the disk and the file system cost without anything above them.
 *
 * A write is acknowledged when the file's bytes are on disk (fdatasync) and its name is (fsync of the directory, which file systems in
 * user space do not all offer: --no-directory-sync).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

static void files_open(Client *client);
static void run_put(Client *client, int64_t object);
static void run_get(Client *client, int64_t object);
static void run_range(Client *client, int64_t object);
static void run_write(Client *client, int64_t object);
static void run_create(Client *client, int64_t object);
static void run_stat(Client *client, int64_t object);
static void run_rename(Client *client, int64_t object);
static void run_list(Client *client, int64_t object);
static void run_delete(Client *client, int64_t object);

/* clang-format off */
#define FILES(name, access, run) {"files", name, access, files_open, run, NULL, NULL}
/* clang-format on */

const Operation file_operations[] = {
	FILES("put", ACCESS_NEW, run_put),
	FILES("get", ACCESS_RANDOM, run_get),
	FILES("range", ACCESS_RANDOM, run_range),
	FILES("write", ACCESS_RANDOM, run_write),
	FILES("create", ACCESS_NEW, run_create),
	FILES("stat", ACCESS_RANDOM, run_stat),
	FILES("rename", ACCESS_ONCE, run_rename),
	FILES("list", ACCESS_RANDOM, run_list),
	FILES("delete", ACCESS_ONCE, run_delete),
	{0},
};

static void
files_open(Client *client)
{
	client->directory = open(client->options->place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (client->directory < 0)
		fail("%s: %s", client->options->place, strerror(errno));
	client->buffer = malloc(PIECE_BYTES);
	if (client->buffer == NULL)
		fail("out of memory");
}

static void
make_path(const Client *client, int64_t object, char *path)
{
	snprintf(path, PATH_BYTES, "%s/%016" PRId64, client->options->place, object);
}

static int
open_file(const Client *client, int64_t object, int flags)
{
	char path[PATH_BYTES];
	int file;

	make_path(client, object, path);
	file = open(path, flags | O_CLOEXEC, 0644);
	if (file < 0)
		fail("%s: %s", path, strerror(errno));
	return file;
}

static void
sync_directory(const Client *client)
{
	if (client->options->directory_sync && fsync(client->directory) != 0)
		fail("fsync of the directory: %s", strerror(errno));
}

static void
write_all(int file, const char *bytes, int64_t length, int64_t offset)
{
	while (length > 0)
	{
		ssize_t written = pwrite(file, bytes, (size_t) length, offset);

		if (written < 0)
			fail("write: %s", strerror(errno));
		bytes += written;
		length -= written;
		offset += written;
	}
}

static void
run_put(Client *client, int64_t object)
{
	const Options *options = client->options;
	int file = open_file(client, object, O_WRONLY | O_CREAT | O_EXCL);

	write_all(file, payload_of(options, object), options->size_bytes, 0);
	if (fdatasync(file) != 0 || close(file) != 0)
		fail("fdatasync: %s", strerror(errno));
	sync_directory(client);
}

static void
run_get(Client *client, int64_t object)
{
	const Options *options = client->options;
	int file = open_file(client, object, O_RDONLY);
	int64_t offset = 0;
	ssize_t length;

	while ((length = read(file, client->buffer, PIECE_BYTES)) > 0)
	{
		check_bytes(options, object, offset, client->buffer, length);
		offset += length;
	}
	close(file);
	if (length < 0 || offset != options->size_bytes)
		fail("object %" PRId64 " has %" PRId64 " bytes", object, offset);
}

/* A file that ranges are read from or written to stays open, as a database's would. */
static int64_t
choose_range(Client *client, int64_t object)
{
	const Options *options = client->options;

	if (options->span_bytes <= 0 || options->objects != 1)
		fail("ranges need --span and one object");
	if (client->file < 0)
		client->file = open_file(client, object, O_RDWR);
	return client_random(client, options->span_bytes / options->size_bytes) * options->size_bytes;
}

static void
run_range(Client *client, int64_t object)
{
	const Options *options = client->options;
	int64_t offset = choose_range(client, object);

	if (pread(client->file, client->buffer, (size_t) options->size_bytes, offset) != options->size_bytes)
		fail("pread at %" PRId64 ": %s", offset, strerror(errno));
	check_bytes(options, object, offset, client->buffer, options->size_bytes);
}

static void
run_write(Client *client, int64_t object)
{
	const Options *options = client->options;
	int64_t offset = choose_range(client, object);

	write_all(client->file, payload_of(options, object), options->size_bytes, offset);
	if (fdatasync(client->file) != 0)
		fail("fdatasync: %s", strerror(errno));
}

static void
run_create(Client *client, int64_t object)
{
	close(open_file(client, object, O_WRONLY | O_CREAT | O_EXCL));
	sync_directory(client);
}

static void
run_stat(Client *client, int64_t object)
{
	char path[PATH_BYTES];
	struct stat status;

	make_path(client, object, path);
	if (stat(path, &status) != 0)
		fail("%s: %s", path, strerror(errno));
}

static void
run_rename(Client *client, int64_t object)
{
	char from[PATH_BYTES];
	char to[PATH_BYTES];

	make_path(client, object, from);
	snprintf(to, PATH_BYTES, "%s/r%015" PRId64, client->options->place, object);
	if (rename(from, to) != 0)
		fail("rename of %s: %s", from, strerror(errno));
	sync_directory(client);
}

/* Names and attributes, as the others list them. */
static void
run_list(Client *client, int64_t object)
{
	DIR *directory = opendir(client->options->place);
	struct dirent *entry;
	struct stat status;

	(void) object;
	if (directory == NULL)
		fail("%s: %s", client->options->place, strerror(errno));
	while ((entry = readdir(directory)) != NULL)
		if (fstatat(client->directory, entry->d_name, &status, 0) != 0)
			fail("%s: %s", entry->d_name, strerror(errno));
	closedir(directory);
}

static void
run_delete(Client *client, int64_t object)
{
	char path[PATH_BYTES];

	make_path(client, object, path);
	if (unlink(path) != 0)
		fail("%s: %s", path, strerror(errno));
	sync_directory(client);
}
