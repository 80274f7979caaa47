/*
 * volume.c - volumes and their policy: rows of difs.volume.
 *
 * Volumes are looked up for every path, so each process keeps the last few that
 * it has read.  They are kept as PostgreSQL keeps catalog rows: read under the
 * newest snapshot rather than the transaction's, and forgotten when somebody's
 * change of difs.volume is committed, or one of our own is made or rolled back.
 * To tell everybody, a change invalidates the relation cache's entry of the
 * table; a trigger does so for SQL, difs_volume_create() for itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/segment.h"
#include "src/inline.h"
#include "src/inode.h"
#include "src/journal.h"
#include "src/placement_function.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"
#include "src/volume.h"

#define SEGMENT_SIZE_UNIT		4096
#define MAX_COMPRESSION_LEVEL	19

#define DIFS_MAX_JOURNAL_KEEP	(INT64CONST(1000) * 366 * SECS_PER_DAY)

#define CACHE_SIZE				8

/* The last few that were read; the next one goes to cache_next. An empty name: not in use. */
static DifsVolume cache[CACHE_SIZE];
static int	cache_next;
static uint64 cache_changes;	/* how often difs.volume has changed, as far as we have heard */
static Oid	cache_table;		/* difs.volume, as of the last reading */

/* in the order of DifsDigest */
static const char *const digest_name[] = {"none", "xxh128", "sha256"};

static bool read_and_keep(const char *name, int32 id, DifsVolume *volume);

static void forget(Datum unused, Oid changed);
static bool find(DifsRelation index, ScanKey key, DifsVolume *volume);
static void decode(HeapTuple tuple, TupleDesc desc, DifsVolume *volume);
static DifsDigest digest_of(const char *name);
static void check_tier(const char *tier);
static void check_range(const char *argument, int value, int min, int max);
static void check_segment_size(int segment_size);
static int	stored_level(const char *compression, int level);
static int64 seconds_of(const Interval *interval);
static void set_columns(const DifsVolume *volume, Datum *values, bool *nulls);
static void insert(DifsVolume *volume);

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

void
difs_volume_report_missing(const char *name)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_NO_FILE),
			errmsg("volume \"%s\" does not exist", name),
			errhint("Create it with difs_volume_create(), or choose another one in the path or with difs.volume."));
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
	DifsVolume	volume;
	bool		found;

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
		found = difs_volume_find_id(id, &volume);	/* it is dropped, and an older snapshot still sees it */
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
	uint64		changes;
	bool		found;

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
		char		bytes[VARHDRSZ + NAMEDATALEN];
	}			value;
	size_t		length = strlen(name);
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
	DifsScan   *scan = difs_scan_begin(DIFS_REL_VOLUME, index, 1, key);
	HeapTuple	tuple = difs_scan_next(scan, false);

	if (tuple != NULL)
		decode(tuple, difs_scan_desc(scan), volume);
	difs_scan_end(scan);

	return tuple != NULL;
}

static void
decode(HeapTuple tuple, TupleDesc desc, DifsVolume *volume)
{
	Datum		values[DIFS_VOLUME_COLUMNS];
	bool		nulls[DIFS_VOLUME_COLUMNS];
	char		digest[16];

	heap_deform_tuple(tuple, desc, values, nulls);

	volume->id = DatumGetInt32(values[DIFS_VOLUME_ID - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[DIFS_VOLUME_NAME - 1]), volume->name, sizeof(volume->name));
	volume->root = DatumGetInt64(values[DIFS_VOLUME_ROOT - 1]);
	volume->class.replicas = DatumGetInt16(values[DIFS_VOLUME_REPLICAS - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[DIFS_VOLUME_TIER - 1]), volume->class.tier,
						   sizeof(volume->class.tier));
	volume->segment_size = DatumGetInt32(values[DIFS_VOLUME_SEGMENT_SIZE - 1]);
	volume->compression_level = DatumGetInt16(values[DIFS_VOLUME_COMPRESSION_LEVEL - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[DIFS_VOLUME_DIGEST - 1]), digest, sizeof(digest));
	volume->digest = digest_of(digest);
	volume->inline_limit = DatumGetInt32(values[DIFS_VOLUME_INLINE_LIMIT - 1]);
	volume->owner = DatumGetObjectId(values[DIFS_VOLUME_OWNER - 1]);
	volume->accounting = (DifsAccounting) DatumGetInt16(values[DIFS_VOLUME_ACCOUNTING - 1]);
	volume->journal = DatumGetBool(values[DIFS_VOLUME_JOURNAL - 1]);
	volume->journal_keep = DatumGetInt64(values[DIFS_VOLUME_JOURNAL_KEEP - 1]);
	volume->notify = DatumGetBool(values[DIFS_VOLUME_NOTIFY - 1]);
	volume->versioning = DatumGetBool(values[DIFS_VOLUME_VERSIONING - 1]);
	difs_retention_decode(values[DIFS_VOLUME_KEEP_VERSIONS - 1], nulls[DIFS_VOLUME_KEEP_VERSIONS - 1],
						  values[DIFS_VOLUME_KEEP_FOR - 1], nulls[DIFS_VOLUME_KEEP_FOR - 1], &volume->retention);
	volume->has_trash = !nulls[DIFS_VOLUME_TRASH_FOR - 1];
	if (volume->has_trash)
		volume->trash_for = *DatumGetIntervalP(values[DIFS_VOLUME_TRASH_FOR - 1]);
	volume->before_put[0] = '\0';
	if (!nulls[DIFS_VOLUME_BEFORE_PUT - 1])
		text_to_cstring_buffer(DatumGetTextPP(values[DIFS_VOLUME_BEFORE_PUT - 1]), volume->before_put, sizeof(volume->before_put));
	volume->placement[0] = '\0';
	if (!nulls[DIFS_VOLUME_PLACEMENT - 1])
		text_to_cstring_buffer(DatumGetTextPP(values[DIFS_VOLUME_PLACEMENT - 1]), volume->placement, sizeof(volume->placement));
	volume->placement_changes = DatumGetInt32(values[DIFS_VOLUME_PLACEMENT_CHANGES - 1]);
	volume->class.placement = difs_placement_key(volume);
}

