/*
 * claim_round.c - taking the claim on the servers (claim.h).
 *
 * Two rounds over all servers at once: the first as a reader, to learn the highest
 * epoch, the second with the new one.  A server obeys who brings an epoch first,
 * so of two that claim at the same time at most one has a majority; the other one
 * errors out.  The first round errors out too if a majority cannot be reached,
 * before anything has changed.
 *
 * State: the connections of a round, closed at its end however it ends.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"

#include "common/fault.h"
#include "src/claim_round.h"
#include "src/compat.h"
#include "src/connect.h"
#include "src/ids.h"
#include "src/link.h"
#include "src/report.h"
#include "src/servers.h"
#include "src/settings.h"
#include "src/wait.h"

#define MAX_EPOCH ((UINT64CONST(1) << (63 - DIFS_ID_EPOCH_SHIFT)) - 1)

static const uint8 unknown[DIFS_UUID_SIZE];

static void ask_all(DifsClaimTry *try, const DifsClaim *claim);
static void connect_all(DifsClaimTry *try, const DifsClaim *claim);
static void wait_for_all(DifsClaimTry *try);
static bool is_busy(const DifsClaimServer *server);
static void take_answers(DifsClaimTry *try, const DifsClaim *claim);
static void take_answer(DifsClaimServer *server, const DifsClaim *claim);
static void close_all(DifsClaimTry *try);
static void check_majority(const DifsClaimTry *try);

void
difs_claim_win(DifsClaimTry *try)
{
	DifsError error;

	try->claim.epoch = try->epoch;
	ask_all(try, NULL);
	check_majority(try);
	DIFS_FAULT("backend.claim.asked");
	for (int i = 0; i < try->count; i++)
		try->claim.epoch = Max(try->claim.epoch, try->servers[i].epoch);
	if (try->claim.epoch >= MAX_EPOCH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("all epochs of this database have been used")));
	try->claim.epoch++;
	if (!difs_random(try->claim.id, sizeof(try->claim.id), &error))
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("%s", error.text)));
	ask_all(try, &try->claim);
	check_majority(try);
	DIFS_FAULT("backend.claim.won");
}

/* Connects to all, without a claim only to hear, and notes what each says. */
static void
ask_all(DifsClaimTry *try, const DifsClaim *claim)
{
	PG_TRY();
	{
		connect_all(try, claim);
		wait_for_all(try);
		take_answers(try, claim);
	}
	PG_CATCH();
	{
		close_all(try);
		PG_RE_THROW();
	}
	PG_END_TRY();
	close_all(try);
}

static void
close_all(DifsClaimTry *try)
{
	for (int i = 0; i < try->count; i++)
	{
		difs_conn_destroy(try->servers[i].conn);
		try->servers[i].conn = NULL;
	}
}

static void
connect_all(DifsClaimTry *try, const DifsClaim *claim)
{
	DifsPeer peer = {0};
	DifsError error;

	memcpy(peer.cluster, try->cluster, DIFS_UUID_SIZE);
	if (claim != NULL)
	{
		peer.epoch = claim->epoch;
		memcpy(peer.claim, claim->id, DIFS_CLAIM_SIZE);
	}
	for (int i = 0; i < try->count; i++)
	{
		DifsClaimServer *server = &try->servers[i];

		if (claim != NULL && !server->answered)
			continue; /* nor has it in the first round */
		strlcpy(peer.name, server->name, sizeof(peer.name));
		strlcpy(peer.host, server->host, sizeof(peer.host));
		peer.port = server->port;
		memcpy(peer.key, difs_cluster_key(), DIFS_KEY_SIZE);
		server->conn = difs_connect(&peer, &error);
		if (server->conn == NULL)
			ereport(ERROR,
					(errcode(difs_report_sqlstate(error.code)),
					 errmsg("could not connect to chunk server \"%s\"", server->name),
					 errdetail_internal("%s", error.text)));
	}
}

