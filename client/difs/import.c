/*
 * import.c - difs import and export: moving from and to other ways of keeping files, with a comparison of every byte and a report.
 *
 * Large objects and bytea columns are stored and compared by the database server, in one transaction: either all of it is there and
 * as it was, or nothing is.  Their bytes never come here.  Directories are put or got, and then each file is read again and compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define PIECE "67108864" /* of a large object, in one statement */

const Option import_options[] = {
	{276, "from-large-objects", NULL, "every large object that you may read, as PATH/<oid>"},
	{277, "from-bytea", NULL, "a column of a table; PATH-EXPRESSION is SQL over its rows"},
	{270, "exclude", "PATTERN", "of a directory: leave out what matches"},
	{275, "dry-run", NULL, "only say what would be done"},
	{0},
};

const Option export_options[] = {
	{270, "exclude", "PATTERN", "leave out what matches"},
	{275, "dry-run", NULL, "only say what would be done"},
	{0},
};

/* What is imported row by row: each row is a source, a path and what the server is to do. */
typedef struct Source
{
	const char *list;	 /* SELECT source, path [, tableoid] in text */
	const char *put;	 /* $1 source, $2 path, $3 offset: stores a piece; gives its length */
	const char *compare; /* the same: is it as it was; gives true and the length */
	bool in_pieces;		 /* otherwise all at once */
} Source;

/* A stored file against a local one. */
typedef struct Comparison
{
	int fd;
	bool same;
	char buffer[65536];
} Comparison;

static int import_directory(char *local, char *path, bool dry_run);
static int import_large_objects(char *path, bool dry_run);
static int import_bytea(const char *table, const char *column, const char *expression, bool dry_run);
static int import_rows(const Source *source, bool dry_run);
static bool import_row(const Source *source, const char *from, const char *path, Summary *summary);
static int verified(const Plan *plan, bool stored_is_target, Summary *summary);
static bool compare(void *context, const void *data, size_t length);

int
run_import(int argc, char **argv)
{
	bool large_objects = false;
	bool bytea = false;
	bool dry_run = false;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 276: large_objects = true; break;
			case 277: bytea = true; break;
			case 270: exclude_add(optarg); break;
			case 275: dry_run = true; break;
		}
	argv += optind;
	argc -= optind;
	if (large_objects + bytea > 1 || argc != (large_objects ? 1 : (bytea ? 3 : 2)))
		return complain_usage("what from, and where to?");
	connect_database();
	if (large_objects)
		return import_large_objects(argv[0], dry_run);
	return bytea ? import_bytea(argv[0], argv[1], argv[2], dry_run) : import_directory(argv[0], argv[1], dry_run);
}

static int
import_directory(char *local, char *path, bool dry_run)
{
	Transfer transfer = {.keep_attributes = true, .batch = 1000, .parents = true};
	Plan plan = {0};
	Summary summary;
	int exit_code;

	path_strip(path);
	summary_begin(&summary, "imported and compared");
	plan_local(&plan, local, path, true, false);
	summary.failed = plan.failed;
	if (dry_run)
	{
		plan_print(&plan, "import");
		exit_code = summary.failed > 0 ? EXIT_FAILED : EXIT_DONE;
	}
	else
	{
		put_plan(&plan, &transfer, &summary);
		exit_code = verified(&plan, true, &summary);
	}
	plan_free(&plan);
	return exit_code;
}

