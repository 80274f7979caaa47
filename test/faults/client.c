/*
 * client.c - see client.h.
 */
#include "client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool wait_for(Client *client, uint64_t deadline);
static void take_frame(Client *client, const DifsFrame *frame);
static uint64_t now_ms(void);

void
client_peer(DifsPeer *peer, const char *port, const char *key_file)
{
	DifsKeyring keyring;
	DifsError error;

	if (!difs_keyring_load(key_file, &keyring, &error))
	{
		fprintf(stderr, "%s\n", error.text);
		exit(2);
	}
	*peer = (DifsPeer){.port = (uint16_t) atoi(port), .epoch = 1};
	strcpy(peer->host, "127.0.0.1");
	memset(peer->cluster, 1, DIFS_UUID_SIZE);
	memset(peer->claim, 2, DIFS_CLAIM_SIZE);
	memcpy(peer->key, keyring.key[0], DIFS_KEY_SIZE);
}

bool
client_connect(Client *client, const DifsPeer *peer)
{
	uint64_t deadline = now_ms() + CLIENT_DEADLINE_MS;
	DifsFrame frame;
	DifsEvent event;

	*client = (Client){.conn = difs_conn_create(peer)};
	while ((event = difs_conn_advance(client->conn, &frame)) == DIFS_EVENT_NONE && wait_for(client, deadline))
		;
	return event == DIFS_EVENT_READY;
}

void
client_close(Client *client)
{
	difs_conn_destroy(client->conn);
	free(client->payload);
	*client = (Client){0};
}

int
client_call(Client *client, uint8_t message, const void *control, size_t control_length, const void *payload,
			uint32_t payload_length)
{
	uint64_t deadline = now_ms() + CLIENT_DEADLINE_MS;
	DifsFrame frame = {
		.control_length = (uint32_t) control_length,
		.payload_length = payload_length,
		.request = ++client->next_request,
		.message = message,
	};

	client->control_length = client->payload_length = 0;
	difs_conn_send(client->conn, &frame, control, payload);
	for (;;)
	{
		switch (difs_conn_advance(client->conn, &frame))
		{
			case DIFS_EVENT_HEAD:
				take_frame(client, &frame);
				difs_conn_payload_into(client->conn, client->payload);
				break;
			case DIFS_EVENT_FRAME:
				take_frame(client, &frame);
				return frame.status;
			case DIFS_EVENT_BROKEN:
				return CLIENT_LOST;
			default:
				if (!wait_for(client, deadline))
					return CLIENT_LOST;
		}
	}
}

int
client_create(Client *client, uint64_t group, uint64_t epoch)
{
	DifsCreateGroup create = {.group = group, .epoch = epoch, .capacity = 4 * 1024 * 1024};
	uint8_t control[64];

	return client_call(client, DIFS_MESSAGE_CREATE_GROUP, control, difs_create_group_pack(&create, control), NULL, 0);
}

int
client_group(Client *client, uint8_t message, uint64_t group)
{
	uint8_t control[8];

	return client_call(client, message, control, difs_group_pack(group, control), NULL, 0);
}

int
client_drop(Client *client, uint64_t group)
{
	uint8_t control[16];

	return client_call(client, DIFS_MESSAGE_DROP_GROUP, control, difs_pair_pack(group, UINT64_MAX, control), NULL, 0);
}

size_t
client_pack_put(uint64_t group, uint64_t segment, uint32_t length, uint8_t *bytes, uint8_t *control)
{
	static uint32_t block_crc[DIFS_MAX_BLOCKS];
	DifsSegment head = {
		.segment = segment,
		.xid = 1000 + segment,
		.group = group,
		.raw_length = length,
		.stored_length = length,
		.codec = DIFS_CODEC_RAW,
	};
	uint64_t state = segment * 0x9E3779B97F4A7C15 + 1;

	for (uint32_t i = 0; i < length; i++)
	{
		state = state * 6364136223846793005 + 1442695040888963407;
		bytes[i] = (uint8_t) (state >> 56);
	}
	difs_segment_checksum(bytes, length, block_crc, &head.crc);
	difs_segment_pack(&head, block_crc, control);
	return difs_segment_packed_size(length);
}

int
client_put(Client *client, uint64_t group, uint64_t segment, uint32_t length)
{
	static uint8_t control[DIFS_MAX_PACKED_SIZE];
	uint8_t *bytes = malloc(length);
	size_t size = client_pack_put(group, segment, length, bytes, control);
	int status = client_call(client, DIFS_MESSAGE_PUT, control, size, bytes, length);

	free(bytes);
	return status;
}

int
client_delete(Client *client, uint64_t group, uint64_t segment)
{
	uint8_t control[64];

	return client_call(client, DIFS_MESSAGE_DELETE, control, difs_delete_pack(group, &segment, 1, control), NULL, 0);
}

int
client_get(Client *client, uint64_t group, uint64_t segment, uint32_t length, bool *right)
{
	static uint8_t expected[DIFS_MAX_PACKED_SIZE];
	DifsGet get = {.group = group, .segment = segment};
	uint8_t control[64];
	uint8_t *bytes;
	int status = client_call(client, DIFS_MESSAGE_GET, control, difs_get_pack(&get, control), NULL, 0);

	*right = false;
	if (status != DIFS_OK)
		return status;
	bytes = malloc(length);
	client_pack_put(group, segment, length, bytes, expected);
	*right = client->payload_length == length && memcmp(client->payload, bytes, length) == 0;
	free(bytes);
	return DIFS_OK;
}

int
client_find(Client *client, uint64_t group, DifsGroupEntry *entry)
{
	int status = client_group(client, DIFS_MESSAGE_LIST_GROUPS, group - 1);

	if (status != DIFS_OK)
		return status;
	if (client->payload_length < DIFS_GROUP_ENTRY_SIZE)
		return DIFS_ERROR_NO_GROUP;
	difs_group_entry_unpack(client->payload, entry);
	return entry->group == group ? DIFS_OK : DIFS_ERROR_NO_GROUP;
}

bool
client_find_entry(Client *client, uint64_t group, uint64_t segment, DifsListEntry *entry)
{
	uint8_t control[16];
	int status = client_call(client, DIFS_MESSAGE_LIST, control, difs_pair_pack(group, 0, control), NULL, 0);

	for (uint32_t at = 0; status == DIFS_OK && at < client->payload_length; at += DIFS_LIST_ENTRY_SIZE)
	{
		difs_list_entry_unpack(client->payload + at, entry);
		if (entry->segment == segment)
			return true;
	}
	return false;
}

/* False when the deadline has passed. */
static bool
wait_for(Client *client, uint64_t deadline)
{
	uint64_t now = now_ms();
	struct pollfd wait = {.fd = difs_conn_fd(client->conn), .events = POLLIN};

	if (difs_conn_wants_write(client->conn))
		wait.events |= POLLOUT;
	if (now >= deadline)
		return false;
	poll(&wait, 1, (int) (deadline - now));
	return true;
}

static void
take_frame(Client *client, const DifsFrame *frame)
{
	client->control_length = frame->control_length;
	client->payload_length = frame->payload_length;
	memcpy(client->control, difs_conn_control(client->conn), frame->control_length);
	if (client->payload_room < frame->payload_length)
	{
		client->payload = realloc(client->payload, frame->payload_length);
		client->payload_room = frame->payload_length;
	}
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}
