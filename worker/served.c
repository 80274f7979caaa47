/*
 * served.c - transactions of processes that work for the keeper (served.h).
 *
 * No state.
 */
#include "postgres.h"

#include "access/xact.h"

#include "src/claim.h"
#include "src/extension.h"
#include "worker/served.h"

static bool is_ours(DifsDatabase *database);

bool
difs_served_begin(DifsDatabase *database)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (OidIsValid(difs_extension_hold()) && database->state == DIFS_DATABASE_RUNNING && is_ours(database))
		return true;
	AbortCurrentTransaction();
	return false;
}

/* A dump may just have been restored into the database: then what is in the tables is not what we have on the servers. */
static bool
is_ours(DifsDatabase *database)
{
	uint8 uuid[DIFS_UUID_SIZE];
	uint64 epoch;

	difs_cluster_read(uuid, &epoch);
	return memcmp(uuid, database->cluster, DIFS_UUID_SIZE) == 0;
}
