/*
 * counters_file.c - the counts over a restart (counters.h).
 *
 * The postmaster writes them to pg_stat/difs.stat, beside PostgreSQL's own, when
 * all others have ended and the shutdown is an orderly one; the next start reads
 * the file and removes it.  One that is cut short, changed, or of another build is
 * removed, too, with a line in the log: counts begin anew then.
 *
 * The file is a row of 64-bit words of this machine:
 *
 *	magic, layout, number of databases
 *	for each of them	oid, cluster (2), since, streamer's counts, number of servers
 *		for each of these	id, its counts
 *	checksum of all words before (CRC-32C)
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "src/counters.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/difs.stat"
#define MAGIC UINT64CONST(0x5441545353464944) /* "DIFSSTAT" */
#define LAYOUT ((uint64) 1 << 32 | DIFS_STREAMER_COUNTS << 16 | DIFS_IO_KINDS << 8 | DIFS_IO_COUNTS)
#define SERVER_COUNTS (DIFS_IO_KINDS * DIFS_IO_COUNTS)
#define MOST_WORDS (8 + (uint64) PG_INT16_MAX * 1024) /* of any file that this has written */

typedef struct Writer
{
	FILE *file;
	pg_crc32c crc;
	bool failed;
} Writer;

/* Words that are read: beyond the end all are 0, and failed is set. */
typedef struct Reader
{
	const uint64 *word;
	size_t left;
	bool failed;
} Reader;

static void put(Writer *writer, uint64 word);
static void put_counts(Writer *writer, pg_atomic_uint64 *count, int number);
static void put_database(Writer *writer, DifsCounters *counters);
static bool read_words(uint64 **words, size_t *count);
static uint64 get(Reader *reader);
static void get_counts(Reader *reader, pg_atomic_uint64 *count, int number);
static void get_database(Reader *reader, DifsCounters *counters);

void
difs_counters_save(int code, Datum arg)
{
	Writer writer = {0};
	uint64 databases = 0;

	if (code != 0 || difs_counters_at(0) == NULL)
		return;
	writer.file = AllocateFile(FILE_NAME ".tmp", PG_BINARY_W);
	writer.failed = writer.file == NULL;
	INIT_CRC32C(writer.crc);
	for (int i = 0; difs_counters_at(i) != NULL; i++)
		databases += difs_counters_at(i)->database != InvalidOid;
	put(&writer, MAGIC);
	put(&writer, LAYOUT);
	put(&writer, databases);
	for (int i = 0; difs_counters_at(i) != NULL; i++)
		if (difs_counters_at(i)->database != InvalidOid)
			put_database(&writer, difs_counters_at(i));
	put(&writer, writer.crc);
	if (writer.file != NULL && FreeFile(writer.file) != 0)
		writer.failed = true;
	if (!writer.failed)
		(void) durable_rename(FILE_NAME ".tmp", FILE_NAME, LOG);
	else
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("difs: could not write file \"%s\": %m", FILE_NAME ".tmp"),
				 errdetail("Statistics of difs begin anew with the next start.")));
		(void) unlink(FILE_NAME ".tmp");
	}
}

void
difs_counters_load(void)
{
	Reader reader = {0};
	uint64 *words;
	size_t count;
	uint64 databases;
	int i = 0;

	if (!read_words(&words, &count))
		return;
	reader.word = words;
	reader.left = count;
	(void) get(&reader); /* magic and layout: read_words() has seen them */
	(void) get(&reader);
	databases = get(&reader);
	/* more than there is room for, if difs.max_databases is lower now */
	for (; i < databases && difs_counters_at(i) != NULL && !reader.failed; i++)
		get_database(&reader, difs_counters_at(i));
	free(words);
}

static void
put(Writer *writer, uint64 word)
{
	COMP_CRC32C(writer->crc, &word, sizeof(word));
	if (!writer->failed && fwrite(&word, sizeof(word), 1, writer->file) != 1)
		writer->failed = true;
}

static void
put_counts(Writer *writer, pg_atomic_uint64 *count, int number)
{
	for (int i = 0; i < number; i++)
		put(writer, pg_atomic_read_u64(&count[i]));
}

static void
put_database(Writer *writer, DifsCounters *counters)
{
	uint64 half[2];
	uint64 servers = 0;

	put(writer, counters->database);
	memcpy(half, counters->cluster, sizeof(half));
	put(writer, half[0]);
	put(writer, half[1]);
	put(writer, pg_atomic_read_u64(&counters->since));
	put_counts(writer, counters->streamer, DIFS_STREAMER_COUNTS);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
		servers += pg_atomic_read_u32(&counters->servers[i].server) != 0;
	put(writer, servers);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		DifsServerCounters *server = &counters->servers[i];

		if (pg_atomic_read_u32(&server->server) == 0)
			continue;
		put(writer, pg_atomic_read_u32(&server->server));
		put_counts(writer, &server->io[0][0], SERVER_COUNTS);
	}
}

/* The file's words but for the checksum, to be freed; false if there is none that can be used. It is gone then, or will be: its counts are ours now. */
static bool
read_words(uint64 **words, size_t *count)
{
	FILE *file = AllocateFile(FILE_NAME, PG_BINARY_R);
	struct stat status;
	pg_crc32c crc;
	bool good;

	if (file == NULL)
		return false;
	*words = NULL;
	good = fstat(fileno(file), &status) == 0 && status.st_size >= 4 * sizeof(uint64) &&
		status.st_size % sizeof(uint64) == 0 && status.st_size / sizeof(uint64) <= MOST_WORDS;
	*count = good ? status.st_size / sizeof(uint64) - 1 : 0;
	good = good && (*words = malloc(status.st_size)) != NULL && fread(*words, status.st_size, 1, file) == 1;
	FreeFile(file);
	if (good)
	{
		INIT_CRC32C(crc);
		COMP_CRC32C(crc, *words, *count * sizeof(uint64));
		good = (*words)[*count] == crc && (*words)[0] == MAGIC && (*words)[1] == LAYOUT;
	}
	if (!good)
	{
		ereport(LOG,
				(errmsg("difs: ignoring the file \"%s\", which is damaged or of another version", FILE_NAME),
				 errdetail("Statistics of difs begin anew.")));
		free(*words);
	}
	(void) unlink(FILE_NAME);
	return good;
}

static uint64
get(Reader *reader)
{
	if (reader->left == 0)
	{
		reader->failed = true;
		return 0;
	}
	reader->left--;
	return *reader->word++;
}

static void
get_counts(Reader *reader, pg_atomic_uint64 *count, int number)
{
	for (int i = 0; i < number; i++)
		pg_atomic_write_u64(&count[i], get(reader));
}

static void
get_database(Reader *reader, DifsCounters *counters)
{
	uint64 half[2];
	uint64 servers;

	counters->database = (Oid) get(reader);
	half[0] = get(reader);
	half[1] = get(reader);
	memcpy(counters->cluster, half, sizeof(half));
	pg_atomic_write_u64(&counters->since, get(reader));
	get_counts(reader, counters->streamer, DIFS_STREAMER_COUNTS);
	servers = get(reader);
	for (uint64 i = 0; i < servers && !reader->failed; i++)
	{
		DifsServerCounters *server = difs_counters_server(counters, (int32) get(reader));

		if (server == NULL || reader->failed)
			return;
		get_counts(reader, &server->io[0][0], SERVER_COUNTS);
	}
}
