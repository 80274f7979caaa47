/*
 * volume.c - volumes, found by name or id.
 *
 * Volumes are looked up for every path, so each process keeps the last few that
 * it has read.  They are kept as PostgreSQL keeps catalog rows: read under the
 * newest snapshot rather than the transaction's, and forgotten when somebody's
 * change of difs.volume is committed, or one of our own is made or rolled back.
 * To tell everybody, a change invalidates the relation cache's entry of the
 * table; a trigger does so for SQL, volume_row.c for C.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/report.h"
#include "src/table.h"
#include "src/volume.h"

#define CACHE_SIZE 8

/* The last few that were read; the next one goes to cache_next. An empty name: not in use. */
static DifsVolume cache[CACHE_SIZE];
static int cache_next;
static uint64 cache_changes; /* how often difs.volume has changed, as far as we have heard */
static Oid cache_table;		 /* difs.volume, as of the last reading */

static bool read_and_keep(const char *name, int32 id, DifsVolume *volume);
static void forget(Datum unused, Oid changed);
static bool find(DifsRelation index, ScanKey key, DifsVolume *volume);

void
difs_volume_find(const char *name, DifsVolume *volume)
{
	for (int i = 0; i < CACHE_SIZE; i++)
	{
		if (strcmp(cache[i].name, name) == 0 && name[0] != '\0')
		{
			*volume = cache[i];
			return;
		}
	}

	if (read_and_keep(name, 0, volume))
		return;
	/* one that has just been dropped is still there for who looks at an older time */
	if (!IsolationUsesXactSnapshot() || !difs_volume_find_name(name, volume))
		difs_volume_report_missing(name);
}

bool
difs_volume_find_current(int32 id, DifsVolume *volume)
{
	for (int i = 0; i < CACHE_SIZE; i++)
	{
		if (cache[i].id == id && cache[i].name[0] != '\0')
		{
			*volume = cache[i];
			return true;
		}
	}
	return read_and_keep(NULL, id, volume);
}

bool
difs_volume_find_id(int32 id, DifsVolume *volume)
{
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_VOLUME_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	return find(DIFS_REL_VOLUME_PKEY, &key, volume);
}

/* Its path has just been resolved, so it is in the cache, but for changes on the way and more volumes than fit. */
Oid
difs_volume_owner(int32 id)
{
	DifsVolume volume;
	bool found;

	for (int i = 0; i < CACHE_SIZE; i++)
	{
		if (cache[i].id == id && cache[i].name[0] != '\0')
			return cache[i].owner;
	}

	if (!IsInParallelMode())
		PushActiveSnapshot(GetLatestSnapshot());
	found = difs_volume_find_id(id, &volume);
	if (!IsInParallelMode())
		PopActiveSnapshot();
	if (!found)
		found = difs_volume_find_id(id, &volume); /* it is dropped, and an older snapshot still sees it */
	if (!found)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NO_FILE),
				errmsg("volume %d does not exist", id));
	return volume.owner;
}

/*
 * By name, or if that is NULL by id.
 *
 * The number of changes is noted before the snapshot is taken: if one is heard
 * of while we read, what we read may be older, and is used but not kept.  In
 * parallel mode there are no new snapshots.
 */
static bool
read_and_keep(const char *name, int32 id, DifsVolume *volume)
{
	static bool watching = false;
	uint64 changes;
	bool found;

	if (IsInParallelMode())
		return name != NULL ? difs_volume_find_name(name, volume) : difs_volume_find_id(id, volume);

	if (!watching)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		watching = true;
	}

	cache_table = difs_relation(DIFS_REL_VOLUME);
	changes = cache_changes;
	PushActiveSnapshot(GetLatestSnapshot());
	found = name != NULL ? difs_volume_find_name(name, volume) : difs_volume_find_id(id, volume);
	PopActiveSnapshot();

	if (found && changes == cache_changes)
	{
		cache[cache_next] = *volume;
		cache_next = (cache_next + 1) % CACHE_SIZE;
	}
	return found;
}

bool
difs_volume_find_name(const char *name, DifsVolume *volume)
{
	union
	{
		struct varlena header;
		char bytes[VARHDRSZ + NAMEDATALEN];
	} value;
	size_t length = strlen(name);
	ScanKeyData key;

	if (length >= NAMEDATALEN)
		return false;

	SET_VARSIZE(&value, VARHDRSZ + length);
	memcpy(value.bytes + VARHDRSZ, name, length);
	DIFS_KEY(&key, DIFS_VOLUME_NAME, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(&value));
	return find(DIFS_REL_VOLUME_NAME, &key, volume);
}

/* A relation's entry in the relation cache is no longer right; InvalidOid means all of them. */
static void
forget(Datum unused, Oid changed)
{
	if (OidIsValid(changed) && changed != cache_table)
		return;

	for (int i = 0; i < CACHE_SIZE; i++)
		cache[i].name[0] = '\0';
	cache_changes++;
}

static bool
find(DifsRelation index, ScanKey key, DifsVolume *volume)
{
	DifsScan *scan = difs_scan_begin(DIFS_REL_VOLUME, index, 1, key);
	HeapTuple tuple = difs_scan_next(scan, false);

	if (tuple != NULL)
		difs_volume_decode(tuple, difs_scan_desc(scan), volume);
	difs_scan_end(scan);

	return tuple != NULL;
}

/* Trigger of difs.volume, for each statement that changes it. */
PG_FUNCTION_INFO_V1(difs_volume_changed);
Datum
difs_volume_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("difs_volume_changed can only be called as a trigger"));

	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	PG_RETURN_POINTER(NULL);
}
