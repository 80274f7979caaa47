/*
 * make_corpus.c - writes the seeds of the fuzz targets below corpus/.
 *
 * One small input for each message and each kind of segment.  The result depends
 * on nothing but this file and common/.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "segment.h"
#include "wire.h"

#define REPLY(message) ((message) | DIFS_WIRE_REPLY)

static void
save(const char *name, const uint8_t *bytes, size_t length)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "corpus/%s", name);
	file = fopen(path, "wb");
	if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
	{
		perror(path);
		exit(1);
	}
}

/* A frame, or with tag other than 0 a body, behind the byte that says which. */
static void
save_tagged(const char *name, uint8_t tag, const uint8_t *bytes, size_t length)
{
	uint8_t out[1024];

	out[0] = tag;
	memcpy(out + 1, bytes, length);
	save(name, out, length + 1);
}

static void
make_greetings(void)
{
	DifsHello hello = {.version = DIFS_WIRE_VERSION, .epoch = 1, .name = "/storage01"};
	DifsChallenge challenge = {.version = DIFS_WIRE_VERSION, .name = "/storage01"};
	DifsServerStatus status = {.epoch = 1, .free_bytes = 1 << 30, .tier = 1};
	uint8_t out[512];

	save_tagged("wire/hello", DIFS_MESSAGE_HELLO, out, difs_hello_pack(&hello, out));
	save_tagged("wire/challenge", REPLY(DIFS_MESSAGE_HELLO), out, difs_challenge_pack(&challenge, out));
	save_tagged("wire/welcome", REPLY(DIFS_MESSAGE_PROOF), out, difs_status_pack(&status, out));
}

static void
make_requests(void)
{
	DifsCreateGroup create = {.group = 1, .epoch = 1, .capacity = 1 << 30};
	DifsGet get = {.group = 1, .segment = 2, .offset = DIFS_BLOCK_SIZE, .length = 100};
	DifsPull pull = {
		.group = 1,
		.epoch = 2,
		.capacity = 1 << 30,
		.count = 1,
		.sources = {{.name = "/storage02", .host = "10.0.0.2", .port = 7070}},
	};
	DifsPullProgress progress = {.segments = 1, .bytes = 4096, .total = 8192};
	const uint64_t ids[] = {1, 2, 3};
	uint8_t out[512];

	save_tagged("wire/create_group", DIFS_MESSAGE_CREATE_GROUP, out, difs_create_group_pack(&create, out));
	save_tagged("wire/drop_group", DIFS_MESSAGE_DROP_GROUP, out, difs_pair_pack(1, 2, out));
	save_tagged("wire/seal_group", DIFS_MESSAGE_SEAL_GROUP, out, difs_group_pack(1, out));
	save_tagged("wire/sealed_group", REPLY(DIFS_MESSAGE_SEAL_GROUP), out, difs_pair_pack(3, 12288, out));
	save_tagged("wire/get", DIFS_MESSAGE_GET, out, difs_get_pack(&get, out));
	save_tagged("wire/delete", DIFS_MESSAGE_DELETE, out, difs_delete_pack(1, ids, 3, out));
	save_tagged("wire/list", DIFS_MESSAGE_LIST, out, difs_pair_pack(1, 0, out));
	save_tagged("wire/list_groups", DIFS_MESSAGE_LIST_GROUPS, out, difs_group_pack(0, out));
	save_tagged("wire/pull", DIFS_MESSAGE_PULL, out, difs_pull_pack(&pull, out));
	save_tagged("wire/pulling", REPLY(DIFS_MESSAGE_PULL), out, difs_pull_progress_pack(&progress, out));
	save_tagged("wire/verify", DIFS_MESSAGE_VERIFY, out, difs_pair_pack(1, 2, out));
}

static void
make_entries(void)
{
	DifsListEntry entry = {.segment = 1, .xid = 2, .offset = 4096, .stored_length = 100, .flags = DIFS_LIST_DEAD};
	DifsGroupEntry group = {.group = 1, .epoch = 1, .file_bytes = 8192, .live_bytes = 100, .state = DIFS_GROUP_SEALED};
	uint8_t out[512];

	difs_list_entry_pack(&entry, out);
	difs_list_entry_pack(&entry, out + DIFS_LIST_ENTRY_SIZE);
	save_tagged("wire/list_entries", REPLY(DIFS_MESSAGE_LIST), out, 2 * DIFS_LIST_ENTRY_SIZE);
	difs_group_entry_pack(&group, out);
	save_tagged("wire/group_entries", REPLY(DIFS_MESSAGE_LIST_GROUPS), out, DIFS_GROUP_ENTRY_SIZE);
}

static void
make_frames(void)
{
	DifsFrame request = {.request = 9, .message = DIFS_MESSAGE_VERIFY, .payload_length = 0};
	DifsFrame refusal = {.request = 9, .message = REPLY(DIFS_MESSAGE_VERIFY), .status = DIFS_ERROR_NO_GROUP};
	uint8_t out[512];
	uint8_t *control = out + DIFS_WIRE_HEADER_SIZE;

	request.control_length = (uint32_t) difs_pair_pack(1, 2, control);
	difs_wire_pack(&request, control, out);
	save_tagged("wire/frame_request", 0, out, DIFS_WIRE_HEADER_SIZE + request.control_length);
	refusal.control_length = 8;
	memcpy(control, "no group", 8);
	difs_wire_pack(&refusal, control, out);
	save_tagged("wire/frame_error", 0, out, DIFS_WIRE_HEADER_SIZE + refusal.control_length);
}

static void
make_segment(const char *name, const uint8_t *raw, uint32_t raw_length, int level, bool dead)
{
	static uint8_t out[DIFS_MAX_PACKED_SIZE + 4 * DIFS_BLOCK_SIZE];
	static uint8_t stored[4 * DIFS_BLOCK_SIZE];
	uint32_t block_crc[4];
	DifsEncoder *encoder = difs_encoder_create();
	DifsSegment segment = {.segment = 1, .xid = 2, .group = 3, .raw_length = raw_length, .dead = dead};
	DifsCodec codec;
	size_t packed_size;

	if (encoder == NULL)
		exit(1);
	segment.stored_length = difs_segment_encode(encoder, raw, raw_length, level, stored, &codec);
	segment.codec = (uint8_t) codec;
	difs_segment_checksum(stored, segment.stored_length, block_crc, &segment.crc);
	difs_segment_pack(&segment, block_crc, out);
	packed_size = difs_segment_packed_size(segment.stored_length);
	/* only the header of a large one: the bytes that follow are in no need of seeds */
	if (segment.stored_length <= 256)
		memcpy(out + packed_size, stored, segment.stored_length);
	save(name, out, packed_size + (segment.stored_length <= 256 ? segment.stored_length : 0));
	difs_encoder_destroy(encoder);
}

int
main(void)
{
	static uint8_t raw[3 * DIFS_BLOCK_SIZE];

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t) (i / 100);
	make_greetings();
	make_requests();
	make_entries();
	make_frames();
	make_segment("segment/raw", raw, 100, 0, false);
	make_segment("segment/dead", raw, 30, 0, true);
	make_segment("segment/zstd", raw, 2000, 3, false);
	make_segment("segment/blocks", raw, 2 * DIFS_BLOCK_SIZE + 1, 0, false);
	return 0;
}
