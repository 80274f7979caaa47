/*
 * store.c - difs versions, restore, df, servers, check, scrub, fsck: what the store says of itself.  Statements whose rows are shown.
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"

const Option restore_options[] = {
	{272, "version", "N", "that version becomes the newest one; otherwise: the file that was deleted last"},
	{276, "to", "PATH", "under another name"},
	{0},
};

const Option df_options[] = {
	{276, "volumes", NULL, "only volumes, with their quotas"},
	{0},
};

const Option scrub_options[] = {
	{'r', "recursive", NULL, "all that is below a directory"},
	{276, "all", NULL, "everything that is stored, at difs.scrub_rate"},
	{0},
};

const Option fsck_options[] = {
	{276, "deep", NULL, "also what every chunk server says it has"},
	{277, "digests", NULL, "also read every version and compare its digest"},
	{0},
};

static bool has_relation(const char *name);
static int check_path(const char *path);

int
run_versions(int argc, char **argv)
{
	const char *parameters[1];

	while (next_option(argc, argv) != -1)
		;
	if (argc - optind != 1)
		return complain_usage("of which file?");
	connect_database();
	parameters[0] = argv[optind];
	return show("SELECT version, size, to_char(mtime, 'YYYY-MM-DD HH24:MI:SS') AS mtime, author::text, deleted, segments, encode(digest, 'hex') AS digest"
				" FROM difs_versions($1)",
				1, parameters, NULL);
}

int
run_restore(int argc, char **argv)
{
	const char *version = NULL;
	const char *to = NULL;
	const char *parameters[2];
	PGresult *result;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 272:
				version = optarg;
				(void) number_argument("--version", optarg);
				break;
			case 276: to = optarg; break;
		}
	if (argc - optind != 1)
		return complain_usage("which file?");
	connect_database();
	parameters[0] = argv[optind];
	parameters[1] = version != NULL ? version : to;
	if (version != NULL && to != NULL)
	{
		if (!difs_copy(client, argv[optind], number_argument("--version", version), to))
			return complain_of(argv[optind]);
		return EXIT_DONE;
	}
	result = version != NULL ? query("SELECT difs_restore($1::text, $2)", 2, parameters) : query("SELECT difs_undelete($1::text, $2::text)", 2, parameters);
	if (result == NULL)
		return EXIT_FAILED;
	if (!settings.quiet)
		printf(version != NULL ? "%s: version %s is version %s now\n" : "%s is back%.0s\n", argv[optind], version != NULL ? version : "",
			   PQgetvalue(result, 0, 0));
	PQclear(result);
	return EXIT_DONE;
}

int
run_df(int argc, char **argv)
{
	bool volumes = false;
	int exit_code = EXIT_DONE;
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		volumes |= letter == 276;
	connect_database();
	if (!volumes)
		exit_code = show("SELECT name AS server, tier, capacity_bytes AS capacity, used_bytes AS used, free_bytes AS free,"
						 " CASE WHEN used_bytes + free_bytes > 0 THEN (100 * used_bytes / (used_bytes + free_bytes))::integer END AS \"use%\", state"
						 " FROM difs.servers ORDER BY name",
						 0, NULL, NULL);
	if (exit_code != EXIT_DONE || (settings.json && !volumes))
		return exit_code;
	if (!volumes)
		putchar('\n');
	return show("SELECT v.name AS volume, v.replicas, s.bytes AS used, s.files, s.quota_bytes, s.quota_files"
				" FROM difs.volumes v LEFT JOIN difs.stat_volumes s USING (name) ORDER BY name",
				0, NULL, NULL);
}

int
run_servers(int argc, char **argv)
{
	while (next_option(argc, argv) != -1)
		;
	connect_database();
	return show("SELECT name AS server, host || ':' || port AS address, zone, tier, weight, state, alive, used_bytes AS used, free_bytes AS free,"
				" to_char(last_seen, 'YYYY-MM-DD HH24:MI:SS') AS last_seen, problem FROM difs.servers ORDER BY name",
				0, NULL, NULL);
}

/* A number is a process of difs_insert(), everything else a path. */
int
run_check(int argc, char **argv)
{
	const char *parameters[1];

	while (next_option(argc, argv) != -1)
		;
	if (argc - optind != 1)
		return complain_usage("which path, or which process?");
	connect_database();
	parameters[0] = argv[optind];
	if (strspn(argv[optind], "0123456789") == strlen(argv[optind]))
		return show("SELECT * FROM difs_check($1)", 1, parameters, NULL);
	return check_path(argv[optind]);
}

