/*
 * quota.c - quota roots: difs_quota_set(), difs_quota_drop(), and the check (quota.h).
 *
 * A new root's usage begins with what a walk counts, and from then on all
 * transactions must add what they change.  So it is made when nobody is changing
 * anything: in a volume that counts nothing yet, under share locks on difs.dentry and
 * difs.inode, which every writer of the database holds against it until he ends;
 * in one that does, under the volume's usage lock, which its writers share.
 * Who waited for either looks at the volume again (change.c).
 *
 * State: rows of difs.quota and difs.usage.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "src/dentry.h"
#include "src/journal.h"
#include "src/owner_query.h"
#include "src/perm.h"
#include "src/quota.h"
#include "src/report.h"
#include "src/table.h"

static bool find_quota(int64 root, DifsQuota *quota);
static HeapTuple find_row(int64 root);
static void change_limits(HeapTuple row, const DifsQuota *quota);
static void make_root(HeapTuple volume_row, DifsVolume *volume, const DifsQuota *quota, const char *path);
static void exclude_writers(const DifsVolume *volume);
static void find_directory(const text *path, DifsWalk *walk);
pg_noreturn static void report_used_up(const DifsQuota *quota, const char *what, int64 limit, int64 used, int64 more);

PG_FUNCTION_INFO_V1(difs_quota_set);
PG_FUNCTION_INFO_V1(difs_quota_drop);

void
difs_quota_limits(FunctionCallInfo fcinfo, int n, DifsQuota *quota)
{
	for (int i = n; i <= n + 1; i++)
	{
		if (!PG_ARGISNULL(i) && PG_GETARG_INT64(i) < 0)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_ARGUMENT),
					errmsg("a quota must not be negative"),
					errhint("0 allows nothing, null anything."));
	}
	quota->bytes = PG_ARGISNULL(n) ? DIFS_NO_LIMIT : PG_GETARG_INT64(n);
	quota->files = PG_ARGISNULL(n + 1) ? DIFS_NO_LIMIT : PG_GETARG_INT64(n + 1);
	quota->exact = PG_GETARG_BOOL(n + 2);
}

void
difs_quota_insert(const DifsQuota *quota, int64 bytes, int64 files)
{
	Datum values[DIFS_QUOTA_COLUMNS];
	bool nulls[DIFS_QUOTA_COLUMNS] = {0};

	values[DIFS_QUOTA_ROOT - 1] = Int64GetDatum(quota->root);
	values[DIFS_QUOTA_VOLUME - 1] = Int32GetDatum(quota->volume);
	values[DIFS_QUOTA_BYTES - 1] = Int64GetDatum(quota->bytes);
	values[DIFS_QUOTA_FILES - 1] = Int64GetDatum(quota->files);
	values[DIFS_QUOTA_EXACT - 1] = BoolGetDatum(quota->exact);
	nulls[DIFS_QUOTA_BYTES - 1] = quota->bytes == DIFS_NO_LIMIT;
	nulls[DIFS_QUOTA_FILES - 1] = quota->files == DIFS_NO_LIMIT;
	difs_row_insert(DIFS_REL_QUOTA, values, nulls);
	difs_usage_insert(quota->root, bytes, files);
}

void
difs_quota_remove(int64 root)
{
	(void) difs_owner_query("DELETE FROM difs.usage WHERE root OPERATOR(pg_catalog.=) $1", 1, &root, false, 0, NULL);
	(void) difs_owner_query("DELETE FROM difs.quota WHERE root OPERATOR(pg_catalog.=) $1", 1, &root, false, 0, NULL);
}

void
difs_quota_roots(const DifsVolume *volume, int64 directory, DifsRoots *roots)
{
	DifsQuota quota;

	*roots = (DifsRoots){0};
	if (volume->accounting == DIFS_ACCOUNTING_VOLUME && !volume->has_trash)
	{
		difs_roots_add(roots, volume->root);
		return;
	}

	difs_latest_begin();
	do
	{
		if (find_quota(directory, &quota))
			difs_roots_add(roots, directory);
	} while (directory != volume->root && difs_dentry_above(directory, &directory, NULL));
	difs_latest_end();
}

void
difs_quota_check(int64 root, int64 bytes, int64 files)
{
	DifsQuota quota;
	int64 used_bytes;
	int64 used_files;
	bool found;

	if (bytes <= 0 && files <= 0)
		return;
	difs_latest_begin();
	found = find_quota(root, &quota);
	difs_latest_end();
	if (!found || ((bytes <= 0 || quota.bytes == DIFS_NO_LIMIT) && (files <= 0 || quota.files == DIFS_NO_LIMIT)))
		return;

	if (quota.exact)
		difs_quota_lock(root);
	difs_usage_sum(root, &used_bytes, &used_files);
	if (bytes > 0 && quota.bytes != DIFS_NO_LIMIT && bytes > quota.bytes - used_bytes)
		report_used_up(&quota, "bytes", quota.bytes, used_bytes, bytes);
	if (files > 0 && quota.files != DIFS_NO_LIMIT && files > quota.files - used_files)
		report_used_up(&quota, "files", quota.files, used_files, files);
}

void
difs_quota_count(int64 directory, DifsTotals *totals)
{
	int64 results[3];

	(void) difs_owner_query("WITH RECURSIVE entry (ino) AS ("
							" SELECT d.ino FROM difs.dentry d WHERE d.parent OPERATOR(pg_catalog.=) $1"
							" UNION ALL SELECT d.ino FROM entry JOIN difs.dentry d ON d.parent OPERATOR(pg_catalog.=) entry.ino),"
							" below AS (SELECT ino, pg_catalog.count(*) AS names FROM entry GROUP BY ino)"
							" SELECT pg_catalog.sum(i.size)::pg_catalog.int8, pg_catalog.count(*),"
							" pg_catalog.count(*) FILTER (WHERE i.nlink OPERATOR(pg_catalog.>) below.names)"
							" FROM below JOIN difs.inode i ON i.ino OPERATOR(pg_catalog.=) below.ino",
							1, &directory, true, lengthof(results), results);
	totals->bytes = results[0];
	totals->files = results[1];
	totals->linked = results[2] > 0;
}

/* Below $1: how often each inode is named there; and where its other names are, and all directories above those. $2 is the volume's root. */
#define OUTSIDE                                                                                                                                      \
	"WITH RECURSIVE entry (ino) AS ("                                                                                                                \
	" SELECT d.ino FROM difs.dentry d WHERE d.parent OPERATOR(pg_catalog.=) $1"                                                                      \
	" UNION ALL SELECT d.ino FROM entry JOIN difs.dentry d ON d.parent OPERATOR(pg_catalog.=) entry.ino),"                                           \
	" below AS (SELECT ino, pg_catalog.count(*) AS names FROM entry GROUP BY ino),"                                                                  \
	" place (ino, parent) AS (SELECT b.ino, d.parent FROM below b"                                                                                   \
	"  JOIN difs.inode i ON i.ino OPERATOR(pg_catalog.=) b.ino AND i.nlink OPERATOR(pg_catalog.>) b.names"                                           \
	"  JOIN difs.dentry d ON d.ino OPERATOR(pg_catalog.=) b.ino"                                                                                     \
	"  WHERE d.parent OPERATOR(pg_catalog.<>) $1 AND NOT EXISTS (SELECT FROM below inner_one WHERE inner_one.ino OPERATOR(pg_catalog.=) d.parent))," \
	" way (parent, above) AS (SELECT DISTINCT parent, parent FROM place"                                                                             \
	"  UNION SELECT w.parent, d.parent FROM way w JOIN difs.dentry d ON d.ino OPERATOR(pg_catalog.=) w.above),"                                      \
	" outside (ino, parent) AS (SELECT p.ino, p.parent FROM place p JOIN way w ON w.parent OPERATOR(pg_catalog.=) p.parent"                          \
	"  AND w.above OPERATOR(pg_catalog.=) $2) "

