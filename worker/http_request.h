/*
 * http_request.h - one request for a source of difs_insert(), by libcurl's multi interface.
 *
 * libcurl never waits here: it says which sockets and which time it wants to hear
 * of, and the wait is PostgreSQL's, with the latch, so that a cancellation counts
 * at once.  Its callbacks run inside its calls and must not raise errors, and so must not
 * who takes the bytes.  Its threads (it looks up names in one) inherit blocked signals, so
 * PostgreSQL's handlers run in no thread but its own.
 *
 * Where an address is not to be connected to (source_address.h), that is seen at the
 * connection itself, so neither a redirection nor a name server can talk us into it.
 */
#ifndef DIFS_HTTP_REQUEST_H
#define DIFS_HTTP_REQUEST_H

#include "postgres.h"

#include <curl/curl.h>

#define DIFS_HTTP_MARK_BYTES 256
#define DIFS_HTTP_MOST_BYTES (256 * 1024) /* that are given to take at a time */
#define DIFS_HTTP_MAX_REDIRECTS 5

/* What is known of the answer, the last one after redirections. */
typedef struct DifsHttpAnswer
{
	char mark[DIFS_HTTP_MARK_BYTES]; /* a strong ETag; "" = none */
	int64 range_start;				 /* by its Content-Range; -1 = none */
	char refused_address[128];		 /* that we were not to connect to; "" = none */
} DifsHttpAnswer;

typedef enum DifsHttpTake
{
	DIFS_HTTP_TAKEN,
	DIFS_HTTP_LATER,  /* after difs_http_go_on() */
	DIFS_HTTP_REFUSED /* ends the request */
} DifsHttpTake;

/* Begins a request; one at a time. from > 0: for what comes from there on, if the content still has that mark. take gets the bytes of an answer
 * with a status below 400. */
extern void difs_http_begin(const char *url, int64 from, const char *mark, DifsHttpTake (*take)(const char *bytes, size_t count));

/* Lets libcurl go on, after a wait for a socket, a time or an interrupt. True if the request has ended, and with which code. */
extern bool difs_http_drive(CURLcode *code);

/* There is room again for what take has put off. */
extern void difs_http_go_on(void);

extern const DifsHttpAnswer *difs_http_answer(void);
extern long difs_http_status(void);
extern int64 difs_http_length(void); /* Content-Length, or -1 */

/* Also if there is none, and after errors. Never errors. */
extern void difs_http_end(void);

#endif
