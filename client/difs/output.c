/*
 * output.c - sizes, times and names for people; results as tables and as JSON; the summary at the end.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

#define MAX_COLUMNS 24

#define OID_BOOL 16
#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23
#define OID_FLOAT8 701

static const char *cell(const PGresult *result, int row, int column, char buffer[32]);
static bool is_number(Oid type);
static bool is_bytes(const char *name);
static json_t *row_json(const PGresult *result, int row);
static json_t *text_json(const char *text);

const char *
size_text(char buffer[32], int64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double size = (double) bytes;
	int unit = 0;

	for (; size >= 1024 && unit < 6; unit++)
		size /= 1024;
	snprintf(buffer, 32, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
	return buffer;
}

const char *
short_size(char buffer[32], int64_t bytes)
{
	double size = (double) bytes;
	int unit = 0;

	for (; settings.human && size >= 1024 && unit < 6; unit++)
		size /= 1024;
	if (unit == 0)
		snprintf(buffer, 32, "%" PRId64, bytes);
	else
		snprintf(buffer, 32, size < 9.95 ? "%.1f%c" : "%.0f%c", size, "KMGTPE"[unit - 1]);
	return buffer;
}

const char *
count_text(char buffer[32], int64_t count)
{
	char plain[32];
	int length = snprintf(plain, sizeof(plain), "%" PRId64, count);
	int to = 0;

	for (int i = 0; i < length; i++)
	{
		buffer[to++] = plain[i];
		if ((length - i - 1) % 3 == 0 && i + 1 < length && plain[i] != '-')
			buffer[to++] = ',';
	}
	buffer[to] = '\0';
	return buffer;
}

const char *
time_text(char buffer[40], int64_t us)
{
	time_t seconds = (time_t) (us / 1000000);
	struct tm parts;

	localtime_r(&seconds, &parts);
	strftime(buffer, 40, "%Y-%m-%d %H:%M", &parts);
	return buffer;
}

const char *
mode_text(char buffer[12], DifsKind kind, uint32_t mode)
{
	buffer[0] = kind == DIFS_KIND_FILE ? '-' : (char) kind;
	for (int i = 0; i < 9; i++)
		buffer[1 + i] = (mode >> (8 - i)) & 1 ? "rwxrwxrwx"[i] : '-';
	if (mode & 04000)
		buffer[3] = mode & 0100 ? 's' : 'S';
	if (mode & 02000)
		buffer[6] = mode & 010 ? 's' : 'S';
	if (mode & 01000)
		buffer[9] = mode & 01 ? 't' : 'T';
	buffer[10] = '\0';
	return buffer;
}

/* A name may hold what moves the cursor or worse: a terminal gets ? for that, as from ls. */
const char *
shown_name(char *buffer, size_t size, const char *name)
{
	size_t i;

	if (!isatty(STDOUT_FILENO))
		return name;
	for (i = 0; name[i] != '\0' && i + 1 < size; i++)
		buffer[i] = (unsigned char) name[i] < ' ' || name[i] == 127 ? '?' : name[i];
	buffer[i] = '\0';
	return buffer;
}

PGresult *
query(const char *statement, int count, const char *const *parameters)
{
	PGresult *result = PQexecParams(sql(), statement, count, NULL, parameters, NULL, NULL, 0);
	DifsFailure failure = {.status = DIFS_STATUS_SERVER};
	const char *part;

	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return result;
	part = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	snprintf(failure.message, sizeof(failure.message), "%s", part != NULL ? part : PQerrorMessage(sql()));
	part = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	snprintf(failure.detail, sizeof(failure.detail), "%s", part != NULL ? part : "");
	part = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	snprintf(failure.hint, sizeof(failure.hint), "%s", part != NULL ? part : "");
	failure.message[strcspn(failure.message, "\n")] = '\0';
	complain_failure(NULL, &failure);
	PQclear(result);
	return NULL;
}

int
show(const char *statement, int count, const char *const *parameters, int64_t *rows)
{
	PGresult *result = query(statement, count, parameters);
	json_t *list;

	if (result == NULL)
		return PQstatus(sql()) == CONNECTION_OK ? EXIT_FAILED : EXIT_CONNECTION;
	if (rows != NULL)
		*rows = PQntuples(result);
	if (settings.json)
	{
		list = json_array();
		for (int row = 0; row < PQntuples(result); row++)
			json_array_append_new(list, row_json(result, row));
		print_json(list);
	}
	else
		print_table(result);
	PQclear(result);
	return EXIT_DONE;
}