void
difs_quota_count_own(const DifsVolume *volume, int64 directory, DifsTotals *totals)
{
	int64 results[3];

	(void) difs_owner_query(OUTSIDE
							"SELECT pg_catalog.sum(i.size)::pg_catalog.int8, pg_catalog.count(*),"
							" (SELECT pg_catalog.count(*) FROM outside)"
							" FROM below JOIN difs.inode i ON i.ino OPERATOR(pg_catalog.=) below.ino"
							" WHERE NOT EXISTS (SELECT FROM outside o WHERE o.ino OPERATOR(pg_catalog.=) below.ino)",
							2, (int64[]){directory, volume->root}, true, lengthof(results), results);
	totals->bytes = results[0];
	totals->files = results[1];
	totals->linked = results[2] > 0;
}

int64
difs_quota_next_outside(const DifsVolume *volume, int64 directory, int64 after)
{
	int64 next;

	(void) difs_owner_query(OUTSIDE "SELECT pg_catalog.min(parent) FROM outside WHERE parent OPERATOR(pg_catalog.>) $3",
							3, (int64[]){directory, volume->root, after}, true, 1, &next);
	return next;
}

int
difs_quota_count_names(const DifsVolume *volume, int64 ino)
{
	DifsName *names;
	int count;
	int reached = 0;

	difs_latest_begin();
	names = difs_dentry_names(ino, &count);
	for (int i = 0; i < count; i++)
		reached += difs_dentry_below(names[i].parent, volume->root);
	difs_latest_end();
	return reached;
}

