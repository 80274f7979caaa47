/*
 * attack.c - tokens that are not good, in great number: none may be obeyed.
 *
 *	attack KEY_FILE SERVER WRITE_TOKEN READ_TOKEN COUNT SEED
 *
 * WRITE_TOKEN is for a segment that is not there yet, READ_TOKEN for one that is; both are good, as is the key, which makes tokens that are
 * signed and wrong all the same.  SERVER is "/name=host:port".  Prints how many of each kind were tried, and a line "obeyed: …" for each that
 * was; then the honest client comes: "ok" if the good tokens are served, the write token once.
 */
#include "client.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "token.h"

#define LENGTH 3000
#define RECONNECT 50 /* attacks on one connection */

typedef enum Kind
{
	FORGED,	   /* a bit is another one */
	OTHER_KEY, /* signed, by a key that the server does not have */
	EXPIRED,
	OTHER_CLUSTER,
	OTHER_GROUP,
	OTHER_SEGMENT,
	OTHER_EPOCH,
	OTHER_CLAIM,
	OTHER_OPERATION,
	OTHER_XID,
	TOO_SHORT,
	OTHER_SESSION, /* the use of a good token, of another connection */
	OTHER_MESSAGE, /* a good token, for something else */
	NO_TOKEN,
	HANDSHAKE, /* a bad one to connect with */
	KINDS
} Kind;

static const char *const names[KINDS] = {
	"forged",
	"signed by another key",
	"expired",
	"of another cluster",
	"of another group",
	"of another segment",
	"of another epoch",
	"of another claim",
	"for another operation",
	"of another transaction",
	"for a shorter segment",
	"of another session",
	"for another message",
	"none",
	"in the handshake",
};

static uint64_t state;
static uint8_t key[DIFS_KEY_SIZE];
static uint8_t good[2][DIFS_TOKEN_SIZE]; /* to read, to write */
static DifsToken said[2];
static DifsPeer address;
static uint8_t old_session[DIFS_PROOF_SIZE];

static uint32_t pick(uint32_t behind);
static void make(Kind kind, bool write, uint8_t token[DIFS_TOKEN_SIZE]);
static int try(Client *client, Kind kind);
static int put(Client *client, const uint8_t *session, const uint8_t token[DIFS_TOKEN_SIZE]);
static int get(Client *client, const uint8_t *session, const uint8_t token[DIFS_TOKEN_SIZE]);
static bool connect_by(Client *client, const uint8_t token[DIFS_TOKEN_SIZE]);
static void unhex(const char *text, uint8_t *out);
static int honest(void);

int
main(int argc, char **argv)
{
	uint64_t tried[KINDS] = {0};
	DifsKeyring ring;
	DifsError error;
	Client client = {0};
	Client before = {0};
	char *equals;
	char *colon;

	if (argc != 7 || !difs_keyring_load(argv[1], &ring, &error) || (equals = strchr(argv[2], '=')) == NULL ||
		(colon = strrchr(argv[2], ':')) == NULL)
		return 2;
	memcpy(key, ring.key[0], sizeof(key));
	snprintf(address.name, sizeof(address.name), "%.*s", (int) (equals - argv[2]), argv[2]);
	snprintf(address.host, sizeof(address.host), "%.*s", (int) (colon - equals - 1), equals + 1);
	address.port = (uint16_t) atoi(colon + 1);
	for (int i = 0; i < 2; i++)
	{
		unhex(argv[4 - i], good[i]);
		if (!difs_token_read(good[i], DIFS_TOKEN_SIZE, &said[i], &error))
			return 2;
	}
	state = strtoull(argv[6], NULL, 10) * 2 + 1;
	if (!connect_by(&before, good[0]))
		return 2;
	memcpy(old_session, difs_conn_session(before.conn), sizeof(old_session));

	for (uint64_t i = 0; i < strtoull(argv[5], NULL, 10); i++)
	{
		Kind kind = (Kind) pick(KINDS);

		if (client.conn != NULL && (i % RECONNECT == 0 || difs_conn_state(client.conn) != DIFS_CONN_READY))
			client_close(&client);
		if (client.conn == NULL && !connect_by(&client, good[pick(2)]))
		{
			printf("cannot connect: %s\n", difs_conn_error(client.conn)->text);
			return 1;
		}
		tried[kind]++;
		if (try(&client, kind) == DIFS_OK)
			printf("obeyed: %s\n", names[kind]);
	}
	client_close(&client);
	client_close(&before);
	for (int i = 0; i < KINDS; i++)
		printf("%8llu %s\n", (unsigned long long) tried[i], names[i]);
	return honest();
}

static uint32_t
pick(uint32_t behind)
{
	state = state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t) (state >> 33) % behind;
}

static void
make(Kind kind, bool write, uint8_t token[DIFS_TOKEN_SIZE])
{
	DifsToken changed = said[write];
	uint8_t with[DIFS_KEY_SIZE];

	memcpy(token, good[write], DIFS_TOKEN_SIZE);
	memcpy(with, key, sizeof(with));
	switch (kind)
	{
		case FORGED:
			token[pick(DIFS_TOKEN_SIZE)] ^= (uint8_t) (1 << pick(8));
			return;
		case OTHER_KEY:
			with[pick(sizeof(with))] ^= (uint8_t) (1 << pick(8));
			break;
		case EXPIRED:
			changed.expires = (uint64_t) time(NULL) - pick(100000);
			break;
		case OTHER_CLUSTER:
			changed.cluster[pick(DIFS_UUID_SIZE)] ^= (uint8_t) (1 << pick(8));
			break;
		case OTHER_GROUP:
			changed.group += 1 + pick(1000);
			break;
		case OTHER_SEGMENT:
			changed.segment += 1 + pick(1000);
			break;
		case OTHER_EPOCH:
			changed.epoch += 1 + pick(1000);
			break;
		case OTHER_CLAIM:
			changed.claim[pick(DIFS_CLAIM_SIZE)] ^= (uint8_t) (1 << pick(8));
			break;
		case OTHER_OPERATION:
			changed.operation = write ? DIFS_OPERATION_READ : DIFS_OPERATION_WRITE;
			break;
		case OTHER_XID:
			changed.xid += 1 + pick(1000);
			break;
		case TOO_SHORT:
			changed.max_bytes = pick(LENGTH);
			break;
		default:
			break;
	}
	if (!difs_token_sign(&changed, with, token))
		exit(2);
	if (kind == OTHER_KEY) /* under the id of the right one */
		memcpy(token + 2, good[write] + 2, DIFS_KEY_ID_SIZE);
}

