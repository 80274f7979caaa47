/*
 * api.c - libdifs as others use it: every function of difs.h, right and wrong, and several clients in threads.
 *
 * Prints TAP. Connects as libpq's environment says, and works below /api-test, which it removes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "difs.h"

#define THREADS 4
#define LARGE (3 * 1024 * 1024 + 77)

static int tests;
static int failed;

/* Bytes in memory, read in odd steps and written to be compared. */
typedef struct Bytes
{
	const char *data;
	size_t length;
	size_t at;
	bool same;
} Bytes;

static void
ok(bool condition, const char *what, const DifsClient *client)
{
	tests++;
	failed += !condition;
	printf("%sok %d - %s\n", condition ? "" : "not ", tests, what);
	if (!condition && client != NULL)
		printf("# %d %s: %s\n", difs_failure(client)->status, difs_failure(client)->sqlstate, difs_failure(client)->message);
	fflush(stdout);
}

static char *
random_bytes(size_t length, unsigned seed)
{
	char *data = malloc(length);

	for (size_t i = 0; i < length; i++)
		data[i] = (char) (rand_r(&seed) >> 7);
	return data;
}

static ssize_t
read_bytes(void *context, void *buffer, size_t length)
{
	Bytes *bytes = context;
	size_t taken = bytes->length - bytes->at;

	if (taken > length)
		taken = length;
	if (taken > 10007)
		taken = 10007;
	memcpy(buffer, bytes->data + bytes->at, taken);
	bytes->at += taken;
	return (ssize_t) taken;
}

static ssize_t
read_failing(void *context, void *buffer, size_t length)
{
	ssize_t got = read_bytes(context, buffer, length);

	if (got > 0)
		return got;
	errno = EIO;
	return -1;
}

static bool
compare_bytes(void *context, const void *data, size_t length)
{
	Bytes *bytes = context;

	bytes->same = bytes->same && bytes->at + length <= bytes->length && memcmp(bytes->data + bytes->at, data, length) == 0;
	bytes->at += length;
	return true;
}

static bool
refuse(void *context, const void *data, size_t length)
{
	(void) context;
	(void) data;
	(void) length;
	errno = ENOSPC;
	return false;
}

static bool
count_entries(void *context, const DifsEntry *entry)
{
	(void) entry;
	return ++*(int *) context < 1000;
}

static bool
stop_at_once(void *context, const DifsEntry *entry)
{
	(void) context;
	(void) entry;
	return false;
}

static bool
stop_progress(void *context, int64_t done, int64_t total)
{
	(void) total;
	return done < *(int64_t *) context;
}

static bool
got(void *context, int64_t tag, const void *data, size_t length, const DifsFailure *failure)
{
	int *counts = context;

	if (failure != NULL)
		counts[1] += failure->status == DIFS_STATUS_NOT_FOUND && tag == 1000;
	else
		counts[0] += length == 5 && memcmp(data, "small", 5) == 0;
	return true;
}

static void
test_names(DifsClient *client)
{
	DifsEntry entry;
	int count = 0;
	int64_t removed;
	int64_t time_us = INT64_C(981173106123456);
	char *target = NULL;

	ok(difs_mkdir(client, "/api-test/a/b", true), "mkdir with parents", client);
	ok(!difs_mkdir(client, "/api-test", false) && difs_failure(client)->status == DIFS_STATUS_EXISTS, "mkdir of what is there", client);
	ok(difs_put_data(client, "/api-test/a/f", "hello", 5, NULL, NULL), "put_data", client);
	ok(difs_stat(client, "/api-test/a/f", 0, true, &entry) && entry.size == 5 && entry.version == 1 && entry.kind == DIFS_KIND_FILE &&
		   strcmp(entry.volume, "main") == 0 && strcmp(entry.name, "/api-test/a/f") == 0,
	   "stat", client);
	ok(!difs_stat(client, "/api-test/none", 0, true, &entry) && difs_failure(client)->status == DIFS_STATUS_NOT_FOUND &&
		   strcmp(difs_failure(client)->sqlstate, "58P01") == 0,
	   "stat of what is not there", client);
	ok(difs_chmod(client, "/api-test/a/f", 0640) && difs_touch(client, "/api-test/a/f", NULL, &time_us) &&
		   difs_stat(client, "/api-test/a/f", 0, true, &entry) && entry.mode == 0640 && entry.mtime_us == time_us,
	   "chmod and touch", client);
	ok(difs_symlink(client, "f", "/api-test/a/l") && difs_readlink(client, "/api-test/a/l", &target) && strcmp(target, "f") == 0, "symlink", client);
	free(target);
	ok(difs_list(client, "/api-test", true, NULL, count_entries, &count) && count == 4, "list", client);
	ok(!difs_list(client, "/api-test", true, NULL, stop_at_once, NULL) && difs_failure(client)->status == DIFS_STATUS_CANCELLED,
	   "a listing that its callback ends", client);
	ok(difs_copy(client, "/api-test/a/f", 0, "/api-test/c") && difs_rename(client, "/api-test/c", "/api-test/d", true), "copy and rename", client);
	ok(!difs_rename(client, "/api-test/d", "/api-test/a/f", true) && difs_failure(client)->status == DIFS_STATUS_EXISTS, "rename that replaces nothing", client);
	ok(!difs_remove(client, "/api-test/a", false, NULL) && difs_failure(client)->status == DIFS_STATUS_KIND, "remove of a directory that is not empty", client);
	ok(difs_remove(client, "/api-test/a", true, &removed) && removed == 4, "remove of a tree", client);
}

