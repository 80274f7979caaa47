/*
 * http_request.c - one request by libcurl (http_request.h).
 */
#include "postgres.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"

#include "src/compat.h"
#include "src/settings.h"
#include "src/wait.h"
#include "worker/http_request.h"
#include "worker/inserts.h"
#include "worker/source_address.h"

#define MAX_SOCKETS 16
#define CONNECT_S 30 /* or difs.insert_timeout, if that is less */
#define TURN_MS 500	 /* between two looks at whether we are to stop */
#define NO_TIMER (-1)

typedef struct Watched
{
	curl_socket_t socket;
	int what; /* CURL_POLL_IN … */
} Watched;

static CURLM *multi = NULL;
static CURL *easy = NULL; /* NULL: no request */
static struct curl_slist *headers = NULL;
static Watched watched[MAX_SOCKETS];
static int watched_count;
static long timer_ms; /* after which libcurl wants to be called, or NO_TIMER */
static DifsHttpAnswer answer;
static DifsHttpTake (*take)(const char *bytes, size_t count);

static void set_options(const char *url);
static void ask_for_rest(int64 from, const char *mark);
static int wait_for_events(WaitEvent *events, int count);
static void act(curl_socket_t socket, int what);
static int watch_socket(CURL *handle, curl_socket_t socket, int what, void *context, void *unused);
static int set_timer(CURLM *handle, long milliseconds, void *context);
static size_t take_bytes(char *bytes, size_t size, size_t count, void *context);
static size_t take_header(char *line, size_t size, size_t count, void *context);
static bool header_is(const char *line, size_t length, const char *name, char *value, size_t room);
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address);
static void block_signals(sigset_t *before);

void
difs_http_begin(const char *url, int64 from, const char *mark, DifsHttpTake (*taker)(const char *bytes, size_t count))
{
	static bool begun = false;
	sigset_t before;

	difs_http_end();
	if (!begun && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		elog(ERROR, "could not set up libcurl");
	begun = true;
	multi = curl_multi_init();
	easy = curl_easy_init();
	if (multi == NULL || easy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for libcurl")));
	timer_ms = 0;
	watched_count = 0;
	take = taker;
	answer = (DifsHttpAnswer){.range_start = -1};
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	set_options(url);
	if (from > 0)
		ask_for_rest(from, mark);
	block_signals(&before);
	curl_multi_add_handle(multi, easy);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* No proxy, no .netrc, no cookies: nothing of this machine's surroundings. */
static void
set_options(const char *url)
{
	bool secure = pg_strncasecmp(url, "https:", 6) == 0;
	CURLcode code;

	code = curl_easy_setopt(easy, CURLOPT_URL, url);
#if LIBCURL_VERSION_NUM >= 0x075500
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
#else
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
	code = code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, (long) (secure ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	if (code != CURLE_OK)
		elog(ERROR, "could not set up libcurl: %s", curl_easy_strerror(code));
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long) DIFS_HTTP_MAX_REDIRECTS);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (difs_insert_ca_file[0] != '\0')
		curl_easy_setopt(easy, CURLOPT_CAINFO, difs_insert_ca_file);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "difs");
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long) DIFS_HTTP_MOST_BYTES);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long) Min(CONNECT_S, difs_insert_timeout));
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long) difs_insert_timeout);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
}

static void
ask_for_rest(int64 from, const char *mark)
{
	char line[DIFS_HTTP_MARK_BYTES + 64];

	snprintf(line, sizeof(line), "Range: bytes=" INT64_FORMAT "-", from);
	headers = curl_slist_append(headers, line);
	snprintf(line, sizeof(line), "If-Range: %s", mark);
	headers = curl_slist_append(headers, line);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
}

