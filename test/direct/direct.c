/*
 * direct.c - a client of chunk servers that has tokens and no key: the smallest that there can be.
 *
 *	direct < commands > answers
 *
 * One command a line, one line in answer: "ok …", or "failed <what kind>: <text>".  Connections are kept for the next command.
 *
 *	put TOKEN SERVER FILE OFFSET LENGTH [LEVEL]        sends bytes of a file as a segment (zstd at LEVEL); the answer has the receipt
 *	get TOKEN SERVER OFFSET LENGTH STORED RAW CODEC CRC FILE AT
 *	                                                   bytes [OFFSET, OFFSET + LENGTH) of the segment's raw form, checked, into a file at AT
 *	ask MESSAGE SERVER TOKEN                           sends a message without a body, with the use of the token
 *	close                                              ends all connections
 *
 * TOKEN and receipts are hexadecimal digits, SERVER is "/name=host:port", as in SQL.
 */
#include "client.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "token.h"

#define MAX_SERVERS 16
#define MAX_WORDS 16

typedef struct Known
{
	char server[600];
	Client client;
} Known;

static Known known[MAX_SERVERS];
static DifsEncoder *encoder;

static Client *reach(const char *server, const uint8_t *token);
static void forget(Client *client);
static void run(char **words, int count);
static void put(char **words, int count);
static void get(char **words);
static void ask(char **words);
static void answer(Client *client, int status);
static size_t unhex(const char *text, uint8_t *out, size_t room);
static void *read_all(const char *file, uint64_t offset, uint32_t length);

int
main(void)
{
	char *line = NULL;
	size_t room = 0;

	encoder = difs_encoder_create();
	while (getline(&line, &room, stdin) > 0)
	{
		char *words[MAX_WORDS + 1] = {0};
		int count = 0;

		for (char *word = strtok(line, " \n"); word != NULL && count < MAX_WORDS; word = strtok(NULL, " \n"))
			words[count++] = word;
		if (count > 0)
			run(words, count);
		fflush(stdout);
	}
	free(line);
	return 0;
}

static void
run(char **words, int count)
{
	if (strcmp(words[0], "put") == 0 && count >= 6)
		put(words, count);
	else if (strcmp(words[0], "get") == 0 && count == 11)
		get(words);
	else if (strcmp(words[0], "ask") == 0 && count == 4)
		ask(words);
	else if (strcmp(words[0], "close") == 0)
	{
		for (int i = 0; i < MAX_SERVERS; i++)
			if (known[i].client.conn != NULL)
				forget(&known[i].client);
		printf("ok\n");
	}
	else
	{
		fprintf(stderr, "direct: no such command: %s\n", words[0]);
		exit(2);
	}
}

static void
put(char **words, int count)
{
	uint8_t token_bytes[DIFS_TOKEN_SIZE];
	uint32_t length = (uint32_t) strtoul(words[5], NULL, 10);
	int level = count > 6 ? atoi(words[6]) : 0;
	uint8_t *raw = read_all(words[3], strtoull(words[4], NULL, 10), length);
	uint8_t *stored = malloc(length);
	uint8_t *control = malloc(DIFS_WIRE_MAX_CONTROL);
	uint32_t *block_crc = malloc(4 * DIFS_MAX_BLOCKS);
	DifsSegment segment = {.raw_length = length};
	DifsToken token;
	DifsError error;
	DifsCodec codec;
	Client *client;
	size_t size;

	if (!difs_token_read(token_bytes, unhex(words[1], token_bytes, sizeof(token_bytes)), &token, &error))
	{
		printf("failed %s: %s\n", difs_error_name(error.code), error.text);
		goto end;
	}
	segment.segment = token.segment;
	segment.group = token.group;
	segment.xid = token.xid;
	segment.stored_length = difs_segment_encode(encoder, raw, length, level, stored, &codec);
	segment.codec = (uint8_t) codec;
	difs_segment_checksum(stored, segment.stored_length, block_crc, &segment.crc);
	difs_segment_pack(&segment, block_crc, control);
	client = reach(words[2], token_bytes);
	if (client == NULL)
		goto end;
	size = difs_segment_packed_size(segment.stored_length);
	size += difs_token_use_pack(token_bytes, difs_conn_session(client->conn), control + size);
	answer(client, client_call(client, DIFS_MESSAGE_PUT, control, size, stored, segment.stored_length));
end:
	free(raw);
	free(stored);
	free(control);
	free(block_crc);
}

