/*
 * main.c - the command difs: options before the name of a command, the table of commands, signals, the connection.
 *
 * SIGINT and SIGTERM cancel what is under way, so that the transaction is rolled back and the terminal tidied up; a second one ends at
 * once, and the transaction goes with the connection.
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "command.h"

Settings settings;
const Command *command;
DifsClient *client;

static const char *conninfo;
static DifsOptions connection = {.application_name = "difs"};
static bool never_ask;
static volatile sig_atomic_t caught;

const Command commands[] = {
	{"put", run_put, "[OPTION]... LOCAL PATH\n[OPTION]... LOCAL... DIRECTORY\n[OPTION]... - PATH", "store local files and directories; - is standard input", put_options},
	{"get", run_get, "[OPTION]... PATH [LOCAL]\n[OPTION]... PATH... LOCAL-DIRECTORY\n[OPTION]... PATH -", "fetch files and directories; - is standard output", get_options},
	{"cat", run_cat, "[OPTION]... PATH...", "write files to standard output", cat_options},
	{"ls", run_ls, "[OPTION]... [PATH]...", "list directories", ls_options},
	{"tree", run_tree, "[OPTION]... [PATH]...", "show what is below a directory as a tree", tree_options},
	{"cp", run_cp, "[OPTION]... PATH PATH\n[OPTION]... PATH... DIRECTORY", "copy within the database; no bytes move", cp_options},
	{"mv", run_mv, "[OPTION]... PATH PATH\n[OPTION]... PATH... DIRECTORY", "rename or move", mv_options},
	{"rm", run_rm, "[OPTION]... PATH...", "remove files and directories", rm_options},
	{"mkdir", run_mkdir, "[OPTION]... PATH...", "make directories", mkdir_options},
	{"stat", run_stat, "[OPTION]... PATH...", "show all about a file or directory", stat_options},
	{"versions", run_versions, "[OPTION]... PATH", "list the versions of a file, newest first", NULL},
	{"restore", run_restore, "[OPTION]... PATH", "bring back an old version, or what was deleted", restore_options},
	{"du", run_du, "[OPTION]... [PATH]...", "sum up what is at and below directories", du_options},
	{"df", run_df, "[OPTION]...", "show space on chunk servers, and quotas of volumes", df_options},
	{"servers", run_servers, "[OPTION]...", "list chunk servers and how they are", NULL},
	{"check", run_check, "[OPTION]... PATH|PROCESS", "show the state of an insert: accepted, in progress, done, failed", NULL},
	{"scrub", run_scrub, "[OPTION]... PATH\n[OPTION]... --all", "read every copy on its server's disk, and mend bad ones", scrub_options},
	{"fsck", run_fsck, "[OPTION]...", "look for contradictions between tables, servers and contents", fsck_options},
	{"top", run_top, "[OPTION]...", "watch chunk servers, streamer and keeper at work", top_options},
	{"report", run_report, "[OPTION]... FILE.html\n[OPTION]... -", "draw throughput, latency, space and repair as a page", report_options},
	{"bench", run_bench, "[OPTION]...", "how fast this installation is, beside large objects and bytea", bench_options},
	{"import", run_import, "[OPTION]... LOCAL-DIRECTORY PATH\n[OPTION]... --from-large-objects PATH\n[OPTION]... --from-bytea TABLE COLUMN PATH-EXPRESSION",
	 "take over a directory, large objects or a bytea column, and compare", import_options},
	{"export", run_export, "[OPTION]... PATH LOCAL-DIRECTORY", "write a tree out, and compare", export_options},
	{.name = NULL},
};

static void parse_global(int argc, char **argv);
static void print_overview(FILE *to);
static const Command *find_command(const char *name);
static void on_signal(int signal_number);
static char *ask_password(void);

int
main(int argc, char **argv)
{
	int exit_code;
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND | SA_NODEFER | SA_RESTART};

	setlocale(LC_CTYPE, "");
	parse_global(argc, argv);
	if (optind == argc)
	{
		print_overview(stderr);
		return EXIT_USAGE;
	}
	command = find_command(argv[optind]);
	if (command == NULL)
	{
		fprintf(stderr, "difs: \"%s\" is no command\nTry \"difs --help\".\n", argv[optind]);
		return EXIT_USAGE;
	}

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error like a full disk */

	argc -= optind;
	argv += optind;
	optind = 0; /* getopt_long() begins anew */
	exit_code = command->run(argc, argv);
	if (exit_code == EXIT_DONE && (fflush(stdout) != 0 || ferror(stdout)))
		exit_code = complain_text("could not write to standard output: %s", strerror(errno));
	difs_disconnect(client);
	if (caught != 0)
	{
		signal(caught, SIG_DFL);
		raise(caught);
	}
	return exit_code;
}