static DifsDigest
digest_of(const char *name)
{
	for (int i = 0; i < lengthof(digest_name); i++)
	{
		if (strcmp(name, digest_name[i]) == 0)
			return (DifsDigest) i;
	}
	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			errmsg("invalid digest \"%s\"", name),
			errhint("Digests are \"none\", \"xxh128\" and \"sha256\"."));
}

void
difs_volume_check_name(const DifsVolume *volume, const char *name)
{
	int			limit = volume->notify ? NAMEDATALEN - sizeof(DIFS_CHANNEL_PREFIX) : NAMEDATALEN - 1;

	if (name[0] == '\0' || strlen(name) > limit || strpbrk(name, ":/") != NULL)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid volume name \"%s\"", name),
				errhint("A name has 1 to %d bytes, and neither colon nor slash.", limit));
}

static void
check_tier(const char *tier)
{
	if (tier[0] == '\0' || strlen(tier) >= DIFS_TIER_SIZE)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid tier \"%s\"", tier),
				errhint("A tier has 1 to %d bytes, and is one that chunk servers were added with.",
						DIFS_TIER_SIZE - 1));
}

static void
check_range(const char *argument, int value, int min, int max)
{
	if (value < min || value > max)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("%s must be from %d to %d, not %d", argument, min, max, value));
}

static void
check_segment_size(int segment_size)
{
	if (segment_size < DIFS_MIN_SEGMENT_SIZE || segment_size > DIFS_MAX_SEGMENT_SIZE ||
		segment_size % SEGMENT_SIZE_UNIT != 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid segment_size: %d bytes", segment_size),
				errhint("It is a multiple of %d from %d to %d.",
						SEGMENT_SIZE_UNIT, DIFS_MIN_SEGMENT_SIZE, DIFS_MAX_SEGMENT_SIZE));
}

/* The two arguments are one column: 0 is no compression. */
static int
stored_level(const char *compression, int level)
{
	bool		none = strcmp(compression, "none") == 0;

	if (!none && strcmp(compression, "zstd") != 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid compression \"%s\"", compression),
				errhint("Compressions are \"none\" and \"zstd\"."));
	check_range("compression_level", level, none ? 0 : 1, MAX_COMPRESSION_LEVEL);

	return none ? 0 : level;
}

