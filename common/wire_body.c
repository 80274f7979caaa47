/*
 * wire_body.c - the controls and entries of the messages, field by field.
 *
 * No state.  An unpack function looks at the length before it touches a byte,
 * and at every value that has a bound in wire.h.  Ids have none: one that does
 * not exist is the server's to refuse.
 */
#include "wire.h"

#include "bytes.h"

#define HELLO_FIXED_SIZE (2 + DIFS_KEY_ID_SIZE + DIFS_UUID_SIZE + 8 + DIFS_CLAIM_SIZE + DIFS_NONCE_SIZE)
#define HELLO_TOKEN_FIXED_SIZE (2 + DIFS_NONCE_SIZE + DIFS_WIRE_TOKEN_SIZE)
#define CHALLENGE_FIXED_SIZE (2 + DIFS_NONCE_SIZE + DIFS_PROOF_SIZE + 2)
#define STATUS_FIRST_SIZE (10 * 8 + 1 + DIFS_CLAIM_SIZE + DIFS_UUID_SIZE) /* of the first servers */
#define STATUS_SIZE (STATUS_FIRST_SIZE + 8)
#define CREATE_GROUP_SIZE 24
#define GET_SIZE 24
#define PULL_FIXED_SIZE 34
#define PULL_SOURCE_SIZE (4 + DIFS_NAME_SIZE - 1 + 255)
#define PULL_PROGRESS_SIZE 29

_Static_assert(HELLO_FIXED_SIZE + DIFS_NAME_SIZE <= DIFS_WIRE_MAX_GREETING, "HELLO fits into a greeting");
_Static_assert(HELLO_TOKEN_FIXED_SIZE + DIFS_NAME_SIZE <= DIFS_WIRE_MAX_GREETING, "HELLO_TOKEN fits into a greeting");
_Static_assert(CHALLENGE_FIXED_SIZE + DIFS_NAME_SIZE <= DIFS_WIRE_MAX_GREETING, "CHALLENGE fits into a greeting");
_Static_assert(8 + 8 * DIFS_WIRE_MAX_DELETE <= DIFS_WIRE_MAX_CONTROL, "the largest DELETE fits into a control");
_Static_assert(4 + DIFS_MAX_PACKED_SIZE <= DIFS_WIRE_MAX_CONTROL, "the largest segment header fits into a control");

_Static_assert(PULL_FIXED_SIZE + DIFS_PULL_MAX_SOURCES * PULL_SOURCE_SIZE <= DIFS_WIRE_MAX_CONTROL,
			   "the largest PULL fits into a control");

static bool unpack_source(const uint8_t *in, size_t length, size_t *at, DifsPullSource *source, DifsError *error);
static size_t pack_text(const char *text, uint8_t *out);
static bool unpack_text(const uint8_t *in, size_t length, size_t *at, char text[DIFS_NAME_SIZE], DifsError *error);
static bool wrong_length(const char *body, size_t length, DifsError *error);
static bool unpack_name(const uint8_t *in, size_t length, char name[DIFS_NAME_SIZE], DifsError *error);

size_t
difs_hello_pack(const DifsHello *hello, uint8_t *out)
{
	size_t name_length = strnlen(hello->name, DIFS_NAME_SIZE - 1);

	difs_put16(out, hello->version);
	memcpy(out + 2, hello->key_id, DIFS_KEY_ID_SIZE);
	memcpy(out + 10, hello->cluster, DIFS_UUID_SIZE);
	difs_put64(out + 26, hello->epoch);
	memcpy(out + 34, hello->claim, DIFS_CLAIM_SIZE);
	memcpy(out + 50, hello->nonce, DIFS_NONCE_SIZE);
	memcpy(out + HELLO_FIXED_SIZE, hello->name, name_length);
	return HELLO_FIXED_SIZE + name_length;
}

bool
difs_hello_unpack(const uint8_t *in, size_t length, DifsHello *hello, DifsError *error)
{
	if (length < HELLO_FIXED_SIZE)
		return wrong_length("HELLO", length, error);
	hello->version = difs_get16(in);
	memcpy(hello->key_id, in + 2, DIFS_KEY_ID_SIZE);
	memcpy(hello->cluster, in + 10, DIFS_UUID_SIZE);
	hello->epoch = difs_get64(in + 26);
	memcpy(hello->claim, in + 34, DIFS_CLAIM_SIZE);
	memcpy(hello->nonce, in + 50, DIFS_NONCE_SIZE);
	return unpack_name(in + HELLO_FIXED_SIZE, length - HELLO_FIXED_SIZE, hello->name, error);
}

