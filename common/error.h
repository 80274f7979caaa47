/*
 * error.h - the one error value of everything that is not PostgreSQL.
 *
 * A fallible function of common/, chunkd/ and client/ returns false (or NULL)
 * and fills in a DifsError that the caller owns.  Nothing is printed or logged
 * on the way: whoever can decide what the failure means does that, once.  In
 * the backend, src/report.h turns a DifsError into an ereport().
 */
#ifndef DIFS_ERROR_H
#define DIFS_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define DIFS_ERROR_TEXT_SIZE 256

/* What kind of thing went wrong.  The values travel on the wire as the status of a reply, so they never change. */
typedef enum DifsErrorCode
{
	DIFS_OK = 0,
	DIFS_ERROR_PROTOCOL = 1,   /* the peer sent bytes that make no sense; the connection is closed */
	DIFS_ERROR_REFUSED = 2,	   /* the peer does not hold the key, or may not do this */
	DIFS_ERROR_FENCED = 3,	   /* another holds the claim: this connection may only read */
	DIFS_ERROR_ARGUMENT = 4,   /* a well-formed request with impossible values */
	DIFS_ERROR_NO_GROUP = 5,   /* the server does not hold this block group */
	DIFS_ERROR_NO_SEGMENT = 6, /* the block group does not hold this segment */
	DIFS_ERROR_EXISTS = 7,	   /* the group or segment id is already there */
	DIFS_ERROR_SEALED = 8,	   /* the group takes no more segments */
	DIFS_ERROR_FULL = 9,	   /* group, capacity or disk has no room */
	DIFS_ERROR_IO = 10,		   /* a system call failed; see system_errno */
	DIFS_ERROR_CORRUPT = 11,   /* bytes do not match their checksum */
	DIFS_ERROR_NETWORK = 12,   /* connection refused, reset, closed */
	DIFS_ERROR_MEMORY = 13,	   /* out of memory, or a limit on memory */
	DIFS_ERROR_VERSION = 14	   /* the peer or the file is of a version that is not understood */
} DifsErrorCode;

typedef struct DifsError
{
	DifsErrorCode code;
	int system_errno;				 /* errno of the system call that failed, or 0 */
	char text[DIFS_ERROR_TEXT_SIZE]; /* lower case, no full stop, names the object */
} DifsError;

/* Fills in *error (which may be NULL) and returns false, so that a caller can write "return difs_error_set(...)".
 * Takes errno as it stands when code is DIFS_ERROR_IO or DIFS_ERROR_NETWORK, and appends ": <strerror>" if it is not 0.
 * errno is left as it was. The text is always valid UTF-8 without control characters, whatever the arguments were. */
extern bool difs_error_set(DifsError *error, DifsErrorCode code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A word for a code, for logs: "no segment".  Never NULL, also for values that a peer made up. */
extern const char *difs_error_name(DifsErrorCode code);

#endif
