/*
 * lock.c - difs_lock() and difs_unlock() (lock.h).
 *
 * State: which ranges this session has locked.  The locks themselves are the lock
 * manager's, which frees them when the process ends.  The transaction in which a
 * session took a lock may roll back: the session has it, as with PostgreSQL's
 * advisory locks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/dentry.h"
#include "src/ids.h"
#include "src/lock.h"
#include "src/path.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/servers.h"
#include "src/table.h"
#include "src/wait.h"

#define POLL_MS 100 /* between two looks at the rows of owners, whose end nobody tells */
#define MAX_OWNER_BYTES 255
#define MAX_INTERVAL_US (INT64CONST(1000) * 366 * USECS_PER_DAY)

typedef enum Scope
{
	SCOPE_TRANSACTION,
	SCOPE_SESSION,
	SCOPE_OWNER
} Scope;

typedef struct Request
{
	const char *path;
	DifsRange range;
	Scope scope;
	char *owner; /* of SCOPE_OWNER */
	TimestampTz deadline;
	int64 ttl_us;
} Request;

static DifsRange *session_locks; /* in TopMemoryContext */
static int session_count;
static int session_room;

static void read_request(FunctionCallInfo fcinfo, Request *request);
static void read_range(const text *path, int64 offset, bool to_end, int64 length, DifsWalk *walk, DifsRange *range);
static char *read_owner(const text *owner);
static int64 microseconds(const Interval *interval, const char *argument);
static void lock_range(const Request *request);
static void wait_for_owner(const Request *request, TimestampTz until);
static void reserve_session_lock(void);
static void describe_wait(void *arg);

PG_FUNCTION_INFO_V1(difs_lock);
PG_FUNCTION_INFO_V1(difs_unlock);

/* difs_lock(path, mode, scope, timeout, owner, ttl, "offset", length) → fencing number */
Datum
difs_lock(PG_FUNCTION_ARGS)
{
	Request request = {0};
	TimestampTz expires;
	int64 fence = 0;

	difs_write_begin("difs_lock");
	read_request(fcinfo, &request);
	lock_range(&request);
	expires = GetCurrentTimestamp() + request.ttl_us;
	if (request.scope == SCOPE_OWNER)
		fence = difs_owner_renew(&request.range, request.owner, expires);
	if (fence == 0)
	{
		fence = (int64) difs_fence_next(difs_database_require());
		if (request.scope == SCOPE_OWNER)
			difs_owner_insert(&request.range, request.owner, fence, expires);
	}
	if (request.scope == SCOPE_SESSION)
	{
		reserve_session_lock();
		difs_range_keep(&request.range);
		difs_range_unlock(&request.range);
		session_locks[session_count++] = request.range;
	}
	difs_write_end();
	PG_RETURN_INT64(fence);
}

/* difs_unlock(path, owner, "offset", length) → was it locked? */
Datum
difs_unlock(PG_FUNCTION_ARGS)
{
	DifsWalk walk;
	DifsRange range;
	bool unlocked = false;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(2, "offset");
	difs_write_begin("difs_unlock");
	read_range(PG_GETARG_TEXT_PP(0), PG_GETARG_INT64(2), PG_ARGISNULL(3), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3), &walk, &range);
	if (!PG_ARGISNULL(1))
		unlocked = difs_owner_remove(&walk, &range, read_owner(PG_GETARG_TEXT_PP(1)));
	for (int i = session_count - 1; i >= 0 && PG_ARGISNULL(1) && !unlocked; i--)
	{
		DifsRange held = session_locks[i];

		if (held.ino != range.ino || held.offset != range.offset || held.behind != range.behind)
			continue;
		session_locks[i] = session_locks[--session_count];
		unlocked = difs_range_drop(&held);
	}
	difs_write_end();
	PG_RETURN_BOOL(unlocked);
}

void
difs_lock_require(const DifsWalk *walk, bool exclusive)
{
	difs_perm_require(&walk->inode, exclusive ? DIFS_MAY_WRITE : DIFS_MAY_READ, walk->path->text);
}