size_t
difs_hello_token_pack(const DifsHelloToken *hello, uint8_t *out)
{
	size_t name_length = strnlen(hello->name, DIFS_NAME_SIZE - 1);

	difs_put16(out, hello->version);
	memcpy(out + 2, hello->nonce, DIFS_NONCE_SIZE);
	memcpy(out + 34, hello->token, DIFS_WIRE_TOKEN_SIZE);
	memcpy(out + HELLO_TOKEN_FIXED_SIZE, hello->name, name_length);
	return HELLO_TOKEN_FIXED_SIZE + name_length;
}

bool
difs_hello_token_unpack(const uint8_t *in, size_t length, DifsHelloToken *hello, DifsError *error)
{
	if (length < HELLO_TOKEN_FIXED_SIZE)
		return wrong_length("HELLO_TOKEN", length, error);
	hello->version = difs_get16(in);
	memcpy(hello->nonce, in + 2, DIFS_NONCE_SIZE);
	memcpy(hello->token, in + 34, DIFS_WIRE_TOKEN_SIZE);
	return unpack_name(in + HELLO_TOKEN_FIXED_SIZE, length - HELLO_TOKEN_FIXED_SIZE, hello->name, error);
}

size_t
difs_challenge_pack(const DifsChallenge *challenge, uint8_t *out)
{
	size_t name_length = strnlen(challenge->name, DIFS_NAME_SIZE - 1);

	difs_put16(out, challenge->version);
	memcpy(out + 2, challenge->nonce, DIFS_NONCE_SIZE);
	memcpy(out + 34, challenge->proof, DIFS_PROOF_SIZE);
	difs_put16(out + 66, (uint16_t) name_length);
	memcpy(out + CHALLENGE_FIXED_SIZE, challenge->name, name_length);
	return CHALLENGE_FIXED_SIZE + name_length;
}

bool
difs_challenge_unpack(const uint8_t *in, size_t length, DifsChallenge *challenge, DifsError *error)
{
	if (length < CHALLENGE_FIXED_SIZE || length != CHALLENGE_FIXED_SIZE + (size_t) difs_get16(in + 66))
		return wrong_length("CHALLENGE", length, error);
	challenge->version = difs_get16(in);
	memcpy(challenge->nonce, in + 2, DIFS_NONCE_SIZE);
	memcpy(challenge->proof, in + 34, DIFS_PROOF_SIZE);
	return unpack_name(in + CHALLENGE_FIXED_SIZE, length - CHALLENGE_FIXED_SIZE, challenge->name, error);
}

size_t
difs_status_pack(const DifsServerStatus *status, uint8_t *out)
{
	difs_put64(out, status->epoch);
	difs_put64(out + 8, status->capacity_bytes);
	difs_put64(out + 16, status->used_bytes);
	difs_put64(out + 24, status->free_bytes);
	difs_put64(out + 32, status->groups);
	difs_put64(out + 40, status->segments);
	difs_put64(out + 48, status->dead_bytes);
	difs_put64(out + 56, status->puts);
	difs_put64(out + 64, status->gets);
	difs_put64(out + 72, status->syncs);
	out[80] = status->tier;
	memcpy(out + 81, status->claim, DIFS_CLAIM_SIZE);
	memcpy(out + 97, status->storage, DIFS_UUID_SIZE);
	difs_put64(out + STATUS_FIRST_SIZE, status->sync_us);
	return STATUS_SIZE;
}

bool
difs_status_unpack(const uint8_t *in, size_t length, DifsServerStatus *status, DifsError *error)
{
	if (length < STATUS_SIZE && length != STATUS_FIRST_SIZE)
		return wrong_length("server status", length, error);
	status->epoch = difs_get64(in);
	status->capacity_bytes = difs_get64(in + 8);
	status->used_bytes = difs_get64(in + 16);
	status->free_bytes = difs_get64(in + 24);
	status->groups = difs_get64(in + 32);
	status->segments = difs_get64(in + 40);
	status->dead_bytes = difs_get64(in + 48);
	status->puts = difs_get64(in + 56);
	status->gets = difs_get64(in + 64);
	status->syncs = difs_get64(in + 72);
	status->tier = in[80];
	memcpy(status->claim, in + 81, DIFS_CLAIM_SIZE);
	memcpy(status->storage, in + 97, DIFS_UUID_SIZE);
	status->sync_us = length >= STATUS_SIZE ? difs_get64(in + STATUS_FIRST_SIZE) : 0;
	if (status->tier > 1)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "server status has the unknown tier %u", status->tier);
	return true;
}

