/*
 * legacy.c - files that say what is left on chunk servers after a drop (legacy.h).
 *
 * No state but the files.  They are written and renamed durably.  Keeper and
 * launcher may judge one at the same time, and do the same then.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "utils/syscache.h"

#include "src/settings.h"
#include "worker/legacy.h"

#define CLUSTER_DIGITS (2 * DIFS_UUID_SIZE)

static List *list_files(void);
static char *directory(void);
static void write_file(const char *path, const DifsLegacy *legacy);
static bool parse_name(const char *name, Oid *database, char cluster[CLUSTER_DIGITS + 1], bool *certain);
static void cluster_digits(const uint8 *cluster, char digits[CLUSTER_DIGITS + 1]);
static void make_certain(const char *name);
static bool database_exists(Oid database);
static bool read_file(DifsLegacy *legacy);

void
difs_legacy_write(Oid database)
{
	DifsLegacy *legacy = palloc0(sizeof(DifsLegacy));
	DifsDatabase *entry = difs_database_find(database);
	char digits[CLUSTER_DIGITS + 1];
	bool claimed;

	if (entry == NULL)
	{
		ereport(WARNING,
				(errmsg("block groups on chunk servers will not be dropped, since difs is not running in this database")));
		return;
	}
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	claimed = entry->claimed;
	memcpy(legacy->cluster, entry->cluster, DIFS_UUID_SIZE);
	memcpy(legacy->claim, entry->claim, DIFS_CLAIM_SIZE);
	legacy->epoch = entry->epoch;
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		const DifsSharedServer *server = &entry->servers[i];

		if (server->id == 0)
			continue;
		strlcpy(legacy->servers[legacy->server_count].name, server->name, DIFS_NAME_SIZE);
		strlcpy(legacy->servers[legacy->server_count].host, server->host, sizeof(server->host));
		legacy->servers[legacy->server_count++].port = server->port;
	}
	LWLockRelease(&difs_shared->lock);
	if (!claimed)
	{
		ereport(WARNING,
				(errmsg("block groups on chunk servers are left to whoever holds the claim to them")));
		pfree(legacy);
		return;
	}
	cluster_digits(legacy->cluster, digits);
	write_file(psprintf("%s/%u.%s.dropping", directory(), database, digits), legacy);
	pfree(legacy);
}

void
difs_legacy_judge(const uint8 *cluster)
{
	char present[CLUSTER_DIGITS + 1] = "";
	ListCell *cell;

	if (cluster != NULL)
		cluster_digits(cluster, present);
	foreach (cell, list_files())
	{
		const char *name = lfirst(cell);
		char digits[CLUSTER_DIGITS + 1];
		Oid database;
		bool certain;

		if (!parse_name(name, &database, digits, &certain) || certain || database != MyDatabaseId)
			continue;
		if (strcmp(digits, present) != 0)
			make_certain(name);
		else
			(void) durable_unlink(psprintf("%s/%s", directory(), name), LOG); /* it was rolled back */
	}
}

bool
difs_legacy_wanted(void)
{
	ListCell *cell;
	bool wanted = false;

	foreach (cell, list_files())
	{
		const char *name = lfirst(cell);
		char digits[CLUSTER_DIGITS + 1];
		Oid database;
		bool certain;

		if (!parse_name(name, &database, digits, &certain))
			continue;
		if (!certain && !database_exists(database))
		{
			make_certain(name);
			certain = true;
		}
		wanted = wanted || certain;
	}
	return wanted;
}

/* In order of their names, so that one that is not done yet does not stop the others. */
bool
difs_legacy_next(char name[MAXPGPATH], DifsLegacy *legacy)
{
	char best[MAXPGPATH] = "";
	ListCell *cell;

	foreach (cell, list_files())
	{
		const char *file = lfirst(cell);
		char digits[CLUSTER_DIGITS + 1];
		Oid database;
		bool certain;

		if (parse_name(file, &database, digits, &certain) && certain && strcmp(file, name) > 0 &&
			(best[0] == '\0' || strcmp(file, best) < 0))
			strlcpy(best, file, sizeof(best));
	}
	strlcpy(name, best, MAXPGPATH);
	snprintf(legacy->path, sizeof(legacy->path), "%s/%s", directory(), best);
	return best[0] != '\0' && (read_file(legacy) || difs_legacy_next(name, legacy));
}

