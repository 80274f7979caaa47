/*
 * requests.c - what may be asked, and who answers.
 *
 * Everything that a request alone tells is checked here: its body, and whether its
 * connection may ask for it, at each request, as another may have taken the claim
 * meanwhile, or a token have expired (by_token.c).  What concerns a group goes to it, once it is open.
 */
#include "requests.h"

#include <stdlib.h>
#include <string.h>

#include "../common/fault.h"
#include "by_token.h"
#include "group_jobs.h"
#include "log.h"
#include "memory.h"
#include "pull.h"
#include "server.h"
#include "tenant.h"

typedef struct Handler
{
	void (*handle)(DifsRequest *request);
	bool writes; /* refused to those who do not hold the claim */
} Handler;

static void handle_create_group(DifsRequest *request);
static void handle_seal_group(DifsRequest *request);
static void handle_drop_group(DifsRequest *request);
static void handle_put(DifsRequest *request);
static void handle_get(DifsRequest *request);
static void handle_delete(DifsRequest *request);
static void handle_list(DifsRequest *request);
static void handle_list_groups(DifsRequest *request);
static void handle_stat(DifsRequest *request);
static void handle_verify(DifsRequest *request);
static void handle_pull(DifsRequest *request);
static void handle_verify_group(DifsRequest *request);
static void handle_mend(DifsRequest *request);
static bool is_newer(const DifsGroup *group, uint64_t epoch);
static bool unpack_stored(DifsRequest *request);
static void with_group_of_pair(DifsRequest *request, void (*resume)(DifsRequest *request));
static void with_group(DifsRequest *request, uint64_t id, void (*resume)(DifsRequest *request));
static void refuse_fenced(DifsRequest *request);
static void protocol_error(DifsRequest *request, const DifsError *error);

static const Handler handlers[] = {
	[DIFS_MESSAGE_CREATE_GROUP] = {handle_create_group, true},
	[DIFS_MESSAGE_SEAL_GROUP] = {handle_seal_group, true},
	[DIFS_MESSAGE_DROP_GROUP] = {handle_drop_group, true},
	[DIFS_MESSAGE_PUT] = {handle_put, true},
	[DIFS_MESSAGE_GET] = {handle_get, false},
	[DIFS_MESSAGE_DELETE] = {handle_delete, true},
	[DIFS_MESSAGE_LIST] = {handle_list, false},
	[DIFS_MESSAGE_LIST_GROUPS] = {handle_list_groups, false},
	[DIFS_MESSAGE_STAT] = {handle_stat, false},
	[DIFS_MESSAGE_VERIFY] = {handle_verify, false},
	[DIFS_MESSAGE_PULL] = {handle_pull, true},
	[DIFS_MESSAGE_VERIFY_GROUP] = {handle_verify_group, false},
	[DIFS_MESSAGE_MEND] = {handle_mend, true},
};

void
difs_requests_handle(DifsRequest *request)
{
	const DifsConnection *connection = request->connection;
	uint8_t message = request->frame.message;
	const Handler *handler = message < sizeof(handlers) / sizeof(handlers[0]) ? &handlers[message] : &handlers[0];
	DifsError error;

	if (handler->handle == NULL)
	{
		difs_error_set(&error, DIFS_ERROR_PROTOCOL, "message %u is not expected", message);
		protocol_error(request, &error);
	}
	else if (connection->by_token && !difs_by_token_admit(request))
		return;
	else if (handler->writes && !connection->by_token && !difs_tenant_obeys(connection->tenant, connection) &&
			 !DIFS_FAULT_SKIP("chunkd.request.epoch"))
		refuse_fenced(request);
	else
	{
		request->writes = handler->writes;
		if (handler->writes)
			difs_tenant_write_begun(connection->tenant);
		handler->handle(request);
	}
}

