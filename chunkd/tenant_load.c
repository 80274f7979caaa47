/*
 * tenant_load.c - what a data directory has, read once at start.
 *
 * A directory for each tenant, with its epoch; in it the names of group files and,
 * of each, one header.  No segment is looked at, so the time this takes depends on
 * the number of groups only.  Groups that are not sealed begin to be recovered, in
 * the background.
 *
 * This is where what crashes leave behind goes: files that were never published,
 * and indexes and marks of groups that were being dropped.  Files that are not
 * ours are left alone.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fault.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

#define CLUSTER_DIGITS (2 * DIFS_UUID_SIZE)
#define GROUP_DIGITS 16

/* Names found in a directory. */
typedef struct Names
{
	char (*names)[64];
	uint32_t count;
	uint32_t allocated;
} Names;

static bool load_tenant(DifsTenant *tenant, DifsError *error);
static bool load_epoch(DifsTenant *tenant, DifsError *error);
static bool load_groups(DifsTenant *tenant, const Names *names, DifsError *error);
static bool load_marks(DifsTenant *tenant, const Names *names, DifsError *error);
static bool is_unpublished(const char *name);
static void survey_group(DifsGroup *group);
static bool survey_index(DifsGroup *group, int fd);
static bool survey_file(DifsGroup *group, int fd);
static bool remove_leftover(DifsTenant *tenant, const char *name, DifsError *error);
static bool parse_group(const char *name, uint64_t *id, const char **suffix);
static bool parse_bytes(const char *digits, uint8_t bytes[DIFS_UUID_SIZE]);
static void collect_name(void *context, const char *name);
static int compare_names(const void *a, const void *b);

bool
difs_tenant_load_all(DifsServer *server, DifsError *error)
{
	Names names = {0};
	uint8_t cluster[DIFS_UUID_SIZE];
	bool ok = server->store->list(server->store, "", collect_name, &names, error);

	for (uint32_t i = 0; i < names.count && ok; i++)
	{
		if (parse_bytes(names.names[i], cluster))
			ok = load_tenant(difs_tenant_create(server, cluster), error);
	}
	DIFS_FAULT("chunkd.start.loaded");
	free(names.names);
	return ok;
}

