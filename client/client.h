/*
 * client.h - what the files of libdifs share; not installed.
 *
 * A DifsClient belongs to one thread at a time.  Only cancel_asked and cancel are touched by others: the first is atomic, the second
 * is made before the client is handed out and never changes.
 */
#ifndef DIFS_CLIENT_H
#define DIFS_CLIENT_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <time.h>

#include "difs.h"

#define DEFAULT_MEMORY ((size_t) 128 << 20)
#define MIN_MEMORY ((size_t) 16 << 20)
#define DEFAULT_DIRECT_FROM ((size_t) 256 << 10)
#define PIECE_SIZE ((size_t) 4 << 20) /* in which large files go through the database server */
#define MAX_VALUE ((size_t) 512 << 20)

/* Statements that are prepared at their first use. */
typedef enum Statement
{
	STATEMENT_PUT,
	STATEMENT_PUT_ATTRIBUTES,
	STATEMENT_MKDIR,
	STATEMENT_MKDIR_MODE,
	STATEMENT_SYMLINK,
	STATEMENT_CHMOD,
	STATEMENT_TOUCH,
	STATEMENT_COPY,
	STATEMENT_GET_MANY,
	STATEMENTS
} Statement;

typedef enum Direct
{
	DIRECT_UNKNOWN, /* the server has not been asked */
	DIRECT_NO,
	DIRECT_MAYBE, /* it has the functions; whether chunk servers can be reached from here is not known yet */
	DIRECT_YES	  /* a chunk server has answered */
} Direct;

struct Engine;
struct Task;

struct DifsClient
{
	PGconn *conn;
	PGcancel *cancel;
	atomic_bool cancel_asked;
	DifsFailure failure;
	DifsOptions options; /* numbers filled in; strings are not kept */
	Direct direct;
	bool prepared[STATEMENTS];
	bool in_batch;
	struct Engine *engine; /* and its tasks with their buffers, kept for the next file; see direct.c */
	struct Task *tasks;	   /* an array */
	int task_count;
	size_t task_room;		   /* bytes of a segment that fit */
	bool task_stored;		   /* they have room for the stored form, too */
	char *strings;			   /* of the last difs_stat() */
	int64_t source_changed_us; /* when the local file of a put was last changed in any way */
	struct timespec told;	   /* when progress was told last */
};

/* A parameter of a statement: text, or bytes, or null. */
typedef struct Parameter
{
	const char *value;
	int length;
	bool binary;
} Parameter;

#define TEXT(string) ((Parameter){(string), 0, false})
#define BYTES(data, size) ((Parameter){(const char *) (data), (int) (size), true})
#define NUMBER(number) TEXT(number_text((char[24]){0}, (number)))
#define BOOLEAN(condition) TEXT((condition) ? "t" : "f")

/* failure.c */
extern void client_clear(DifsClient *client);
extern bool client_fail(DifsClient *client, DifsStatus status, const char *format, ...) __attribute__((format(printf, 3, 4))); /* false */
extern bool client_fail_errno(DifsClient *client, const char *format, ...) __attribute__((format(printf, 2, 3)));			   /* false; errno */
extern bool client_fail_result(DifsClient *client, const PGresult *result);													   /* false; what the server or libpq says */
extern void client_read_failure(const DifsClient *client, const PGresult *result, DifsFailure *failure);

/* query.c: statements, one after the other.  A result is the caller's to clear; NULL: failed. */
extern PGresult *client_query(DifsClient *client, bool binary, const char *sql, int count, const Parameter *parameters);
extern bool client_command(DifsClient *client, const char *sql, int count, const Parameter *parameters);
extern bool client_ready(DifsClient *client); /* clears the failure; false if cancelled, lost or in a batch */
extern bool client_prepare(DifsClient *client, Statement statement);
extern const char *client_statement_name(Statement statement);
extern bool client_send(DifsClient *client, bool binary, const char *sql, int count, const Parameter *parameters); /* row by row */
extern PGresult *client_row(DifsClient *client);																   /* the next, or NULL: at the end, or failed */
extern void client_drain(DifsClient *client, bool cancel);														   /* drops the rest of the rows */
extern const char *number_text(char buffer[24], int64_t number);
extern int64_t binary_int8(const PGresult *result, int row, int column);

/* A transaction of its own around what takes several statements, unless the caller is in one. */
extern bool client_enter(DifsClient *client, bool *own);
extern bool client_leave(DifsClient *client, bool own, bool success); /* commits or rolls back, keeping the first failure; success */

/* True once enough time has passed since progress was told last. */
extern bool client_tell(DifsClient *client, DifsProgress progress, void *context, int64_t done, int64_t total, bool always);

/* names.c: false, with DIFS_STATUS_EXISTS, if there is anything at the path. */
extern bool client_absent(DifsClient *client, const char *path);

/* put_sql.c and get_sql.c: through the database server, in pieces. */
extern bool put_pieces(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size, const DifsPutOptions *options,
					   const void *begun, size_t begun_length, int64_t *version);
extern bool get_pieces(DifsClient *client, const char *path, DifsWriter writer, void *writer_context, const DifsGetOptions *options, int64_t *bytes);

/* direct.c: may this go to and from chunk servers directly? Asks the server once. */
extern bool direct_possible(DifsClient *client);
extern bool direct_prepare(DifsClient *client, size_t segment_size, bool stored); /* engine and tasks */
extern void direct_stop(DifsClient *client);									  /* gives up what is under way */
extern void direct_free(DifsClient *client);
extern bool direct_place(struct Task *task, const char *servers, const void *token, size_t token_length, uint64_t segment, uint64_t group);
extern bool direct_fail(DifsClient *client, const struct Task *task, const char *path);

/* upload.c and download.c: the direct way. */
extern bool upload(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size, const DifsPutOptions *options,
				   const void *begun, size_t begun_length, int64_t *version);
extern bool download(DifsClient *client, const char *path, DifsWriter writer, void *writer_context, const DifsGetOptions *options,
					 const DifsEntry *entry, int64_t *bytes);

/* put.c */
extern bool put_attributes(DifsClient *client, const char *path, const DifsPutOptions *options);

#endif
