/*
 * servers.c - what this backend knows of block groups and chunk servers.
 *
 * State: two hash tables in CacheMemoryContext, this backend's alone, copies of
 * rows of difs.block_group and difs.server.  They may be out of date, which costs
 * one failed request: difs_servers_forget() drops an entry, and the next look reads
 * the table.  Both are emptied when they have grown to their limit, and when the
 * extension has been created anew, since ids start over then.
 *
 * The cluster's uuid is kept too, until a change of difs.cluster is heard of (difs_cluster_changed() in claim.c).
 *
 * Rows are read under the newest snapshot, not the active one: an old snapshot
 * still names the right block group, but repair may have moved that to other
 * members since, and only those have it now.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "src/claim.h"
#include "src/report.h"
#include "src/servers.h"
#include "src/settings.h"
#include "src/table.h"

#define MAX_CACHED_GROUPS 4096

typedef struct CachedGroup
{
	uint64 group; /* key */
	DifsMembers members;
} CachedGroup;

typedef struct CachedServer
{
	int32 server; /* key */
	char name[DIFS_NAME_SIZE];
	char host[256];
	uint16 port;
} CachedServer;

static HTAB *groups = NULL;
static HTAB *servers = NULL;
static Oid cached_for = InvalidOid; /* the difs.server that both were read from */
static uint8 cluster[DIFS_UUID_SIZE];
static Oid cluster_table = InvalidOid; /* the difs.cluster that it was read from */
static bool cluster_known = false;
static uint64 cluster_changes = 0; /* how many have been heard of */

static void ready_caches(void);
static void drop_caches(void);
static HTAB *make_cache(const char *name, Size key_size, Size entry_size, int entries);
static bool read_group(uint64 group, DifsMembers *members);
static bool read_server(int32 server, CachedServer *entry);
static void forget_cluster(Datum unused, Oid changed);
static bool read_row(DifsRelation table, DifsRelation index, ScanKey key, Datum *values, bool *nulls);

bool
difs_group_members(uint64 group, DifsMembers *members)
{
	CachedGroup *entry;

	ready_caches();
	entry = hash_search(groups, &group, HASH_FIND, NULL);
	if (entry != NULL)
	{
		*members = entry->members;
		return true;
	}
	if (!read_group(group, members))
		return false;
	if (hash_get_num_entries(groups) >= MAX_CACHED_GROUPS)
	{
		drop_caches();
		ready_caches();
	}
	entry = hash_search(groups, &group, HASH_ENTER, NULL);
	entry->members = *members;
	return true;
}

bool
difs_server_peer(int32 server, DifsPeer *peer)
{
	if (!difs_server_address(server, peer))
		return false;
	difs_servers_identity(peer);
	return true;
}

bool
difs_server_address(int32 server, DifsPeer *peer)
{
	CachedServer *entry;
	CachedServer row;

	ready_caches();
	entry = hash_search(servers, &server, HASH_FIND, NULL);
	if (entry == NULL)
	{
		if (!read_server(server, &row))
			return false;
		entry = hash_search(servers, &server, HASH_ENTER, NULL);
		*entry = row;
	}
	strlcpy(peer->name, entry->name, sizeof(peer->name));
	strlcpy(peer->host, entry->host, sizeof(peer->host));
	peer->port = entry->port;
	return true;
}

void
difs_servers_identity(DifsPeer *peer)
{
	uint64 epoch;

	difs_cluster_read(peer->cluster, &epoch);
	difs_claim_introduce(difs_database_find(MyDatabaseId), peer);
	memcpy(peer->key, difs_cluster_key(), DIFS_KEY_SIZE);
}

/* What is heard of while the table is read makes it be read again. */
const uint8 *
difs_servers_cluster(void)
{
	static bool watching = false;

	if (!watching)
	{
		CacheRegisterRelcacheCallback(forget_cluster, (Datum) 0);
		watching = true;
	}
	while (unlikely(!cluster_known))
	{
		uint64 before = cluster_changes;
		uint64 epoch;

		cluster_table = difs_relation(DIFS_REL_CLUSTER);
		difs_cluster_read(cluster, &epoch);
		cluster_known = cluster_changes == before;
	}
	return cluster;
}

void
difs_servers_forget(uint64 group)
{
	CachedGroup *entry;

	ready_caches();
	entry = hash_search(groups, &group, HASH_FIND, NULL);
	if (entry == NULL)
		return;
	for (int i = 0; i < entry->members.count; i++)
		hash_search(servers, &entry->members.server[i], HASH_REMOVE, NULL);
	hash_search(groups, &group, HASH_REMOVE, NULL);
}

