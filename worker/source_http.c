/*
 * source_http.c - http: and https: (source.h).
 *
 * A connection that breaks is made again, and asked for the rest, if the server
 * has given its content a strong mark (If-Range) and can send ranges.  If not,
 * the error says that only a new beginning will do (class 08).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/wait.h"
#include "worker/http_request.h"
#include "worker/inserts.h"
#include "worker/process.h"
#include "worker/source.h"

#define BUFFER_BYTES (1024 * 1024) /* more than DIFS_HTTP_MOST_BYTES */
#define TURN_MS 500				   /* between two looks at whether we are to stop */
#define FIRST_PAUSE_MS 500		   /* before a broken connection is made again */
#define LONGEST_PAUSE_MS 10000

static char *source;
static char *buffer; /* what came and was not read yet: [taken, filled) */
static int filled;
static int taken;
static bool put_off; /* there was no room for more */

static int64 received;					/* in all */
static int64 total;						/* or -1 */
static char mark[DIFS_HTTP_MARK_BYTES]; /* of the content, by the first answer; "" = none */
static bool answered;					/* this request's answer is what we want */
static bool refused_range;				/* it is another content, or all of it once more */
static bool ended;						/* all has come */
static int failures;					/* without a byte in between */
static int64 received_at_failure;

static void ask(void);
static void drive(void);
static DifsHttpTake take(const char *bytes, size_t count);
static bool begin_answer(void);
static void break_off(CURLcode code);
static bool may_pass(CURLcode code, long status);
pg_noreturn static void report(CURLcode code, long status, bool again);

void
difs_source_http_open(const char *url)
{
	difs_source_http_close();
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

/* For all, or for what is still missing. */
static void
ask(void)
{
	put_off = answered = refused_range = false;
	difs_http_begin(source, received, mark, take);
}

uint32
difs_source_http_read(char *room, uint32 size)
{
	uint32 done = 0;

	while (done < size)
	{
		int length = Min(filled - taken, (int) (size - done));

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
	difs_http_end();
	ended = true;
}

/* The buffer is empty: waits for more, or for the end. */
static void
drive(void)
{
	CURLcode code;

	filled = taken = 0;
	if (put_off)
	{
		put_off = false;
		difs_http_go_on();
		if (filled > 0)
			return;
	}
	if (difs_http_drive(&code))
	{
		/* without a byte there was nobody to look at the status; and who has sent all may end as he likes */
		ended = code == CURLE_OK ? answered || (received == 0 && difs_http_status() == 200) :
								   answered && received == total;
		if (ended)
			difs_http_end();
		else
			break_off(code);
	}
	difs_insert_show_bytes(received, total);
}

static DifsHttpTake
take(const char *bytes, size_t count)
{
	if (!answered && !(answered = begin_answer()))
		return DIFS_HTTP_REFUSED;
	if (count > (size_t) (BUFFER_BYTES - filled))
	{
		put_off = true;
		return DIFS_HTTP_LATER;
	}
	memcpy(buffer + filled, bytes, count);
	filled += (int) count;
	received += (int64) count;
	return DIFS_HTTP_TAKEN;
}

/* The first bytes of an answer: is it the one that we asked for? What the first says of the content holds for the rest. */
static bool
begin_answer(void)
{
	if (received > 0)
	{
		refused_range = difs_http_status() != 206 || difs_http_answer()->range_start != received;
		return !refused_range;
	}
	if (difs_http_status() != 200)
		return false;
	total = difs_http_length();
	strlcpy(mark, difs_http_answer()->mark, sizeof(mark));
	return true;
}

/* A request has failed: goes on where it broke, if that can be, or errors out. */
static void
break_off(CURLcode code)
{
	long status = difs_http_status();
	int pause_ms;

	if (received > received_at_failure)
		failures = 0;
	received_at_failure = received;
	if (refused_range || !may_pass(code, status) || (received > 0 && mark[0] == '\0') || failures >= difs_insert_retries)
		report(code, status, received > 0 && mark[0] == '\0' && may_pass(code, status));
	pause_ms = Min(FIRST_PAUSE_MS << Min(failures, 10), LONGEST_PAUSE_MS);
	failures++;
	ereport(DEBUG1,
			(errmsg_internal("difs: a source broke off after " INT64_FORMAT " bytes: %s", received, curl_easy_strerror(code))));
	difs_http_end();
	for (TimestampTz until = difs_process_in(pause_ms); GetCurrentTimestamp() < until;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(pause_ms, TURN_MS), difs_wait_event(DIFS_WAIT_SOURCE));
		ResetLatch(MyLatch);
		difs_insert_interrupts();
	}
	ask();
}

/* Is it of the kind that may be better a little later? */
static bool
may_pass(CURLcode code, long status)
{
	if (difs_http_answer()->refused_address[0] != '\0')
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
	const DifsHttpAnswer *answer = difs_http_answer();

	if (answer->refused_address[0] != '\0')
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("the source leads to %s, which is not a public address", answer->refused_address),
				errhint("difs.insert_private_addresses allows such addresses."));
	if (refused_range)
		ereport(ERROR,
				errcode(ERRCODE_CONNECTION_FAILURE),
				errmsg("the connection to the source broke after " INT64_FORMAT " bytes", received),
				errdetail("It has changed since, or sends nothing but all of it."));
	if (code == CURLE_HTTP_RETURNED_ERROR)
		ereport(ERROR,
				errcode(again ? ERRCODE_CONNECTION_FAILURE : (status == 404 || status == 410 ? DIFS_ERRCODE_NO_FILE : DIFS_ERRCODE_IO)),
				errmsg("the source answers with HTTP status %ld", status));
	if (code == CURLE_OK || code == CURLE_WRITE_ERROR)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_IO),
				errmsg("the source answers with HTTP status %ld, and not with its content", status));
	if (code == CURLE_TOO_MANY_REDIRECTS)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_IO),
				errmsg("the source redirects more than %d times", DIFS_HTTP_MAX_REDIRECTS));
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
