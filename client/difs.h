/*
 * difs.h - libdifs: files of a PostgreSQL database with the extension difs, from C.
 *
 * Names and transactions go through the database, over one libpq connection; the bytes of large files go to and from the chunk
 * servers directly, over several connections and threads, if the database server offers that (options.direct).  What is written
 * is there when its transaction has committed: each call is a transaction of its own, unless it stands between difs_begin() and
 * difs_commit(), where it can share one with any SQL on difs_connection().
 *
 * Units.  Sizes, offsets and lengths are bytes, times are microseconds since 1970-01-01 00:00 UTC, modes are the twelve bits of
 * chmod(2).  Paths are "/dir/file" in the session's volume or "volume:/dir/file", UTF-8, without a newline at the end.
 *
 * Ownership.  What a function returns by pointer belongs to the object that it was asked of, and stands until the next call
 * on it, unless the function says otherwise.  Strings and buffers that are passed in stay the caller's and are not kept.
 *
 * Errors.  A function that can fail returns false, NULL or -1, and difs_failure() of its client says why.  Nothing is printed.
 * After a failure inside of a transaction, all that can follow is difs_rollback(); outside of one, nothing has happened, and the
 * client can be used on, unless it has lost its connection (DIFS_STATUS_CONNECTION).
 *
 * Threads.  A client, its files and its batches belong to one thread at a time; different clients are independent.  Only
 * difs_cancel() may be called from any thread and from signal handlers.  Callbacks are called by the thread that called the library.
 */
#ifndef DIFS_H
#define DIFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DIFS_LIBRARY_VERSION 10000 /* 1.0.0 */

typedef struct DifsClient DifsClient; /* a connection to a database, and those to its chunk servers */
typedef struct DifsFile DifsFile;	  /* an open file */
typedef struct DifsBatch DifsBatch;	  /* many small puts or gets, sent without waiting for each */

/* What kind of thing went wrong. */
typedef enum DifsStatus
{
	DIFS_STATUS_OK = 0,
	DIFS_STATUS_ARGUMENT,	/* arguments, or a name, that make no sense */
	DIFS_STATUS_CONNECTION, /* no connection to the database, or it was lost */
	DIFS_STATUS_NOT_FOUND,
	DIFS_STATUS_EXISTS,
	DIFS_STATUS_KIND, /* a directory where a file is needed, or the other way round, or one that is not empty */
	DIFS_STATUS_PERMISSION,
	DIFS_STATUS_CHANGED,   /* the local file changed while it was read, or the version is not the one asked for */
	DIFS_STATUS_NO_SPACE,  /* quota, chunk servers or disk full */
	DIFS_STATUS_CORRUPT,   /* no copy of a segment is as it was written */
	DIFS_STATUS_LOCAL,	   /* a local file or system call; see system_errno */
	DIFS_STATUS_CANCELLED, /* by difs_cancel() or by a callback */
	DIFS_STATUS_MEMORY,
	DIFS_STATUS_UNSUPPORTED, /* the server is older than the function asked for */
	DIFS_STATUS_SERVER		 /* anything else that the server says; see sqlstate */
} DifsStatus;

typedef struct DifsFailure
{
	DifsStatus status;
	char sqlstate[6];	/* "" if it is not from the server */
	int system_errno;	/* 0 if it is not from a system call */
	char message[1024]; /* names the path, file or server; lower case, without full stop */
	char detail[1024];	/* sentences, or "" */
	char hint[512];
} DifsFailure;

/*
 * Connections.
 */

/* What a client is told once. Zeros mean the defaults. */
typedef struct DifsOptions
{
	const char *host; /* if not NULL, in place of what conninfo says, as psql's -h, -p and -U */
	const char *port;
	const char *user;
	const char *password;
	const char *application_name;
	size_t max_memory;	/* bytes that all buffers of the client may take together; default 128 MiB, at least 16 MiB */
	int threads;		/* that compress and decompress; default: the processors, at most 4 */
	int no_direct;		/* not 0: all bytes go through the database server */
	size_t direct_from; /* files of this size and more go to chunk servers directly; default 256 KiB */
} DifsOptions;

/* Connects. conninfo is a libpq connection string, URI or database name; NULL or "": libpq's environment. options may be NULL.
 * Returns NULL only if memory is short; otherwise difs_failure() says whether it worked, and the client is to be freed with
 * difs_disconnect() in any case. */
extern DifsClient *difs_connect(const char *conninfo, const DifsOptions *options);

/* Ends the connection, rolls back what is open, frees the client. Files and batches must be closed before. NULL is fine. */
extern void difs_disconnect(DifsClient *client);

/* Why the last call failed; status DIFS_STATUS_OK if it did not. */
extern const DifsFailure *difs_failure(const DifsClient *client);

/* The failure was that libpq needs a password and has none: ask, and connect anew. */
extern bool difs_needs_password(const DifsClient *client);

/* The PGconn *, for SQL in the same session. Not to be closed, and not to be used while a batch is open. */
extern void *difs_connection(DifsClient *client);

