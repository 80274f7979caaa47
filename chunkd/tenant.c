/*
 * tenant.c - see tenant.h.
 *
 * State on disk: <cluster>/epoch, replaced whole: the highest epoch and the claim
 * that came with it first.  They are obeyed and answered for only after they are
 * durable, so a restarted server never obeys an owner that it has already told of a
 * higher one.  A tenant that nobody has claimed is in memory only.  And a claim is answered for only after all that an
 * older owner had under way is done: behind WELCOME nothing of it happens any
 * more.
 */
#include "tenant.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fault.h"
#include "file_io.h"
#include "greeting.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

typedef struct StoreEpoch
{
	DifsJob job;
	DifsTenant *tenant;
	uint64_t epoch;
	uint8_t claim[DIFS_CLAIM_SIZE];
	bool ok;
	DifsError error;
} StoreEpoch;

static DifsTenant *find_tenant(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE]);
static void attach_waiting(DifsTenant *tenant);
static bool claims_nothing(const DifsConnection *connection);
static void store_epoch(DifsTenant *tenant, const DifsConnection *connection);
static void store_epoch_run(DifsJob *job);
static void store_epoch_done(DifsJob *job);
static uint32_t position_of(const DifsTenant *tenant, uint64_t id);

DifsTenant *
difs_tenant_create(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE])
{
	DifsTenant *tenant = difs_alloc(sizeof(*tenant));

	tenant->server = server;
	memcpy(tenant->cluster, cluster, DIFS_UUID_SIZE);
	difs_tenant_hex(cluster, tenant->directory);
	STAILQ_INIT(&tenant->attaching);
	TAILQ_INSERT_TAIL(&server->tenants, tenant, link);
	server->tenant_count++;
	return tenant;
}

void
difs_tenant_free_all(DifsServer *server)
{
	DifsTenant *tenant;

	while ((tenant = TAILQ_FIRST(&server->tenants)) != NULL)
	{
		TAILQ_REMOVE(&server->tenants, tenant, link);
		for (uint32_t i = 0; i < tenant->group_count; i++)
			difs_group_free(tenant->groups[i]);
		free(tenant->groups);
		free(tenant);
	}
}

void
difs_tenant_attach(DifsConnection *connection, const uint8_t cluster[DIFS_UUID_SIZE])
{
	DifsServer *server = connection->server;
	DifsTenant *tenant = find_tenant(server, cluster);
	DifsError error;

	if (tenant == NULL && server->tenant_count >= DIFS_MAX_TENANTS)
	{
		difs_error_set(&error, DIFS_ERROR_FULL, "server has %d clusters already", DIFS_MAX_TENANTS);
		difs_greeting_attached(connection, &error);
		return;
	}
	if (tenant == NULL)
		tenant = difs_tenant_create(server, cluster);
	connection->tenant = tenant;
	if (claims_nothing(connection))
	{
		difs_greeting_attached(connection, NULL);
		return;
	}
	STAILQ_INSERT_TAIL(&tenant->attaching, connection, tenant_link);
	attach_waiting(tenant);
}

bool
difs_tenant_obeys(const DifsTenant *tenant, const DifsConnection *connection)
{
	return !claims_nothing(connection) && tenant->durable && connection->epoch == tenant->epoch &&
		memcmp(connection->claim, tenant->claim, DIFS_CLAIM_SIZE) == 0;
}

void
difs_tenant_write_begun(DifsTenant *tenant)
{
	tenant->writes_under_way++;
}

void
difs_tenant_write_done(DifsTenant *tenant)
{
	tenant->writes_under_way--;
	if (tenant->raised)
		attach_waiting(tenant);
}

DifsGroup *
difs_tenant_find(const DifsTenant *tenant, uint64_t group)
{
	uint32_t position = position_of(tenant, group);

	if (position == tenant->group_count || tenant->groups[position]->id != group)
		return NULL;
	return tenant->groups[position];
}

void
difs_tenant_add(DifsTenant *tenant, DifsGroup *group)
{
	uint32_t position = position_of(tenant, group->id);

	if (tenant->group_count == tenant->groups_allocated)
	{
		tenant->groups_allocated = tenant->groups_allocated == 0 ? 16 : 2 * tenant->groups_allocated;
		tenant->groups = difs_realloc(tenant->groups, tenant->groups_allocated * sizeof(DifsGroup *));
	}
	memmove(tenant->groups + position + 1, tenant->groups + position,
			(tenant->group_count - position) * sizeof(DifsGroup *));
	tenant->groups[position] = group;
	tenant->group_count++;
	tenant->server->group_count++;
}

void
difs_tenant_remove(DifsTenant *tenant, DifsGroup *group)
{
	uint32_t position = position_of(tenant, group->id);

	tenant->group_count--;
	tenant->server->group_count--;
	memmove(tenant->groups + position, tenant->groups + position + 1,
			(tenant->group_count - position) * sizeof(DifsGroup *));
}

uint32_t
difs_tenant_list(const DifsTenant *tenant, uint64_t after, uint8_t *out)
{
	uint32_t listed = 0;

	for (uint32_t i = after == UINT64_MAX ? tenant->group_count : position_of(tenant, after + 1);
		 i < tenant->group_count && listed < DIFS_GROUPS_MAX_ENTRIES; i++)
	{
		const DifsGroup *group = tenant->groups[i];
		DifsGroupEntry entry = {
			.group = group->id,
			.epoch = group->epoch,
			.file_bytes = group->file_bytes,
			.live_bytes = group->live_bytes,
			.state = group->failed ? DIFS_GROUP_FAILED : (group->sealed ? DIFS_GROUP_SEALED : DIFS_GROUP_OPEN),
		};

		if (!group->dropping)
			difs_group_entry_pack(&entry, out + (size_t) listed++ * DIFS_GROUP_ENTRY_SIZE);
	}
	return listed;
}

