/*
 * command.h - what the files of the command difs share.
 *
 *	main.c       options before the command's name, the table of commands, signals, the connection
 *	options.c    options of a command: one table is its parser, its --help and what completion knows
 *	output.c     sizes, times and names for people; tables and JSON out of results
 *	progress.c   the bar
 *	local.c      local names and files
 *	writer.c     small local files, by a thread
 *	plan.c       what is to be moved: a list that put, get and their relatives fill and work off; put_plan.c puts it
 *
 * Every command is a function that returns an exit code, in a file of its own or with its relatives.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <getopt.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "difs.h"

/* Exit codes; the man page has them, too. */
#define EXIT_DONE 0
#define EXIT_FAILED 1	  /* something could not be done; the rest was */
#define EXIT_CONNECTION 2 /* no connection to the database, as psql */
#define EXIT_DAMAGE 3	  /* check, scrub, fsck: what was looked for was found */
#define EXIT_USAGE 64

typedef struct Option
{
	int letter; /* or a number from 256 on, if there is none */
	const char *name;
	const char *value; /* what it takes, for --help; NULL: nothing */
	const char *help;
} Option;

typedef struct Command
{
	const char *name;
	int (*run)(int argc, char **argv);
	const char *arguments; /* for --help; several lines are several ways */
	const char *summary;
	const Option *options; /* up to one without a name; NULL: none */
} Command;

/* What every command has. */
typedef struct Settings
{
	bool json;
	bool quiet;
	bool verbose;
	bool human; /* -h: sizes as 1.5G */
} Settings;

extern Settings settings;
extern const Command *command; /* that is running */
extern const Command commands[];
extern DifsClient *client; /* after connect_database() */

/* main.c */
extern void connect_database(void); /* or the end, with EXIT_CONNECTION */
extern PGconn *sql(void);
extern bool was_cancelled(void);

/* Says on standard error what failed, "difs put: message", with detail and hint; returns EXIT_FAILED, or EXIT_CONNECTION if that is lost. */
extern int complain(void);
extern int complain_of(const char *what);
extern int complain_failure(const char *what, const DifsFailure *failure);
extern int complain_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2))); /* EXIT_USAGE */

/* options.c: the next option's letter, or -1 at the end, when optind is at the first argument. The common ones are seen to. */
extern int next_option(int argc, char **argv);
extern void print_help(const Command *of, FILE *to);
extern void list_options(const Command *of);
extern int64_t size_argument(const char *name, const char *text); /* 10, 64k, 1M, 2G; ends with EXIT_USAGE if it is none */
extern int64_t number_argument(const char *name, const char *text);

/* output.c */
extern const char *size_text(char buffer[32], int64_t bytes);									 /* 1.5 MiB */
extern const char *short_size(char buffer[32], int64_t bytes);									 /* 1.5M, or the number, as settings.human says */
extern const char *count_text(char buffer[32], int64_t count);									 /* 20,000 */
extern const char *time_text(char buffer[40], int64_t us);										 /* 2024-02-29 12:30 */
extern const char *mode_text(char buffer[12], DifsKind kind, uint32_t mode);					 /* drwxr-xr-x */
extern const char *shown_name(char *buffer, size_t size, const char *name);						 /* without control characters, on a terminal */
extern PGresult *query(const char *statement, int count, const char *const *parameters);		 /* NULL: complained */
extern int show(const char *statement, int count, const char *const *parameters, int64_t *rows); /* as a table, or JSON */
extern void print_table(const PGresult *result);
extern void print_json(void *json); /* a json_t, which is given up */
extern void *entry_json(const DifsEntry *entry, const char *name);

/* progress.c: on standard error, if that is a terminal. */
extern void progress_begin(int64_t bytes, int64_t files); /* -1: not known */
extern void progress_file(const char *name);			  /* which is next */
extern void progress_bytes(int64_t bytes);				  /* of the file at hand, so far */
extern void progress_done(int64_t bytes);				  /* the file is over, and had so many */
extern void progress_clear(void);						  /* before something else is written */
extern void progress_end(void);
extern bool progress_callback(void *context, int64_t done, int64_t total);