size_t
difs_create_group_pack(const DifsCreateGroup *create, uint8_t *out)
{
	difs_put64(out, create->group);
	difs_put64(out + 8, create->epoch);
	difs_put64(out + 16, create->capacity);
	return CREATE_GROUP_SIZE;
}

bool
difs_create_group_unpack(const uint8_t *in, size_t length, DifsCreateGroup *create, DifsError *error)
{
	if (length != CREATE_GROUP_SIZE)
		return wrong_length("CREATE_GROUP", length, error);
	create->group = difs_get64(in);
	create->epoch = difs_get64(in + 8);
	create->capacity = difs_get64(in + 16);
	return true;
}

size_t
difs_group_pack(uint64_t group, uint8_t *out)
{
	difs_put64(out, group);
	return 8;
}

bool
difs_group_unpack(const uint8_t *in, size_t length, uint64_t *group, DifsError *error)
{
	if (length != 8)
		return wrong_length("group", length, error);
	*group = difs_get64(in);
	return true;
}

size_t
difs_pair_pack(uint64_t first, uint64_t second, uint8_t *out)
{
	difs_put64(out, first);
	difs_put64(out + 8, second);
	return 16;
}

bool
difs_pair_unpack(const uint8_t *in, size_t length, uint64_t *first, uint64_t *second, DifsError *error)
{
	if (length != 16)
		return wrong_length("pair", length, error);
	*first = difs_get64(in);
	*second = difs_get64(in + 8);
	return true;
}

size_t
difs_get_pack(const DifsGet *get, uint8_t *out)
{
	difs_put64(out, get->group);
	difs_put64(out + 8, get->segment);
	difs_put32(out + 16, get->offset);
	difs_put32(out + 20, get->length);
	return GET_SIZE;
}

bool
difs_get_unpack(const uint8_t *in, size_t length, DifsGet *get, DifsError *error)
{
	if (length != GET_SIZE)
		return wrong_length("GET", length, error);
	get->group = difs_get64(in);
	get->segment = difs_get64(in + 8);
	get->offset = difs_get32(in + 16);
	get->length = difs_get32(in + 20);
	if (get->offset >= DIFS_MAX_SEGMENT_SIZE || get->length > DIFS_MAX_SEGMENT_SIZE - get->offset)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "GET asks for %u bytes at %u, beyond the largest segment",
							  get->length, get->offset);
	return true;
}

size_t
difs_delete_pack(uint64_t group, const uint64_t *ids, uint32_t count, uint8_t *out)
{
	difs_put64(out, group);
	for (uint32_t i = 0; i < count; i++)
		difs_put64(out + 8 + 8 * (size_t) i, ids[i]);
	return 8 + 8 * (size_t) count;
}

bool
difs_delete_unpack(const uint8_t *in, size_t length, DifsDelete *delete, DifsError *error)
{
	if (length < 16 || length > 8 + 8 * DIFS_WIRE_MAX_DELETE || length % 8 != 0)
		return wrong_length("DELETE", length, error);
	delete->group = difs_get64(in);
	delete->count = (uint32_t) (length / 8 - 1);
	delete->ids = in + 8;
	return true;
}

size_t
difs_pull_pack(const DifsPull *pull, uint8_t *out)
{
	size_t length = PULL_FIXED_SIZE;

	difs_put64(out, pull->group);
	difs_put64(out + 8, pull->epoch);
	difs_put64(out + 16, pull->capacity);
	difs_put64(out + 24, pull->rate);
	out[32] = pull->flags;
	out[33] = pull->count;
	for (int i = 0; i < pull->count && i < DIFS_PULL_MAX_SOURCES; i++)
	{
		difs_put16(out + length, pull->sources[i].port);
		length += 2;
		length += pack_text(pull->sources[i].host, out + length);
		length += pack_text(pull->sources[i].name, out + length);
	}
	return length;
}

bool
difs_pull_unpack(const uint8_t *in, size_t length, DifsPull *pull, DifsError *error)
{
	size_t at = PULL_FIXED_SIZE;

	if (length < PULL_FIXED_SIZE)
		return wrong_length("PULL", length, error);
	pull->group = difs_get64(in);
	pull->epoch = difs_get64(in + 8);
	pull->capacity = difs_get64(in + 16);
	pull->rate = difs_get64(in + 24);
	pull->flags = in[32];
	pull->count = in[33];
	if (pull->count < 1 || pull->count > DIFS_PULL_MAX_SOURCES || (pull->flags & ~(DIFS_PULL_DAMAGED | DIFS_PULL_TLS_MASK)) != 0)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "PULL has %u sources and the flags %u", pull->count, pull->flags);
	for (int i = 0; i < pull->count; i++)
	{
		if (!unpack_source(in, length, &at, &pull->sources[i], error))
			return false;
	}
	return at == length || wrong_length("PULL", length, error);
}