/* A process of difs_insert() that has not ended, or has failed where nothing is; else: done: it is there; in progress, accepted: there is an upload that can be gone on with; otherwise it never came, or was given up. */
static int
check_path(const char *path)
{
	static const char there[] = "SELECT $1::text AS path, 'done' AS state, version, size FROM difs_stat($1::text) WHERE difs_exists($1::text)";
	static const char uploads[] = "SELECT path, CASE WHEN segments > 0 THEN 'in progress' ELSE 'accepted' END AS state, segments,"
								  " size FROM difs.uploads"
								  " WHERE path IN ($1::text, current_setting('difs.volume', true) || ':' || $1::text) ORDER BY created DESC LIMIT 1";
	const char *parameters[] = {path};
	PGresult *result;
	int64_t rows = 0;
	bool inserting;
	bool failed;
	int exit_code;

	if (has_relation("difs.uploads"))
	{
		result = query(uploads, 1, parameters);
		if (result == NULL)
			return EXIT_FAILED;
		rows = PQntuples(result);
		PQclear(result);
		if (rows > 0)
			return show(uploads, 1, parameters, NULL);
	}
	result = query("SELECT coalesce((SELECT state FROM difs_check($1::text)), ''), difs_exists($1)", 1, parameters);
	if (result == NULL)
		return EXIT_FAILED;
	rows = PQgetvalue(result, 0, 1)[0] == 't';
	inserting = strcmp(PQgetvalue(result, 0, 0), "accepted") == 0 || strcmp(PQgetvalue(result, 0, 0), "in progress") == 0;
	failed = rows == 0 && PQgetvalue(result, 0, 0)[0] != '\0';
	PQclear(result);
	if (inserting || failed)
	{
		exit_code = show("SELECT * FROM difs_check($1::text)", 1, parameters, NULL);
		return exit_code == EXIT_DONE && failed ? EXIT_FAILED : exit_code;
	}
	if (rows > 0)
		return show(there, 1, parameters, NULL);
	exit_code = show("SELECT $1::text AS path, 'failed' AS state, NULL::bigint AS version, NULL::bigint AS size", 1, parameters, NULL);
	return exit_code == EXIT_DONE ? EXIT_FAILED : exit_code;
}

static bool
has_relation(const char *name)
{
	const char *parameters[] = {name};
	PGresult *result = query("SELECT 1 WHERE pg_catalog.to_regclass($1) IS NOT NULL", 1, parameters);
	bool has = result != NULL && PQntuples(result) == 1;

	PQclear(result);
	return has;
}

int
run_scrub(int argc, char **argv)
{
	bool recursive = false;
	bool all = false;
	int64_t rows = 0;
	int exit_code;
	const char *parameters[2];
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 'r': recursive = true; break;
			case 276: all = true; break;
		}
	if (all != (argc == optind))
		return complain_usage("a path, or --all");
	connect_database();
	if (all)
	{
		PGresult *result = query("SELECT copies, bytes, bad, mended, lost, unreachable FROM difs_scrub_all()", 0, NULL);

		if (result == NULL)
			return EXIT_FAILED;
		print_table(result);
		exit_code = strcmp(PQgetvalue(result, 0, 4), "0") == 0 && strcmp(PQgetvalue(result, 0, 5), "0") == 0 ? EXIT_DONE : EXIT_DAMAGE;
		PQclear(result);
		return exit_code;
	}
	parameters[0] = argv[optind];
	parameters[1] = recursive ? "t" : "f";
	exit_code = show("SELECT path, version, server, outcome, count(*) AS copies FROM difs_scrub($1, $2)"
					 " GROUP BY path, version, server, outcome HAVING outcome <> 'good' ORDER BY path, version, server",
					 2, parameters, &rows);
	if (exit_code == EXIT_DONE && rows == 0 && !settings.quiet && !settings.json)
		printf("every copy is good\n");
	return exit_code != EXIT_DONE ? exit_code : (rows > 0 ? EXIT_DAMAGE : EXIT_DONE);
}

int
run_fsck(int argc, char **argv)
{
	bool deep = false;
	bool digests = false;
	int64_t rows = 0;
	int exit_code;
	const char *parameters[2];
	int letter;

	while ((letter = next_option(argc, argv)) != -1)
		switch (letter)
		{
			case 276: deep = true; break;
			case 277: digests = true; break;
		}
	connect_database();
	parameters[0] = deep ? "t" : "f";
	parameters[1] = digests ? "t" : "f";
	exit_code = show("SELECT kind, object, detail, hint FROM difs_fsck(deep => $1, digests => $2)", 2, parameters, &rows);
	if (exit_code == EXIT_DONE && rows == 0 && !settings.quiet && !settings.json)
		printf("nothing is wrong\n");
	return exit_code != EXIT_DONE ? exit_code : (rows > 0 ? EXIT_DAMAGE : EXIT_DONE);
}