/* The file is read each time: that is done once a connection, and a new key is in force at once. */
const uint8 *
difs_cluster_key(void)
{
	return difs_cluster_keyring(true)->key[0];
}

const DifsKeyring *
difs_cluster_keyring(bool anew)
{
	static DifsKeyring keyring;
	char *path;
	DifsError error;

	if (!anew && keyring.count > 0)
		return &keyring;
	path = difs_settings_key_file();
	if (!difs_keyring_load(path, &keyring, &error))
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_IO),
				 errmsg("could not read the key of the chunk servers"),
				 errdetail_internal("%s", error.text),
				 errhint("The key is looked for in \"%s\"; difs.key_file names another file. "
						 "It must belong to the server's user, with mode 0600.",
						 path)));
	pfree(path);
	return &keyring;
}

Oid
difs_servers_generation(void)
{
	ready_caches();
	return cached_for;
}

/* Makes the caches, empty if there were none or if they belong to another life of the extension. */
static void
ready_caches(void)
{
	Oid source = difs_relation(DIFS_REL_SERVER);

	if (source != cached_for)
		drop_caches();
	cached_for = source;
	if (groups == NULL)
		groups = make_cache("difs block groups", sizeof(uint64), sizeof(CachedGroup), 256);
	if (servers == NULL)
		servers = make_cache("difs servers", sizeof(int32), sizeof(CachedServer), 16);
}

static void
drop_caches(void)
{
	if (groups != NULL)
		hash_destroy(groups);
	if (servers != NULL)
		hash_destroy(servers);
	groups = servers = NULL;
}

static HTAB *
make_cache(const char *name, Size key_size, Size entry_size, int entries)
{
	HASHCTL control = {.keysize = key_size, .entrysize = entry_size, .hcxt = CacheMemoryContext};

	if (CacheMemoryContext == NULL)
		elog(ERROR, "difs needs a database connection");
	return hash_create(name, entries, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static bool
read_group(uint64 group, DifsMembers *members)
{
	ScanKeyData key;
	Datum values[DIFS_BLOCK_GROUP_COLUMNS];
	bool nulls[DIFS_BLOCK_GROUP_COLUMNS];
	ArrayType *array;
	Datum *ids;
	bool *id_nulls;
	int count;

	DIFS_KEY(&key, DIFS_BLOCK_GROUP_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) group));
	if (!read_row(DIFS_REL_BLOCK_GROUP, DIFS_REL_BLOCK_GROUP_PKEY, &key, values, nulls))
		return false;
	array = DatumGetArrayTypeP(values[DIFS_BLOCK_GROUP_MEMBERS - 1]);
	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &ids, &id_nulls, &count);
	if (count < 1 || count > DIFS_MAX_REPLICAS)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("block group %llu has %d members", (unsigned long long) group, count)));
	members->count = count;
	members->epoch = (uint64) DatumGetInt64(values[DIFS_BLOCK_GROUP_EPOCH - 1]);
	for (int i = 0; i < count; i++)
		members->server[i] = id_nulls[i] ? 0 : DatumGetInt32(ids[i]);
	return true;
}

static bool
read_server(int32 server, CachedServer *entry)
{
	ScanKeyData key;
	Datum values[DIFS_SERVER_COLUMNS];
	bool nulls[DIFS_SERVER_COLUMNS];

	DIFS_KEY(&key, DIFS_SERVER_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(server));
	if (!read_row(DIFS_REL_SERVER, DIFS_REL_SERVER_PKEY, &key, values, nulls))
		return false;
	entry->server = server;
	strlcpy(entry->name, TextDatumGetCString(values[DIFS_SERVER_NAME - 1]), sizeof(entry->name));
	strlcpy(entry->host, TextDatumGetCString(values[DIFS_SERVER_HOST - 1]), sizeof(entry->host));
	entry->port = (uint16) DatumGetInt32(values[DIFS_SERVER_PORT - 1]);
	return true;
}

/* A relation's entry in the relation cache is no longer right; InvalidOid means all of them. */
static void
forget_cluster(Datum unused, Oid changed)
{
	if (OidIsValid(changed) && changed != cluster_table)
		return;
	cluster_known = false;
	cluster_changes++;
}

/* The columns of the one row that the newest snapshot shows, in the current memory context. */
static bool
read_row(DifsRelation table, DifsRelation index, ScanKey key, Datum *values, bool *nulls)
{
	DifsScan *scan;
	HeapTuple tuple;
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	scan = difs_scan_begin(table, index, 1, key);
	tuple = difs_scan_next(scan, false);
	found = tuple != NULL;
	if (found)
		heap_deform_tuple(heap_copytuple(tuple), difs_scan_desc(scan), values, nulls);
	difs_scan_end(scan);
	PopActiveSnapshot();
	return found;
}