bool
difs_http_drive(CURLcode *code)
{
	WaitEvent events[MAX_SOCKETS + 2];
	CURLMsg *message;
	int count = wait_for_events(events, lengthof(events));
	int left;

	ResetLatch(MyLatch);
	difs_insert_interrupts();
	for (int i = 0; i < count; i++)
	{
		int what = 0;

		if ((events[i].events & WL_SOCKET_READABLE) != 0)
			what |= CURL_CSELECT_IN;
		if ((events[i].events & WL_SOCKET_WRITEABLE) != 0)
			what |= CURL_CSELECT_OUT;
		if (what != 0)
			act(events[i].fd, what);
	}
	if (timer_ms == 0 || count == 0)
		act(CURL_SOCKET_TIMEOUT, 0);
	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		*code = message->data.result;
		if (message->msg == CURLMSG_DONE)
			return true;
	}
	return false;
}

void
difs_http_go_on(void)
{
	sigset_t before;

	block_signals(&before);
	curl_easy_pause(easy, CURLPAUSE_CONT);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

const DifsHttpAnswer *
difs_http_answer(void)
{
	return &answer;
}

long
difs_http_status(void)
{
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

int64
difs_http_length(void)
{
	curl_off_t length = -1;

	if (curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) != CURLE_OK)
		return -1;
	return length;
}

void
difs_http_end(void)
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

static int
wait_for_events(WaitEvent *events, int count)
{
	WaitEventSet *set = DIFS_CREATE_WAIT_SET(MAX_SOCKETS + 2);
	long timeout_ms = timer_ms == NO_TIMER ? TURN_MS : Min(timer_ms, TURN_MS);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < watched_count; i++)
	{
		int what = ((watched[i].what & CURL_POLL_IN) != 0 ? WL_SOCKET_READABLE : 0) |
			((watched[i].what & CURL_POLL_OUT) != 0 ? WL_SOCKET_WRITEABLE : 0);

		if (what != 0)
			AddWaitEventToSet(set, what, watched[i].socket, NULL, NULL);
	}
	count = WaitEventSetWait(set, timeout_ms, events, count, difs_wait_event(DIFS_WAIT_SOURCE));
	FreeWaitEventSet(set);
	return count;
}

static void
act(curl_socket_t socket, int what)
{
	sigset_t before;
	int running;

	if (socket == CURL_SOCKET_TIMEOUT)
		timer_ms = NO_TIMER; /* it says so anew if it wants to */
	block_signals(&before);
	curl_multi_socket_action(multi, socket, what, &running);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static int
watch_socket(CURL *handle, curl_socket_t socket, int what, void *context, void *unused)
{
	int place = 0;

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
	watched[place] = (Watched){socket, what};
	watched_count = Max(watched_count, place + 1);
	return 0;
}

static int
set_timer(CURLM *handle, long milliseconds, void *context)
{
	timer_ms = milliseconds < 0 ? NO_TIMER : milliseconds;
	return 0;
}

static size_t
take_bytes(char *bytes, size_t size, size_t count, void *context)
{
	switch (take(bytes, count))
	{
		case DIFS_HTTP_TAKEN:
			return count;
		case DIFS_HTTP_LATER:
			return CURL_WRITEFUNC_PAUSE;
		default:
			return 0;
	}
}

/* A redirection's header says nothing of what it leads to. */
static size_t
take_header(char *line, size_t size, size_t count, void *context)
{
	char value[DIFS_HTTP_MARK_BYTES];

	if (count >= 5 && strncmp(line, "HTTP/", 5) == 0)
	{
		answer.range_start = -1;
		answer.mark[0] = '\0';
	}
	else if (header_is(line, count, "content-range", value, sizeof(value)))
	{
		if (pg_strncasecmp(value, "bytes ", 6) == 0)
			answer.range_start = strtoll(value + 6, NULL, 10);
	}
	else if (header_is(line, count, "etag", value, sizeof(value)))
	{
		if (value[0] == '"') /* not a weak one */
			strlcpy(answer.mark, value, sizeof(answer.mark));
	}
	return count;
}

/* False, too, if the value does not fit. */
static bool
header_is(const char *line, size_t length, const char *name, char *value, size_t room)
{
	size_t at = strlen(name);

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
		difs_source_address_text(&address->addr, answer.refused_address, sizeof(answer.refused_address));
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void
block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, before);
}
