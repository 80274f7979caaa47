/*
 * policy.c - a file's own policy: retention, hold, and write-once (policy.h).
 *
 * No state here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/dentry.h"
#include "src/marker.h"
#include "src/perm.h"
#include "src/policy.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/table.h"

static bool has_name_below(int64 ino, int64 directory);
static HeapTuple find_row(int64 ino);
static void decode(HeapTuple row, TupleDesc desc, DifsFilePolicy *policy);
static bool find_name(int64 ino, int64 *parent, char **name);
pg_noreturn static void refuse(const char *path, TimestampTz until, bool write_once);
static void lock_file(const text *path, DifsWalk *walk, DifsInode *inode);
static void store(DifsInode *inode, const Datum *values, const bool *nulls, const bool *replace);
static void prolong(FunctionCallInfo fcinfo, const char *function, int column);

bool
difs_policy_find(const DifsInode *inode, DifsFilePolicy *policy)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	*policy = (DifsFilePolicy){.held_until = DT_NOBEGIN, .write_once_until = DT_NOBEGIN};
	if (!inode->policy)
		return false;

	difs_latest_begin();
	DIFS_KEY(&key, DIFS_FILE_POLICY_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(inode->ino));
	scan = difs_scan_begin(DIFS_REL_FILE_POLICY, DIFS_REL_FILE_POLICY_PKEY, 1, &key);
	row = difs_scan_next(scan, false);
	if (row != NULL)
		decode(row, difs_scan_desc(scan), policy);
	difs_scan_end(scan);
	difs_latest_end();
	return row != NULL;
}

char *
difs_policy_path(const DifsInode *inode)
{
	StringInfoData path;
	DifsVolume volume;
	char *below = "";
	char *name;
	int64 ino = inode->ino;

	initStringInfo(&path);
	difs_latest_begin();
	if (difs_volume_find_id(inode->volume, &volume))
		appendStringInfo(&path, "%s:", volume.name);
	while (find_name(ino, &ino, &name))
		below = psprintf("/%s%s", name, below);
	difs_latest_end();
	appendStringInfoString(&path, below[0] == '\0' ? "/" : below);
	return path.data;
}

void
difs_policy_refuse_write(const DifsInode *inode, const char *path)
{
	DifsFilePolicy policy;

	if (difs_policy_find(inode, &policy) && policy.write_once_until > GetCurrentTimestamp())
		refuse(path, policy.write_once_until, true);
}

void
difs_policy_refuse_removal(const DifsInode *inode, const char *path)
{
	DifsFilePolicy policy;

	if (difs_policy_find(inode, &policy) && policy.held_until > GetCurrentTimestamp())
		refuse(path, policy.held_until, policy.held_until == policy.write_once_until);
}

bool
difs_policy_is_held(const DifsInode *inode)
{
	DifsFilePolicy policy;

	return difs_policy_find(inode, &policy) && policy.held_until > GetCurrentTimestamp();
}

void
difs_policy_remove(const DifsInode *inode, const char *path)
{
	DifsInode flagged = *inode;
	HeapTuple row;

	flagged.policy = true;
	difs_policy_refuse_removal(&flagged, path);
	row = find_row(inode->ino);
	if (row != NULL && difs_row_lock(DIFS_REL_FILE_POLICY, &row))
		difs_row_delete(DIFS_REL_FILE_POLICY, row);
}

/* Nobody can make more of them below a directory that the caller has locked, or that nobody else can see any more; in one that just moves, a
 * policy set at the same time stays in force. */
void
difs_policy_refuse_tree(const DifsInode *directory)
{
	TimestampTz now = GetCurrentTimestamp();
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	difs_latest_begin();
	DIFS_KEY(&key, DIFS_FILE_POLICY_VOLUME, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(directory->volume));
	scan = difs_scan_begin(DIFS_REL_FILE_POLICY, DIFS_REL_FILE_POLICY_VOLUME, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		DifsFilePolicy policy;
		DifsInode file = {.volume = directory->volume};

		decode(row, difs_scan_desc(scan), &policy);
		if (policy.held_until <= now || !has_name_below(policy.ino, directory->ino))
			continue;
		file.ino = policy.ino;
		refuse(difs_policy_path(&file), policy.held_until, policy.held_until == policy.write_once_until);
	}
	difs_scan_end(scan);
	difs_latest_end();
}