static void
parse_global(int argc, char **argv)
{
	static const struct option options[] = {
		{"dbname", required_argument, NULL, 'd'},
		{"host", required_argument, NULL, 'h'},
		{"port", required_argument, NULL, 'p'},
		{"username", required_argument, NULL, 'U'},
		{"no-password", no_argument, NULL, 'w'},
		{"no-direct", no_argument, NULL, 256},
		{"max-memory", required_argument, NULL, 257},
		{"threads", required_argument, NULL, 258},
		{"list-options", required_argument, NULL, 259},
		{"help", no_argument, NULL, '?'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	opterr = 1;
	while ((letter = getopt_long(argc, argv, "+d:h:p:U:wV", options, NULL)) != -1)
		switch (letter)
		{
			case 'd':
				conninfo = optarg;
				break;
			case 'h':
				connection.host = optarg;
				break;
			case 'p':
				connection.port = optarg;
				break;
			case 'U':
				connection.user = optarg;
				break;
			case 'w':
				never_ask = true;
				break;
			case 256:
				connection.no_direct = 1;
				break;
			case 257:
				connection.max_memory = (size_t) size_argument("--max-memory", optarg);
				break;
			case 258:
				connection.threads = (int) number_argument("--threads", optarg);
				break;
			case 259:
				if ((command = find_command(optarg)) != NULL)
					list_options(command);
				exit(EXIT_DONE);
			case 'V':
				printf("difs %s\n", DIFS_VERSION);
				exit(EXIT_DONE);
			default:
				if (optopt == 0 && strcmp(argv[optind - 1], "--help") == 0)
				{
					print_overview(stdout);
					exit(EXIT_DONE);
				}
				fprintf(stderr, "Try \"difs --help\".\n");
				exit(EXIT_USAGE);
		}
}

static void
print_overview(FILE *to)
{
	fprintf(to,
			"Usage: difs [-d CONNINFO] [-h HOST] [-p PORT] [-U USER] COMMAND [OPTION]... [ARGUMENT]...\n"
			"Files of a PostgreSQL database with the extension difs.\n\n");
	for (const Command *each = commands; each->name != NULL; each++)
		fprintf(to, "  %-10s %s\n", each->name, each->summary);
	fprintf(to,
			"\n  -d, --dbname=CONNINFO    database name, connection string or URI; otherwise libpq's environment\n"
			"  -h, --host=HOST          database server, or directory of its socket\n"
			"  -p, --port=PORT          its port\n"
			"  -U, --username=NAME      role\n"
			"  -w, --no-password        never ask for a password\n"
			"      --max-memory=SIZE    memory for buffers (128M)\n"
			"      --threads=N          threads that compress (processors, at most 4)\n"
			"      --no-direct          all bytes go through the database server\n"
			"      --version\n\n"
			"A PATH is /dir/file in the session's volume, or volume:/dir/file.\n"
			"\"difs COMMAND --help\" says more. Exit codes: 0 done, 1 something failed, 2 no connection, 3 damage found, 64 usage.\n");
}

static const Command *
find_command(const char *name)
{
	for (const Command *each = commands; each->name != NULL; each++)
		if (strcmp(each->name, name) == 0)
			return each;
	return NULL;
}

static void
on_signal(int signal_number)
{
	int saved_errno = errno;

	caught = signal_number;
	if (client != NULL)
		difs_cancel(client);
	else
		raise(signal_number); /* nothing to tidy up: the handler is gone by now */
	errno = saved_errno;
}

bool
was_cancelled(void)
{
	return caught != 0;
}

void
connect_database(void)
{
	DifsClient *connected = difs_connect(conninfo, &connection);
	const char *password;

	if (connected != NULL && difs_needs_password(connected) && !never_ask && isatty(STDIN_FILENO) && (password = ask_password()) != NULL)
	{
		difs_disconnect(connected);
		connection.password = password;
		connected = difs_connect(conninfo, &connection);
	}
	client = connected;
	if (client == NULL)
	{
		complain_text("out of memory");
		exit(EXIT_FAILED);
	}
	if (difs_failure(client)->status != DIFS_STATUS_OK)
	{
		complain();
		exit(EXIT_CONNECTION);
	}
}

static char *
ask_password(void)
{
	static char password[1024];
	struct termios before;
	struct termios silent;
	size_t length;

	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return NULL;
	silent = before;
	silent.c_lflag &= ~(tcflag_t) ECHO;
	fprintf(stderr, "Password: ");
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	if (fgets(password, sizeof(password), stdin) == NULL)
		password[0] = '\0';
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	fprintf(stderr, "\n");
	length = strlen(password);
	if (length > 0 && password[length - 1] == '\n')
		password[length - 1] = '\0';
	return password;
}

PGconn *
sql(void)
{
	return difs_connection(client);
}

int
complain(void)
{
	return complain_failure(NULL, difs_failure(client));
}

int
complain_of(const char *what)
{
	return complain_failure(what, difs_failure(client));
}

/* what is named only if the message does not name it anyway. */
int
complain_failure(const char *what, const DifsFailure *failure)
{
	progress_clear();
	fprintf(stderr, "difs%s%s: ", command != NULL ? " " : "", command != NULL ? command->name : "");
	if (what != NULL && strstr(failure->message, what) == NULL)
		fprintf(stderr, "%s: ", what);
	fprintf(stderr, "%s\n", failure->message);
	if (failure->detail[0] != '\0')
		fprintf(stderr, "  %s\n", failure->detail);
	if (failure->hint[0] != '\0')
		fprintf(stderr, "  Hint: %s\n", failure->hint);
	return failure->status == DIFS_STATUS_CONNECTION ? EXIT_CONNECTION : EXIT_FAILED;
}

int
complain_text(const char *format, ...)
{
	va_list arguments;

	progress_clear();
	fprintf(stderr, "difs%s%s: ", command != NULL ? " " : "", command != NULL ? command->name : "");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return EXIT_FAILED;
}

int
complain_usage(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "difs %s: ", command->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nTry \"difs %s --help\".\n", command->name);
	return EXIT_USAGE;
}

void *
need_memory(size_t size)
{
	void *memory = calloc(1, size > 0 ? size : 1);

	if (memory == NULL)
		exit(complain_text("out of memory"));
	return memory;
}

char *
need_copy(const char *string)
{
	return strcpy(need_memory(strlen(string) + 1), string);
}
