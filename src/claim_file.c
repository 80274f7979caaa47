/*
 * claim_file.c - the claim's file, and the place where it is valid (claim.h).
 *
 * difs_claims/<cluster uuid>.claim below the data directory, replaced whole.  Its
 * text ends with a description of the place:
 *
 *	database     OID, since a dump may be restored beside its original
 *	system       PostgreSQL's system identifier
 *	timeline     another one after promotion and after a restore
 *	file         inode number and time of birth of this file,
 *	directory    the same of PG_VERSION: no program that copies files can keep these
 *	path         of the data directory, since snapshots of file systems do keep them
 *
 * The file is valid where the same description would be written today.  What it
 * cannot tell apart is the clone of a whole machine that has the data directory at
 * the same path, and a snapshot of the file system that is put back in its place.
 *
 * Only CREATE EXTENSION, difs_claim() and the keeper write it, the latter two for a
 * database at a time (lock of the table difs.cluster; the keeper only to mark a
 * loss).  A crash leaves the old file or the new one, and perhaps a temporary one,
 * which the next write replaces.
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "common/fault.h"
#include "src/claim.h"
#include "src/report.h"

#define CLAIM_DIRECTORY "difs_claims"
#define FORMAT 1
#define TEXT_SIZE (PATH_MAX + 1024)

static char *file_name(const uint8 *cluster);
static void hex(const uint8 *bytes, int length, char *out);
static bool unhex(const char *digits, uint8 *bytes, int length);
static char *describe(const uint8 *cluster, const DifsClaim *claim, DifsClaimState state, const char *file);
static char *birth(const char *file);
static bool read_text(const char *file, char *text);
static void write_text(const char *file, const char *text);
static const char *why_void(const char *text, const char *wanted);

DifsClaimState
difs_claim_file_read(const uint8 *cluster, DifsClaim *claim, const char **why)
{
	char *file = file_name(cluster);
	char *text = palloc(TEXT_SIZE);
	char digits[2 * DIFS_CLAIM_SIZE + 1];
	char state_word[8];
	unsigned long long epoch;
	DifsClaimState state;
	int format;

	if (!read_text(file, text))
	{
		*why = "No claim has been made in this data directory.";
		return DIFS_CLAIM_NONE;
	}
	if (sscanf(text, "difs claim %d\n", &format) == 1 && format != FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("file \"%s\" is of format %d, which this version of difs does not know", file, format),
				 errhint("A newer difs has written it: install that version, or remove the file and call difs_claim().")));
	if (sscanf(text, "difs claim %*d\nstate %7s\nepoch %llu\nclaim %32[0-9a-f]\n", state_word, &epoch, digits) != 3 ||
		!unhex(digits, claim->id, DIFS_CLAIM_SIZE))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("file \"%s\" is damaged", file),
				 errhint("Remove it and call difs_claim().")));
	claim->epoch = epoch;
	state = strcmp(state_word, "lost") == 0 ? DIFS_CLAIM_LOST : DIFS_CLAIM_HELD;
	*why = why_void(text, describe(cluster, claim, state, file));
	if (*why != NULL)
		return DIFS_CLAIM_VOID;
	if (state == DIFS_CLAIM_LOST)
		*why = "Another server has claimed the files.";
	return state;
}

/* The description has the new file's own inode, so it is written after the file has been made. */
void
difs_claim_file_write(const uint8 *cluster, const DifsClaim *claim, DifsClaimState state)
{
	char *file = file_name(cluster);
	char *temporary = psprintf("%s.tmp", file);

	if (MakePGDirectory(CLAIM_DIRECTORY) != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", CLAIM_DIRECTORY)));
	fsync_fname(".", true);
	if (unlink(temporary) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", temporary)));
	write_text(temporary, "");
	write_text(temporary, describe(cluster, claim, state, temporary));
	DIFS_FAULT("backend.claim.written");
	(void) durable_rename(temporary, file, ERROR);
}

char *
difs_claim_birth(const char *file)
{
#ifdef STATX_BTIME
	struct statx status;
	bool known;

	if (statx(AT_FDCWD, file, 0, STATX_INO | STATX_BTIME, &status) != 0)
		return NULL;
	known = (status.stx_mask & STATX_BTIME) != 0;
	return psprintf("%llu %lld.%09u", (unsigned long long) status.stx_ino,
					known ? (long long) status.stx_btime.tv_sec : 0, known ? status.stx_btime.tv_nsec : 0);
#else
	struct stat status;

	if (stat(file, &status) != 0)
		return NULL;
	return psprintf("%llu 0.000000000", (unsigned long long) status.st_ino);
#endif
}

static char *
file_name(const uint8 *cluster)
{
	char digits[2 * DIFS_UUID_SIZE + 1];

	hex(cluster, DIFS_UUID_SIZE, digits);
	return psprintf("%s/%s.claim", CLAIM_DIRECTORY, digits);
}

static void
hex(const uint8 *bytes, int length, char *out)
{
	for (int i = 0; i < length; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool
unhex(const char *digits, uint8 *bytes, int length)
{
	for (int i = 0; i < length; i++)
	{
		if (sscanf(digits + 2 * i, "%2hhx", &bytes[i]) != 1)
			return false;
	}
	return true;
}

/* The whole text of the file, as it has to be here and now. */
static char *
describe(const uint8 *cluster, const DifsClaim *claim, DifsClaimState state, const char *file)
{
	char cluster_digits[2 * DIFS_UUID_SIZE + 1];
	char claim_digits[2 * DIFS_CLAIM_SIZE + 1];
	char path[PATH_MAX];

	hex(cluster, DIFS_UUID_SIZE, cluster_digits);
	hex(claim->id, DIFS_CLAIM_SIZE, claim_digits);
	if (realpath(".", path) == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not resolve the path of the data directory: %m")));
	return psprintf("difs claim %d\nstate %s\nepoch " UINT64_FORMAT "\nclaim %s\ncluster %s\ndatabase %u\n"
					"system " UINT64_FORMAT "\ntimeline %u\nfile %s\ndirectory %s\npath %s\n",
					FORMAT, state == DIFS_CLAIM_LOST ? "lost" : "held", claim->epoch, claim_digits, cluster_digits, MyDatabaseId,
					GetSystemIdentifier(), GetWALInsertionTimeLine(), birth(file), birth("PG_VERSION"), path);
}

static char *
birth(const char *file)
{
	char *birth = difs_claim_birth(file);

	if (birth == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", file)));
	return birth;
}

static bool
read_text(const char *file, char *text)
{
	int fd = OpenTransientFile(file, O_RDONLY | PG_BINARY);
	ssize_t length;

	if (fd < 0 && errno == ENOENT)
		return false;
	length = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);
	if (length < 0 || CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", file)));
	text[length] = '\0';
	return true;
}

static void
write_text(const char *file, const char *text)
{
	int fd = OpenTransientFile(file, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	ssize_t length = strlen(text);
	ssize_t written = fd < 0 ? -1 : write(fd, text, length);

	if (written >= 0 && written < length)
		errno = ENOSPC;
	if (written != length || CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", file)));
}

/* The first line in which the two differ tells what has happened; NULL: none. */
static const char *
why_void(const char *text, const char *wanted)
{
	const char *line = wanted;

	if (strcmp(text, wanted) == 0)
		return NULL;
	for (int i = 0; wanted[i] != '\0' && text[i] == wanted[i]; i++)
	{
		if (wanted[i] == '\n')
			line = wanted + i + 1;
	}
	if (strncmp(line, "timeline ", strlen("timeline ")) == 0)
		return "This server has been promoted or restored since the claim was made.";
	if (strncmp(line, "database ", strlen("database ")) == 0)
		return "The claim was made by another database of this server, of which this one is a copy.";
	return "This data directory is a copy of the one in which the claim was made, or it has been moved or restored.";
}
