/*
 * source_http.c - http: and https: by libcurl's multi interface (source.h).
 *
 * libcurl never waits here: it says which sockets and which time it wants to hear
 * of, and the wait is PostgreSQL's, with the latch, so that a cancellation counts
 * at once.  Its callbacks run inside its calls and must not raise errors: they note
 * what they found, and the reader raises it.  Its threads (it looks up names in
 * one) inherit blocked signals, so PostgreSQL's handlers run in no thread but its own.
 *
 * A connection that breaks is made again, and asked for the rest, if the server
 * has given its content a strong mark (If-Range) and can send ranges.  If not,
 * the error says that only a new beginning will do (class 08).
 *
 * Where an address is not to be connected to (source_address.c), that is seen at the
 * connection itself, so neither a redirection nor a name server can talk us into it.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/report.h"
#include "src/settings.h"
#include "worker/inserts.h"
#include "worker/process.h"
#include "worker/source.h"
#include "worker/source_address.h"

#define BUFFER_BYTES	(1024 * 1024)
#define RECEIVE_BYTES	(256 * 1024)	/* libcurl gives no more than this at a time */
#define MAX_SOCKETS		16
#define MAX_REDIRECTS	5
#define CONNECT_S		30		/* or difs.insert_timeout, if that is less */
#define TURN_MS			500		/* between two looks at whether we are to stop */
#define FIRST_PAUSE_MS	500		/* before a broken connection is made again */
#define LONGEST_PAUSE_MS 10000
#define MARK_BYTES		256
#define NO_TIMER		(-1)

typedef struct Watched
{
	curl_socket_t socket;
	int			what;			/* CURL_POLL_IN … */
} Watched;

static CURLM *multi = NULL;
static CURL *easy = NULL;		/* NULL: none open */
static struct curl_slist *headers = NULL;
static char *source;			/* for messages */
static Watched watched[MAX_SOCKETS];
static int	watched_count;
static long timer_ms;			/* after which libcurl wants to be called, or NO_TIMER */

static char *buffer;			/* what came and was not read yet: [taken, filled) */
static int	filled;
static int	taken;
static bool paused;				/* libcurl holds more back */

static int64 received;			/* in all */
static int64 total;				/* or -1 */
static char mark[MARK_BYTES];	/* what If-Range wants; "" = none */
static int64 range_start;		/* of the answer, by its Content-Range; -1 = none */
static bool answered;			/* this connection's answer is what we want */
static bool refused_range;		/* it is another content, or all of it once more */
static char refused_address[128];	/* that we were not to connect to; "" = none */
static bool ended;				/* all has come */
static int	failures;			/* without a byte in between */
static int64 received_at_failure;

static void ask(void);
static void set_options(void);
static void hang_up(void);
static void drive(void);
static int	wait_for_events(WaitEvent *events, int count);
static void act(curl_socket_t socket, int what);
static void look_for_end(void);
static void break_off(CURLcode code);
static bool may_pass(CURLcode code, long status);
pg_noreturn static void report(CURLcode code, long status, bool again);
static int	watch_socket(CURL *handle, curl_socket_t socket, int what, void *context, void *unused);
static int	set_timer(CURLM *handle, long milliseconds, void *context);
static size_t take_bytes(char *bytes, size_t size, size_t count, void *context);
static size_t take_header(char *line, size_t size, size_t count, void *context);
static bool begin_answer(void);
static bool header_is(const char *line, size_t length, const char *name, char *value, size_t room);
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address);
static void block_signals(sigset_t *before);

void
difs_source_http_open(const char *url)
{
	static bool begun = false;

	difs_source_http_close();
	if (!begun && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		elog(ERROR, "could not set up libcurl");
	begun = true;
	source = pstrdup(url);
	if (buffer == NULL)
		buffer = MemoryContextAlloc(TopMemoryContext, BUFFER_BYTES);
	filled = taken = failures = 0;
	received = received_at_failure = 0;
	total = -1;
	mark[0] = '\0';
	ended = false;
	ask();
}

/* Begins a request, for all or for what is still missing. */
static void
ask(void)
{
	sigset_t	before;
	char		line[MARK_BYTES + 64];

	multi = curl_multi_init();
	easy = curl_easy_init();
	if (multi == NULL || easy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for libcurl")));
	timer_ms = 0;
	watched_count = 0;
	paused = answered = refused_range = false;
	range_start = -1;
	refused_address[0] = '\0';
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	set_options();
	if (received > 0)
	{
		snprintf(line, sizeof(line), "Range: bytes=" INT64_FORMAT "-", received);
		headers = curl_slist_append(headers, line);
		snprintf(line, sizeof(line), "If-Range: %s", mark);
		headers = curl_slist_append(headers, line);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	}
	block_signals(&before);
	curl_multi_add_handle(multi, easy);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* No proxy, no .netrc, no cookies: nothing of this machine's surroundings. */
static void
set_options(void)
{
	bool		secure = pg_strncasecmp(source, "https:", 6) == 0;
	CURLcode	code;

	code = curl_easy_setopt(easy, CURLOPT_URL, source);
#if LIBCURL_VERSION_NUM >= 0x075500
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
#else
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS,
													  (long) (secure ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	if (code != CURLE_OK)
		elog(ERROR, "could not set up libcurl: %s", curl_easy_strerror(code));
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long) MAX_REDIRECTS);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (difs_insert_ca_file[0] != '\0')
		curl_easy_setopt(easy, CURLOPT_CAINFO, difs_insert_ca_file);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "difs");
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long) RECEIVE_BYTES);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long) Min(CONNECT_S, difs_insert_timeout));
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) difs_insert_timeout);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
}