size_t
difs_pull_progress_pack(const DifsPullProgress *progress, uint8_t *out)
{
	difs_put64(out, progress->segments);
	difs_put64(out + 8, progress->bytes);
	difs_put64(out + 16, progress->total);
	difs_put32(out + 24, progress->damaged);
	out[28] = progress->done;
	return PULL_PROGRESS_SIZE;
}

bool
difs_pull_progress_unpack(const uint8_t *in, size_t length, DifsPullProgress *progress, DifsError *error)
{
	if (length != PULL_PROGRESS_SIZE)
		return wrong_length("PULL's reply", length, error);
	progress->segments = difs_get64(in);
	progress->bytes = difs_get64(in + 8);
	progress->total = difs_get64(in + 16);
	progress->damaged = difs_get32(in + 24);
	progress->done = in[28] == 1;
	if (in[28] > 1)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "PULL's reply is neither done nor not");
	return true;
}

void
difs_list_entry_pack(const DifsListEntry *entry, uint8_t out[DIFS_LIST_ENTRY_SIZE])
{
	difs_put64(out, entry->segment);
	difs_put64(out + 8, entry->xid);
	difs_put64(out + 16, entry->offset);
	difs_put32(out + 24, entry->stored_length);
	difs_put32(out + 28, entry->flags);
}

void
difs_list_entry_unpack(const uint8_t in[DIFS_LIST_ENTRY_SIZE], DifsListEntry *entry)
{
	entry->segment = difs_get64(in);
	entry->xid = difs_get64(in + 8);
	entry->offset = difs_get64(in + 16);
	entry->stored_length = difs_get32(in + 24);
	entry->flags = difs_get32(in + 28);
}

void
difs_group_entry_pack(const DifsGroupEntry *entry, uint8_t out[DIFS_GROUP_ENTRY_SIZE])
{
	difs_put64(out, entry->group);
	difs_put64(out + 8, entry->epoch);
	difs_put64(out + 16, entry->file_bytes);
	difs_put64(out + 24, entry->live_bytes);
	difs_put64(out + 32, entry->state);
}

void
difs_group_entry_unpack(const uint8_t in[DIFS_GROUP_ENTRY_SIZE], DifsGroupEntry *entry)
{
	entry->group = difs_get64(in);
	entry->epoch = difs_get64(in + 8);
	entry->file_bytes = difs_get64(in + 16);
	entry->live_bytes = difs_get64(in + 24);
	entry->state = difs_get64(in + 32);
}

static bool
unpack_source(const uint8_t *in, size_t length, size_t *at, DifsPullSource *source, DifsError *error)
{
	if (length - *at < 2)
		return wrong_length("PULL", length, error);
	source->port = difs_get16(in + *at);
	*at += 2;
	return unpack_text(in, length, at, source->host, error) && unpack_text(in, length, at, source->name, error);
}

static size_t
pack_text(const char *text, uint8_t *out)
{
	size_t length = strnlen(text, DIFS_NAME_SIZE - 1);

	out[0] = (uint8_t) length;
	memcpy(out + 1, text, length);
	return 1 + length;
}

static bool
unpack_text(const uint8_t *in, size_t length, size_t *at, char text[DIFS_NAME_SIZE], DifsError *error)
{
	size_t size;

	if (length == *at || length - *at - 1 < in[*at])
		return wrong_length("PULL", length, error);
	size = in[*at];
	*at += 1 + size;
	return unpack_name(in + *at - size, size, text, error);
}

static bool
wrong_length(const char *body, size_t length, DifsError *error)
{
	return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s has an impossible length of %zu bytes", body, length);
}

/* A name has no control characters: no terminator in its middle (the handshake relies on that: the end of HELLO's
 * control cannot be mistaken for what follows it in the transcript of auth.h), and nothing that disturbs a log. */
static bool
unpack_name(const uint8_t *in, size_t length, char name[DIFS_NAME_SIZE], DifsError *error)
{
	if (length >= DIFS_NAME_SIZE)
		return wrong_length("storage name", length, error);
	for (size_t i = 0; i < length; i++)
	{
		if (in[i] < 0x20 || in[i] == 0x7f)
			return difs_error_set(error, DIFS_ERROR_PROTOCOL, "storage name has a control character");
	}
	memcpy(name, in, length);
	name[length] = '\0';
	return true;
}