/* Makes what is going on, or else the next call that talks to the server, fail with DIFS_STATUS_CANCELLED. From any thread, or a
 * signal handler. May wait for the database server to accept a connection. */
extern void difs_cancel(DifsClient *client);

/* Transactions. difs_begin() fails inside of one. difs_rollback() also ends one that has failed. */
extern bool difs_begin(DifsClient *client);
extern bool difs_commit(DifsClient *client);
extern bool difs_rollback(DifsClient *client);
extern bool difs_in_transaction(const DifsClient *client);

/*
 * Names.
 */

typedef enum DifsKind
{
	DIFS_KIND_FILE = 'f',
	DIFS_KIND_DIRECTORY = 'd',
	DIFS_KIND_SYMLINK = 'l'
} DifsKind;

/* A file, directory or symbolic link. */
typedef struct DifsEntry
{
	const char *name; /* difs_list(): relative to what is listed; difs_stat(): the path as it was given */
	int64_t ino;
	DifsKind kind;
	int64_t size;
	int64_t version; /* 0 for directories and links */
	uint32_t mode;
	const char *owner;
	int64_t mtime_us;
	/* these only from difs_stat() */
	int64_t nlink;
	int64_t atime_us;
	int64_t ctime_us;
	int64_t btime_us;
	const char *volume;
} DifsEntry;

/* Fills in *entry, whose strings stand until the next call of the client. version 0: the current one. follow: of what a symbolic
 * link leads to. Fails with DIFS_STATUS_NOT_FOUND. */
extern bool difs_stat(DifsClient *client, const char *path, int64_t version, bool follow, DifsEntry *entry);

/* Called for each entry; false ends the listing, which then fails with DIFS_STATUS_CANCELLED. The client may not be used in it. */
typedef bool (*DifsEntryCallback)(void *context, const DifsEntry *entry);

/* Lists a directory, or with recursive what is below it, depth first, in byte order. after (may be NULL): only what comes behind that
 * name. Memory does not depend on the number of entries. */
extern bool difs_list(DifsClient *client, const char *path, bool recursive, const char *after, DifsEntryCallback callback, void *context);

/* parents: makes those on the way, and is content if all are there. */
extern bool difs_mkdir(DifsClient *client, const char *path, bool parents);

/* Removes a file, a link, an empty directory, or with recursive a tree. *count (may be NULL): how many. */
extern bool difs_remove(DifsClient *client, const char *path, bool recursive, int64_t *count);

/* Another name, within the volume. A file takes the place of a file, unless no_replace. */
extern bool difs_rename(DifsClient *client, const char *from_path, const char *to_path, bool no_replace);

/* A new version of to_path with the content of from_path (of a version of it, or 0); no bytes move. */
extern bool difs_copy(DifsClient *client, const char *from_path, int64_t version, const char *to_path);

extern bool difs_symlink(DifsClient *client, const char *target, const char *path);

/* *target is the caller's, to be freed with free(). */
extern bool difs_readlink(DifsClient *client, const char *path, char **target);

extern bool difs_chmod(DifsClient *client, const char *path, uint32_t mode);
extern bool difs_touch(DifsClient *client, const char *path, const int64_t *atime_us, const int64_t *mtime_us); /* NULL: stays */

/*
 * Open files.  A file that is open for reading shows the version that was current when it was opened, whatever is written
 * meanwhile (as long as it is kept).  Each write is a version of its own; a file that is to be written as a whole is put instead.
 */

#define DIFS_OPEN_READ 0
#define DIFS_OPEN_WRITE 1	  /* to write; reads see what was written */
#define DIFS_OPEN_CREATE 2	  /* with WRITE: makes the file if it is not there */
#define DIFS_OPEN_EXCLUSIVE 4 /* with CREATE: fails if it is */
#define DIFS_OPEN_TRUNCATE 8  /* with WRITE: empties it */

/* NULL with a failure. The file keeps client, which must outlive it. */
extern DifsFile *difs_open(DifsClient *client, const char *path, int flags);

extern int64_t difs_size(const DifsFile *file); /* as this file has seen it last */
extern int64_t difs_version(const DifsFile *file);

/* Reads up to length bytes from offset on; less only at the end of the file, where it is 0. -1: failed. */
extern ssize_t difs_pread(DifsFile *file, void *buffer, size_t length, int64_t offset);

/* Writes all of it, over what is there or behind the end; length is at most 512 MiB. Returns length, or -1. */
extern ssize_t difs_pwrite(DifsFile *file, const void *buffer, size_t length, int64_t offset);

/* Adds at the end, wherever that is by now. */
extern ssize_t difs_append(DifsFile *file, const void *buffer, size_t length);

/* Frees the file; what was written is there already. NULL is fine. */
extern void difs_close(DifsFile *file);

/*
 * Whole files.  Either all of a file becomes the new version, or nothing does.
 */

/* Called now and then, at most every 50 ms or so, with what has been moved so far; total is -1 if it is not known. False cancels. */
typedef bool (*DifsProgress)(void *context, int64_t done, int64_t total);