static bool
find_quota(int64 root, DifsQuota *quota)
{
	HeapTuple row = find_row(root);
	Relation table;
	Datum values[DIFS_QUOTA_COLUMNS];
	bool nulls[DIFS_QUOTA_COLUMNS];

	if (row == NULL)
		return false;
	table = difs_table_open(DIFS_REL_QUOTA, AccessShareLock);
	heap_deform_tuple(row, RelationGetDescr(table), values, nulls);
	quota->root = root;
	quota->volume = DatumGetInt32(values[DIFS_QUOTA_VOLUME - 1]);
	quota->bytes = nulls[DIFS_QUOTA_BYTES - 1] ? DIFS_NO_LIMIT : DatumGetInt64(values[DIFS_QUOTA_BYTES - 1]);
	quota->files = nulls[DIFS_QUOTA_FILES - 1] ? DIFS_NO_LIMIT : DatumGetInt64(values[DIFS_QUOTA_FILES - 1]);
	quota->exact = DatumGetBool(values[DIFS_QUOTA_EXACT - 1]);
	table_close(table, NoLock);
	heap_freetuple(row);
	return true;
}

static HeapTuple
find_row(int64 root)
{
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_QUOTA_ROOT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(root));
	return difs_row_find(DIFS_REL_QUOTA, DIFS_REL_QUOTA_PKEY, 1, &key);
}

static void
report_used_up(const DifsQuota *quota, const char *what, int64 limit, int64 used, int64 more)
{
	DifsVolume volume;
	const char *path = "/";

	if (difs_volume_find_current(quota->volume, &volume))
		path = psprintf("%s:%s", volume.name, difs_journal_path(&volume, quota->root));
	ereport(ERROR,
			errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg("the quota of \"%s\" is used up", path),
			errdetail("It allows " INT64_FORMAT " %s, " INT64_FORMAT " are in use, and " INT64_FORMAT " more are needed.",
					  limit, what, used, more),
			errhint("Delete something, or raise the quota with difs_quota_set()."));
}

/* difs_quota_set(path, bytes, files, exact) */
Datum
difs_quota_set(PG_FUNCTION_ARGS)
{
	DifsVolume volume;
	DifsQuota quota;
	DifsWalk walk;
	HeapTuple volume_row;
	HeapTuple row;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(3, "exact");
	difs_quota_limits(fcinfo, 1, &quota);

	difs_write_begin("difs_quota_set");
	find_directory(PG_GETARG_TEXT_PP(0), &walk);
	volume_row = difs_volume_lock(walk.volume.name, &volume);
	quota.root = walk.inode.ino;
	quota.volume = volume.id;

	difs_names_again(); /* we may have waited for somebody who has done the same */
	row = find_row(quota.root);
	if (row != NULL && difs_row_lock(DIFS_REL_QUOTA, &row))
		change_limits(row, &quota);
	else
		make_root(volume_row, &volume, &quota, walk.path->text);
	difs_write_end();
	PG_RETURN_VOID();
}