static void
handle_create_group(DifsRequest *request)
{
	DifsTenant *tenant = request->connection->tenant;
	DifsServer *server = tenant->server;
	DifsCreateGroup create;
	DifsGroup *group;
	DifsError error;

	if (!difs_create_group_unpack(request->control, request->frame.control_length, &create, &error))
		protocol_error(request, &error);
	else if (create.capacity < DIFS_GROUP_HEADER_SIZE || create.capacity > DIFS_GROUP_MAX_CAPACITY)
		difs_request_refuse(request, DIFS_ERROR_ARGUMENT, "a block group cannot have %llu bytes",
							(unsigned long long) create.capacity);
	else if (difs_tenant_find(tenant, create.group) != NULL)
		difs_request_refuse(request, DIFS_ERROR_EXISTS, "block group %016llx is already there",
							(unsigned long long) create.group);
	else if (server->group_count >= DIFS_MAX_GROUPS)
		difs_request_refuse(request, DIFS_ERROR_FULL, "storage \"%.100s\" has %u block groups already",
							server->options->name, server->group_count);
	else if (!difs_server_has_room(server, DIFS_GROUP_HEADER_SIZE))
		difs_request_refuse(request, DIFS_ERROR_FULL, "storage \"%.100s\" is full", server->options->name);
	else
	{
		group = difs_group_create(tenant, create.group);
		difs_tenant_add(tenant, group);
		difs_group_make(group, &create, request);
	}
}

static void
handle_seal_group(DifsRequest *request)
{
	uint64_t id;
	DifsError error;

	if (!difs_group_unpack(request->control, request->frame.control_length, &id, &error))
		protocol_error(request, &error);
	else
		with_group(request, id, difs_group_queue_seal);
}

/* The group need not be open for this, and may be past opening.  What cannot be read any more has no epoch. */
static void
handle_drop_group(DifsRequest *request)
{
	uint64_t id;
	uint64_t epoch;
	DifsGroup *group;
	DifsError error;

	if (!difs_pair_unpack(request->control, request->frame.control_length, &id, &epoch, &error))
	{
		protocol_error(request, &error);
		return;
	}
	group = difs_tenant_find(request->connection->tenant, id);
	if (group == NULL || group->dropping)
	{
		difs_request_refuse(request, DIFS_ERROR_NO_GROUP, "block group %016llx is not here", (unsigned long long) id);
		return;
	}
	if (is_newer(group, epoch))
	{
		difs_request_refuse(request, DIFS_ERROR_EXISTS, "block group %016llx has been made anew, with an epoch above %llu",
							(unsigned long long) id, (unsigned long long) epoch);
		return;
	}
	group->dropping = true;
	STAILQ_INSERT_TAIL(&group->drops, request, next);
	difs_group_schedule(group);
}

/* A copy that is about to take this one's place counts: nobody has been told of it, but it would go, too. */
static bool
is_newer(const DifsGroup *group, uint64_t epoch)
{
	return group->epoch > epoch || (group->pull != NULL && group->pull->asked.epoch > epoch);
}

static void
handle_put(DifsRequest *request)
{
	if (unpack_stored(request) && difs_by_token_may_put(request))
		with_group(request, request->segment.group, difs_group_put);
}

/* Reads the segment header of a PUT or MEND; false if that has answered the request. */
static bool
unpack_stored(DifsRequest *request)
{
	DifsSegment *segment = &request->segment;
	DifsError error;

	if (!difs_segment_unpack(request->control, request->frame.control_length, segment, &error))
	{
		difs_request_fail(request, &error);
		return false;
	}
	if (segment->dead || segment->synced != 0 || segment->stored_length != request->frame.payload_length ||
		difs_segment_packed_size(segment->stored_length) != request->frame.control_length)
	{
		difs_error_set(&error, DIFS_ERROR_PROTOCOL, "%s of segment %llu does not fit its header",
					   difs_message_name(request->frame.message), (unsigned long long) segment->segment);
		protocol_error(request, &error);
		return false;
	}
	return true;
}

static void
handle_get(DifsRequest *request)
{
	DifsGet get;
	DifsError error;

	if (!difs_get_unpack(request->control, request->frame.control_length, &get, &error))
		protocol_error(request, &error);
	else if (difs_by_token_may_get(request, &get))
		with_group(request, get.group, difs_group_get);
}