void
difs_tenant_status(const DifsTenant *tenant, DifsServerStatus *status)
{
	const DifsServer *server = tenant->server;
	uint64_t capacity = server->options->capacity_bytes;
	uint64_t taken = server->used_bytes + server->queued_bytes;
	uint64_t left = capacity > taken ? capacity - taken : 0;

	*status = (DifsServerStatus){
		.epoch = tenant->epoch,
		.capacity_bytes = capacity,
		.used_bytes = server->used_bytes,
		.free_bytes = capacity > 0 && left < server->free_bytes ? left : server->free_bytes,
		.groups = tenant->group_count,
		.puts = server->puts,
		.gets = server->gets,
		.syncs = server->syncs,
		.sync_us = server->sync_us,
		.tier = server->options->tier,
	};
	memcpy(status->claim, tenant->claim, DIFS_CLAIM_SIZE);
	memcpy(status->storage, server->options->storage, DIFS_UUID_SIZE);
	for (uint32_t i = 0; i < tenant->group_count; i++)
	{
		status->segments += tenant->groups[i]->live_segments;
		status->dead_bytes += tenant->groups[i]->dead_bytes;
	}
}

void
difs_tenant_hex(const uint8_t cluster[DIFS_UUID_SIZE], char hex[2 * DIFS_UUID_SIZE + 1])
{
	for (int i = 0; i < DIFS_UUID_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", cluster[i]);
}

static DifsTenant *
find_tenant(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE])
{
	DifsTenant *tenant;

	TAILQ_FOREACH (tenant, &server->tenants, link)
	{
		if (memcmp(tenant->cluster, cluster, DIFS_UUID_SIZE) == 0)
			return tenant;
	}
	return NULL;
}

/* Lets those go on whose epoch is durable, with the claim or without.  If the first one's is higher, that is stored; if it has just been, older
 * owners' writes come to their end first: no more of them begin. */
static void
attach_waiting(DifsTenant *tenant)
{
	DifsConnection *connection;

	while (!tenant->storing && (connection = STAILQ_FIRST(&tenant->attaching)) != NULL)
	{
		if (!tenant->durable || connection->epoch > tenant->epoch)
		{
			store_epoch(tenant, connection);
			return;
		}
		if (tenant->raised && tenant->writes_under_way > 0)
			return;
		tenant->raised = false;
		STAILQ_REMOVE_HEAD(&tenant->attaching, tenant_link);
		difs_greeting_attached(connection, NULL);
	}
}

static bool
claims_nothing(const DifsConnection *connection)
{
	static const uint8_t none[DIFS_CLAIM_SIZE];

	return memcmp(connection->claim, none, DIFS_CLAIM_SIZE) == 0;
}

static void
store_epoch(DifsTenant *tenant, const DifsConnection *connection)
{
	StoreEpoch *job = difs_alloc(sizeof(*job));

	tenant->storing = true;
	job->tenant = tenant;
	job->epoch = connection->epoch;
	memcpy(job->claim, connection->claim, DIFS_CLAIM_SIZE);
	difs_job_start(&tenant->server->pool, DIFS_LANE_WRITE, &job->job, store_epoch_run, store_epoch_done);
}

static void
store_epoch_run(DifsJob *job)
{
	StoreEpoch *storing = (StoreEpoch *) job;
	DifsTenant *tenant = storing->tenant;
	DifsStore *store = tenant->server->store;
	char temporary[DIFS_PATH_SIZE];
	char path[DIFS_PATH_SIZE];
	char claim[2 * DIFS_CLAIM_SIZE + 1];
	char text[DIFS_EPOCH_TEXT_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%s/epoch", tenant->directory);
	snprintf(temporary, sizeof(temporary), "%s/epoch.tmp", tenant->directory);
	difs_tenant_hex(storing->claim, claim);
	snprintf(text, sizeof(text), "%" PRIu64 " %s\n", storing->epoch, claim);
	if (!store->make_directory(store, tenant->directory, &storing->error))
		return;
	fd = store->create(store, temporary, &storing->error);
	if (fd < 0)
		return;
	if (difs_pwrite(fd, text, strlen(text), 0))
		storing->ok = store->publish(store, fd, temporary, path, &storing->error);
	else
		difs_error_set(&storing->error, DIFS_ERROR_IO, "could not write file \"%s\"", temporary);
	close(fd);
}

static void
store_epoch_done(DifsJob *job)
{
	StoreEpoch *storing = (StoreEpoch *) job;
	DifsTenant *tenant = storing->tenant;
	DifsConnection *connection;

	DIFS_FAULT("chunkd.epoch.stored");
	tenant->storing = false;
	if (storing->ok)
	{
		tenant->durable = tenant->raised = true;
		tenant->epoch = storing->epoch;
		memcpy(tenant->claim, storing->claim, DIFS_CLAIM_SIZE);
		difs_log(DIFS_LOG_INFO, "cluster %s: epoch %" PRIu64, tenant->directory, tenant->epoch);
		attach_waiting(tenant);
	}
	else
	{
		difs_log(DIFS_LOG_ERROR, "cluster %s: epoch %" PRIu64 " could not be stored: %s", tenant->directory,
				 storing->epoch, storing->error.text);
		while ((connection = STAILQ_FIRST(&tenant->attaching)) != NULL)
		{
			STAILQ_REMOVE_HEAD(&tenant->attaching, tenant_link);
			difs_greeting_attached(connection, &storing->error);
		}
	}
	free(storing);
}

static uint32_t
position_of(const DifsTenant *tenant, uint64_t id)
{
	uint32_t low = 0;
	uint32_t high = tenant->group_count;

	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;

		if (tenant->groups[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