uint32
difs_source_http_read(char *room, uint32 size)
{
	uint32		done = 0;

	while (done < size)
	{
		int			length = Min(filled - taken, (int) (size - done));

		memcpy(room + done, buffer + taken, length);
		done += length;
		taken += length;
		if (done == size || (ended && taken == filled))
			break;
		if (!ended)
			drive();
	}
	return done;
}

int64
difs_source_http_total(void)
{
	return total;
}

void
difs_source_http_close(void)
{
	hang_up();
	ended = true;
}

static void
hang_up(void)
{
	if (easy != NULL && multi != NULL)
		curl_multi_remove_handle(multi, easy);
	curl_easy_cleanup(easy);
	if (multi != NULL)
		curl_multi_cleanup(multi);
	curl_slist_free_all(headers);
	easy = NULL;
	multi = NULL;
	headers = NULL;
}

/* The buffer is empty: lets libcurl go on, waiting for a socket, a time or an interrupt. */
static void
drive(void)
{
	WaitEvent	events[MAX_SOCKETS + 2];
	sigset_t	before;
	int			count;

	filled = taken = 0;
	if (paused)
	{
		paused = false;
		block_signals(&before);
		curl_easy_pause(easy, CURLPAUSE_CONT);
		sigprocmask(SIG_SETMASK, &before, NULL);
		if (filled > 0)
			return;
	}
	count = wait_for_events(events, lengthof(events));
	ResetLatch(MyLatch);
	difs_insert_interrupts();
	for (int i = 0; i < count; i++)
	{
		int			what = 0;

		if ((events[i].events & WL_SOCKET_READABLE) != 0)
			what |= CURL_CSELECT_IN;
		if ((events[i].events & WL_SOCKET_WRITEABLE) != 0)
			what |= CURL_CSELECT_OUT;
		if (what != 0)
			act(events[i].fd, what);
	}
	if (timer_ms == 0 || count == 0)
		act(CURL_SOCKET_TIMEOUT, 0);
	difs_insert_show_bytes(received, total);
	look_for_end();
}

static int
wait_for_events(WaitEvent *events, int count)
{
	WaitEventSet *set = DIFS_CREATE_WAIT_SET(MAX_SOCKETS + 2);
	long		timeout_ms = timer_ms == NO_TIMER ? TURN_MS : Min(timer_ms, TURN_MS);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < watched_count; i++)
	{
		int			what = ((watched[i].what & CURL_POLL_IN) != 0 ? WL_SOCKET_READABLE : 0) |
			((watched[i].what & CURL_POLL_OUT) != 0 ? WL_SOCKET_WRITEABLE : 0);

		if (what != 0)
			AddWaitEventToSet(set, what, watched[i].socket, NULL, NULL);
	}
	count = WaitEventSetWait(set, timeout_ms, events, count, PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	return count;
}

