/*
 * chunkd_client.c - see chunkd_client.h.
 */
#include "chunkd_client.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytes.h"

static bool wait_for(Client *client, uint64_t deadline);
static void collect(Client *client, const DifsFrame *frame, Reply *reply);

Client *
client_connect_as(const DifsPeer *peer)
{
	Client *client = calloc(1, sizeof(*client));
	uint64_t deadline = now_ms() + DEADLINE_MS;
	DifsFrame frame;
	DifsEvent event;

	client->conn = difs_conn_create(peer);
	client->next_request = 1;
	while ((event = difs_conn_advance(client->conn, &frame)) == DIFS_EVENT_NONE)
		assert_true(wait_for(client, deadline));
	if (event != DIFS_EVENT_READY)
		fail_msg("%s", difs_conn_error(client->conn)->text);
	return client;
}

DifsErrorCode
connect_fails(const DifsPeer *peer)
{
	Client client = {.conn = difs_conn_create(peer)};
	uint64_t deadline = now_ms() + DEADLINE_MS;
	DifsFrame frame;
	DifsEvent event;
	DifsErrorCode code;

	while ((event = difs_conn_advance(client.conn, &frame)) == DIFS_EVENT_NONE)
		assert_true(wait_for(&client, deadline));
	code = event == DIFS_EVENT_BROKEN ? difs_conn_error(client.conn)->code : DIFS_OK;
	difs_conn_destroy(client.conn);
	return code;
}

void
client_close(Client *client)
{
	difs_conn_destroy(client->conn);
	free(client->payload);
	free(client);
}

uint64_t
client_send(Client *client, uint8_t message, const void *control, size_t control_length, const void *payload,
			size_t payload_length)
{
	DifsFrame frame = {
		.control_length = (uint32_t) control_length,
		.payload_length = (uint32_t) payload_length,
		.request = client->next_request++,
		.message = message,
	};

	difs_conn_send(client->conn, &frame, control, payload);
	difs_conn_flush(client->conn);
	return frame.request;
}

bool
client_receive(Client *client, Reply *reply)
{
	uint64_t deadline = now_ms() + DEADLINE_MS;
	DifsFrame frame;

	for (;;)
	{
		switch (difs_conn_advance(client->conn, &frame))
		{
			case DIFS_EVENT_HEAD:
				client->payload = malloc(frame.payload_length);
				difs_conn_payload_into(client->conn, client->payload);
				break;
			case DIFS_EVENT_FRAME:
				collect(client, &frame, reply);
				return true;
			case DIFS_EVENT_BROKEN:
				return false;
			default:
				assert_true(wait_for(client, deadline));
		}
	}
}

void
reply_free(Reply *reply)
{
	free(reply->payload);
	reply->payload = NULL;
}

DifsErrorCode
call(Client *client, uint8_t message, const void *control, size_t control_length, Reply *reply)
{
	uint64_t request = client_send(client, message, control, control_length, NULL, 0);

	if (!client_receive(client, reply))
		fail_msg("%s", difs_conn_error(client->conn)->text);
	assert_int_equal(reply->request, request);
	return reply->status;
}

static DifsErrorCode
call_without_reply(Client *client, uint8_t message, const void *control, size_t control_length)
{
	Reply reply;
	DifsErrorCode status = call(client, message, control, control_length, &reply);

	reply_free(&reply);
	return status;
}

DifsErrorCode
create_group(Client *client, uint64_t group, uint64_t capacity)
{
	DifsCreateGroup create = {.group = group, .epoch = 1, .capacity = capacity};
	uint8_t control[64];

	return call_without_reply(client, DIFS_MESSAGE_CREATE_GROUP, control, difs_create_group_pack(&create, control));
}

DifsErrorCode
seal_group(Client *client, uint64_t group)
{
	uint8_t control[8];

	return call_without_reply(client, DIFS_MESSAGE_SEAL_GROUP, control, difs_group_pack(group, control));
}

DifsErrorCode
drop_group(Client *client, uint64_t group)
{
	return drop_group_up_to(client, group, UINT64_MAX);
}

DifsErrorCode
drop_group_up_to(Client *client, uint64_t group, uint64_t epoch)
{
	uint8_t control[16];

	return call_without_reply(client, DIFS_MESSAGE_DROP_GROUP, control, difs_pair_pack(group, epoch, control));
}

void
fill(uint64_t segment, uint8_t *bytes, size_t length)
{
	uint64_t state = segment * 0x9E3779B97F4A7C15 + 1;

	for (size_t i = 0; i < length; i++)
	{
		state = state * 6364136223846793005 + 1442695040888963407;
		bytes[i] = (uint8_t) (state >> 56);
	}
}

size_t
pack_put(uint64_t group, uint64_t segment, const uint8_t *bytes, uint32_t length, uint8_t *packed)
{
	DifsSegment header = {
		.segment = segment,
		.xid = segment + 1000,
		.group = group,
		.raw_length = length,
		.stored_length = length,
		.codec = DIFS_CODEC_RAW,
	};
	uint32_t *block_crc = malloc(difs_segment_blocks(length) * sizeof(uint32_t));

	difs_segment_checksum(bytes, length, block_crc, &header.crc);
	difs_segment_pack(&header, block_crc, packed);
	free(block_crc);
	return difs_segment_packed_size(length);
}

/* bytes has room for length, and stays until the request has left. */
uint64_t
send_put(Client *client, uint64_t group, uint64_t segment, uint32_t length, uint8_t *bytes)
{
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
	size_t packed_size;

	fill(segment, bytes, length);
	packed_size = pack_put(group, segment, bytes, length, packed);
	return client_send(client, DIFS_MESSAGE_PUT, packed, packed_size, bytes, length);
}