/* All columns but id, root and created. */
static void
set_columns(const DifsVolume *volume, Datum *values, bool *nulls)
{
	values[DIFS_VOLUME_NAME - 1] = CStringGetTextDatum(volume->name);
	values[DIFS_VOLUME_REPLICAS - 1] = Int16GetDatum(volume->class.replicas);
	values[DIFS_VOLUME_SEGMENT_SIZE - 1] = Int32GetDatum(volume->segment_size);
	values[DIFS_VOLUME_COMPRESSION_LEVEL - 1] = Int16GetDatum(volume->compression_level);
	values[DIFS_VOLUME_TIER - 1] = CStringGetTextDatum(volume->class.tier);
	values[DIFS_VOLUME_DIGEST - 1] = CStringGetTextDatum(digest_name[volume->digest]);
	values[DIFS_VOLUME_INLINE_LIMIT - 1] = Int32GetDatum(volume->inline_limit);
	values[DIFS_VOLUME_ACCOUNTING - 1] = Int16GetDatum(volume->accounting);
	values[DIFS_VOLUME_JOURNAL - 1] = BoolGetDatum(volume->journal);
	values[DIFS_VOLUME_JOURNAL_KEEP - 1] = Int64GetDatum(volume->journal_keep);
	values[DIFS_VOLUME_NOTIFY - 1] = BoolGetDatum(volume->notify);
	values[DIFS_VOLUME_VERSIONING - 1] = BoolGetDatum(volume->versioning);
	values[DIFS_VOLUME_KEEP_VERSIONS - 1] = Int32GetDatum(volume->retention.keep_versions);
	nulls[DIFS_VOLUME_KEEP_VERSIONS - 1] = volume->retention.keep_versions == 0;
	values[DIFS_VOLUME_KEEP_FOR - 1] = IntervalPGetDatum(&volume->retention.keep_for);
	nulls[DIFS_VOLUME_KEEP_FOR - 1] = !volume->retention.has_keep_for;
	values[DIFS_VOLUME_TRASH_FOR - 1] = IntervalPGetDatum(&volume->trash_for);
	nulls[DIFS_VOLUME_TRASH_FOR - 1] = !volume->has_trash;
	values[DIFS_VOLUME_BEFORE_PUT - 1] = CStringGetTextDatum(volume->before_put);
	nulls[DIFS_VOLUME_BEFORE_PUT - 1] = volume->before_put[0] == '\0';
	values[DIFS_VOLUME_PLACEMENT - 1] = CStringGetTextDatum(volume->placement);
	nulls[DIFS_VOLUME_PLACEMENT - 1] = volume->placement[0] == '\0';
	values[DIFS_VOLUME_PLACEMENT_CHANGES - 1] = Int32GetDatum(volume->placement_changes);
}

/* Fills in id and root. */
static void
insert(DifsVolume *volume)
{
	Datum		values[DIFS_VOLUME_COLUMNS];
	bool		nulls[DIFS_VOLUME_COLUMNS] = {false};
	int32		id = (int32) difs_sequence_next(DIFS_REL_SEQ_VOLUME);
	DifsInode	root;

	volume->id = id;
	difs_inode_prepare(id, DIFS_KIND_DIRECTORY, NULL, &root);
	difs_inode_insert(&root);
	volume->root = root.ino;

	set_columns(volume, values, nulls);
	values[DIFS_VOLUME_ID - 1] = Int32GetDatum(id);
	values[DIFS_VOLUME_ROOT - 1] = Int64GetDatum(root.ino);
	values[DIFS_VOLUME_CREATED - 1] = TimestampTzGetDatum(root.btime);
	values[DIFS_VOLUME_OWNER - 1] = ObjectIdGetDatum(root.owner);

	if (!difs_row_insert_unless(DIFS_REL_VOLUME, DIFS_REL_VOLUME_NAME, values, nulls))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_EXISTS),
				errmsg("volume \"%s\" already exists", volume->name));
	CacheInvalidateRelcacheByRelid(difs_relation(DIFS_REL_VOLUME));
}

