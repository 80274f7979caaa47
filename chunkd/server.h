/*
 * server.h - the state of the process that everything hangs from.
 *
 * All of it belongs to the loop thread, but for what is constant after start
 * (options, store) and `stopping`, which long jobs look at.
 */
#ifndef DIFS_SERVER_H
#define DIFS_SERVER_H

#include <stdatomic.h>
#include <sys/queue.h>
#include <uv.h>

#include "../common/auth.h"
#include "counts.h"
#include "gather.h"
#include "group.h"
#include "job.h"
#include "memory.h"
#include "metrics.h"
#include "options.h"
#include "store.h"

#define DIFS_SURPLUS_CONNECTIONS 64 /* over --max-connections, to be told so */
#define DIFS_MAX_TENANTS 1024
#define DIFS_MAX_GROUPS (1024 * 1024) /* of all tenants */
#define DIFS_MAX_PULLS 64			  /* under way or waiting */
#define DIFS_MAX_OPEN_FILES 512		  /* groups with open descriptors, two each */

typedef TAILQ_HEAD(DifsConnectionList, DifsConnection) DifsConnectionList;
typedef TAILQ_HEAD(DifsTenantList, DifsTenant) DifsTenantList;

struct DifsGroupPull;

typedef struct DifsServer
{
	uv_loop_t *loop;
	const DifsOptions *options;
	DifsKeyring keyring; /* as the key file was at start or at the last SIGHUP */
	DifsTlsContext *tls; /* NULL: no TLS; from the files as they were then too */
	DifsStore *store;
	DifsPool pool;
	DifsBudget budget;
	DifsGather gather;

	uv_tcp_t listener;
	uint16_t port; /* that it listens on */
	uv_timer_t timer;
	uv_signal_t terminate;
	uv_signal_t interrupt;
	uv_signal_t hangup;
	uv_async_t stdin_closed;
	atomic_bool stopping;
	uint64_t stop_ms; /* when stopping began */

	DifsConnectionList connections;
	int connection_count;

	DifsTenantList tenants;
	int tenant_count;
	uint32_t group_count;
	DifsGroupQueue open_groups; /* with open descriptors, least recently used first */
	int open_group_count;
	DifsGroupQueue compactions; /* groups that wait to be compacted */
	bool compacting;
	TAILQ_HEAD(, DifsGroupPull) pulls;

	uint64_t used_bytes;   /* by all groups, without room for more records */
	uint64_t queued_bytes; /* records that wait to be written */
	uint64_t free_bytes;   /* of the file system, as it was lately */
	bool measuring;		   /* a job gets free_bytes */
	uint64_t puts;
	uint64_t gets;
	uint64_t syncs;
	uint64_t sync_us; /* what they took */
	DifsCounts counts;
	DifsMetrics metrics;

	/* whether somebody would wait for the loop thread if it waited for a sync (group_commit.c) */
	uint32_t in_flight;					  /* requests of all connections that are not answered */
	uint64_t last_read_ms;				  /* when a GET was answered last */
	uint64_t last_commit_ms;			  /* when a commit ended last */
	const struct DifsTenant *last_commit; /* of whose group; only compared: it may be gone */
	uint64_t last_sync_us;				  /* and how long its sync took */
} DifsServer;

/* Starts a server: tenants are loaded, then it listens, then the address is written.  False with *error. */
extern bool difs_server_start(DifsServer *server, uv_loop_t *loop, const DifsOptions *options, DifsStore *store,
							  DifsError *error);

/* Stops to accept and to read; uv_run() ends when what is under way is done. */
extern void difs_server_stop(DifsServer *server, const char *why);

/* Frees what is left after uv_run(). */
extern void difs_server_destroy(DifsServer *server);

/* Whether so many more bytes may be written. */
extern bool difs_server_has_room(const DifsServer *server, uint64_t bytes);

#endif
