/*
 * token.c - see token.h.  No state.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "src/report.h"
#include "src/settings.h"
#include "src/token.h"

void
difs_token_begin(DifsToken *token, DifsOperation operation)
{
	memset(token, 0, sizeof(*token));
	token->operation = operation;
	memcpy(token->cluster, difs_servers_cluster(), DIFS_UUID_SIZE);
	token->expires = (uint64) time(NULL) + difs_token_lifetime;
	(void) difs_cluster_key();
}

Datum
difs_token_make(DifsToken *token)
{
	bytea *bytes = palloc(VARHDRSZ + DIFS_TOKEN_SIZE);

	SET_VARSIZE(bytes, VARHDRSZ + DIFS_TOKEN_SIZE);
	if (!difs_token_sign(token, difs_cluster_keyring(false)->key[0], (uint8 *) VARDATA(bytes)))
		elog(ERROR, "could not sign a token");
	return PointerGetDatum(bytes);
}

/* As the tables have it now: a client that could not use what this process remembered would be told the same again. */
void
difs_token_members(uint64 group, DifsMembers *members)
{
	difs_servers_forget(group);
	if (!difs_group_members(group, members))
		memset(members, 0, sizeof(*members));
}

/* A server without a row any more has an empty address: the others are to be asked. */
Datum
difs_token_servers(const int32 *members, int count)
{
	Datum texts[DIFS_MAX_REPLICAS];

	for (int i = 0; i < count; i++)
	{
		DifsPeer peer = {0};

		if (difs_server_address(members[i], &peer))
			texts[i] = CStringGetTextDatum(psprintf("%s=%s:%d", peer.name, peer.host, (int) peer.port));
		else
			texts[i] = CStringGetTextDatum("");
	}
	return PointerGetDatum(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}