static bool
load_tenant(DifsTenant *tenant, DifsError *error)
{
	DifsStore *store = tenant->server->store;
	Names names = {0};
	bool ok = load_epoch(tenant, error) && store->list(store, tenant->directory, collect_name, &names, error);

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

/* A directory without an epoch is one whose first claim was never answered. */
static bool
load_epoch(DifsTenant *tenant, DifsError *error)
{
	DifsStore *store = tenant->server->store;
	char path[DIFS_PATH_SIZE];
	char text[DIFS_EPOCH_TEXT_SIZE];
	char claim[2 * DIFS_CLAIM_SIZE + 1];
	ssize_t length;
	int end = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/epoch", tenant->directory);
	fd = store->open(store, path, error);
	if (fd < 0)
		return error->system_errno == ENOENT;
	length = difs_pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	if (length < 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not read file \"%s\"", path);
	text[length] = '\0';
	if (sscanf(text, "%" SCNu64 " %32[0-9a-f]\n%n", &tenant->epoch, claim, &end) != 2 || end != length ||
		text[length - 1] != '\n' || !parse_bytes(claim, tenant->claim))
		return difs_error_set(error, DIFS_ERROR_CORRUPT,
							  "file \"%s\" is damaged; it holds the highest epoch of the cluster",
							  path);
	tenant->durable = true;
	return true;
}

static bool
load_groups(DifsTenant *tenant, const Names *names, DifsError *error)
{
	uint64_t id;
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

/* Applies the other files to their groups, and removes those of ours that belong to none. */
static bool
load_marks(DifsTenant *tenant, const Names *names, DifsError *error)
{
	uint64_t id;
	const char *suffix;

	for (uint32_t i = 0; i < names->count; i++)
	{
		const char *name = names->names[i];
		bool of_group = parse_group(name, &id, &suffix);
		bool index = of_group && strcmp(suffix, ".index") == 0;
		bool failed = of_group && strcmp(suffix, ".failed") == 0;
		DifsGroup *group = of_group ? difs_tenant_find(tenant, id) : NULL;

		if (group != NULL && index)
			group->sealed = true;
		else if (group != NULL && failed)
			group->failed = true;
		else if ((index || failed || is_unpublished(name)) && !remove_leftover(tenant, name, error))
			return false;
	}
	return true;
}

static bool
is_unpublished(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot != NULL && (strcmp(dot, ".tmp") == 0 || strcmp(dot, ".new") == 0);
}

/* What headers say has to do until the group is opened.  One that is not sealed, or whose index header is damaged,
 * begins to be opened. */
static void
survey_group(DifsGroup *group)
{
	DifsStore *store = difs_group_server(group)->store;
	DifsGroupFile file = {.fd = -1, .map.fd = -1};
	char path[DIFS_PATH_SIZE];
	bool surveyed;

	difs_group_path(group, ".group", path);
	file.fd = store->open(store, path, NULL);
	difs_group_path(group, ".index", path);
	if (group->sealed)
		file.map.fd = store->open(store, path, NULL);
	surveyed = file.map.fd >= 0 ? survey_index(group, file.map.fd) : file.fd >= 0 && survey_file(group, file.fd);
	difs_group_set_allocated(group, file.fd >= 0 ? difs_group_file_allocated(&file) : 0);
	if (file.fd >= 0)
		close(file.fd);
	if (file.map.fd >= 0)
		close(file.map.fd);
	if (surveyed && group->sealed)
		difs_group_consider_compaction(group);
	else
		difs_group_open(group);
}

static bool
survey_index(DifsGroup *group, int fd)
{
	uint8_t bytes[DIFS_INDEX_HEADER_SIZE];
	DifsIndexHeader header;

	if (!difs_pread_all(fd, bytes, sizeof(bytes), 0, NULL) || !difs_index_header_unpack(bytes, "index", &header, NULL))
		return false;
	group->epoch = header.group.epoch;
	group->capacity_bytes = header.group.capacity;
	group->file_bytes = header.file_bytes;
	group->live_segments = header.live_segments;
	group->live_bytes = header.live_bytes;
	group->dead_bytes = header.dead_bytes;
	return true;
}

/* Of a group that is not sealed: all but what its recovery will tell. */
static bool
survey_file(DifsGroup *group, int fd)
{
	uint8_t bytes[DIFS_GROUP_HEADER_SIZE];
	DifsGroupHeader header;
	uint64_t allocated;

	if (!difs_pread_all(fd, bytes, sizeof(bytes), 0, NULL) || !difs_group_header_unpack(bytes, "file", &header, NULL) ||
		!difs_file_size(fd, &group->file_bytes, &allocated, NULL))
		return false;
	group->epoch = header.epoch;
	group->capacity_bytes = header.capacity;
	return true;
}

static bool
remove_leftover(DifsTenant *tenant, const char *name, DifsError *error)
{
	DifsStore *store = tenant->server->store;
	char path[DIFS_PATH_SIZE + 64];
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

/* A uuid or claim from its 32 digits. */
static bool
parse_bytes(const char *digits, uint8_t bytes[DIFS_UUID_SIZE])
{
	char hex[CLUSTER_DIGITS + 1];

	if (strlen(digits) != CLUSTER_DIGITS)
		return false;
	for (int i = 0; i < DIFS_UUID_SIZE; i++)
	{
		if (sscanf(digits + 2 * i, "%2hhx", &bytes[i]) != 1)
			return false;
	}
	difs_tenant_hex(bytes, hex);
	return strcmp(hex, digits) == 0;
}

static void
collect_name(void *context, const char *name)
{
	Names *names = context;

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