/* Aligned, with a heading; numbers to the right. Nothing at all if there is no row. */
void
print_table(const PGresult *result)
{
	int columns = PQnfields(result) < MAX_COLUMNS ? PQnfields(result) : MAX_COLUMNS;
	int width[MAX_COLUMNS];
	char buffer[32];

	if (PQntuples(result) == 0)
		return;
	for (int column = 0; column < columns; column++)
	{
		width[column] = (int) strlen(PQfname(result, column));
		for (int row = 0; row < PQntuples(result); row++)
		{
			int length = (int) strlen(cell(result, row, column, buffer));

			if (length > width[column])
				width[column] = length;
		}
	}
	for (int row = -1; row < PQntuples(result); row++)
		for (int column = 0; column < columns; column++)
		{
			const char *text = row < 0 ? PQfname(result, column) : cell(result, row, column, buffer);
			bool last = column == columns - 1;

			if (is_number(PQftype(result, column)))
				printf("%*s%s", width[column], text, last ? "\n" : "  ");
			else
				printf("%-*s%s", last ? 0 : width[column], text, last ? "\n" : "  ");
		}
}

static const char *
cell(const PGresult *result, int row, int column, char buffer[32])
{
	if (PQgetisnull(result, row, column))
		return "-";
	if (settings.human && is_bytes(PQfname(result, column)))
		return short_size(buffer, strtoll(PQgetvalue(result, row, column), NULL, 10));
	if (PQftype(result, column) == OID_BOOL)
		return PQgetvalue(result, row, column)[0] == 't' ? "yes" : "no";
	return PQgetvalue(result, row, column);
}

static bool
is_number(Oid type)
{
	return type == OID_INT2 || type == OID_INT4 || type == OID_INT8 || type == OID_FLOAT8;
}

static bool
is_bytes(const char *name)
{
	static const char *const names[] = {"size", "bytes", "capacity", "used", "free", "quota_bytes", "stored"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static json_t *
row_json(const PGresult *result, int row)
{
	json_t *object = json_object();

	for (int column = 0; column < PQnfields(result); column++)
	{
		const char *text = PQgetvalue(result, row, column);
		Oid type = PQftype(result, column);

		json_object_set_new(object, PQfname(result, column),
							PQgetisnull(result, row, column) ? json_null() :
															   (type == OID_BOOL ? json_boolean(text[0] == 't') :
																				   (type == OID_FLOAT8 ? json_real(strtod(text, NULL)) :
																										 (is_number(type) ? json_integer(strtoll(text, NULL, 10)) : text_json(text)))));
	}
	return object;
}

/* What is not UTF-8 (of a database that does not care) cannot be said in JSON: its bytes above 127 become ?. */
static json_t *
text_json(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	if (json != NULL)
		return json;
	copy = need_copy(text);
	for (char *at = copy; *at != '\0'; at++)
		if ((unsigned char) *at > 127)
			*at = '?';
	json = json_string(copy);
	free(copy);
	return json;
}

void
print_json(void *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(json);
}

void *
entry_json(const DifsEntry *entry, const char *name)
{
	json_t *object = json_object();
	char octal[16];

	snprintf(octal, sizeof(octal), "%04o", entry->mode);
	json_object_set_new(object, "name", text_json(name));
	json_object_set_new(object, "kind", json_string(entry->kind == DIFS_KIND_FILE ? "file" : (entry->kind == DIFS_KIND_DIRECTORY ? "directory" : "symlink")));
	json_object_set_new(object, "size", json_integer(entry->size));
	json_object_set_new(object, "version", json_integer(entry->version));
	json_object_set_new(object, "mode", json_string(octal));
	json_object_set_new(object, "owner", text_json(entry->owner));
	json_object_set_new(object, "mtime", json_real((double) entry->mtime_us / 1e6));
	json_object_set_new(object, "ino", json_integer(entry->ino));
	return object;
}

double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

void
summary_begin(Summary *summary, const char *did)
{
	memset(summary, 0, sizeof(*summary));
	summary->did = did;
	summary->began = seconds_now();
}

int
summary_end(const Summary *summary)
{
	double seconds = seconds_now() - summary->began;
	FILE *to = summary->data_on_stdout ? stderr : stdout;
	char count[32];
	char size[32];
	char rate[32];
	json_t *object;

	progress_end();
	if (settings.json && !summary->data_on_stdout)
	{
		object = json_object();
		json_object_set_new(object, "did", json_string(summary->did));
		json_object_set_new(object, "files", json_integer(summary->files));
		json_object_set_new(object, "directories", json_integer(summary->directories));
		json_object_set_new(object, "links", json_integer(summary->links));
		json_object_set_new(object, "bytes", json_integer(summary->bytes));
		json_object_set_new(object, "failed", json_integer(summary->failed));
		json_object_set_new(object, "seconds", json_real(seconds));
		print_json(object);
	}
	else if (!settings.quiet)
	{
		fprintf(to, "%s %s file%s, %s in %.1f s (%s/s)", summary->did, count_text(count, summary->files), summary->files == 1 ? "" : "s",
				size_text(size, summary->bytes), seconds, size_text(rate, (int64_t) ((double) summary->bytes / (seconds > 0.001 ? seconds : 0.001))));
		if (summary->failed > 0)
			fprintf(to, ", %s failed", count_text(count, summary->failed));
		fputc('\n', to);
	}
	return summary->failed > 0 ? EXIT_FAILED : EXIT_DONE;
}