/* One of several is enough, also that of a deleted file in its history (marker.h). */
static bool
has_name_below(int64 ino, int64 directory)
{
	int count;
	DifsName *names = difs_dentry_names(ino, &count);
	bool below = false;

	for (int i = 0; i < count && !below; i++)
	{
		int64 parent = names[i].parent; /* below zero for a deleted file */

		below = difs_dentry_below(parent < 0 ? -parent : parent, directory);
	}
	return below;
}

static HeapTuple
find_row(int64 ino)
{
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_FILE_POLICY_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	return difs_row_find(DIFS_REL_FILE_POLICY, DIFS_REL_FILE_POLICY_PKEY, 1, &key);
}

static void
decode(HeapTuple row, TupleDesc desc, DifsFilePolicy *policy)
{
	Datum values[DIFS_FILE_POLICY_COLUMNS];
	bool nulls[DIFS_FILE_POLICY_COLUMNS];

	heap_deform_tuple(row, desc, values, nulls);
	policy->ino = DatumGetInt64(values[DIFS_FILE_POLICY_INO - 1]);
	policy->volume = DatumGetInt32(values[DIFS_FILE_POLICY_VOLUME - 1]);
	policy->has_retention = difs_retention_decode(values[DIFS_FILE_POLICY_KEEP_VERSIONS - 1], nulls[DIFS_FILE_POLICY_KEEP_VERSIONS - 1],
												  values[DIFS_FILE_POLICY_KEEP_FOR - 1], nulls[DIFS_FILE_POLICY_KEEP_FOR - 1],
												  &policy->retention);
	policy->write_once_until = nulls[DIFS_FILE_POLICY_WRITE_ONCE_UNTIL - 1] ? DT_NOBEGIN : DatumGetTimestampTz(values[DIFS_FILE_POLICY_WRITE_ONCE_UNTIL - 1]);
	policy->held_until = nulls[DIFS_FILE_POLICY_HELD_UNTIL - 1] ? DT_NOBEGIN : DatumGetTimestampTz(values[DIFS_FILE_POLICY_HELD_UNTIL - 1]);
	policy->held_until = Max(policy->held_until, policy->write_once_until);
}

/* One step up; false at a root, or where no name leads. A deleted file's name is that in its history (marker.h). */
static bool
find_name(int64 ino, int64 *parent, char **name)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;
	bool null;

	DIFS_KEY(&key, DIFS_DENTRY_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_INO, 1, &key);
	row = difs_scan_next(scan, false);
	if (row != NULL)
	{
		*parent = DatumGetInt64(heap_getattr(row, DIFS_DENTRY_PARENT, difs_scan_desc(scan), &null));
		*name = TextDatumGetCString(heap_getattr(row, DIFS_DENTRY_NAME, difs_scan_desc(scan), &null));
	}
	difs_scan_end(scan);
	if (row != NULL && *parent < 0)
	{
		*parent = -*parent;
		(*name)[strcspn(*name, "/")] = '\0';
	}
	return row != NULL;
}

static void
refuse(const char *path, TimestampTz until, bool write_once)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg(write_once ? "file \"%s\" is write-once until %s" : "file \"%s\" is held until %s", path, timestamptz_to_str(until)),
			 errdetail("Until then, none of its versions can go%s, and nobody can shorten that.",
					   write_once ? ", nor a new one come" : "")));
}

/* The file at a path, its row locked, under a snapshot from after that. */
static void
lock_file(const text *path, DifsWalk *walk, DifsInode *inode)
{
	do
	{
		difs_names_again();
		difs_path_find_file(path, walk);
		*inode = walk->inode;
		difs_perm_require_owner(inode, walk->path->text);
	} while (!difs_inode_lock(inode) || !difs_marker_still_named(walk, inode));
	difs_perm_require_owner(inode, walk->path->text);
	difs_names_again();
}