static int
import_large_objects(char *path, bool dry_run)
{
	static const char put[] =
		"SELECT octet_length(piece), CASE WHEN $3::bigint = 0 THEN difs_put($2, piece, 0, true) WHEN octet_length(piece) > 0 THEN difs_append($2, piece) END"
		" FROM (SELECT lo_get($1::oid, $3::bigint, " PIECE ") AS piece OFFSET 0) AS large_object";
	static const char same[] =
		"SELECT lo_get($1::oid, $3::bigint, " PIECE ") = difs_get($2, NULL, $3::bigint, " PIECE "), octet_length(lo_get($1::oid, $3::bigint, " PIECE "))";
	char *literal;
	char *list;
	int exit_code;

	path_strip(path);
	literal = PQescapeLiteral(sql(), path, strlen(path));
	list = need_memory(strlen(literal) + 300);
	sprintf(list, "SELECT oid::text, rtrim(%s, '/') || '/' || oid FROM pg_largeobject_metadata AS m"
				  " WHERE pg_has_role(lomowner, 'USAGE') OR EXISTS (SELECT FROM aclexplode(lomacl) WHERE privilege_type = 'SELECT' AND"
				  " (grantee = 0 OR pg_has_role(grantee, 'USAGE'))) ORDER BY oid",
			literal);
	exit_code = import_rows(&(Source){list, put, same, true}, dry_run);
	PQfreemem(literal);
	free(list);
	return exit_code;
}

/* A row is found again by where it is, which stays so under one snapshot. */
static int
import_bytea(const char *table, const char *column, const char *expression, bool dry_run)
{
	static const char row[] = "tableoid = split_part($1, ' ', 1)::oid AND ctid = split_part($1, ' ', 2)::tid";
	const char *parameters[] = {table};
	PGresult *result = query("SELECT $1::regclass::text", 1, parameters);
	char *name;
	const char *quoted_table;
	char *texts[3];
	int exit_code;

	if (result == NULL)
		return EXIT_FAILED;
	quoted_table = PQgetvalue(result, 0, 0);
	name = PQescapeIdentifier(sql(), column, strlen(column));
	for (int i = 0; i < 3; i++)
		texts[i] = need_memory(4 * strlen(name) + strlen(quoted_table) + strlen(expression) + 512);
	sprintf(texts[0], "SELECT tableoid || ' ' || ctid, (%s)::text FROM %s WHERE %s IS NOT NULL", expression, quoted_table, name);
	sprintf(texts[1], "SELECT 0, difs_put($2, %s::bytea, 0, true), $3::bigint FROM %s WHERE %s", name, quoted_table, row);
	sprintf(texts[2], "SELECT %s = difs_get($2), octet_length(%s), $3::bigint FROM %s WHERE %s", name, name, quoted_table, row);
	exit_code = import_rows(&(Source){texts[0], texts[1], texts[2], false}, dry_run);
	for (int i = 0; i < 3; i++)
		free(texts[i]);
	PQfreemem(name);
	PQclear(result);
	return exit_code;
}

static int
import_rows(const Source *source, bool dry_run)
{
	Summary summary;
	PGresult *list;
	bool good;

	summary_begin(&summary, "imported and compared");
	PQclear(query("BEGIN ISOLATION LEVEL REPEATABLE READ", 0, NULL));
	list = query(source->list, 0, NULL);
	good = list != NULL;
	progress_begin(-1, -1);
	for (int row = 0; good && row < PQntuples(list) && !was_cancelled(); row++)
	{
		if (PQgetisnull(list, row, 1))
			good = complain_text("the path of row %s is null", PQgetvalue(list, row, 0)) == EXIT_DONE;
		else if (dry_run)
			printf("would import %s -> %s\n", PQgetvalue(list, row, 0), PQgetvalue(list, row, 1));
		else
			good = import_row(source, PQgetvalue(list, row, 0), PQgetvalue(list, row, 1), &summary);
	}
	PQclear(list);
	good = good && !was_cancelled() && (dry_run || difs_commit(client));
	if (!good && difs_failure(client)->status != DIFS_STATUS_OK)
		complain();
	if (!good || dry_run)
		difs_rollback(client);
	if (dry_run)
		return good ? EXIT_DONE : EXIT_FAILED;
	if (!good)
	{
		progress_end();
		complain_text("nothing was imported");
		return EXIT_FAILED;
	}
	return summary_end(&summary);
}