static void
read_request(FunctionCallInfo fcinfo, Request *request)
{
	DifsWalk walk;
	char *mode;
	char *scope;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "mode");
	DIFS_ARG_NOT_NULL(2, "scope");
	DIFS_ARG_NOT_NULL(6, "offset");

	mode = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (strcmp(mode, "exclusive") != 0 && strcmp(mode, "shared") != 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid mode \"%s\" of a lock", mode),
				errhint("Modes are \"shared\" and \"exclusive\"."));
	scope = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (strcmp(scope, "transaction") == 0)
		request->scope = SCOPE_TRANSACTION;
	else if (strcmp(scope, "session") == 0)
		request->scope = SCOPE_SESSION;
	else if (strcmp(scope, "owner") == 0)
		request->scope = SCOPE_OWNER;
	else
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid scope \"%s\" of a lock", scope),
				errhint("Scopes are \"transaction\", \"session\" and \"owner\"."));
	if (PG_ARGISNULL(4) == (request->scope == SCOPE_OWNER) || PG_ARGISNULL(5) == (request->scope == SCOPE_OWNER))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("owner and ttl of a lock go with scope \"owner\", and only with that"));

	request->deadline = DT_NOEND;
	if (!PG_ARGISNULL(3))
	{
		int64 timeout_us = microseconds(PG_GETARG_INTERVAL_P(3), "timeout");

		request->deadline = timeout_us == 0 ? DT_NOBEGIN : GetCurrentTimestamp() + timeout_us;
	}
	if (request->scope == SCOPE_OWNER)
	{
		request->owner = read_owner(PG_GETARG_TEXT_PP(4));
		request->ttl_us = microseconds(PG_GETARG_INTERVAL_P(5), "ttl");
	}
	request->path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	read_range(PG_GETARG_TEXT_PP(0), PG_GETARG_INT64(6), PG_ARGISNULL(7), PG_ARGISNULL(7) ? 0 : PG_GETARG_INT64(7),
			   &walk, &request->range);
	request->range.exclusive = mode[0] == 'e';
	difs_lock_require(&walk, request->range.exclusive);
}

static void
read_range(const text *path, int64 offset, bool to_end, int64 length, DifsWalk *walk, DifsRange *range)
{
	difs_path_find(path, walk);
	if (offset < 0 || (!to_end && (length <= 0 || length >= PG_INT64_MAX - offset)) || offset == PG_INT64_MAX)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid range of \"%s\": " INT64_FORMAT " bytes at " INT64_FORMAT, walk->path->text, length, offset),
				errhint("The offset is not negative, the length is positive, and both together are less than 2^63."));
	*range = (DifsRange){.ino = walk->inode.ino, .offset = offset, .behind = to_end ? PG_INT64_MAX : offset + length};
}

static char *
read_owner(const text *owner)
{
	if (VARSIZE_ANY_EXHDR(owner) == 0 || VARSIZE_ANY_EXHDR(owner) > MAX_OWNER_BYTES)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("the owner of a lock must have 1 to %d bytes", MAX_OWNER_BYTES));
	return text_to_cstring(owner);
}

static int64
microseconds(const Interval *interval, const char *argument)
{
	int64 days = (int64) interval->month * DAYS_PER_MONTH + interval->day;

	if (interval->month < 0 || interval->day < 0 || interval->time < 0 ||
		days > MAX_INTERVAL_US / USECS_PER_DAY || interval->time > MAX_INTERVAL_US)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("%s must be from 0 to 1000 years", argument));
	return days * USECS_PER_DAY + interval->time;
}

/* For the transaction; and waits for owners who have the range by rows. */
static void
lock_range(const Request *request)
{
	ErrorContextCallback context = {.callback = describe_wait, .arg = (void *) request, .previous = error_context_stack};

	error_context_stack = &context;
	for (;;)
	{
		TimestampTz until;

		if (!difs_range_lock(&request->range, request->deadline))
			ereport(ERROR,
					errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					errmsg("\"%s\" is locked by somebody else", request->path));
		until = difs_owner_conflict(&request->range, request->owner);
		if (until == 0)
			break;
		difs_range_unlock(&request->range);
		wait_for_owner(request, until);
	}
	error_context_stack = context.previous;
}

static void
wait_for_owner(const Request *request, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();
	long wait_ms = TimestampDifferenceMilliseconds(now, Min(until, request->deadline));
	int64 began_us;

	if (request->deadline <= now)
		ereport(ERROR,
				errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				errmsg("\"%s\" is locked by somebody else", request->path),
				errdetail("The lock of an owner lasts until %s.", timestamptz_to_str(until)),
				errhint("The view difs.locks says whose it is."));
	began_us = difs_wait_begin();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(wait_ms + 1, POLL_MS), difs_wait_event(DIFS_WAIT_LOCK));
	difs_wait_end(DIFS_WAIT_LOCK, began_us);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* So that noting the lock cannot fail once it is there. */
static void
reserve_session_lock(void)
{
	if (session_count < session_room)
		return;
	if (session_locks == NULL)
		session_locks = MemoryContextAlloc(TopMemoryContext, 8 * sizeof(DifsRange));
	else
		session_locks = repalloc(session_locks, session_room * 2 * sizeof(DifsRange));
	session_room = Max(8, session_room * 2);
}

static void
describe_wait(void *arg)
{
	errcontext("lock of \"%s\"", ((const Request *) arg)->path);
}