DifsErrorCode
put(Client *client, uint64_t group, uint64_t segment, uint32_t length)
{
	uint8_t *bytes = malloc(length);
	uint64_t request = send_put(client, group, segment, length, bytes);
	Reply reply;

	if (!client_receive(client, &reply))
		fail_msg("%s", difs_conn_error(client->conn)->text);
	assert_int_equal(reply.request, request);
	free(bytes);
	return reply.status;
}

DifsErrorCode
get(Client *client, uint64_t group, uint64_t segment, uint32_t length)
{
	DifsGet request = {.group = group, .segment = segment};
	uint8_t control[64];
	uint8_t *expected;
	DifsSegment header;
	DifsError error;
	Reply reply;

	if (call(client, DIFS_MESSAGE_GET, control, difs_get_pack(&request, control), &reply) != DIFS_OK)
		return reply.status;
	assert_int_equal(difs_get32(reply.control), 0);
	assert_true(difs_segment_unpack(reply.control + 4, reply.control_length - 4, &header, &error));
	assert_int_equal(header.segment, segment);
	assert_int_equal(header.synced, 0);
	assert_int_equal(header.stored_length, length);
	assert_int_equal(reply.payload_length, length);
	expected = malloc(length);
	fill(segment, expected, length);
	assert_memory_equal(reply.payload, expected, length);
	free(expected);
	reply_free(&reply);
	return DIFS_OK;
}

void
put_segments(Client *client, uint64_t group, uint64_t first, uint64_t last, uint32_t length)
{
	for (uint64_t id = first; id <= last; id++)
		assert_int_equal(put(client, group, id, length), DIFS_OK);
}

void
get_segments(Client *client, uint64_t group, uint64_t first, uint64_t last, uint32_t length)
{
	for (uint64_t id = first; id <= last; id++)
		assert_int_equal(get(client, group, id, length), DIFS_OK);
}

DifsErrorCode
delete_segments(Client *client, uint64_t group, const uint64_t *ids, uint32_t count, uint32_t *deleted)
{
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	Reply reply;

	if (call(client, DIFS_MESSAGE_DELETE, control, difs_delete_pack(group, ids, count, control), &reply) != DIFS_OK)
		return reply.status;
	*deleted = difs_get32(reply.control);
	assert_int_equal(*deleted + difs_get32(reply.control + 4), count);
	return DIFS_OK;
}

DifsErrorCode
verify(Client *client, uint64_t group, uint64_t segment)
{
	uint8_t control[16];

	return call_without_reply(client, DIFS_MESSAGE_VERIFY, control, difs_pair_pack(group, segment, control));
}

void
get_status(Client *client, DifsServerStatus *status)
{
	DifsError error;
	Reply reply;

	assert_int_equal(call(client, DIFS_MESSAGE_STAT, NULL, 0, &reply), DIFS_OK);
	assert_true(difs_status_unpack(reply.control, reply.control_length, status, &error));
}

DifsListEntry *
list_group(Client *client, uint64_t group, uint32_t *count)
{
	DifsListEntry *entries = NULL;
	uint64_t cursor = 0;
	uint8_t control[16];
	Reply reply;

	*count = 0;
	do
	{
		assert_int_equal(call(client, DIFS_MESSAGE_LIST, control, difs_pair_pack(group, cursor, control), &reply),
						 DIFS_OK);
		cursor = difs_get64(reply.control);
		entries = realloc(entries, (*count + reply.payload_length / DIFS_LIST_ENTRY_SIZE + 1) * sizeof(DifsListEntry));
		for (uint32_t at = 0; at < reply.payload_length; at += DIFS_LIST_ENTRY_SIZE)
			difs_list_entry_unpack(reply.payload + at, &entries[(*count)++]);
		reply_free(&reply);
	} while (cursor != 0);
	return entries;
}

DifsListEntry
list_segment(Client *client, uint64_t group, uint64_t segment)
{
	uint32_t count;
	DifsListEntry *entries = list_group(client, group, &count);
	DifsListEntry found = {0};

	for (uint32_t i = 0; i < count; i++)
	{
		if (entries[i].segment == segment)
			found = entries[i];
	}
	free(entries);
	return found;
}

bool
find_group(Client *client, uint64_t group, DifsGroupEntry *entry)
{
	uint8_t control[8];
	bool found = false;
	Reply reply;

	assert_int_equal(call(client, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(group - 1, control), &reply),
					 DIFS_OK);
	if (reply.payload_length > 0)
	{
		difs_group_entry_unpack(reply.payload, entry);
		found = entry->group == group;
	}
	reply_free(&reply);
	return found;
}

uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

void
pause_ms(int ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

static bool
wait_for(Client *client, uint64_t deadline)
{
	struct pollfd pollfd = {.fd = difs_conn_fd(client->conn), .events = POLLIN};
	uint64_t now = now_ms();

	if (difs_conn_wants_write(client->conn))
		pollfd.events |= POLLOUT;
	return now < deadline && poll(&pollfd, 1, (int) (deadline - now)) > 0;
}

static void
collect(Client *client, const DifsFrame *frame, Reply *reply)
{
	reply->request = frame->request;
	reply->status = (DifsErrorCode) frame->status;
	reply->control_length = frame->control_length;
	memcpy(reply->control, difs_conn_control(client->conn), frame->control_length);
	reply->payload = client->payload;
	reply->payload_length = frame->payload_length;
	client->payload = NULL;
}
