/*
 * group_pull.c - PULL: who asked for which copy, and how far it is (pull.h).
 *
 * State: server->pulls, the loop thread's; at most DIFS_MAX_PULLS.  A process that
 * dies forgets them, and whoever asked asks again.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memory.h"
#include "pull.h"
#include "server.h"

#define FORGOTTEN_TICKS 30 /* of a second: then nobody asks any more */

static DifsGroupPull *find(const DifsServer *server, const DifsTenant *tenant, uint64_t group);
static bool is_there(const DifsGroup *group, uint64_t epoch);
static void start(DifsRequest *request, const DifsPull *asked);
static void copy_done(DifsJob *job);
static void reply(DifsRequest *request, const DifsGroupPull *pull);
static void reply_there(DifsRequest *request, const DifsGroup *group);
static void answer(DifsGroupPull *pull);
static void remove_file(DifsGroupPull *pull);
static void free_pull(DifsGroupPull *pull);

void
difs_pull_handle(DifsRequest *request, const DifsPull *asked)
{
	DifsTenant *tenant = request->connection->tenant;
	DifsServer *server = tenant->server;
	const DifsGroup *group = difs_tenant_find(tenant, asked->group);
	DifsGroupPull *pull = find(server, tenant, asked->group);

	if (asked->capacity < DIFS_GROUP_HEADER_SIZE || asked->capacity > DIFS_GROUP_MAX_CAPACITY)
		difs_request_refuse(request, DIFS_ERROR_ARGUMENT, "a block group cannot have %" PRIu64 " bytes", asked->capacity);
	else if (group != NULL && is_there(group, asked->epoch))
		reply_there(request, group);
	else if (group != NULL && group->epoch >= asked->epoch)
		difs_request_refuse(request, DIFS_ERROR_EXISTS, "block group %016" PRIx64 " is already there with epoch %" PRIu64,
							asked->group, group->epoch);
	else if (pull == NULL)
		start(request, asked);
	else if (pull->asked.epoch == asked->epoch && pull->epoch == request->connection->epoch)
	{
		STAILQ_INSERT_TAIL(&pull->requests, request, next);
		pull->forgotten_ticks = 0;
		if (pull->stage == DIFS_PULL_FAILED)
			difs_pull_end(pull);
	}
	else
	{
		/* It has been superseded, by a later request or owner, or has been superseded by it. */
		if (pull->asked.epoch < asked->epoch || pull->epoch < request->connection->epoch)
			atomic_store(&pull->given_up, true);
		difs_request_refuse(request, DIFS_ERROR_REFUSED, "block group %016" PRIx64 " is being pulled with epoch %" PRIu64,
							asked->group, pull->asked.epoch);
		if (pull->stage == DIFS_PULL_FAILED)
			free_pull(pull);
	}
}

void
difs_pulls_tick(DifsServer *server)
{
	DifsGroupPull *pull;
	DifsGroupPull *next;

	for (pull = TAILQ_FIRST(&server->pulls); pull != NULL; pull = next)
	{
		next = TAILQ_NEXT(pull, link);
		answer(pull);
		if (++pull->forgotten_ticks <= FORGOTTEN_TICKS)
			continue;
		if (pull->stage == DIFS_PULL_FAILED)
			free_pull(pull);
		else
			atomic_store(&pull->given_up, true);
	}
}

void
difs_pulls_free(DifsServer *server)
{
	while (!TAILQ_EMPTY(&server->pulls))
		free_pull(TAILQ_FIRST(&server->pulls));
}

void
difs_pull_end(DifsGroupPull *pull)
{
	bool heard = !STAILQ_EMPTY(&pull->requests);
	DifsRequest *request;

	if (!pull->ok && pull->stage != DIFS_PULL_FAILED)
	{
		difs_log(DIFS_LOG_ERROR, "group %016" PRIx64 " could not be pulled: %s", pull->asked.group, pull->error.text);
		remove_file(pull);
		pull->stage = DIFS_PULL_FAILED;
	}
	while ((request = STAILQ_FIRST(&pull->requests)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&pull->requests, next);
		if (pull->ok)
			reply_there(request, difs_tenant_find(pull->tenant, pull->asked.group));
		else
			difs_request_fail(request, &pull->error);
	}
	if (pull->ok || heard)
		free_pull(pull);
}

static DifsGroupPull *
find(const DifsServer *server, const DifsTenant *tenant, uint64_t group)
{
	DifsGroupPull *pull;

	TAILQ_FOREACH (pull, &server->pulls, link)
	{
		if (pull->tenant == tenant && pull->asked.group == group)
			return pull;
	}
	return NULL;
}

