/*
 * remover.c - drops the block groups of databases that are gone (legacy.h).
 *
 * A process of its own, started by the launcher when there is a file that says so,
 * connected to no database.  It goes through the files once and exits; servers
 * that it could not reach leave their file for the next time.
 *
 * A database made from a template shares its template's identity and so its
 * bytes: while another database is served under it, its groups stay, and the file
 * goes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "src/connect.h"
#include "src/link.h"
#include "src/servers.h"
#include "src/settings.h"
#include "src/wait.h"
#include "worker/legacy.h"
#include "worker/process.h"
#include "worker/remover.h"

#define AGAIN_MS 10000 /* after servers that could not be reached */

static bool is_served(const DifsLegacy *legacy);
static bool clear_server(const DifsLegacy *legacy, int index);
static void current_address(DifsPeer *peer);
static bool drop_groups(DifsConn *conn, DifsError *error);
static bool request(DifsConn *conn, DifsMessage message, const uint8 *control, uint32 control_length, uint8 *payload,
					uint32 *length, DifsError *error);
static void wait_for(DifsConn *conn, int64 timeout_ms);

void
difs_remover_turn(TimestampTz *next)
{
	static BackgroundWorkerHandle *handle = NULL;
	static TimestampTz not_before = 0;
	BackgroundWorker worker = {0};
	MemoryContext before;
	pid_t pid;

	if (handle != NULL && GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
		return; /* its end sets our latch */
	if (handle != NULL)
	{
		pfree(handle);
		handle = NULL;
		not_before = difs_process_in(AGAIN_MS);
	}
	if (!difs_legacy_wanted())
	{
		not_before = 0;
		return;
	}
	difs_process_by(next, not_before);
	if (GetCurrentTimestamp() < not_before)
		return;
	strlcpy(worker.bgw_name, "difs remover", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "difs remover", sizeof(worker.bgw_type));
	strlcpy(worker.bgw_library_name, "difs", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "difs_remover_main", sizeof(worker.bgw_function_name));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	before = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		handle = NULL;
		not_before = difs_process_in(AGAIN_MS);
	}
	MemoryContextSwitchTo(before);
}

void
difs_remover_main(Datum arg)
{
	DifsLegacy *legacy;
	char name[MAXPGPATH] = "";

	difs_process_begin();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	legacy = MemoryContextAlloc(TopMemoryContext, sizeof(DifsLegacy));
	while (difs_legacy_next(name, legacy) && !difs_process_asked_to_stop())
	{
		bool done = true;

		for (int i = 0; i < legacy->server_count && !is_served(legacy); i++)
			done = clear_server(legacy, i) && done;
		if (done)
			(void) durable_unlink(legacy->path, LOG);
	}
	proc_exit(0);
}

/* By a database that has the claim: one that has only the same identity, a copy, reads what there is. */
static bool
is_served(const DifsLegacy *legacy)
{
	bool served = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < difs_shared->database_count; i++)
	{
		const DifsDatabase *database = &difs_shared->databases[i];

		if (database->state == DIFS_DATABASE_RUNNING && database->claimed && memcmp(database->cluster, legacy->cluster, DIFS_UUID_SIZE) == 0)
			served = true;
	}
	LWLockRelease(&difs_shared->lock);
	return served;
}

/* True if the server has no group of that cluster any more. */
static bool
clear_server(const DifsLegacy *legacy, int index)
{
	DifsPeer peer = {0};
	DifsError error = {0};
	DifsConn *conn;
	bool done = false;

	strlcpy(peer.name, legacy->servers[index].name, sizeof(peer.name));
	strlcpy(peer.host, legacy->servers[index].host, sizeof(peer.host));
	peer.port = legacy->servers[index].port;
	memcpy(peer.cluster, legacy->cluster, DIFS_UUID_SIZE);
	peer.epoch = legacy->epoch;
	memcpy(peer.claim, legacy->claim, DIFS_CLAIM_SIZE);
	memcpy(peer.key, difs_cluster_key(), DIFS_KEY_SIZE);
	current_address(&peer);
	conn = difs_connect(&peer, &error);
	if (conn == NULL)
	{
		ereport(LOG, (errmsg("difs: could not connect to chunk server \"%s\": %s", peer.name, error.text)));
		return false;
	}
	difs_link_wait_ready(conn, difs_server_timeout);
	if (difs_conn_state(conn) == DIFS_CONN_READY)
		done = drop_groups(conn, &error);
	else if (difs_conn_state(conn) == DIFS_CONN_BROKEN)
		error = *difs_conn_error(conn);
	else
		difs_error_set(&error, DIFS_ERROR_ARGUMENT, "%s: no answer", difs_conn_label(conn));
	if (!done)
		ereport(LOG,
				(errmsg("difs: could not drop the block groups of a dropped database yet: %s", error.text),
				 errhint("It is tried again as long as file \"%s\" exists.", legacy->path)));
	difs_conn_destroy(conn);
	return done;
}