static void
act(curl_socket_t socket, int what)
{
	sigset_t	before;
	int			running;

	if (socket == CURL_SOCKET_TIMEOUT)
		timer_ms = NO_TIMER;	/* it says so anew if it wants to */
	block_signals(&before);
	curl_multi_socket_action(multi, socket, what, &running);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void
look_for_end(void)
{
	CURLMsg    *message;
	int			left;

	while (easy != NULL && (message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURLcode	code;

		if (message->msg != CURLMSG_DONE)
			continue;
		code = message->data.result;
		if (code == CURLE_OK && !refused_range && (answered || received == 0))
			ended = true;
		else
			break_off(code);
		return;
	}
}

/* A request has failed: goes on where it broke, if that can be, or errors out. */
static void
break_off(CURLcode code)
{
	long		status = 0;
	int			pause_ms;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (received > received_at_failure)
		failures = 0;
	received_at_failure = received;
	if (refused_range || !may_pass(code, status) || (received > 0 && mark[0] == '\0') || failures >= difs_insert_retries)
		report(code, status, received > 0 && mark[0] == '\0' && may_pass(code, status));
	pause_ms = Min(FIRST_PAUSE_MS << Min(failures, 10), LONGEST_PAUSE_MS);
	failures++;
	ereport(DEBUG1,
			(errmsg_internal("difs: a source broke off after " INT64_FORMAT " bytes: %s", received, curl_easy_strerror(code))));
	hang_up();
	for (TimestampTz until = difs_process_in(pause_ms); GetCurrentTimestamp() < until;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(pause_ms, TURN_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		difs_insert_interrupts();
	}
	ask();
}

/* Is it of the kind that may be better a little later? */
static bool
may_pass(CURLcode code, long status)
{
	if (refused_address[0] != '\0')
		return false;
	switch (code)
	{
		case CURLE_HTTP_RETURNED_ERROR:
			return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_OPERATION_TIMEDOUT:
		case CURLE_PARTIAL_FILE:
		case CURLE_GOT_NOTHING:
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_HTTP2:
		case CURLE_HTTP2_STREAM:
			return true;
		default:
			return false;
	}
}

/* again: a new beginning may help. */
static void
report(CURLcode code, long status, bool again)
{
	if (refused_address[0] != '\0')
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("the source leads to %s, which is not a public address", refused_address),
				errhint("difs.insert_private_addresses allows such addresses."));
	if (refused_range)
		ereport(ERROR,
				errcode(ERRCODE_CONNECTION_FAILURE),
				errmsg("the connection to the source broke after " INT64_FORMAT " bytes", received),
				errdetail("It has changed since, or sends nothing but all of it."));
	if (code == CURLE_HTTP_RETURNED_ERROR)
		ereport(ERROR,
				errcode(again ? ERRCODE_CONNECTION_FAILURE : status == 404 || status == 410 ? DIFS_ERRCODE_NO_FILE : DIFS_ERRCODE_IO),
				errmsg("the source answers with HTTP status %ld", status));
	if (code == CURLE_OK || code == CURLE_WRITE_ERROR)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_IO),
				errmsg("the source answers with HTTP status %ld, and not with its content", status));
	if (code == CURLE_TOO_MANY_REDIRECTS)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_IO),
				errmsg("the source redirects more than %d times", MAX_REDIRECTS));
	if (code == CURLE_UNSUPPORTED_PROTOCOL)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("the source redirects to what is not allowed"),
				errdetail("From http: to http: and https:, from https: to https: only."));
	ereport(ERROR,
			errcode(again ? ERRCODE_CONNECTION_FAILURE : DIFS_ERRCODE_IO),
			errmsg("could not fetch the source: %s", curl_easy_strerror(code)),
			received > 0 ? errdetail("After " INT64_FORMAT " bytes.", received) : 0);
}

static int
watch_socket(CURL *handle, curl_socket_t socket, int what, void *context, void *unused)
{
	int			place = 0;

	while (place < watched_count && watched[place].socket != socket)
		place++;
	if (what == CURL_POLL_REMOVE)
	{
		if (place < watched_count)
			watched[place] = watched[--watched_count];
		return 0;
	}
	if (place == MAX_SOCKETS)
		return -1;
	watched[place] = (Watched) {socket, what};
	watched_count = Max(watched_count, place + 1);
	return 0;
}

static int
set_timer(CURLM *handle, long milliseconds, void *context)
{
	timer_ms = milliseconds < 0 ? NO_TIMER : milliseconds;
	return 0;
}

/* The first bytes of an answer: is it the one that we asked for? */
static bool
begin_answer(void)
{
	curl_off_t	length = -1;
	long		status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (received > 0)
	{
		refused_range = status != 206 || range_start != received;
		return !refused_range;
	}
	if (status != 200)
		return false;
	if (curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) == CURLE_OK)
		total = length;
	return true;
}

static size_t
take_bytes(char *bytes, size_t size, size_t count, void *context)
{
	if (!answered && !(answered = begin_answer()))
		return 0;
	if (count > (size_t) (BUFFER_BYTES - filled))
	{
		paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	memcpy(buffer + filled, bytes, count);
	filled += (int) count;
	received += (int64) count;
	return count;
}

/* What the first answer says about its content holds for the rest; a redirection's header does not. */
static size_t
take_header(char *line, size_t size, size_t count, void *context)
{
	char		value[MARK_BYTES];

	if (count >= 5 && strncmp(line, "HTTP/", 5) == 0)
	{
		range_start = -1;
		if (received == 0)
			mark[0] = '\0';
	}
	else if (header_is(line, count, "content-range", value, sizeof(value)))
	{
		if (pg_strncasecmp(value, "bytes ", 6) == 0)
			range_start = strtoll(value + 6, NULL, 10);
	}
	else if (received == 0 && header_is(line, count, "etag", value, sizeof(value)))
	{
		if (value[0] == '"')	/* not a weak one */
			strlcpy(mark, value, sizeof(mark));
	}
	return count;
}

/* False, too, if the value does not fit. */
static bool
header_is(const char *line, size_t length, const char *name, char *value, size_t room)
{
	size_t		at = strlen(name);

	if (length <= at || pg_strncasecmp(line, name, at) != 0 || line[at] != ':')
		return false;
	do
		at++;
	while (at < length && (line[at] == ' ' || line[at] == '\t'));
	while (length > at && (line[length - 1] == '\r' || line[length - 1] == '\n' || line[length - 1] == ' '))
		length--;
	if (length - at >= room)
		return false;
	memcpy(value, line + at, length - at);
	value[length - at] = '\0';
	return true;
}

static curl_socket_t
open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	if (!difs_insert_private_addresses && !difs_source_address_is_public(&address->addr))
	{
		difs_source_address_text(&address->addr, refused_address, sizeof(refused_address));
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void
block_signals(sigset_t *before)
{
	sigset_t	all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, before);
}
