/*
 * tenant.c - see tenant.h.
 *
 * State on disk: <cluster>/epoch, replaced whole.  An epoch is obeyed and
 * answered for only after it is durable, so a restarted server never obeys an
 * owner that it has already told of a higher one.
 *
 * At start, names are read and, of each sealed group, the index header; files that
 * a crash left behind are removed.
 */
#include "tenant.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_io.h"
#include "greeting.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"

#define CLUSTER_DIGITS	(2 * DIFS_UUID_SIZE)
#define GROUP_DIGITS	16

typedef struct StoreEpoch
{
	DifsJob		job;
	DifsTenant *tenant;
	uint64_t	epoch;
	bool		ok;
	DifsError	error;
} StoreEpoch;

/* Names found in a directory. */
typedef struct Names
{
	char	   (*names)[64];
	uint32_t	count;
	uint32_t	allocated;
} Names;

static DifsTenant *add_tenant(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE]);
static DifsTenant *find_tenant(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE]);
static bool load_tenant(DifsTenant *tenant, DifsError *error);
static bool load_epoch(DifsTenant *tenant, DifsError *error);
static bool load_groups(DifsTenant *tenant, const Names *names, DifsError *error);
static bool load_marks(DifsTenant *tenant, const Names *names, DifsError *error);
static void survey_group(DifsGroup *group);
static bool remove_leftover(DifsTenant *tenant, const char *name, DifsError *error);
static bool parse_group(const char *name, uint64_t *id, const char **suffix);
static bool parse_cluster(const char *name, uint8_t cluster[DIFS_UUID_SIZE]);
static void collect_name(void *context, const char *name);
static int	compare_names(const void *a, const void *b);
static void store_epoch(DifsTenant *tenant, uint64_t epoch);
static void store_epoch_run(DifsJob *job);
static void store_epoch_done(DifsJob *job);
static uint32_t position_of(const DifsTenant *tenant, uint64_t id);

bool
difs_tenant_load_all(DifsServer *server, DifsError *error)
{
	Names		names = {0};
	uint8_t		cluster[DIFS_UUID_SIZE];
	bool		ok = server->store->list(server->store, "", collect_name, &names, error);

	for (uint32_t i = 0; i < names.count && ok; i++)
	{
		if (parse_cluster(names.names[i], cluster))
			ok = load_tenant(add_tenant(server, cluster), error);
	}
	free(names.names);
	return ok;
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
	DifsError	error;

	if (tenant == NULL && server->tenant_count >= DIFS_MAX_TENANTS)
	{
		difs_error_set(&error, DIFS_ERROR_FULL, "server has %d clusters already", DIFS_MAX_TENANTS);
		difs_greeting_attached(connection, &error);
		return;
	}
	if (tenant == NULL)
		tenant = add_tenant(server, cluster);
	connection->tenant = tenant;
	if (tenant->durable && connection->epoch <= tenant->epoch)
	{
		difs_greeting_attached(connection, NULL);
		return;
	}
	STAILQ_INSERT_TAIL(&tenant->attaching, connection, tenant_link);
	if (!tenant->storing)
		store_epoch(tenant, connection->epoch);
}

DifsGroup *
difs_tenant_find(const DifsTenant *tenant, uint64_t group)
{
	uint32_t	position = position_of(tenant, group);

	if (position == tenant->group_count || tenant->groups[position]->id != group)
		return NULL;
	return tenant->groups[position];
}

void
difs_tenant_add(DifsTenant *tenant, DifsGroup *group)
{
	uint32_t	position = position_of(tenant, group->id);

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
	uint32_t	position = position_of(tenant, group->id);

	tenant->group_count--;
	tenant->server->group_count--;
	memmove(tenant->groups + position, tenant->groups + position + 1,
			(tenant->group_count - position) * sizeof(DifsGroup *));
}