/* DIFS_OK if it was obeyed. */
static int
try(Client *client, Kind kind)
{
	static const uint8_t messages[] = {
		DIFS_MESSAGE_CREATE_GROUP,
		DIFS_MESSAGE_SEAL_GROUP,
		DIFS_MESSAGE_DROP_GROUP,
		DIFS_MESSAGE_DELETE,
		DIFS_MESSAGE_LIST,
		DIFS_MESSAGE_LIST_GROUPS,
		DIFS_MESSAGE_STAT,
		DIFS_MESSAGE_VERIFY,
		DIFS_MESSAGE_PULL,
		DIFS_MESSAGE_VERIFY_GROUP,
		DIFS_MESSAGE_MEND,
	};
	bool only_write = kind == OTHER_EPOCH || kind == OTHER_CLAIM || kind == OTHER_XID || kind == TOO_SHORT;
	bool write = only_write || pick(2) == 1;
	const uint8_t *session = difs_conn_session(client->conn);
	uint8_t token[DIFS_TOKEN_SIZE];
	uint8_t control[2 * DIFS_TOKEN_USE_SIZE];
	Client second = {0};
	bool let_in;
	size_t size;

	make(kind, write, token);
	switch (kind)
	{
		case OTHER_SESSION:
			return write ? put(client, old_session, token) : get(client, old_session, token);
		case NO_TOKEN:
			return write ? put(client, NULL, token) : get(client, NULL, token);
		case OTHER_MESSAGE:
			size = difs_pair_pack(said[write].group, said[write].segment, control);
			size += difs_token_use_pack(token, session, control + size);
			return client_call(client, messages[pick(sizeof(messages))], control, size, NULL, 0);
		case HANDSHAKE:
			make(pick(2) == 0 ? FORGED : EXPIRED, write, token);
			let_in = connect_by(&second, token);
			client_close(&second);
			return let_in ? DIFS_OK : CLIENT_LOST;
		default:
			return write ? put(client, session, token) : get(client, session, token);
	}
}

/* The segment that the good token is for, by this one; session NULL: without its use. */
static int
put(Client *client, const uint8_t *session, const uint8_t token[DIFS_TOKEN_SIZE])
{
	static uint8_t control[DIFS_WIRE_MAX_CONTROL];
	static uint8_t bytes[LENGTH];
	uint32_t block_crc;
	DifsSegment segment = {
		.segment = said[1].segment,
		.group = said[1].group,
		.xid = said[1].xid,
		.raw_length = LENGTH,
		.stored_length = LENGTH,
	};
	size_t size = difs_segment_packed_size(LENGTH);

	difs_segment_checksum(bytes, LENGTH, &block_crc, &segment.crc);
	difs_segment_pack(&segment, &block_crc, control);
	if (session != NULL)
		size += difs_token_use_pack(token, session, control + size);
	return client_call(client, DIFS_MESSAGE_PUT, control, size, bytes, LENGTH);
}

static int
get(Client *client, const uint8_t *session, const uint8_t token[DIFS_TOKEN_SIZE])
{
	uint8_t control[64 + DIFS_TOKEN_USE_SIZE];
	size_t size = difs_get_pack(&(DifsGet){.group = said[0].group, .segment = said[0].segment}, control);

	if (session != NULL)
		size += difs_token_use_pack(token, session, control + size);
	return client_call(client, DIFS_MESSAGE_GET, control, size, NULL, 0);
}

static bool
connect_by(Client *client, const uint8_t token[DIFS_TOKEN_SIZE])
{
	DifsPeer peer = address;

	peer.token = token;
	return client_connect(client, &peer);
}

static void
unhex(const char *text, uint8_t *out)
{
	for (size_t i = 0; i < DIFS_TOKEN_SIZE && isxdigit((unsigned char) text[2 * i]); i++)
	{
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		out[i] = (uint8_t) strtoul(pair, NULL, 16);
	}
}

/* Nothing of the above has been written, and the good ones are served; a second time the write token writes nothing. */
static int
honest(void)
{
	Client client = {0};
	int status[4];

	if (!connect_by(&client, good[1]))
		return 1;
	status[0] = get(&client, difs_conn_session(client.conn), good[0]);
	status[1] = put(&client, difs_conn_session(client.conn), good[1]);
	status[2] = put(&client, difs_conn_session(client.conn), good[1]);
	status[3] = get(&client, difs_conn_session(client.conn), good[0]);
	client_close(&client);
	printf("honest: %s, %s, %s, %s\n", difs_error_name((DifsErrorCode) status[0]), difs_error_name((DifsErrorCode) status[1]),
		   difs_error_name((DifsErrorCode) status[2]), difs_error_name((DifsErrorCode) status[3]));
	return status[0] == DIFS_OK && status[1] == DIFS_OK && status[2] == DIFS_ERROR_EXISTS && status[3] == DIFS_OK ? 0 : 1;
}
