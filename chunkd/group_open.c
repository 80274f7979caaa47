/*
 * group_open.c - opens the files of a group, finding out what they hold when that is not known yet.
 *
 *	not sealed, first time since start    its records are walked, its torn tail is cut (group_recover.c)
 *	not sealed, closed meanwhile          its index is in memory: only the file is opened
 *	sealed, first time                    its index is checked and mapped; if it is damaged, belongs to another
 *	                                      generation of the group file, or was made when some of that could not be
 *	                                      read, it is written anew from the records
 *	sealed, closed meanwhile              its index is mapped
 *
 * State: none but the job's.  A crash in the middle is a crash before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

typedef struct Open
{
	DifsJob job;
	DifsGroup *group;
	DifsServer *server;
	bool sealed; /* as the group was when the job began */
	bool failed;
	bool known;
	DifsGroupFile *file;
	DifsIndexHeader header;
	DifsIndexTotals totals;
	DifsRecovery recovery;
	bool recovered; /* recovery has been filled in */
	uint64_t file_bytes;
	uint64_t allocated_bytes;
	bool ok;
	DifsError error;
} Open;

static void open_run(DifsJob *job);
static bool open_group_file(Open *opening);
static bool open_sealed(Open *opening);
static bool map_index(Open *opening, const char *path);
static bool rebuild_index(Open *opening, const char *path);
static void open_done(DifsJob *job);
static void take_over(Open *opening);
static void wake_waiting(DifsGroup *group, const DifsError *error);

void
difs_group_open(DifsGroup *group)
{
	DifsServer *server = difs_group_server(group);
	Open *opening = difs_alloc(sizeof(*opening));

	group->busy = true;
	opening->group = group;
	opening->server = server;
	opening->sealed = group->sealed;
	opening->failed = group->failed;
	opening->known = group->known;
	opening->file = difs_alloc(sizeof(*opening->file));
	*opening->file = (DifsGroupFile){.refs = 1, .fd = -1, .map.fd = -1};
	difs_job_start(&server->pool, DIFS_LANE_READ, &opening->job, open_run, open_done);
}

static void
open_run(DifsJob *job)
{
	Open *opening = (Open *) job;
	DifsGroupFile *file = opening->file;

	opening->ok = open_group_file(opening);
	if (opening->ok && opening->sealed)
		opening->ok = open_sealed(opening);
	else if (opening->ok && !opening->known)
	{
		opening->ok = difs_group_recover(opening->server->store, file->fd, &file->header, opening->failed ? DIFS_RECOVERY_OF_FAILED : DIFS_RECOVERY_OF_OPEN,
										 &opening->recovery, &opening->error);
		opening->recovered = opening->ok;
		/* Its tail may not be durable, and no later sync can make sure of that. */
		if (!opening->ok && opening->error.system_errno == EIO)
			difs_group_note_failure(opening->group, opening->server);
	}
	if (opening->ok)
		opening->allocated_bytes = difs_group_file_allocated(file);
}

static bool
open_group_file(Open *opening)
{
	DifsGroupFile *file = opening->file;
	DifsStore *store = opening->server->store;
	DifsError *error = &opening->error;
	uint8_t header[DIFS_GROUP_HEADER_SIZE];
	char path[DIFS_PATH_SIZE];
	uint64_t allocated;

	difs_group_path(opening->group, ".group", path);
	file->fd = store->open(store, path, error);
	if (file->fd < 0)
		return false;
	if (!difs_pread_all(file->fd, header, sizeof(header), 0, error) ||
		!difs_group_header_unpack(header, path, &file->header, error) ||
		!difs_file_size(file->fd, &opening->file_bytes, &allocated, error))
		return false;
	if (file->header.group != opening->group->id ||
		memcmp(file->header.cluster, opening->group->tenant->cluster, DIFS_UUID_SIZE) != 0)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "file \"%s\" is of another group", path);
	return true;
}

static bool
open_sealed(Open *opening)
{
	DifsGroupFile *file = opening->file;
	DifsStore *store = opening->server->store;
	char path[DIFS_PATH_SIZE];

	difs_group_path(opening->group, ".index", path);
	if (!map_index(opening, path))
	{
		if (opening->error.code != DIFS_ERROR_CORRUPT && opening->error.system_errno != ENOENT &&
			opening->error.system_errno != EIO)
			return false;
		if (!rebuild_index(opening, path) ||
			!difs_index_map(store, path, &file->header, true, &file->map, &opening->header, &opening->error))
			return false;
	}
	if (!opening->known)
		difs_index_map_count(&file->map, &opening->totals);
	return true;
}

