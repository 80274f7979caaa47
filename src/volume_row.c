/*
 * volume_row.c - a volume as a row of difs.volume, read and written (volume.h).
 *
 * No state here; whoever writes a row tells all sessions (volume.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "src/inode.h"
#include "src/placement_function.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"
#include "src/volume.h"

/* in the order of DifsDigest */
static const char *const digest_name[] = {"none", "xxh128", "sha256"};

static void set_columns(const DifsVolume *volume, Datum *values, bool *nulls);

void
difs_volume_decode(HeapTuple tuple, TupleDesc desc, DifsVolume *volume)
{
	Datum values[DIFS_VOLUME_COLUMNS];
	bool nulls[DIFS_VOLUME_COLUMNS];
	char digest[16];

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
	volume->digest = difs_volume_digest(digest);
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

DifsDigest
difs_volume_digest(const char *name)
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
void
difs_volume_insert(DifsVolume *volume)
{
	Datum values[DIFS_VOLUME_COLUMNS];
	bool nulls[DIFS_VOLUME_COLUMNS] = {false};
	int32 id = (int32) difs_sequence_next(DIFS_REL_SEQ_VOLUME);
	DifsInode root;

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

void
difs_volume_report_missing(const char *name)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_NO_FILE),
			errmsg("volume \"%s\" does not exist", name),
			errhint("Create it with difs_volume_create(), or choose another one in the path or with difs.volume."));
}

HeapTuple
difs_volume_lock(const char *name, DifsVolume *volume)
{
	ScanKeyData key;
	HeapTuple row;
	Relation table;

	DIFS_KEY(&key, DIFS_VOLUME_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	row = difs_row_find(DIFS_REL_VOLUME, DIFS_REL_VOLUME_NAME, 1, &key);
	if (row == NULL || !difs_row_lock(DIFS_REL_VOLUME, &row))
		difs_volume_report_missing(name);
	table = difs_table_open(DIFS_REL_VOLUME, NoLock);
	difs_volume_decode(row, RelationGetDescr(table), volume);
	table_close(table, NoLock);
	return row;
}

void
difs_volume_store(HeapTuple row, const DifsVolume *volume)
{
	Datum values[DIFS_VOLUME_COLUMNS] = {0};
	bool nulls[DIFS_VOLUME_COLUMNS] = {0};
	bool replace[DIFS_VOLUME_COLUMNS];

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
