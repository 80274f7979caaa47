/*
 * fuzz_wire.c - the frame decoder and the decoder of every body.
 *
 * The first byte of an input chooses: 0 for a frame, else a message whose body
 * follows (with DIFS_WIRE_REPLY, its reply's).  Whatever a decoder accepts, the
 * encoder must turn back into the same bytes.  The checksum of a frame keeps most
 * mutations out, so a frame is also tried with its checksum made right.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "wire.h"

#define REPLY(message) ((message) | DIFS_WIRE_REPLY)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
require_same(const uint8_t *in, size_t length, const uint8_t *out, size_t out_length)
{
	require(length == out_length && memcmp(in, out, length) == 0);
}

static void
try_frame(const uint8_t *data, size_t size)
{
	uint8_t header[DIFS_WIRE_HEADER_SIZE];
	uint8_t again[DIFS_WIRE_HEADER_SIZE];
	const uint8_t *control = data + DIFS_WIRE_HEADER_SIZE;
	DifsFrame frame;
	DifsError error;

	if (size < DIFS_WIRE_HEADER_SIZE)
		return;
	memcpy(header, data, sizeof(header));
	if (!difs_wire_unpack(header, DIFS_WIRE_MAX_CONTROL, DIFS_MAX_SEGMENT_SIZE, &frame, &error))
	{
		require(error.code == DIFS_ERROR_PROTOCOL);
		return;
	}
	require(frame.control_length <= DIFS_WIRE_MAX_CONTROL && frame.payload_length <= DIFS_MAX_SEGMENT_SIZE);
	if (frame.control_length > size - DIFS_WIRE_HEADER_SIZE)
		return;
	difs_wire_pack(&frame, control, again);
	require(difs_wire_check(header, control, &error) == (memcmp(header, again, sizeof(header)) == 0));
	difs_put32(header + 20, difs_crc32c(difs_crc32c(0, header, 20), control, frame.control_length));
	require(difs_wire_check(header, control, &error));
	require_same(header, sizeof(header), again, sizeof(again));
}

static void
try_greeting(uint8_t message, const uint8_t *in, size_t length)
{
	static uint8_t out[DIFS_WIRE_MAX_CONTROL];
	DifsHello hello;
	DifsHelloToken hello_token;
	DifsChallenge challenge;
	DifsServerStatus status;
	DifsError error;

	if (message == DIFS_MESSAGE_HELLO && difs_hello_unpack(in, length, &hello, &error))
		require_same(in, length, out, difs_hello_pack(&hello, out));
	if (message == DIFS_MESSAGE_HELLO_TOKEN && difs_hello_token_unpack(in, length, &hello_token, &error))
		require_same(in, length, out, difs_hello_token_pack(&hello_token, out));
	if (message == REPLY(DIFS_MESSAGE_HELLO) && difs_challenge_unpack(in, length, &challenge, &error))
		require_same(in, length, out, difs_challenge_pack(&challenge, out));
	if ((message == REPLY(DIFS_MESSAGE_PROOF) || message == REPLY(DIFS_MESSAGE_STAT)) &&
		difs_status_unpack(in, length, &status, &error) && difs_status_pack(&status, out) == length)
		require_same(in, length, out, length);
}

static void
try_request(uint8_t message, const uint8_t *in, size_t length)
{
	static uint8_t out[DIFS_WIRE_MAX_CONTROL];
	static uint64_t ids[DIFS_WIRE_MAX_DELETE];
	static DifsPull pull;
	DifsPullProgress progress;
	DifsCreateGroup create;
	DifsGet get;
	DifsDelete delete;
	uint64_t first;
	uint64_t second;
	DifsError error;

	if (message == DIFS_MESSAGE_CREATE_GROUP && difs_create_group_unpack(in, length, &create, &error))
		require_same(in, length, out, difs_create_group_pack(&create, out));
	if ((message == DIFS_MESSAGE_SEAL_GROUP || message == DIFS_MESSAGE_LIST_GROUPS) && difs_group_unpack(in, length, &first, &error))
		require_same(in, length, out, difs_group_pack(first, out));
	if ((message == DIFS_MESSAGE_LIST || message == DIFS_MESSAGE_VERIFY || message == DIFS_MESSAGE_DROP_GROUP ||
		 message == REPLY(DIFS_MESSAGE_SEAL_GROUP)) &&
		difs_pair_unpack(in, length, &first, &second, &error))
		require_same(in, length, out, difs_pair_pack(first, second, out));
	if (message == DIFS_MESSAGE_GET && difs_get_unpack(in, length, &get, &error))
	{
		require((uint64_t) get.offset + get.length <= DIFS_MAX_SEGMENT_SIZE);
		require_same(in, length, out, difs_get_pack(&get, out));
	}
	if (message == DIFS_MESSAGE_PULL && difs_pull_unpack(in, length, &pull, &error))
		require_same(in, length, out, difs_pull_pack(&pull, out));
	if (message == REPLY(DIFS_MESSAGE_PULL) && difs_pull_progress_unpack(in, length, &progress, &error))
		require_same(in, length, out, difs_pull_progress_pack(&progress, out));
	if (message == DIFS_MESSAGE_DELETE && difs_delete_unpack(in, length, &delete, &error))
	{
		require(delete.count >= 1 && delete.count <= DIFS_WIRE_MAX_DELETE);
		for (uint32_t i = 0; i < delete.count; i++)
			ids[i] = difs_get64(delete.ids + 8 * (size_t) i);
		require_same(in, length, out, difs_delete_pack(delete.group, ids, delete.count, out));
	}
}

static void
try_entries(uint8_t message, const uint8_t *in, size_t length)
{
	uint8_t out[DIFS_GROUP_ENTRY_SIZE];
	DifsListEntry entry;
	DifsGroupEntry group;
	size_t size = message == REPLY(DIFS_MESSAGE_LIST) ? DIFS_LIST_ENTRY_SIZE : DIFS_GROUP_ENTRY_SIZE;

	if (message != REPLY(DIFS_MESSAGE_LIST) && message != REPLY(DIFS_MESSAGE_LIST_GROUPS))
		return;
	for (; length >= size; in += size, length -= size)
	{
		if (message == REPLY(DIFS_MESSAGE_LIST))
		{
			difs_list_entry_unpack(in, &entry);
			difs_list_entry_pack(&entry, out);
		}
		else
		{
			difs_group_entry_unpack(in, &group);
			difs_group_entry_pack(&group, out);
		}
		require_same(in, size, out, size);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 0)
		try_frame(data + 1, size - 1);
	else
	{
		require(difs_message_name(data[0]) != NULL);
		try_greeting(data[0], data + 1, size - 1);
		try_request(data[0], data + 1, size - 1);
		try_entries(data[0], data + 1, size - 1);
	}
	return 0;
}