static void
get(char **words)
{
	uint8_t token_bytes[DIFS_TOKEN_SIZE];
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	uint32_t offset = (uint32_t) strtoul(words[3], NULL, 10);
	uint32_t length = (uint32_t) strtoul(words[4], NULL, 10);
	uint32_t stored_length = (uint32_t) strtoul(words[5], NULL, 10);
	uint32_t raw_length = (uint32_t) strtoul(words[6], NULL, 10);
	uint32_t crc = (uint32_t) strtoul(words[8], NULL, 10);
	uint8_t *raw;
	DifsToken token;
	DifsSegment segment;
	DifsError error;
	Client *client;
	size_t size;
	int status;
	int fd;

	if (!difs_token_read(token_bytes, unhex(words[1], token_bytes, sizeof(token_bytes)), &token, &error))
	{
		printf("failed %s: %s\n", difs_error_name(error.code), error.text);
		return;
	}
	client = reach(words[2], token_bytes);
	if (client == NULL)
		return;
	size = difs_get_pack(&(DifsGet){.group = token.group, .segment = token.segment}, control);
	size += difs_token_use_pack(token_bytes, difs_conn_session(client->conn), control + size);
	status = client_call(client, DIFS_MESSAGE_GET, control, size, NULL, 0);
	if (status != DIFS_OK)
	{
		answer(client, status);
		return;
	}
	raw = malloc(raw_length);
	if (client->control_length < 4 ||
		!difs_segment_unpack(client->control + 4, client->control_length - 4, &segment, &error) ||
		!difs_segment_verify(client->control + 4, 0, client->payload, client->payload_length, &error) ||
		!difs_segment_decode((DifsCodec) segment.codec, client->payload, client->payload_length, raw, raw_length, &error))
		printf("failed %s: %s\n", difs_error_name(error.code), error.text);
	else if (segment.crc != crc || segment.stored_length != stored_length || segment.segment != token.segment)
		printf("failed corrupt: it is another segment\n");
	else
	{
		fd = open(words[9], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || pwrite(fd, raw + offset, length, (off_t) strtoull(words[10], NULL, 10)) != (ssize_t) length)
		{
			perror(words[9]);
			exit(2);
		}
		close(fd);
		printf("ok %u\n", length);
	}
	free(raw);
}

static void
ask(char **words)
{
	uint8_t token_bytes[DIFS_TOKEN_SIZE];
	uint8_t use[DIFS_TOKEN_USE_SIZE];
	Client *client;
	size_t size;

	(void) unhex(words[3], token_bytes, sizeof(token_bytes));
	client = reach(words[2], token_bytes);
	if (client == NULL)
		return;
	size = difs_token_use_pack(token_bytes, difs_conn_session(client->conn), use);
	answer(client, client_call(client, (uint8_t) atoi(words[1]), use, size, NULL, 0));
}

/* A connection to that server, by that token if there is none yet; NULL if there can be none, which has been said. */
static Client *
reach(const char *server, const uint8_t *token)
{
	DifsPeer peer = {.token = token};
	const char *equals = strchr(server, '=');
	const char *colon = strrchr(server, ':');
	Known *unused = NULL;

	for (int i = 0; i < MAX_SERVERS; i++)
	{
		if (known[i].client.conn != NULL && strcmp(known[i].server, server) == 0)
			return &known[i].client;
		if (known[i].client.conn == NULL)
			unused = &known[i];
	}
	if (equals == NULL || colon == NULL || unused == NULL)
	{
		fprintf(stderr, "direct: \"%s\" is no server, or one too many\n", server);
		exit(2);
	}
	snprintf(unused->server, sizeof(unused->server), "%s", server);
	snprintf(peer.name, sizeof(peer.name), "%.*s", (int) (equals - server), server);
	snprintf(peer.host, sizeof(peer.host), "%.*s", (int) (colon - equals - 1), equals + 1);
	peer.port = (uint16_t) atoi(colon + 1);
	if (client_connect(&unused->client, &peer))
		return &unused->client;
	answer(&unused->client, CLIENT_LOST);
	return NULL;
}

static void
forget(Client *client)
{
	client_close(client);
}

static void
answer(Client *client, int status)
{
	if (status == DIFS_OK)
	{
		printf("ok ");
		for (uint32_t i = 0; i < client->control_length; i++)
			printf("%02x", client->control[i]);
		printf("\n");
	}
	else if (status == CLIENT_LOST)
	{
		const DifsError *error = difs_conn_error(client->conn);

		printf("failed %s: %s\n", difs_error_name(error->code), error->text);
		forget(client);
	}
	else
		printf("failed %s: %.*s\n", difs_error_name((DifsErrorCode) status), (int) client->control_length, client->control);
}

static size_t
unhex(const char *text, uint8_t *out, size_t room)
{
	size_t length = 0;

	for (; isxdigit((unsigned char) text[0]) && isxdigit((unsigned char) text[1]) && length < room; text += 2)
	{
		char pair[3] = {text[0], text[1], '\0'};

		out[length++] = (uint8_t) strtoul(pair, NULL, 16);
	}
	return text[0] == '\0' ? length : 0;
}

static void *
read_all(const char *file, uint64_t offset, uint32_t length)
{
	void *bytes = malloc(length + 1);
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, bytes, length, (off_t) offset) != (ssize_t) length)
	{
		perror(file);
		exit(2);
	}
	close(fd);
	return bytes;
}