/* Names of all files, read to the end at once: the end of a transaction would close the directory. */
static List *
list_files(void)
{
	char *path = directory();
	DIR *files = AllocateDir(path);
	struct dirent *file;
	List *names = NIL;

	if (files == NULL)
		return NIL; /* nothing has been dropped here yet */
	while ((file = ReadDir(files, path)) != NULL)
		names = lappend(names, pstrdup(file->d_name));
	FreeDir(files);
	return names;
}

static char *
directory(void)
{
	char *local = difs_settings_local_directory();
	char *path = psprintf("%s/dropped", local);

	pfree(local);
	return path;
}

static void
write_file(const char *path, const DifsLegacy *legacy)
{
	char *temporary = psprintf("%s.new", path);
	char *local = difs_settings_local_directory();
	FILE *file;

	/* without embedded servers nobody has made it yet */
	if ((MakePGDirectory(local) != 0 && errno != EEXIST) || (MakePGDirectory(directory()) != 0 && errno != EEXIST))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", directory())));
	file = AllocateFile(temporary, PG_BINARY_W);
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", temporary)));
	fprintf(file, UINT64_FORMAT "\t", legacy->epoch);
	for (int i = 0; i < DIFS_CLAIM_SIZE; i++)
		fprintf(file, "%02x", legacy->claim[i]);
	fputc('\n', file);
	for (int i = 0; i < legacy->server_count; i++)
		fprintf(file, "%u\t%s\t%s\n", legacy->servers[i].port, legacy->servers[i].host, legacy->servers[i].name);
	if (ferror(file) || FreeFile(file) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	(void) durable_rename(temporary, path, ERROR);
	fsync_fname(local, true);
	pfree(local);
}

static bool
parse_name(const char *name, Oid *database, char cluster[CLUSTER_DIGITS + 1], bool *certain)
{
	int length = 0;

	if (sscanf(name, "%u.%32[0-9a-f]%n", database, cluster, &length) != 2 || strlen(cluster) != CLUSTER_DIGITS)
		return false;
	*certain = strcmp(name + length, ".dropped") == 0;
	return *certain || strcmp(name + length, ".dropping") == 0;
}

static void
cluster_digits(const uint8 *cluster, char digits[CLUSTER_DIGITS + 1])
{
	for (int i = 0; i < DIFS_UUID_SIZE; i++)
		snprintf(digits + 2 * i, 3, "%02x", cluster[i]);
}

static void
make_certain(const char *name)
{
	char *from = psprintf("%s/%s", directory(), name);
	char *to = pstrdup(from);

	strcpy(strrchr(to, '.'), ".dropped"); /* it is shorter */
	(void) durable_rename(from, to, LOG);
}

static bool
database_exists(Oid database)
{
	MemoryContext context = CurrentMemoryContext;
	bool exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return exists;
}

static bool
read_claim(FILE *file, DifsLegacy *legacy)
{
	if (fscanf(file, UINT64_FORMAT, &legacy->epoch) != 1 || fgetc(file) != '\t')
		return false;
	for (int i = 0; i < DIFS_CLAIM_SIZE; i++)
	{
		unsigned int byte;

		if (fscanf(file, "%2x", &byte) != 1)
			return false;
		legacy->claim[i] = (uint8) byte;
	}
	return true;
}

/* False, reported, if it is not there any more or makes no sense. */
static bool
read_file(DifsLegacy *legacy)
{
	const char *digits = strchr(strrchr(legacy->path, '/'), '.') + 1;
	FILE *file = AllocateFile(legacy->path, PG_BINARY_R);
	unsigned int port;

	for (int i = 0; i < DIFS_UUID_SIZE; i++)
	{
		unsigned int byte = 0;

		sscanf(digits + 2 * i, "%2x", &byte);
		legacy->cluster[i] = (uint8) byte;
	}
	legacy->server_count = 0;
	if (file == NULL || !read_claim(file, legacy))
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", legacy->path)));
		if (file != NULL)
			FreeFile(file);
		return false;
	}
	while (legacy->server_count < DIFS_MAX_SERVERS &&
		   fscanf(file, " %u\t%255[^\t]\t%255[^\n]", &port, legacy->servers[legacy->server_count].host,
				  legacy->servers[legacy->server_count].name) == 3)
		legacy->servers[legacy->server_count++].port = (uint16) port;
	FreeFile(file);
	return true;
}