static void
handle_delete(DifsRequest *request)
{
	DifsDelete delete;
	DifsError error;

	if (!difs_delete_unpack(request->control, request->frame.control_length, &delete, &error))
		protocol_error(request, &error);
	else
		with_group(request, delete.group, difs_group_queue_delete);
}

static void
handle_list(DifsRequest *request)
{
	with_group_of_pair(request, difs_group_list);
}

static void
handle_list_groups(DifsRequest *request)
{
	uint64_t after;
	uint8_t *entries;
	DifsError error;

	if (!difs_group_unpack(request->control, request->frame.control_length, &after, &error))
	{
		protocol_error(request, &error);
		return;
	}
	entries = difs_alloc(DIFS_GROUPS_MAX_ENTRIES * DIFS_GROUP_ENTRY_SIZE);
	difs_request_reply(request, NULL, 0, entries,
					   difs_tenant_list(request->connection->tenant, after, entries) * DIFS_GROUP_ENTRY_SIZE);
}

static void
handle_stat(DifsRequest *request)
{
	DifsServerStatus status;
	uint8_t control[DIFS_WIRE_MAX_GREETING];

	difs_tenant_status(request->connection->tenant, &status);
	difs_request_reply(request, control, (uint32_t) difs_status_pack(&status, control), NULL, 0);
}

static void
handle_verify(DifsRequest *request)
{
	with_group_of_pair(request, difs_group_verify);
}

static void
handle_pull(DifsRequest *request)
{
	DifsPull pull;
	DifsError error;

	if (!difs_pull_unpack(request->control, request->frame.control_length, &pull, &error))
		protocol_error(request, &error);
	else
		difs_pull_handle(request, &pull);
}

static void
handle_verify_group(DifsRequest *request)
{
	with_group_of_pair(request, difs_group_verify_all);
}

/* Of a segment, or of the group's own header and index. */
static void
handle_mend(DifsRequest *request)
{
	uint64_t id;

	if (request->frame.payload_length == 0 &&
		difs_group_unpack(request->control, request->frame.control_length, &id, NULL))
		with_group(request, id, difs_group_queue_mend);
	else if (unpack_stored(request))
		with_group(request, request->segment.group, difs_group_queue_mend);
}

/* Bodies that are a block group and another number, which the group's function reads. */
static void
with_group_of_pair(DifsRequest *request, void (*resume)(DifsRequest *request))
{
	uint64_t id;
	uint64_t number;
	DifsError error;

	if (!difs_pair_unpack(request->control, request->frame.control_length, &id, &number, &error))
		protocol_error(request, &error);
	else
		with_group(request, id, resume);
}

static void
with_group(DifsRequest *request, uint64_t id, void (*resume)(DifsRequest *request))
{
	DifsGroup *group = difs_tenant_find(request->connection->tenant, id);

	if (group == NULL || group->dropping)
		difs_request_refuse(request, DIFS_ERROR_NO_GROUP, "block group %016llx is not here", (unsigned long long) id);
	else
		difs_group_when_open(group, request, resume);
}

static void
refuse_fenced(DifsRequest *request)
{
	static const uint8_t none[DIFS_CLAIM_SIZE];
	const DifsConnection *connection = request->connection;
	unsigned long long held = connection->tenant->epoch;

	if (memcmp(connection->claim, none, DIFS_CLAIM_SIZE) == 0)
		difs_request_refuse(request, DIFS_ERROR_FENCED, "this connection holds no claim and may only read");
	else if (connection->epoch < held)
		difs_request_refuse(request, DIFS_ERROR_FENCED, "epoch %llu has been superseded by epoch %llu",
							(unsigned long long) connection->epoch, held);
	else
		difs_request_refuse(request, DIFS_ERROR_FENCED, "epoch %llu has been claimed by another", held);
}

/* The peer hears why, and is closed. */
static void
protocol_error(DifsRequest *request, const DifsError *error)
{
	difs_log(DIFS_LOG_WARNING, "connection %s is closed: %s", request->connection->label, error->text);
	request->connection->close_when_sent = true;
	difs_request_fail(request, error);
}