/* Until all have answered or failed, but for no longer than half of difs.server_timeout. */
static void
wait_for_all(DifsClaimTry *try)
{
	int64 deadline_ms = difs_link_clock_ms() + difs_server_timeout / 2;

	for (;;)
	{
		int64 left_ms = deadline_ms - difs_link_clock_ms();
		bool busy = false;
		WaitEventSet *set;
		WaitEvent event;
		DifsFrame frame;

		for (int i = 0; i < try->count; i++)
		{
			if (is_busy(&try->servers[i]))
				(void) difs_conn_advance(try->servers[i].conn, &frame);
			busy = busy || is_busy(&try->servers[i]);
		}
		if (!busy || left_ms <= 0)
			return;
		set = DIFS_CREATE_WAIT_SET(DIFS_MAX_SERVERS + 2);
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		for (int i = 0; i < try->count; i++)
		{
			DifsConn *conn = try->servers[i].conn;

			if (is_busy(&try->servers[i]) && difs_conn_fd(conn) >= 0)
				AddWaitEventToSet(set, WL_SOCKET_READABLE | (difs_conn_wants_write(conn) ? WL_SOCKET_WRITEABLE : 0),
								  difs_conn_fd(conn), NULL, NULL);
		}
		(void) WaitEventSetWait(set, left_ms, &event, 1, difs_wait_event(DIFS_WAIT_SERVER));
		FreeWaitEventSet(set);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static bool
is_busy(const DifsClaimServer *server)
{
	return server->conn != NULL && (difs_conn_state(server->conn) == DIFS_CONN_CONNECTING || difs_conn_state(server->conn) == DIFS_CONN_GREETING);
}

static void
take_answers(DifsClaimTry *try, const DifsClaim *claim)
{
	for (int i = 0; i < try->count; i++)
		take_answer(&try->servers[i], claim);
}

static void
take_answer(DifsClaimServer *server, const DifsClaim *claim)
{
	const DifsServerStatus *status;

	server->answered = false;
	if (server->conn == NULL)
		return;
	if (difs_conn_state(server->conn) == DIFS_CONN_BROKEN)
	{
		strlcpy(server->problem, difs_conn_error(server->conn)->text, sizeof(server->problem));
		return;
	}
	if (is_busy(server))
	{
		snprintf(server->problem, sizeof(server->problem), "%s: no answer within %d ms", difs_conn_label(server->conn),
				 difs_server_timeout / 2);
		return;
	}
	status = difs_conn_status(server->conn);
	server->epoch = status->epoch;
	if (memcmp(server->storage, unknown, DIFS_UUID_SIZE) != 0 &&
		memcmp(server->storage, status->storage, DIFS_UUID_SIZE) != 0)
		snprintf(server->problem, sizeof(server->problem), "%s: it is another storage than the one in difs.server",
				 difs_conn_label(server->conn));
	else if (claim != NULL &&
			 (status->epoch != claim->epoch || memcmp(status->claim, claim->id, DIFS_CLAIM_SIZE) != 0))
		snprintf(server->problem, sizeof(server->problem), "%s: somebody else has just claimed epoch " UINT64_FORMAT,
				 difs_conn_label(server->conn), status->epoch);
	else
	{
		server->answered = true;
		if (claim != NULL)
			DIFS_FAULT("backend.claim.server");
	}
}

static void
check_majority(const DifsClaimTry *try)
{
	StringInfoData problems;
	int answered = 0;

	initStringInfo(&problems);
	for (int i = 0; i < try->count; i++)
	{
		answered += try->servers[i].answered;
		if (!try->servers[i].answered)
			appendStringInfo(&problems, "%s%s", problems.len > 0 ? "\n" : "", try->servers[i].problem);
	}
	if (try->count == 0 || 2 * answered > try->count)
		return;
	ereport(ERROR,
			(errcode(DIFS_ERRCODE_IO),
			 errmsg("could not claim the files of this database: %d of %d chunk servers obey, a majority must",
					answered, try->count),
			 errdetail_internal("%s", problems.data),
			 errhint("Start these chunk servers, or see that this server reaches them and has their key.")));
}