uint32_t
difs_tenant_list(const DifsTenant *tenant, uint64_t after, uint8_t *out)
{
	uint32_t	listed = 0;

	for (uint32_t i = after == UINT64_MAX ? tenant->group_count : position_of(tenant, after + 1);
		 i < tenant->group_count && listed < DIFS_GROUPS_MAX_ENTRIES; i++)
	{
		const DifsGroup *group = tenant->groups[i];
		DifsGroupEntry entry = {
			.group = group->id,
			.epoch = group->epoch,
			.file_bytes = group->file_bytes,
			.live_bytes = group->live_bytes,
			.state = group->failed ? DIFS_GROUP_FAILED : group->sealed ? DIFS_GROUP_SEALED : DIFS_GROUP_OPEN
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
	uint64_t	capacity = server->options->capacity_bytes;
	uint64_t	taken = server->used_bytes + server->queued_bytes;
	uint64_t	left = capacity > taken ? capacity - taken : 0;

	*status = (DifsServerStatus) {
		.epoch = tenant->epoch,
		.capacity_bytes = capacity,
		.used_bytes = server->used_bytes,
		.free_bytes = capacity > 0 && left < server->free_bytes ? left : server->free_bytes,
		.groups = tenant->group_count,
		.puts = server->puts,
		.gets = server->gets,
		.syncs = server->syncs,
		.tier = server->options->tier
	};
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
add_tenant(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE])
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

static DifsTenant *
find_tenant(DifsServer *server, const uint8_t cluster[DIFS_UUID_SIZE])
{
	DifsTenant *tenant;

	TAILQ_FOREACH(tenant, &server->tenants, link)
	{
		if (memcmp(tenant->cluster, cluster, DIFS_UUID_SIZE) == 0)
			return tenant;
	}
	return NULL;
}

static bool
load_tenant(DifsTenant *tenant, DifsError *error)
{
	DifsStore  *store = tenant->server->store;
	Names		names = {0};
	bool		ok = load_epoch(tenant, error) && store->list(store, tenant->directory, collect_name, &names, error);

	/* Sorted, so that groups come in the order of their ids. */
	if (ok && names.count > 1)
		qsort(names.names, names.count, sizeof(names.names[0]), compare_names);
	ok = ok && load_groups(tenant, &names, error) && load_marks(tenant, &names, error);
	free(names.names);
	for (uint32_t i = 0; i < tenant->group_count && ok; i++)
		survey_group(tenant->groups[i]);
	if (ok)
		difs_log(DIFS_LOG_INFO, "cluster %s: epoch %" PRIu64 ", %u block groups", tenant->directory, tenant->epoch,
				 tenant->group_count);
	return ok;
}

/* A directory without an epoch is one whose first HELLO was never answered. */
static bool
load_epoch(DifsTenant *tenant, DifsError *error)
{
	DifsStore  *store = tenant->server->store;
	char		path[DIFS_PATH_SIZE];
	char		text[32];
	ssize_t		length;
	int			end = 0;
	int			fd;

	snprintf(path, sizeof(path), "%s/epoch", tenant->directory);
	fd = store->open(store, path, error);
	if (fd < 0)
		return error->system_errno == ENOENT;
	length = difs_pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	if (length < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not read file \"%s\"", path);
	text[length] = '\0';
	if (sscanf(text, "%" SCNu64 "\n%n", &tenant->epoch, &end) != 1 || end == 0 || text[length - 1] != '\n')
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "file \"%s\" is damaged; it holds the highest epoch of the cluster",
							  path);
	tenant->durable = true;
	return true;
}

static bool
load_groups(DifsTenant *tenant, const Names *names, DifsError *error)
{
	uint64_t	id;
	const char *suffix;

	for (uint32_t i = 0; i < names->count; i++)
	{
		if (!parse_group(names->names[i], &id, &suffix) || strcmp(suffix, ".group") != 0)
			continue;
		if (tenant->server->group_count >= DIFS_MAX_GROUPS)
			return difs_error_set(error, DIFS_ERROR_FULL, "there are more than %d block groups", DIFS_MAX_GROUPS);
		difs_tenant_add(tenant, difs_group_create(tenant, id));
	}
	return true;
}

/* Applies the other files to their groups, and removes those that belong to none. */
static bool
load_marks(DifsTenant *tenant, const Names *names, DifsError *error)
{
	uint64_t	id;
	const char *suffix;

	for (uint32_t i = 0; i < names->count; i++)
	{
		DifsGroup  *group = NULL;

		if (parse_group(names->names[i], &id, &suffix))
			group = difs_tenant_find(tenant, id);
		if (group != NULL && strcmp(suffix, ".index") == 0)
			group->sealed = true;
		else if (group != NULL && strcmp(suffix, ".failed") == 0)
			group->failed = true;
		else if (strcmp(names->names[i], "epoch") != 0 && (group == NULL || strcmp(suffix, ".group") != 0) &&
				 !remove_leftover(tenant, names->names[i], error))
			return false;
	}
	return true;
}

/* What the header of a sealed group's index says has to do until the group is opened.  A group that is not sealed, or
 * whose index is damaged, begins to be opened. */
static void
survey_group(DifsGroup *group)
{
	DifsStore  *store = difs_group_server(group)->store;
	uint8_t		bytes[DIFS_INDEX_HEADER_SIZE];
	DifsGroupFile file = {.fd = -1, .map.fd = -1};
	DifsIndexHeader header;
	DifsError	error;
	char		path[DIFS_PATH_SIZE];
	bool		surveyed = false;

	difs_group_path(group, ".group", path);
	file.fd = store->open(store, path, &error);
	difs_group_path(group, ".index", path);
	if (group->sealed)
		file.map.fd = store->open(store, path, &error);
	if (file.fd >= 0 && file.map.fd >= 0 && difs_pread_all(file.map.fd, bytes, sizeof(bytes), 0, &error) &&
		difs_index_header_unpack(bytes, path, &header, &error))
	{
		group->epoch = header.group.epoch;
		group->capacity_bytes = header.group.capacity;
		group->file_bytes = header.file_bytes;
		group->live_segments = header.live_segments;
		group->live_bytes = header.live_bytes;
		group->dead_bytes = header.dead_bytes;
		surveyed = true;
	}
	difs_group_set_allocated(group, file.fd >= 0 ? difs_group_file_allocated(&file) : 0);
	if (file.fd >= 0)
		close(file.fd);
	if (file.map.fd >= 0)
		close(file.map.fd);
	if (!surveyed)
		difs_group_open(group);
	else
		difs_group_consider_compaction(group);
}

static bool
remove_leftover(DifsTenant *tenant, const char *name, DifsError *error)
{
	DifsStore  *store = tenant->server->store;
	char		path[DIFS_PATH_SIZE + 64];
	const char *paths[] = {path, NULL};

	snprintf(path, sizeof(path), "%s/%s", tenant->directory, name);
	difs_log(DIFS_LOG_INFO, "file \"%s\" was left behind and is removed", path);
	return store->remove(store, paths, error);
}

static bool
parse_group(const char *name, uint64_t *id, const char **suffix)
{
	*id = 0;
	for (int i = 0; i < GROUP_DIGITS; i++)
	{
		if (!isxdigit((unsigned char) name[i]) || isupper((unsigned char) name[i]))
			return false;
		*id = *id << 4 | (uint64_t) (isdigit((unsigned char) name[i]) ? name[i] - '0' : name[i] - 'a' + 10);
	}
	*suffix = name + GROUP_DIGITS;
	return true;
}

static bool
parse_cluster(const char *name, uint8_t cluster[DIFS_UUID_SIZE])
{
	char		hex[CLUSTER_DIGITS + 1];

	if (strlen(name) != CLUSTER_DIGITS)
		return false;
	for (int i = 0; i < DIFS_UUID_SIZE; i++)
	{
		if (sscanf(name + 2 * i, "%2hhx", &cluster[i]) != 1)
			return false;
	}
	difs_tenant_hex(cluster, hex);
	return strcmp(hex, name) == 0;
}

static void
collect_name(void *context, const char *name)
{
	Names	   *names = context;

	if (names->count == names->allocated)
	{
		names->allocated = names->allocated == 0 ? 64 : 2 * names->allocated;
		names->names = difs_realloc(names->names, names->allocated * sizeof(names->names[0]));
	}
	/* Ours are shorter; what is cut off cannot look like one of ours. */
	snprintf(names->names[names->count++], sizeof(names->names[0]), "%s", name);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
store_epoch(DifsTenant *tenant, uint64_t epoch)
{
	StoreEpoch *job = difs_alloc(sizeof(*job));

	tenant->storing = true;
	job->tenant = tenant;
	job->epoch = epoch > tenant->epoch ? epoch : tenant->epoch;
	difs_job_start(&tenant->server->pool, DIFS_LANE_WRITE, &job->job, store_epoch_run, store_epoch_done);
}

static void
store_epoch_run(DifsJob *job)
{
	StoreEpoch *storing = (StoreEpoch *) job;
	DifsTenant *tenant = storing->tenant;
	DifsStore  *store = tenant->server->store;
	char		temporary[DIFS_PATH_SIZE];
	char		path[DIFS_PATH_SIZE];
	char		text[32];
	int			fd;

	snprintf(path, sizeof(path), "%s/epoch", tenant->directory);
	snprintf(temporary, sizeof(temporary), "%s/epoch.tmp", tenant->directory);
	snprintf(text, sizeof(text), "%" PRIu64 "\n", storing->epoch);
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

/* Lets those go on whose epoch is durable now; for one that is still higher, the next job starts. */
static void
store_epoch_done(DifsJob *job)
{
	StoreEpoch *storing = (StoreEpoch *) job;
	DifsTenant *tenant = storing->tenant;
	STAILQ_HEAD(, DifsConnection) waiting = STAILQ_HEAD_INITIALIZER(waiting);
	DifsConnection *connection;

	tenant->storing = false;
	if (storing->ok)
	{
		tenant->durable = true;
		tenant->epoch = storing->epoch;
		difs_log(DIFS_LOG_INFO, "cluster %s: epoch %" PRIu64, tenant->directory, tenant->epoch);
	}
	else
		difs_log(DIFS_LOG_ERROR, "cluster %s: epoch %" PRIu64 " could not be stored: %s", tenant->directory, storing->epoch,
				 storing->error.text);

	while ((connection = STAILQ_FIRST(&tenant->attaching)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&tenant->attaching, tenant_link);
		STAILQ_INSERT_TAIL(&waiting, connection, tenant_link);
	}
	while ((connection = STAILQ_FIRST(&waiting)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&waiting, tenant_link);
		if (storing->ok)
			difs_tenant_attach(connection, tenant->cluster);
		else
			difs_greeting_attached(connection, &storing->error);
	}
	free(storing);
}

static uint32_t
position_of(const DifsTenant *tenant, uint64_t id)
{
	uint32_t	low = 0;
	uint32_t	high = tenant->group_count;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (tenant->groups[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