typedef struct DifsPutOptions
{
	bool create_only;		 /* fail with DIFS_STATUS_EXISTS if the file is there */
	bool parents;			 /* make missing directories */
	bool resume;			 /* difs_put_file(): go on with an upload of the same file that broke off, and leave one behind that can
									 * be gone on with. Only with direct uploads, and not in a transaction of the caller's */
	int64_t if_version;		 /* not 0: only if that is the current version */
	const uint32_t *mode;	 /* NULL: what difs.umask leaves */
	const int64_t *mtime_us; /* NULL: now */
	const char *media_type;	 /* NULL: none */
	DifsProgress progress;	 /* may be NULL */
	void *context;			 /* of progress */
} DifsPutOptions;

/* Gives up to length bytes; 0 at the end; -1 with errno set. */
typedef ssize_t (*DifsReader)(void *context, void *buffer, size_t length);

/* All of these: options may be NULL, *version (may be NULL) is the new version's number.
 * difs_put_data(): at most 512 MiB. difs_put_stream(): until the reader says 0; size is -1 if it is not known, and checked if it is.
 * difs_put_file(): a local file, whose size and times must be the same before and after (DIFS_STATUS_CHANGED, after three tries). */
extern bool difs_put_data(DifsClient *client, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t *version);
extern bool difs_put_stream(DifsClient *client, const char *path, DifsReader reader, void *reader_context, int64_t size,
							const DifsPutOptions *options, int64_t *version);
extern bool difs_put_fd(DifsClient *client, const char *path, int fd, const DifsPutOptions *options, int64_t *version);
extern bool difs_put_file(DifsClient *client, const char *path, const char *local_name, const DifsPutOptions *options, int64_t *version);

typedef struct DifsGetOptions
{
	int64_t version; /* 0: the current one */
	int64_t offset;
	int64_t length;		  /* 0: to the end */
	bool no_replace;	  /* difs_get_file(): fail if the local file is there */
	bool keep_attributes; /* difs_get_file(): mode and mtime as they are in the database */
	bool sync;			  /* difs_get_file(): fsync before the file gets its name */
	DifsProgress progress;
	void *context;
} DifsGetOptions;

/* Takes all of it; false with errno set. data is the library's. */
typedef bool (*DifsWriter)(void *context, const void *data, size_t length);

/* All of these: *bytes (may be NULL) is what was moved.  difs_get_stream(): in order. difs_get_file(): into a temporary file beside
 * local_name, which takes its place at the end: there is never half a file under that name. */
extern bool difs_get_stream(DifsClient *client, const char *path, DifsWriter writer, void *writer_context, const DifsGetOptions *options, int64_t *bytes);
extern bool difs_get_fd(DifsClient *client, const char *path, int fd, const DifsGetOptions *options, int64_t *bytes);
extern bool difs_get_file(DifsClient *client, const char *path, const char *local_name, const DifsGetOptions *options, int64_t *bytes);

/*
 * Batches: many small files without waiting for each (libpq's pipeline mode).  What is on its way is bounded by max_memory.
 * While a batch is open, the client can do nothing else.
 */

/* A batch of changes is one transaction: all of it is there after difs_batch_end(), or nothing. Inside of difs_begin() it is a part of that. */
extern DifsBatch *difs_batch_begin(DifsClient *client);

/* Add to it. False: something before has failed; end the batch. tag is what difs_batch_end() says of the one that did. */
extern bool difs_batch_put(DifsBatch *batch, const char *path, const void *data, size_t length, const DifsPutOptions *options, int64_t tag);
extern bool difs_batch_mkdir(DifsBatch *batch, const char *path, bool parents, const uint32_t *mode, int64_t tag);
extern bool difs_batch_symlink(DifsBatch *batch, const char *target, const char *path, int64_t tag);
extern bool difs_batch_chmod(DifsBatch *batch, const char *path, uint32_t mode, int64_t tag);
extern bool difs_batch_touch(DifsBatch *batch, const char *path, const int64_t *mtime_us, int64_t tag);
extern bool difs_batch_copy(DifsBatch *batch, const char *from_path, const char *to_path, int64_t tag);

/* Commits and frees the batch; false if anything failed. *failed_tag (may be NULL): of the first one, or -1. */
extern bool difs_batch_end(DifsBatch *batch, int64_t *failed_tag);

/* Called once for each file of a batch of gets, mostly in order. failure is NULL if it was read. False ends the batch. */
typedef bool (*DifsGotCallback)(void *context, int64_t tag, const void *data, size_t length, const DifsFailure *failure);

/* A batch of gets: each file is read for itself, and a failure of one is none of the others. size: what the file is expected to have. */
extern DifsBatch *difs_batch_get_begin(DifsClient *client, DifsGotCallback callback, void *context);
extern bool difs_batch_get(DifsBatch *batch, const char *path, int64_t size, int64_t tag); /* end with difs_batch_end() */

/* At most this many bytes are worth a place in a batch. */
#define DIFS_BATCH_FILE_MAX (256 * 1024)

#ifdef __cplusplus
}
#endif

#endif
