/*
 * du.c - difs_du(): how much is in a tree.
 *
 * It walks: directories' rows never change with what is below them (no hot row),
 * so nothing has the sum.  One index probe for each name and one for its inode.
 * A file with several names below counts once.  Memory: one open scan for each
 * level, and the numbers of files with several names.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"

#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

/* Columns of difs_du(), as the SQL script declares them. */
enum DuColumn
{
	DU_BYTES,
	DU_FILES,
	DU_DIRECTORIES,
	DU_SYMLINKS,
	DU_COLUMNS,
};

typedef struct Totals
{
	const char *path; /* as given, for messages */
	int64 sum[DU_COLUMNS];
	HTAB *seen; /* numbers of files with several names; NULL: none yet */
} Totals;

static void add_inode(Totals *totals, const DifsInode *inode);
static void add_below(Totals *totals, int64 directory);
static bool seen_before(Totals *totals, int64 ino);

/* An inode, and what is below it. */
static void
add_inode(Totals *totals, const DifsInode *inode)
{
	switch (inode->kind)
	{
		case DIFS_KIND_FILE:
			if (inode->nlink > 1 && seen_before(totals, inode->ino))
				return;
			totals->sum[DU_FILES]++;
			totals->sum[DU_BYTES] += inode->size;
			return;
		case DIFS_KIND_DIRECTORY:
			difs_perm_require(inode, DIFS_MAY_READ | DIFS_MAY_SEARCH, totals->path);
			totals->sum[DU_DIRECTORIES]++;
			add_below(totals, inode->ino);
			return;
		case DIFS_KIND_SYMLINK:
			totals->sum[DU_SYMLINKS]++;
			return;
	}
}

static void
add_below(Totals *totals, int64 directory)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	check_stack_depth();

	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		int64 ino = difs_dentry_ino(row, difs_scan_desc(scan));
		DifsInode inode;

		if (!difs_inode_find(ino, &inode))
			elog(ERROR, "inode " INT64_FORMAT ", to which an entry of inode " INT64_FORMAT " leads, is missing", ino, directory);
		add_inode(totals, &inode);
		difs_inode_free(&inode);
	}
	difs_scan_end(scan);
}

static bool
seen_before(Totals *totals, int64 ino)
{
	bool found;

	if (totals->seen == NULL)
	{
		HASHCTL layout = {.keysize = sizeof(int64), .entrysize = sizeof(int64), .hcxt = CurrentMemoryContext};

		totals->seen = hash_create("files with several names", 256, &layout, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	hash_search(totals->seen, &ino, HASH_ENTER, &found);
	return found;
}

PG_FUNCTION_INFO_V1(difs_du);

Datum
difs_du(PG_FUNCTION_ARGS)
{
	DifsWalk walk;
	Totals totals = {0};
	TupleDesc desc;
	Datum values[DU_COLUMNS];
	bool nulls[DU_COLUMNS] = {false};

	DIFS_ARG_NOT_NULL(0, "path");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "difs_du must return a row");

	difs_read_begin();
	difs_path_find(PG_GETARG_TEXT_PP(0), &walk);
	totals.path = walk.path->text;
	add_inode(&totals, &walk.inode);
	difs_read_end();

	for (int i = 0; i < DU_COLUMNS; i++)
		values[i] = Int64GetDatum(totals.sum[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