/* Columns of the file's row in difs.file_policy. */
static void
store(DifsInode *inode, const Datum *values, const bool *nulls, const bool *replace)
{
	HeapTuple row = find_row(inode->ino);
	Datum row_values[DIFS_FILE_POLICY_COLUMNS];
	bool row_nulls[DIFS_FILE_POLICY_COLUMNS];
	bool row_replace[DIFS_FILE_POLICY_COLUMNS];

	for (int i = 0; i < DIFS_FILE_POLICY_COLUMNS; i++)
	{
		row_values[i] = values[i];
		row_nulls[i] = nulls[i] || !replace[i];
		row_replace[i] = replace[i];
	}
	if (row != NULL && difs_row_lock(DIFS_REL_FILE_POLICY, &row))
	{
		difs_row_update(DIFS_REL_FILE_POLICY, row, row_values, row_nulls, row_replace);
		return;
	}
	row_values[DIFS_FILE_POLICY_INO - 1] = Int64GetDatum(inode->ino);
	row_nulls[DIFS_FILE_POLICY_INO - 1] = false;
	row_values[DIFS_FILE_POLICY_VOLUME - 1] = Int32GetDatum(inode->volume);
	row_nulls[DIFS_FILE_POLICY_VOLUME - 1] = false;
	difs_row_insert(DIFS_REL_FILE_POLICY, row_values, row_nulls);
	if (!inode->policy)
		difs_inode_store_policy(inode);
}

/* Moves one of the two times on. */
static void
prolong(FunctionCallInfo fcinfo, const char *function, int column)
{
	bool write_once = column == DIFS_FILE_POLICY_WRITE_ONCE_UNTIL;
	Datum values[DIFS_FILE_POLICY_COLUMNS] = {0};
	bool nulls[DIFS_FILE_POLICY_COLUMNS] = {false};
	bool replace[DIFS_FILE_POLICY_COLUMNS] = {false};
	DifsFilePolicy policy;
	DifsWalk walk;
	DifsInode inode;
	TimestampTz until;
	TimestampTz before;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "until");
	until = PG_GETARG_TIMESTAMPTZ(1);

	difs_write_begin(function);
	lock_file(PG_GETARG_TEXT_PP(0), &walk, &inode);
	(void) difs_policy_find(&inode, &policy);
	before = write_once ? policy.write_once_until : policy.held_until;
	if (until < before && before > GetCurrentTimestamp())
		refuse(walk.path->text, before, write_once);
	if (until <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("%s is not in the future", timestamptz_to_str(until))));
	values[column - 1] = TimestampTzGetDatum(until);
	replace[column - 1] = true;
	store(&inode, values, nulls, replace);
	difs_write_end();
}

PG_FUNCTION_INFO_V1(difs_retain_file);
PG_FUNCTION_INFO_V1(difs_hold_until);
PG_FUNCTION_INFO_V1(difs_write_once);

/* difs_retain(path, keep_versions, keep_for): both null is the volume's retention again. */
Datum
difs_retain_file(PG_FUNCTION_ARGS)
{
	Datum values[DIFS_FILE_POLICY_COLUMNS] = {0};
	bool nulls[DIFS_FILE_POLICY_COLUMNS] = {false};
	bool replace[DIFS_FILE_POLICY_COLUMNS] = {false};
	DifsRetention retention;
	DifsWalk walk;
	DifsInode inode;

	DIFS_ARG_NOT_NULL(0, "path");
	difs_retention_argument(fcinfo, 1, &retention);

	difs_write_begin("difs_retain");
	lock_file(PG_GETARG_TEXT_PP(0), &walk, &inode);
	values[DIFS_FILE_POLICY_KEEP_VERSIONS - 1] = Int32GetDatum(retention.keep_versions);
	nulls[DIFS_FILE_POLICY_KEEP_VERSIONS - 1] = retention.keep_versions == 0;
	values[DIFS_FILE_POLICY_KEEP_FOR - 1] = IntervalPGetDatum(&retention.keep_for);
	nulls[DIFS_FILE_POLICY_KEEP_FOR - 1] = !retention.has_keep_for;
	replace[DIFS_FILE_POLICY_KEEP_VERSIONS - 1] = true;
	replace[DIFS_FILE_POLICY_KEEP_FOR - 1] = true;
	store(&inode, values, nulls, replace);
	difs_write_end();

	difs_write_begin("difs_retain");
	difs_retain_apply(inode.ino, true);
	difs_write_end();
	PG_RETURN_VOID();
}

/* difs_hold_until(path, until) */
Datum
difs_hold_until(PG_FUNCTION_ARGS)
{
	prolong(fcinfo, "difs_hold_until", DIFS_FILE_POLICY_HELD_UNTIL);
	PG_RETURN_VOID();
}

/* difs_write_once(path, until) */
Datum
difs_write_once(PG_FUNCTION_ARGS)
{
	prolong(fcinfo, "difs_write_once", DIFS_FILE_POLICY_WRITE_ONCE_UNTIL);
	PG_RETURN_VOID();
}