static void
test_files(DifsClient *client)
{
	DifsFile *file = difs_open(client, "/api-test/file", DIFS_OPEN_WRITE | DIFS_OPEN_CREATE | DIFS_OPEN_EXCLUSIVE);
	DifsFile *reader;
	char buffer[64];

	ok(file != NULL && difs_size(file) == 0, "open for writing", client);
	ok(difs_pwrite(file, "0123456789", 10, 0) == 10 && difs_append(file, "abc", 3) == 3 && difs_size(file) == 13, "pwrite and append", client);
	ok(difs_pread(file, buffer, sizeof(buffer), 8) == 5 && memcmp(buffer, "89abc", 5) == 0, "pread across the end", client);
	reader = difs_open(client, "/api-test/file", DIFS_OPEN_READ);
	ok(reader != NULL && difs_pwrite(file, "XX", 2, 0) == 2 && difs_pread(reader, buffer, 4, 0) == 4 && memcmp(buffer, "0123", 4) == 0,
	   "a reader sees the version that it opened", client);
	ok(difs_pread(file, buffer, 4, 0) == 4 && memcmp(buffer, "XX23", 4) == 0, "a writer sees what it wrote", client);
	ok(difs_pwrite(reader, "x", 1, 0) == -1 && difs_failure(client)->status == DIFS_STATUS_ARGUMENT, "a reader does not write", client);
	ok(difs_open(client, "/api-test/file", DIFS_OPEN_WRITE | DIFS_OPEN_CREATE | DIFS_OPEN_EXCLUSIVE) == NULL, "exclusive", client);
	ok(difs_open(client, "/api-test", DIFS_OPEN_READ) == NULL && difs_failure(client)->status == DIFS_STATUS_KIND, "open of a directory", client);
	difs_close(reader);
	difs_close(file);
	file = difs_open(client, "/api-test/file", DIFS_OPEN_WRITE | DIFS_OPEN_TRUNCATE);
	ok(file != NULL && difs_size(file) == 0, "truncate", client);
	difs_close(file);
}