/* The line at the end: "put 20,000 files, 78.1 MiB in 3.2 s (24.4 MiB/s)", or a JSON object; to standard error if standard output has data. */
typedef struct Summary
{
	const char *did; /* "put", … */
	int64_t files;
	int64_t directories;
	int64_t links;
	int64_t bytes;
	int64_t failed;
	double began;
	bool data_on_stdout;
} Summary;
extern void summary_begin(Summary *summary, const char *did);
extern int summary_end(const Summary *summary); /* exit code */
extern double seconds_now(void);

/* plan.c */

/* The last argument, where the others go: a directory to put them into, or the name itself. */
typedef struct Target
{
	char *path;
	bool into;
} Target;
extern bool target_argument(int argc, char **argv, bool exact, Target *target); /* in the database, connected first; exact: -T. False: complained */
extern char *target_name(const Target *target, const char *source);				/* of one of the others. The caller's */

typedef struct Item
{
	char *from;
	char *to;
	DifsKind kind;
	uint32_t mode;
	int64_t size;
	int64_t mtime_us;
} Item;

typedef struct Plan
{
	Item *items;
	size_t count;
	size_t room;
	int64_t bytes;
	int64_t files;
	int exit_code; /* of what could not be planned */
	int64_t failed;
} Plan;
extern Item *plan_add(Plan *plan, const char *from, const char *to, DifsKind kind, uint32_t mode, int64_t size, int64_t mtime_us);
extern void plan_free(Plan *plan);
extern bool plan_remote(Plan *plan, const char *path, const char *to, bool recursive); /* what is at a path in the database */
extern void plan_print(const Plan *plan, const char *verb);							   /* --dry-run */
extern void exclude_add(const char *pattern);
extern bool excluded(const char *relative_name);

/* local.c */
extern char *path_join(const char *directory, const char *name); /* the caller's */
extern char *path_base(const char *path);						 /* last component; "" of a root. The caller's */
extern void path_strip(char *path);								 /* slashes at the end */
extern void plan_local(Plan *plan, const char *name, const char *to, bool recursive, bool dereference);
extern char *read_small(const char *name, int64_t size, size_t *length);											 /* NULL: errno; ESTALE if it changed */
extern bool write_small(const char *name, const void *data, size_t length, const Item *attributes, bool no_replace); /* errno */
extern unsigned creation_mask(void);																				 /* umask */
extern bool set_attributes(const Item *item);																		 /* mode and mtime of a local directory or file */
extern bool is_local_directory(const char *name);
extern bool is_directory(const char *path); /* in the database */

extern void *need_memory(size_t size); /* or the end */
extern char *need_copy(const char *string);

/* work shared by put and import, get and export */
typedef struct Transfer
{
	bool keep_attributes;
	bool no_replace;
	bool parents;
	bool resume;
	bool sync;
	int64_t batch; /* files in one transaction */
	const char *media_type;
} Transfer;
extern void put_plan(const Plan *plan, const Transfer *transfer, Summary *summary);
extern void get_plan(const Plan *plan, const Transfer *transfer, Summary *summary);

/* writer.c: small files that a thread of its own writes. written is called by writer_give() and writer_end(), error being errno or 0. */
typedef struct Writer Writer;
typedef void (*Written)(void *context, const Item *item, size_t length, int error);
extern Writer *writer_begin(const Transfer *transfer, Written written, void *context);
extern void writer_give(Writer *writer, const Item *item, const void *data, size_t length); /* item must last */
extern void writer_end(Writer *writer, bool give_up);										/* give_up: of what waits, nothing is written and nobody told */

/* the commands */
extern const Option put_options[], get_options[], cat_options[], ls_options[], tree_options[], cp_options[], mv_options[], rm_options[], mkdir_options[],
	stat_options[], restore_options[], du_options[], df_options[], scrub_options[], fsck_options[], top_options[], report_options[], bench_options[], import_options[], export_options[];
extern int run_put(int, char **), run_get(int, char **), run_cat(int, char **), run_ls(int, char **), run_tree(int, char **), run_cp(int, char **),
	run_mv(int, char **), run_rm(int, char **), run_mkdir(int, char **), run_stat(int, char **), run_versions(int, char **),
	run_restore(int, char **), run_du(int, char **), run_df(int, char **), run_servers(int, char **), run_check(int, char **),
	run_scrub(int, char **), run_fsck(int, char **), run_top(int, char **), run_report(int, char **), run_bench(int, char **), run_import(int, char **), run_export(int, char **);

#endif