/* An index that may lack records will do for as long as the process lives; then the disk is asked again. */
static bool
map_index(Open *opening, const char *path)
{
	DifsGroupFile *file = opening->file;

	if (!difs_index_map(opening->server->store, path, &file->header, !opening->known, &file->map, &opening->header,
						&opening->error))
		return false;
	if (opening->known || !opening->header.incomplete)
		return true;
	difs_index_unmap(&file->map);
	return difs_error_set(&opening->error, DIFS_ERROR_CORRUPT,
						  "some of the group file could not be read when file \"%s\" was made", path);
}

static bool
rebuild_index(Open *opening, const char *path)
{
	DifsGroupFile *file = opening->file;
	DifsStore *store = opening->server->store;
	DifsIndexHeader header = {.group = file->header};
	DifsIndexTotals totals;

	difs_log(DIFS_LOG_WARNING, "group %016llx: index is made anew: %s", (unsigned long long) opening->group->id,
			 opening->error.text);
	if (!difs_group_recover(store, file->fd, &file->header, DIFS_RECOVERY_OF_SEALED, &opening->recovery, &opening->error))
		return false;
	opening->recovered = true;
	difs_index_count(&opening->recovery.index, &totals);
	header.file_bytes = opening->recovery.file_bytes;
	header.live_segments = totals.live_segments;
	header.live_bytes = totals.live_bytes;
	header.dead_bytes = opening->recovery.dead_bytes;
	header.incomplete = opening->recovery.unreadable;
	return difs_index_write(store, path, &header, &opening->recovery.index, &opening->error);
}

static void
open_done(DifsJob *job)
{
	Open *opening = (Open *) job;
	DifsGroup *group = opening->group;

	group->busy = false;
	if (opening->ok)
	{
		take_over(opening);
		wake_waiting(group, NULL);
		difs_group_consider_compaction(group);
	}
	else
	{
		difs_log(DIFS_LOG_ERROR, "group %016llx cannot be opened: %s", (unsigned long long) group->id,
				 opening->error.text);
		if (opening->error.code == DIFS_ERROR_CORRUPT || opening->error.system_errno == ENOENT ||
			opening->error.system_errno == EIO)
			group->failed = true;
		difs_group_file_release(opening->file);
		difs_group_forget_compaction(group);
		wake_waiting(group, &opening->error);
		difs_group_fail_queued(group, &opening->error);
	}
	difs_index_free(&opening->recovery.index);
	free(opening);
	difs_group_schedule(group);
}

static void
take_over(Open *opening)
{
	DifsGroup *group = opening->group;
	DifsRecovery *recovery = &opening->recovery;

	difs_group_set_file(group, opening->file);
	difs_group_set_allocated(group, opening->allocated_bytes);
	if (group->known)
		return;

	group->known = true;
	group->epoch = opening->file->header.epoch;
	group->capacity_bytes = opening->file->header.capacity;
	if (group->sealed)
	{
		group->dead_bytes = opening->header.dead_bytes;
		group->file_bytes = opening->file_bytes;
	}
	else
	{
		difs_index_count(&recovery->index, &opening->totals);
		group->dead_bytes = recovery->dead_bytes;
		group->file_bytes = recovery->file_bytes;
	}
	group->live_segments = opening->totals.live_segments;
	group->live_bytes = opening->totals.live_bytes;
	if (opening->recovered)
		difs_log(recovery->damaged > 0 ? DIFS_LOG_WARNING : DIFS_LOG_INFO,
				 "group %016llx recovered: %llu segments, %llu bytes of torn tail cut off, %u damaged places",
				 (unsigned long long) group->id, (unsigned long long) group->live_segments,
				 (unsigned long long) recovery->torn_bytes, recovery->damaged);
	if (!group->sealed)
	{
		group->index = recovery->index;
		recovery->index = (DifsIndex){0};
	}
}

static void
wake_waiting(DifsGroup *group, const DifsError *error)
{
	DifsRequestQueue waiting = STAILQ_HEAD_INITIALIZER(waiting);
	DifsRequest *request;

	STAILQ_CONCAT(&waiting, &group->opening);
	while ((request = STAILQ_FIRST(&waiting)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&waiting, next);
		if (error != NULL)
			difs_request_fail(request, error);
		else
			difs_group_when_open(group, request, request->resume);
	}
}
