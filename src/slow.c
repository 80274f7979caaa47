/*
 * slow.c - the log of slow operations (slow.h).
 *
 * State: the outermost operation of this process, known by the snapshot that it has pushed, so that calls inside of it, by before_put or
 * by SQL functions, need not be counted.  One that an error ends is forgotten with its (sub)transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/snapmgr.h"

#include "src/pace.h"
#include "src/settings.h"
#include "src/slow.h"

#define MAX_PATH_SHOWN 512

uint64 difs_slow_read_bytes = 0;
uint64 difs_slow_written_bytes = 0;

static Snapshot snapshot = NULL; /* of the operation; NULL: there is none */
static int nest_level;
static const char *operation;
static char operation_path[MAX_PATH_SHOWN];
static DifsSlowMark begun;

static void on_transaction(XactEvent event, void *arg);
static void on_subtransaction(SubXactEvent event, SubTransactionId my, SubTransactionId parent, void *arg);

void
difs_slow_mark(DifsSlowMark *mark)
{
	mark->began_us = 0;
	if (difs_log_min_duration < 0)
		return;
	mark->began_us = difs_pace_clock_us();
	memcpy(mark->waited_us, difs_waited_us, sizeof(difs_waited_us));
	mark->read_bytes = difs_slow_read_bytes;
	mark->written_bytes = difs_slow_written_bytes;
}

void
difs_slow_report(const DifsSlowMark *mark, const char *what, const char *path)
{
	static const char *const waits[DIFS_WAITS] = {
		[DIFS_WAIT_POOL] = "memory of the stream pool",
		[DIFS_WAIT_STREAMER] = "segments to be stored",
		[DIFS_WAIT_SERVER] = "answers of chunk servers",
		[DIFS_WAIT_GROUP] = "a block group",
		[DIFS_WAIT_LOCK] = "a lock of difs_lock()",
		[DIFS_WAIT_WORKERS] = "background workers",
		[DIFS_WAIT_DUTY] = "a round of a duty",
	};
	int64 rest_us = difs_pace_clock_us() - mark->began_us;
	double took_ms = rest_us / 1000.0;
	StringInfoData detail;

	if (mark->began_us == 0 || difs_log_min_duration < 0 || took_ms < difs_log_min_duration)
		return;
	initStringInfo(&detail);
	for (int i = 0; i < DIFS_WAITS; i++)
	{
		uint64 waited_us = difs_waited_us[i] - mark->waited_us[i];

		if (waited_us == 0 || waits[i] == NULL)
			continue;
		appendStringInfo(&detail, "%s%.3f ms for %s", detail.len == 0 ? "It waited " : ", ", waited_us / 1000.0, waits[i]);
		rest_us -= waited_us;
	}
	appendStringInfo(&detail, "%s%.3f ms went by in the backend itself.", detail.len == 0 ? "" : "; ", Max(rest_us, 0) / 1000.0);
	ereport(LOG,
			errmsg("difs: slow %s%s%s%s: %.3f ms, " UINT64_FORMAT " bytes read, " UINT64_FORMAT " bytes written", what,
				   path[0] != '\0' ? " \"" : "", path, path[0] != '\0' ? "\"" : "", took_ms,
				   difs_slow_read_bytes - mark->read_bytes, difs_slow_written_bytes - mark->written_bytes),
			errdetail_internal("%s", detail.data),
			errhidestmt(true));
	pfree(detail.data);
}

void
difs_slow_begin(const char *what)
{
	static bool registered = false;

	if (difs_log_min_duration < 0 || snapshot != NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(on_transaction, NULL);
		RegisterSubXactCallback(on_subtransaction, NULL);
		registered = true;
	}
	snapshot = GetActiveSnapshot();
	nest_level = GetCurrentTransactionNestLevel();
	operation = what;
	operation_path[0] = '\0';
	difs_slow_mark(&begun);
}

void
difs_slow_end(void)
{
	if (snapshot == NULL || snapshot != GetActiveSnapshot())
		return;
	snapshot = NULL;
	difs_slow_report(&begun, operation, operation_path);
}

void
difs_slow_path(const char *path)
{
	if (snapshot != NULL && operation_path[0] == '\0')
		strlcpy(operation_path, path, sizeof(operation_path));
}

static void
on_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		snapshot = NULL;
}

static void
on_subtransaction(SubXactEvent event, SubTransactionId my, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && nest_level >= GetCurrentTransactionNestLevel())
		snapshot = NULL;
}