HeapTuple
difs_volume_lock(const char *name, DifsVolume *volume)
{
	ScanKeyData key;
	HeapTuple	row;
	Relation	table;

	DIFS_KEY(&key, DIFS_VOLUME_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	row = difs_row_find(DIFS_REL_VOLUME, DIFS_REL_VOLUME_NAME, 1, &key);
	if (row == NULL || !difs_row_lock(DIFS_REL_VOLUME, &row))
		difs_volume_report_missing(name);
	table = difs_table_open(DIFS_REL_VOLUME, NoLock);
	decode(row, RelationGetDescr(table), volume);
	table_close(table, NoLock);
	return row;
}

void
difs_volume_store(HeapTuple row, const DifsVolume *volume)
{
	Datum		values[DIFS_VOLUME_COLUMNS] = {0};
	bool		nulls[DIFS_VOLUME_COLUMNS] = {0};
	bool		replace[DIFS_VOLUME_COLUMNS];

	memset(replace, true, sizeof(replace));
	replace[DIFS_VOLUME_ID - 1] = replace[DIFS_VOLUME_ROOT - 1] = replace[DIFS_VOLUME_CREATED - 1] = replace[DIFS_VOLUME_OWNER - 1] = false;
	set_columns(volume, values, nulls);
	difs_row_update(DIFS_REL_VOLUME, row, values, nulls, replace);
	CacheInvalidateRelcacheByRelid(difs_relation(DIFS_REL_VOLUME));
}

void
difs_volume_remove(HeapTuple row)
{
	difs_row_delete(DIFS_REL_VOLUME, row);
	CacheInvalidateRelcacheByRelid(difs_relation(DIFS_REL_VOLUME));
}

void
difs_volume_policy(FunctionCallInfo fcinfo, DifsVolume *volume)
{
	if (!PG_ARGISNULL(1))
	{
		check_range("replicas", PG_GETARG_INT32(1), 1, DIFS_MAX_REPLICAS);
		volume->class.replicas = PG_GETARG_INT32(1);
	}
	if (!PG_ARGISNULL(2))
	{
		volume->segment_size = PG_GETARG_INT32(2);
		check_segment_size(volume->segment_size);
	}
	if (!PG_ARGISNULL(3) || !PG_ARGISNULL(4))
	{
		int			level = !PG_ARGISNULL(4) ? PG_GETARG_INT32(4) : Max(volume->compression_level, 1);
		const char *compression = !PG_ARGISNULL(3) ? text_to_cstring(PG_GETARG_TEXT_PP(3)) : level == 0 ? "none" : "zstd";

		volume->compression_level = stored_level(compression, level);
	}
	if (!PG_ARGISNULL(5))
	{
		const char *tier = text_to_cstring(PG_GETARG_TEXT_PP(5));

		check_tier(tier);
		strlcpy(volume->class.tier, tier, sizeof(volume->class.tier));
	}
	if (!PG_ARGISNULL(6))
		volume->digest = digest_of(text_to_cstring(PG_GETARG_TEXT_PP(6)));
	if (!PG_ARGISNULL(7))
	{
		check_range("inline_limit", PG_GETARG_INT32(7), 0, DIFS_MAX_INLINE);
		volume->inline_limit = PG_GETARG_INT32(7);
	}
	if (!PG_ARGISNULL(8))
		volume->journal = PG_GETARG_BOOL(8);
	if (!PG_ARGISNULL(9))
		volume->journal_keep = seconds_of(PG_GETARG_INTERVAL_P(9));
	if (!PG_ARGISNULL(10))
		volume->notify = PG_GETARG_BOOL(10);
}

void
difs_volume_keeping(FunctionCallInfo fcinfo, int argument, DifsVolume *volume)
{
	DifsRetention given;
	Interval	trash_for;

	if (!PG_ARGISNULL(argument))
		volume->versioning = PG_GETARG_BOOL(argument);
	difs_retention_argument(fcinfo, argument + 1, &given);
	if (given.keep_versions > 0)
		volume->retention.keep_versions = given.keep_versions;
	if (given.has_keep_for)
	{
		volume->retention.has_keep_for = true;
		volume->retention.keep_for = given.keep_for;
	}
	if (difs_interval_argument(fcinfo, argument + 3, "trash_for", &trash_for))
	{
		volume->has_trash = true;
		volume->trash_for = trash_for;
	}
}

/* 0 is for ever. */
static int64
seconds_of(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		seconds = days * SECS_PER_DAY + interval->time / USECS_PER_SEC;

	if (interval->month < 0 || interval->day < 0 || interval->time < 0 || seconds > DIFS_MAX_JOURNAL_KEEP)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("journal_keep must be from 0 to 1000 years"),
				errhint("0 keeps the journal for ever."));
	return seconds == 0 && interval->time > 0 ? 1 : seconds;
}

/* difs_volume_create(name, replicas, segment_size, compression, compression_level, tier, digest, inline_limit, journal, journal_keep,
 * notify, quota_bytes, quota_files, quota_exact, versioning, keep_versions, keep_for, trash_for, before_put) -> id */
PG_FUNCTION_INFO_V1(difs_volume_create);
Datum
difs_volume_create(PG_FUNCTION_ARGS)
{
	static const char *const argument[] =
		{"name", "replicas", "segment_size", "compression", "compression_level", "tier", "digest", "inline_limit",
		 "journal", "journal_keep", "notify"};
	DifsVolume	volume = {0};
	DifsQuota	quota;
	char	   *name;

	for (int i = 0; i < lengthof(argument); i++)
		DIFS_ARG_NOT_NULL(i, argument[i]);
	DIFS_ARG_NOT_NULL(13, "quota_exact");
	DIFS_ARG_NOT_NULL(14, "versioning");

	difs_volume_policy(fcinfo, &volume);
	difs_volume_keeping(fcinfo, 14, &volume);
	if (!PG_ARGISNULL(18))
		difs_hook_argument(fcinfo, 18, volume.before_put);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	difs_volume_check_name(&volume, name);
	strlcpy(volume.name, name, sizeof(volume.name));
	if (!PG_ARGISNULL(11) || !PG_ARGISNULL(12))
		volume.accounting = DIFS_ACCOUNTING_VOLUME;

	difs_admin_begin("difs_volume_create");
	insert(&volume);
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
	{
		difs_quota_limits(fcinfo, 11, &quota);
		quota.root = volume.root;
		quota.volume = volume.id;
		difs_quota_insert(&quota, 0, 0);
	}
	difs_write_end();

	PG_RETURN_INT32(volume.id);
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
