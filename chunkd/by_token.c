/*
 * by_token.c - see by_token.h.
 *
 * State: the permit of each request, and nothing else: a token is judged anew at
 * each use, by the keys, the claim and the clock of that moment.  That a segment
 * id is written once is the group's to see to, so a token that is used again
 * writes nothing.
 */
#include "by_token.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../common/fault.h"
#include "../common/token.h"
#include "log.h"
#include "memory.h"
#include "server.h"
#include "tenant.h"

static bool prove(DifsRequest *request, DifsToken *token, DifsError *error);
static bool allows_put(const DifsRequest *request, DifsError *error);
static bool sign_receipt(DifsRequest *request);

bool
difs_by_token_admit(DifsRequest *request)
{
	uint8_t message = request->frame.message;
	DifsToken *token;
	DifsError error;

	if (message != DIFS_MESSAGE_PUT && message != DIFS_MESSAGE_GET)
	{
		difs_request_refuse(request, DIFS_ERROR_REFUSED, "a token does not allow %s", difs_message_name(message));
		return false;
	}
	token = request->permit = difs_alloc(sizeof(*token));
	if (!prove(request, token, &error) && !DIFS_FAULT_SKIP("chunkd.request.token"))
	{
		difs_log(DIFS_LOG_WARNING, "connection %s: %s is refused: %s", request->connection->label, difs_message_name(message),
				 error.text);
		difs_request_fail(request, &error);
		return false;
	}
	return true;
}

bool
difs_by_token_may_put(DifsRequest *request)
{
	DifsError error;

	if (request->permit == NULL)
		return true;
	if (!allows_put(request, &error) && !DIFS_FAULT_SKIP("chunkd.request.token"))
		difs_request_fail(request, &error);
	else if (!sign_receipt(request))
		difs_request_refuse(request, DIFS_ERROR_REFUSED, "the token's key has been removed");
	else
		return true;
	return false;
}

bool
difs_by_token_may_get(DifsRequest *request, const DifsGet *get)
{
	const DifsToken *token = request->permit;

	if (token == NULL || DIFS_FAULT_SKIP("chunkd.request.token"))
		return true;
	if (token->operation == DIFS_OPERATION_READ && token->group == get->group && token->segment == get->segment)
		return true;
	difs_request_refuse(request, DIFS_ERROR_REFUSED, "the token does not allow to read segment %llu of block group %016llx",
						(unsigned long long) get->segment, (unsigned long long) get->group);
	return false;
}

/* Was it made by our database, for this peer, and is it valid still? */
static bool
prove(DifsRequest *request, DifsToken *token, DifsError *error)
{
	const DifsConnection *connection = request->connection;
	const uint8_t *use;
	uint8_t mac[DIFS_MAC_SIZE];

	if (request->frame.control_length < DIFS_TOKEN_USE_SIZE)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "it comes without a token");
	request->frame.control_length -= DIFS_TOKEN_USE_SIZE;
	use = request->control + request->frame.control_length;
	if (!difs_token_open(use, &connection->server->keyring, token, mac, error))
		return false;
	if (!difs_token_use_check(mac, connection->session, use + DIFS_TOKEN_BODY_SIZE))
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the token is not genuine, or not this peer's");
	if (memcmp(token->cluster, connection->tenant->cluster, DIFS_UUID_SIZE) != 0)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the token is of another cluster than the connection");
	return difs_token_is_valid(token, (uint64_t) time(NULL), error);
}

static bool
allows_put(const DifsRequest *request, DifsError *error)
{
	const DifsToken *token = request->permit;
	const DifsSegment *segment = &request->segment;
	const DifsTenant *tenant = request->connection->tenant;
	const DifsGroup *group = difs_tenant_find(tenant, segment->group);

	if (token->operation != DIFS_OPERATION_WRITE || token->group != segment->group || token->segment != segment->segment)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the token does not allow to write segment %llu to block group %016llx",
							  (unsigned long long) segment->segment, (unsigned long long) segment->group);
	if (token->xid != segment->xid || segment->raw_length > token->max_bytes)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "segment %llu is not like the token wants it: of transaction %llu, at most %u bytes",
							  (unsigned long long) segment->segment, (unsigned long long) token->xid, token->max_bytes);
	if (!tenant->durable || token->epoch != tenant->epoch || memcmp(token->claim, tenant->claim, DIFS_CLAIM_SIZE) != 0)
		return difs_error_set(error, DIFS_ERROR_FENCED, "the token is of epoch %llu, which does not hold the claim (epoch %llu does)",
							  (unsigned long long) token->epoch, (unsigned long long) tenant->epoch);
	if (group != NULL && group->epoch != token->epoch)
		return difs_error_set(error, DIFS_ERROR_REFUSED, "the token is for block group %016llx of epoch %llu, not %llu",
							  (unsigned long long) token->group, (unsigned long long) token->epoch,
							  (unsigned long long) group->epoch);
	return true;
}

static bool
sign_receipt(DifsRequest *request)
{
	const DifsServer *server = request->connection->server;
	const DifsToken *token = request->permit;
	const DifsSegment *segment = &request->segment;
	DifsReceipt receipt = {
		.epoch = token->epoch,
		.group = segment->group,
		.segment = segment->segment,
		.xid = segment->xid,
		.upload = token->upload,
		.number = token->number,
		.raw_length = segment->raw_length,
		.stored_length = segment->stored_length,
		.crc = segment->crc,
		.codec = segment->codec,
	};

	memcpy(receipt.key_id, token->key_id, DIFS_KEY_ID_SIZE);
	memcpy(receipt.cluster, token->cluster, DIFS_UUID_SIZE);
	strcpy(receipt.server, server->options->name);
	request->receipt = difs_alloc(DIFS_RECEIPT_MAX_SIZE);
	request->receipt_length = (uint32_t) difs_receipt_sign(&receipt, &server->keyring, request->receipt);
	return request->receipt_length > 0;
}