static void
find_directory(const text *path, DifsWalk *walk)
{
	difs_path_find(path, walk);
	difs_perm_require_volume(&walk->volume);
	if (walk->inode.kind != DIFS_KIND_DIRECTORY)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_WRONG_KIND),
				errmsg("\"%s\" is not a directory", walk->path->text));
}

static void
change_limits(HeapTuple row, const DifsQuota *quota)
{
	Datum values[DIFS_QUOTA_COLUMNS] = {0};
	bool nulls[DIFS_QUOTA_COLUMNS] = {0};
	bool replace[DIFS_QUOTA_COLUMNS] = {0};

	values[DIFS_QUOTA_BYTES - 1] = Int64GetDatum(quota->bytes);
	values[DIFS_QUOTA_FILES - 1] = Int64GetDatum(quota->files);
	values[DIFS_QUOTA_EXACT - 1] = BoolGetDatum(quota->exact);
	nulls[DIFS_QUOTA_BYTES - 1] = quota->bytes == DIFS_NO_LIMIT;
	nulls[DIFS_QUOTA_FILES - 1] = quota->files == DIFS_NO_LIMIT;
	replace[DIFS_QUOTA_BYTES - 1] = replace[DIFS_QUOTA_FILES - 1] = replace[DIFS_QUOTA_EXACT - 1] = true;
	difs_row_update(DIFS_REL_QUOTA, row, values, nulls, replace);
}

static void
make_root(HeapTuple volume_row, DifsVolume *volume, const DifsQuota *quota, const char *path)
{
	bool whole = quota->root == volume->root;
	DifsTotals totals;
	DifsInode inode;
	bool exists;

	exclude_writers(volume);
	difs_latest_begin();
	exists = difs_inode_find(quota->root, &inode);
	difs_latest_end();
	if (!exists)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_NO_FILE),
				errmsg("directory \"%s\" does not exist any more", path));
	difs_quota_count(quota->root, &totals);
	if (totals.linked && !whole)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot set a quota on \"%s\"", path),
				errdetail("A file below it has another name that is not below it."));
	difs_quota_insert(quota, totals.bytes, totals.files);
	if (volume->accounting == DIFS_ACCOUNTING_TREES || (whole && volume->accounting == DIFS_ACCOUNTING_VOLUME))
		return;
	volume->accounting = whole ? DIFS_ACCOUNTING_VOLUME : DIFS_ACCOUNTING_TREES;
	difs_volume_store(volume_row, volume);
}

static void
exclude_writers(const DifsVolume *volume)
{
	if (volume->accounting != DIFS_ACCOUNTING_NONE)
		difs_volume_usage_lock(volume->id, true);
	else
	{
		LockRelationOid(difs_relation(DIFS_REL_DENTRY), ShareLock);
		LockRelationOid(difs_relation(DIFS_REL_INODE), ShareLock);
	}
}

/* difs_quota_drop(path) → was there one? */
Datum
difs_quota_drop(PG_FUNCTION_ARGS)
{
	DifsVolume volume;
	DifsWalk walk;
	HeapTuple volume_row;
	bool found;

	DIFS_ARG_NOT_NULL(0, "path");
	difs_write_begin("difs_quota_drop");
	find_directory(PG_GETARG_TEXT_PP(0), &walk);
	volume_row = difs_volume_lock(walk.volume.name, &volume);
	if (volume.accounting != DIFS_ACCOUNTING_NONE)
		difs_volume_usage_lock(volume.id, true);
	difs_names_again();
	found = find_row(walk.inode.ino) != NULL;
	if (found)
	{
		int64 id = volume.id;
		int64 left[2];

		difs_quota_remove(walk.inode.ino);
		(void) difs_owner_query("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE root OPERATOR(pg_catalog.<>) $2)"
								" FROM difs.quota WHERE volume OPERATOR(pg_catalog.=) $1",
								2, (int64[]){id, volume.root}, false, lengthof(left), left);
		volume.accounting = left[0] == 0 ? DIFS_ACCOUNTING_NONE :
										   (left[1] == 0 ? DIFS_ACCOUNTING_VOLUME : DIFS_ACCOUNTING_TREES);
		difs_volume_store(volume_row, &volume);
	}
	difs_write_end();
	PG_RETURN_BOOL(found);
}