static bool
is_there(const DifsGroup *group, uint64_t epoch)
{
	return group->epoch == epoch && group->sealed && !group->failed && !group->dropping && group->pull == NULL;
}

static void
start(DifsRequest *request, const DifsPull *asked)
{
	DifsTenant *tenant = request->connection->tenant;
	DifsServer *server = tenant->server;
	DifsGroupPull *pull;
	DifsTlsMode mode = (asked->flags & DIFS_PULL_TLS_MASK) >> DIFS_PULL_TLS_SHIFT;
	DifsTlsContext *tls = NULL;
	DifsError error;
	int count = 0;

	TAILQ_FOREACH (pull, &server->pulls, link)
		count++;
	if (server->stopping || count >= DIFS_MAX_PULLS)
	{
		difs_request_refuse(request, DIFS_ERROR_REFUSED, "storage \"%.100s\" has %d pulls to do already",
							server->options->name, count);
		return;
	}
	if (mode != DIFS_TLS_OFF)
		tls = difs_tls_client_context(mode, &server->options->tls_files, &error);
	if (mode != DIFS_TLS_OFF && tls == NULL)
	{
		difs_request_refuse(request, error.code, "storage \"%.100s\" cannot pull: %s", server->options->name, error.text);
		return;
	}
	pull = difs_alloc(sizeof(*pull));
	pull->tls = tls;
	pull->server = server;
	pull->tenant = tenant;
	pull->asked = *asked;
	pull->epoch = request->connection->epoch;
	memcpy(pull->key, server->keyring.key[0], DIFS_KEY_SIZE);
	pull->file = difs_alloc(sizeof(*pull->file));
	*pull->file = (DifsGroupFile){.refs = 1, .fd = -1, .map.fd = -1};
	memcpy(pull->file->header.cluster, tenant->cluster, DIFS_UUID_SIZE);
	pull->file->header.group = asked->group;
	pull->file->header.epoch = asked->epoch;
	pull->file->header.capacity = asked->capacity;
	STAILQ_INIT(&pull->requests);
	STAILQ_INSERT_TAIL(&pull->requests, request, next);
	TAILQ_INSERT_TAIL(&server->pulls, pull, link);
	difs_job_start(&server->pool, DIFS_LANE_PULL, &pull->job, difs_pull_copy, copy_done);
}

static void
copy_done(DifsJob *job)
{
	DifsGroupPull *pull = (DifsGroupPull *) job;

	if (pull->ok && !difs_server_has_room(pull->server, pull->file_bytes))
		pull->ok = difs_error_set(&pull->error, DIFS_ERROR_FULL, "storage \"%.100s\" is full", pull->server->options->name);
	if (pull->ok)
		difs_pull_install_when_idle(pull);
	else
		difs_pull_end(pull);
}

static void
reply(DifsRequest *request, const DifsGroupPull *pull)
{
	DifsPullProgress progress = {
		.segments = atomic_load(&pull->segments),
		.bytes = atomic_load(&pull->bytes),
		.total = atomic_load(&pull->total),
		.damaged = atomic_load(&pull->damaged),
	};
	uint8_t control[64];

	difs_request_reply(request, control, (uint32_t) difs_pull_progress_pack(&progress, control), NULL, 0);
}

static void
reply_there(DifsRequest *request, const DifsGroup *group)
{
	DifsPullProgress progress = {
		.segments = group->live_segments,
		.bytes = group->live_bytes,
		.total = group->live_bytes,
		.done = true,
	};
	uint8_t control[64];

	difs_request_reply(request, control, (uint32_t) difs_pull_progress_pack(&progress, control), NULL, 0);
}

static void
answer(DifsGroupPull *pull)
{
	DifsRequest *request;

	while ((request = STAILQ_FIRST(&pull->requests)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&pull->requests, next);
		reply(request, pull);
	}
}

/* On the loop thread: it is one name, and rare. */
static void
remove_file(DifsGroupPull *pull)
{
	DifsStore *store = pull->server->store;
	char path[DIFS_PATH_SIZE];
	const char *paths[] = {path, NULL};

	snprintf(path, sizeof(path), "%s/%016" PRIx64 DIFS_PULL_SUFFIX, pull->tenant->directory, pull->asked.group);
	if (!store->remove(store, paths, NULL))
		difs_log(DIFS_LOG_WARNING, "file \"%s\" could not be removed", path);
}

static void
free_pull(DifsGroupPull *pull)
{
	TAILQ_REMOVE(&pull->server->pulls, pull, link);
	difs_group_file_release(pull->file);
	difs_index_free(&pull->index);
	difs_tls_context_release(pull->tls);
	explicit_bzero(pull->key, sizeof(pull->key));
	free(pull);
}