static void
test_transfers(DifsClient *client)
{
	char *data = random_bytes(LARGE, 1);
	Bytes bytes = {data, LARGE, 0, true};
	char local[] = "/tmp/difs-api-XXXXXX";
	int fd = mkstemp(local);
	struct stat status;
	uint32_t mode = 0604;
	int64_t mtime_us = INT64_C(1000000000000000);
	int64_t version = 0;
	int64_t moved = 0;
	int64_t limit = 2000000;
	DifsEntry entry;

	ok(difs_put_stream(client, "/api-test/p/large", read_bytes, &bytes, LARGE,
					   &(DifsPutOptions){.parents = true, .mode = &mode, .mtime_us = &mtime_us, .media_type = "text/plain"}, &version) &&
		   version == 1,
	   "put_stream", client);
	ok(difs_stat(client, "/api-test/p/large", 0, true, &entry) && entry.size == LARGE && entry.mode == 0604 && entry.mtime_us == mtime_us,
	   "with mode and time", client);
	bytes = (Bytes){data, LARGE, 0, true};
	ok(difs_get_stream(client, "/api-test/p/large", compare_bytes, &bytes, NULL, &moved) && moved == LARGE && bytes.same && bytes.at == LARGE,
	   "get_stream", client);
	bytes = (Bytes){data + 1000001, 70000, 0, true};
	ok(difs_get_stream(client, "/api-test/p/large", compare_bytes, &bytes, &(DifsGetOptions){.offset = 1000001, .length = 70000}, &moved) &&
		   moved == 70000 && bytes.same,
	   "a range", client);
	ok(!difs_get_stream(client, "/api-test/p/large", refuse, NULL, NULL, NULL) && difs_failure(client)->system_errno == ENOSPC, "a writer that fails", client);
	ok(!difs_get_stream(client, "/api-test/p/large", compare_bytes, &bytes, &(DifsGetOptions){.progress = stop_progress, .context = &(int64_t){1}}, NULL) &&
		   difs_failure(client)->status == DIFS_STATUS_CANCELLED,
	   "a get that progress ends", client);
	bytes = (Bytes){data, LARGE, 0, true};
	ok(!difs_put_stream(client, "/api-test/x", read_failing, &bytes, -1, NULL, NULL) && difs_failure(client)->system_errno == EIO &&
		   !difs_stat(client, "/api-test/x", 0, true, &entry),
	   "a reader that fails leaves nothing", client);
	bytes = (Bytes){data, LARGE, 0, true};
	ok(!difs_put_stream(client, "/api-test/x", read_bytes, &bytes, LARGE + 1, NULL, NULL) && difs_failure(client)->status == DIFS_STATUS_CHANGED,
	   "a stream that is shorter than it should be", client);
	bytes = (Bytes){data, LARGE, 0, true};
	ok(!difs_put_stream(client, "/api-test/x", read_bytes, &bytes, LARGE, &(DifsPutOptions){.progress = stop_progress, .context = &limit}, NULL) &&
		   difs_failure(client)->status == DIFS_STATUS_CANCELLED && !difs_stat(client, "/api-test/x", 0, true, &entry),
	   "a put that progress ends", client);
	ok(!difs_put_data(client, "/api-test/p/large", "x", 1, &(DifsPutOptions){.create_only = true}, NULL) &&
		   difs_failure(client)->status == DIFS_STATUS_EXISTS,
	   "create only", client);
	ok(!difs_put_data(client, "/api-test/p/large", "x", 1, &(DifsPutOptions){.if_version = 7}, NULL), "only if that is the version", client);

	ok(fd >= 0 && write(fd, data, LARGE) == LARGE && difs_put_file(client, "/api-test/local", local, NULL, &version), "put_file", client);
	ok(lseek(fd, 0, SEEK_SET) == 0 && difs_put_fd(client, "/api-test/fd", fd, NULL, NULL), "put_fd", client);
	ok(difs_get_file(client, "/api-test/p/large", local, &(DifsGetOptions){.keep_attributes = true, .sync = true}, &moved) && moved == LARGE &&
		   stat(local, &status) == 0 && status.st_size == LARGE && (status.st_mode & 07777) == 0604 && status.st_mtim.tv_sec == 1000000000,
	   "get_file", client);
	ok(!difs_get_file(client, "/api-test/fd", local, &(DifsGetOptions){.no_replace = true}, NULL) && difs_failure(client)->system_errno == EEXIST,
	   "get_file that replaces nothing", client);
	ok(!difs_put_file(client, "/api-test/y", "/nowhere/at/all", NULL, NULL) && difs_failure(client)->system_errno == ENOENT, "put_file of nothing", client);
	close(fd);
	unlink(local);
	free(data);
}