/* Stored, and compared, piece by piece: a piece shorter than that is the last. */
static bool
import_row(const Source *source, const char *from, const char *path, Summary *summary)
{
	const char *const steps[] = {source->put, source->compare};
	int64_t total = 0;

	progress_file(path);
	for (int step = 0; step < 2; step++)
	{
		int64_t offset = 0;
		int64_t length;

		do
		{
			char number[32];
			const char *parameters[] = {from, path, number};
			PGresult *result;

			sprintf(number, "%" PRId64, offset);
			result = query(steps[step], 3, parameters);
			if (result == NULL)
				return false;
			if (PQntuples(result) != 1 || (step == 1 && PQgetvalue(result, 0, 0)[0] != 't'))
			{
				complain_text("%s: \"%s\" is not what it was", from, path);
				PQclear(result);
				return false;
			}
			length = strtoll(PQgetvalue(result, 0, step), NULL, 10);
			offset += length;
			PQclear(result);
		} while (source->in_pieces && length == strtoll(PIECE, NULL, 10));
		total = offset;
	}
	summary->files++;
	summary->bytes += total;
	progress_done(total);
	if (settings.verbose && !settings.json)
		printf("%s -> %s\n", from, path);
	return true;
}

int
run_export(int argc, char **argv)
{
	Transfer transfer = {.keep_attributes = true};
	Plan plan = {0};
	Summary summary;
	bool dry_run = false;
	int exit_code;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 270: exclude_add(optarg); break;
			case 275: dry_run = true; break;
		}
	if (argc - optind != 2)
		return complain_usage("what, and where to?");
	connect_database();
	path_strip(argv[optind]);
	summary_begin(&summary, "exported and compared");
	plan_remote(&plan, argv[optind], argv[optind + 1], true);
	summary.failed = plan.failed;
	if (dry_run)
	{
		plan_print(&plan, "export");
		exit_code = summary.failed > 0 ? EXIT_FAILED : EXIT_DONE;
	}
	else
	{
		get_plan(&plan, &transfer, &summary);
		exit_code = verified(&plan, false, &summary);
	}
	plan_free(&plan);
	return exit_code;
}

static int
verified(const Plan *plan, bool stored_is_target, Summary *summary)
{
	Comparison *comparison = need_memory(sizeof(*comparison));
	int exit_code;

	for (size_t i = 0; i < plan->count && !was_cancelled() && PQstatus(sql()) == CONNECTION_OK; i++)
	{
		const Item *item = &plan->items[i];
		const char *local = stored_is_target ? item->from : item->to;
		const char *stored = stored_is_target ? item->to : item->from;

		if (item->kind != DIFS_KIND_FILE)
			continue;
		progress_file(local);
		comparison->fd = open(local, O_RDONLY | O_CLOEXEC);
		comparison->same = comparison->fd >= 0;
		/* whether it was there at all has been said before */
		if (comparison->fd < 0)
			continue;
		errno = 0;
		if (!difs_get_stream(client, stored, compare, comparison, NULL, NULL) && comparison->same)
		{
			complain_of(stored);
			summary->failed++;
		}
		else if (!comparison->same || read(comparison->fd, comparison->buffer, 1) != 0)
		{
			complain_text("\"%s\" and \"%s\" are not the same", local, stored);
			summary->failed++;
		}
		close(comparison->fd);
	}
	free(comparison);
	exit_code = summary_end(summary);
	return PQstatus(sql()) == CONNECTION_OK ? exit_code : EXIT_CONNECTION;
}

static bool
compare(void *context, const void *data, size_t length)
{
	Comparison *comparison = context;
	const char *at = data;

	while (length > 0 && comparison->same)
	{
		size_t wanted = length < sizeof(comparison->buffer) ? length : sizeof(comparison->buffer);
		ssize_t got = read(comparison->fd, comparison->buffer, wanted);

		comparison->same = got > 0 && memcmp(comparison->buffer, at, (size_t) got) == 0;
		if (!comparison->same)
			break;
		at += got;
		length -= (size_t) got;
	}
	if (!comparison->same)
		errno = EILSEQ;
	return comparison->same;
}