/* Embedded servers may have another port by now. */
static void
current_address(DifsPeer *peer)
{
	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < difs_shared->local_count; i++)
	{
		const DifsLocalServer *local = &difs_shared->local[i];

		if (strcmp(local->name, peer->name) != 0 || local->port == 0)
			continue;
		strlcpy(peer->host, local->host, sizeof(peer->host));
		peer->port = local->port;
	}
	LWLockRelease(&difs_shared->lock);
}

static bool
drop_groups(DifsConn *conn, DifsError *error)
{
	uint8 *entries = palloc(DIFS_GROUPS_MAX_ENTRIES * DIFS_GROUP_ENTRY_SIZE);
	uint8 control[16];
	uint32 length;
	uint64 after = 0;

	do
	{
		length = DIFS_GROUPS_MAX_ENTRIES * DIFS_GROUP_ENTRY_SIZE;
		if (!request(conn, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(after, control), entries, &length, error))
			return false;
		for (uint32 i = 0; i < length / DIFS_GROUP_ENTRY_SIZE; i++)
		{
			DifsGroupEntry entry;
			uint32 none = 0;

			difs_group_entry_unpack(entries + i * DIFS_GROUP_ENTRY_SIZE, &entry);
			if (entry.group <= after)
				return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s: groups are not in order", difs_conn_label(conn));
			after = entry.group;
			if (!request(conn, DIFS_MESSAGE_DROP_GROUP, control, difs_pair_pack(entry.group, entry.epoch, control),
						 NULL, &none, error) &&
				error->code != DIFS_ERROR_NO_GROUP)
				return false;
		}
	} while (length > 0);
	pfree(entries);
	return true;
}

/* One request about a group, and its reply, whose payload has room for *length bytes. */
static bool
request(DifsConn *conn, DifsMessage message, const uint8 *control, uint32 control_length, uint8 *payload, uint32 *length,
		DifsError *error)
{
	static uint64 last_request = 0;
	DifsFrame frame = {
		.control_length = control_length,
		.request = ++last_request,
		.message = message,
	};
	int64 deadline_ms = difs_link_clock_ms() + difs_server_timeout;

	(void) difs_conn_send(conn, &frame, control, NULL);
	while (difs_link_clock_ms() < deadline_ms)
	{
		switch (difs_conn_advance(conn, &frame))
		{
			case DIFS_EVENT_HEAD:
				if (frame.payload_length > *length)
					return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s: a reply of %u bytes",
										  difs_conn_label(conn), frame.payload_length);
				difs_conn_payload_into(conn, payload);
				break;
			case DIFS_EVENT_FRAME:
				*length = frame.payload_length;
				if (frame.status != DIFS_OK)
					difs_conn_reply_error(conn, &frame, error);
				return frame.status == DIFS_OK;
			case DIFS_EVENT_BROKEN:
				*error = *difs_conn_error(conn);
				return false;
			case DIFS_EVENT_READY:
				break;
			case DIFS_EVENT_NONE:
				wait_for(conn, deadline_ms - difs_link_clock_ms());
				break;
		}
	}
	return difs_error_set(error, DIFS_ERROR_ARGUMENT, "%s: no answer", difs_conn_label(conn));
}

static void
wait_for(DifsConn *conn, int64 timeout_ms)
{
	int events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | WL_SOCKET_READABLE;

	if (difs_conn_wants_write(conn))
		events |= WL_SOCKET_WRITEABLE;
	if ((WaitLatchOrSocket(MyLatch, events, difs_conn_fd(conn), Max(timeout_ms, 0), difs_wait_event(DIFS_WAIT_SERVER)) & WL_LATCH_SET) != 0)
		ResetLatch(MyLatch);
	if (difs_process_asked_to_stop())
		proc_exit(0);
}