static void
test_batches(DifsClient *client)
{
	DifsBatch *batch;
	int counts[2] = {0, 0};
	int64_t tag = 0;
	bool added = true;
	DifsEntry entry;
	char path[64];

	batch = difs_batch_begin(client);
	added = batch != NULL && difs_batch_mkdir(batch, "/api-test/batch", false, NULL, 0);
	for (int i = 0; added && i < 1000; i++)
	{
		snprintf(path, sizeof(path), "/api-test/batch/%d", i);
		added = difs_batch_put(batch, path, "small", 5, NULL, i);
	}
	ok(added && !difs_mkdir(client, "/api-test/no", false) && difs_failure(client)->status == DIFS_STATUS_ARGUMENT, "while a batch is open, nothing else", client);
	ok(difs_batch_end(batch, NULL), "a batch of 1,000 puts", client);

	batch = difs_batch_get_begin(client, got, counts);
	added = batch != NULL;
	for (int i = 0; added && i <= 1000; i++)
	{
		snprintf(path, sizeof(path), "/api-test/batch/%d", i);
		added = difs_batch_get(batch, path, 5, i);
	}
	ok(difs_batch_end(batch, NULL) && counts[0] == 1000 && counts[1] == 1, "and of gets, one of which fails alone", client);

	batch = difs_batch_begin(client);
	difs_batch_put(batch, "/api-test/one", "1", 1, NULL, 11);
	difs_batch_put(batch, "/api-test/none/two", "2", 1, NULL, 12);
	difs_batch_put(batch, "/api-test/three", "3", 1, NULL, 13);
	ok(!difs_batch_end(batch, &tag) && tag == 12 && difs_failure(client)->status == DIFS_STATUS_NOT_FOUND, "a batch that fails says where", client);
	ok(!difs_stat(client, "/api-test/one", 0, true, &entry), "and leaves nothing", client);
}

static void
test_transactions(DifsClient *client)
{
	DifsEntry entry;

	ok(difs_begin(client) && difs_in_transaction(client) && difs_put_data(client, "/api-test/t", "t", 1, NULL, NULL) && difs_rollback(client) &&
		   !difs_stat(client, "/api-test/t", 0, true, &entry),
	   "rollback", client);
	ok(difs_begin(client) && difs_put_data(client, "/api-test/t", "t", 1, NULL, NULL) && difs_commit(client) &&
		   difs_stat(client, "/api-test/t", 0, true, &entry),
	   "commit", client);
	ok(difs_begin(client) && !difs_stat(client, "/api-test/none", 0, true, &entry) && !difs_commit(client) && !difs_in_transaction(client),
	   "commit of a transaction that has failed is no success", client);
	difs_cancel(client);
	ok(!difs_stat(client, "/api-test/t", 0, true, &entry) && difs_failure(client)->status == DIFS_STATUS_CANCELLED &&
		   difs_stat(client, "/api-test/t", 0, true, &entry),
	   "cancel", client);
}

static void *
work(void *number)
{
	int thread = *(int *) number;
	DifsClient *client = difs_connect(NULL, NULL);
	char *data = random_bytes(LARGE, (unsigned) thread + 10);
	char path[64];

	*(int *) number = difs_failure(client)->status == DIFS_STATUS_OK;
	for (int i = 0; i < 5; i++)
	{
		Bytes bytes = {data, LARGE - (size_t) i, 0, true};

		snprintf(path, sizeof(path), "/api-test/thread-%d-%d", thread, i);
		*(int *) number &= difs_put_stream(client, path, read_bytes, &bytes, -1, NULL, NULL);
		bytes.at = 0;
		*(int *) number &= difs_get_stream(client, path, compare_bytes, &bytes, NULL, NULL) && bytes.same && bytes.at == bytes.length;
	}
	difs_disconnect(client);
	free(data);
	return NULL;
}

int
main(void)
{
	DifsClient *client = difs_connect("dbname=no-such-database", NULL);
	pthread_t threads[THREADS];
	int numbers[THREADS];
	bool good = true;

	ok(client != NULL && difs_failure(client)->status == DIFS_STATUS_CONNECTION, "a database that is not there", NULL);
	ok(!difs_mkdir(client, "/x", false) && difs_failure(client)->status == DIFS_STATUS_CONNECTION, "a client without connection fails", NULL);
	difs_disconnect(client);
	client = difs_connect(NULL, NULL);
	ok(difs_failure(client)->status == DIFS_STATUS_OK, "connect", client);
	difs_remove(client, "/api-test", true, NULL);
	test_names(client);
	test_files(client);
	test_transfers(client);
	test_batches(client);
	test_transactions(client);

	for (int i = 0; i < THREADS; i++)
	{
		numbers[i] = i;
		pthread_create(&threads[i], NULL, work, &numbers[i]);
	}
	for (int i = 0; i < THREADS; i++)
	{
		pthread_join(threads[i], NULL);
		good = good && numbers[i];
	}
	ok(good, "four clients in four threads", NULL);
	ok(difs_remove(client, "/api-test", true, NULL), "tidied up", client);
	difs_disconnect(client);
	printf("1..%d\n", tests);
	return failed > 0;
}
