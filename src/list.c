/*
 * list.c - listing directories and trees.
 *
 * Entries come depth first, in the byte order of their components: a directory,
 * then what is below it, then its next sibling.  That order is the index's on
 * (parent, name), so a listing may begin anywhere: "after" is taken apart, and
 * at each level the scan begins behind its component.  A page costs what is on
 * it, wherever it is.
 *
 * Filters (kind, pattern) choose what is shown, not where to go down.
 *
 * Everything is read under one snapshot.  Memory: rows go to a tuplestore, which
 * spills to disk; one open scan for each level.
 */
#include "postgres.h"

#include <fnmatch.h>

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/stat.h"
#include "src/table.h"

/* Columns of difs_list(), as the SQL script declares them. */
enum ListColumn
{
	LIST_NAME,
	LIST_INO,
	LIST_KIND,
	LIST_SIZE,
	LIST_VERSION,
	LIST_MODE,
	LIST_OWNER,
	LIST_MTIME,
	LIST_COLUMNS,
};

typedef struct Listing
{
	ReturnSetInfo *result;
	int32 volume;
	bool recursive;
	int kind;				   /* DifsKind; 0 = any */
	const char *pattern;	   /* NULL = any */
	int64 room;				   /* rows that may still be added */
	StringInfoData name;	   /* of the entry at hand, relative to what is listed */
	MemoryContext row_context; /* emptied after each row */
} Listing;

static void list_path(Listing *listing, const text *path, char **after);
static void list_directory(Listing *listing, int64 directory, char **after);
static void resume_below(Listing *listing, int64 directory, char **after);
static DifsScan *scan_entries(int64 directory, const char *after);
static void list_entry(Listing *listing, int64 directory, const char *name, int64 ino);
static bool goes_down(const Listing *listing, int64 directory, const DifsInode *inode);
static void add_row(Listing *listing, const char *last, const DifsInode *inode, bool attributes);
static bool matches(const char *pattern, const char *name);
static int parse_kind(const text *kind);
static char **split_name(const text *name);

/* A directory's entries; of something else, that itself. */
static void
list_path(Listing *listing, const text *path, char **after)
{
	DifsWalk walk;

	difs_path_find(path, &walk);
	if (walk.inode.kind == DIFS_KIND_DIRECTORY)
	{
		difs_perm_require(&walk.inode, DIFS_MAY_READ, walk.path->text);
		listing->volume = walk.volume.id;
		list_directory(listing, walk.inode.ino, after);
	}
	else if (listing->room > 0 && (*after == NULL || strcmp(walk.name, *after) > 0))
	{
		appendStringInfoString(&listing->name, walk.name);
		add_row(listing, walk.name, &walk.inode, true);
	}
}

/* after: the components of the name behind which to begin; ends with NULL, which alone means the beginning. */
static void
list_directory(Listing *listing, int64 directory, char **after)
{
	DifsScan *scan;
	HeapTuple row;

	check_stack_depth();

	if (*after != NULL && listing->recursive)
		resume_below(listing, directory, after);
	if (listing->room == 0)
		return;

	scan = scan_entries(directory, *after);
	while (listing->room > 0 && (row = difs_scan_next(scan, false)) != NULL)
	{
		TupleDesc desc = difs_scan_desc(scan);
		bool null;
		char *name = TextDatumGetCString(heap_getattr(row, DIFS_DENTRY_NAME, desc, &null));

		list_entry(listing, directory, name, difs_dentry_ino(row, desc));
		pfree(name);
	}
	difs_scan_end(scan);
}

/* What is below the entry named by the first component, behind the others. The entry itself comes before all that. */
static void
resume_below(Listing *listing, int64 directory, char **after)
{
	int length = listing->name.len;
	DifsInode inode;
	int64 ino;

	if (difs_dentry_find(directory, *after, &ino) == NULL || !difs_inode_find(ino, &inode) ||
		!goes_down(listing, directory, &inode))
		return;

	appendStringInfo(&listing->name, "%s/", *after);
	list_directory(listing, ino, after + 1);
	listing->name.len = length;
	listing->name.data[length] = '\0';
}

/* The entries of a directory whose names are greater than after, if that is not NULL. */
static DifsScan *
scan_entries(int64 directory, const char *after)
{
	ScanKeyData keys[2];

	DIFS_KEY(&keys[0], DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory));
	if (after != NULL)
		DIFS_KEY(&keys[1], DIFS_DENTRY_NAME, BTGreaterStrategyNumber, F_TEXT_GT, CStringGetTextDatum(after));
	return difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, after != NULL ? 2 : 1, keys);
}

/* An entry, and if the listing is recursive, what is below it. */
static void
list_entry(Listing *listing, int64 directory, const char *name, int64 ino)
{
	static char *beginning[] = {NULL};
	int length = listing->name.len;
	DifsInode inode;

	MemoryContext old = MemoryContextSwitchTo(listing->row_context);

	appendStringInfoString(&listing->name, name);
	if (!difs_inode_find(ino, &inode))
		elog(ERROR, "inode " INT64_FORMAT ", to which \"%s\" leads, is missing", ino, listing->name.data);
	MemoryContextSwitchTo(old);
	add_row(listing, name, &inode, (difs_perm_of_directory(listing->volume, directory) & DIFS_MAY_SEARCH) != 0);
	if (listing->recursive && listing->room > 0 && goes_down(listing, directory, &inode))
	{
		appendStringInfoChar(&listing->name, '/');
		list_directory(listing, ino, beginning);
	}
	listing->name.len = length;
	listing->name.data[length] = '\0';
}

/* What the user may not see of a tree is left out. */
static bool
goes_down(const Listing *listing, int64 directory, const DifsInode *inode)
{
	return inode->kind == DIFS_KIND_DIRECTORY &&
		(difs_perm_of_directory(listing->volume, directory) & DIFS_MAY_SEARCH) != 0 &&
		(difs_perm_of_directory(listing->volume, inode->ino) & DIFS_MAY_READ) != 0;
}

/* Unless it is filtered out. last: the name's last component. attributes: those that difs_stat() would show. */
static void
add_row(Listing *listing, const char *last, const DifsInode *inode, bool attributes)
{
	Datum values[LIST_COLUMNS];
	bool nulls[LIST_COLUMNS] = {0};
	MemoryContext old;

	if (listing->kind != 0 && inode->kind != listing->kind)
		return;
	if (listing->pattern != NULL && !matches(listing->pattern, last))
		return;

	old = MemoryContextSwitchTo(listing->row_context);
	values[LIST_NAME] = PointerGetDatum(cstring_to_text_with_len(listing->name.data, listing->name.len));
	values[LIST_INO] = Int64GetDatum(inode->ino);
	values[LIST_KIND] = CStringGetTextDatum(difs_kind_name(inode->kind));
	values[LIST_SIZE] = Int64GetDatum(inode->size);
	values[LIST_VERSION] = Int32GetDatum(inode->version);
	nulls[LIST_VERSION] = inode->kind != DIFS_KIND_FILE;
	values[LIST_MODE] = Int32GetDatum(inode->mode);
	values[LIST_OWNER] = ObjectIdGetDatum(inode->owner);
	values[LIST_MTIME] = TimestampTzGetDatum(inode->mtime);
	for (int i = LIST_SIZE; !attributes && i < LIST_COLUMNS; i++)
		nulls[i] = true;
	tuplestore_putvalues(listing->result->setResult, listing->result->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(listing->row_context);
	listing->room--;
}

static bool
matches(const char *pattern, const char *name)
{
	int result = fnmatch(pattern, name, 0);

	if (result != 0 && result != FNM_NOMATCH)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("could not match pattern \"%s\" against name \"%s\"", pattern, name)));
	return result == 0;
}

static int
parse_kind(const text *kind)
{
	static const DifsKind kinds[] = {DIFS_KIND_FILE, DIFS_KIND_DIRECTORY, DIFS_KIND_SYMLINK};
	char *name = text_to_cstring(kind);

	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (strcmp(name, difs_kind_name(kinds[i])) == 0)
			return kinds[i];
	}
	ereport(ERROR,
			(errcode(DIFS_ERRCODE_ARGUMENT),
			 errmsg("invalid kind \"%s\"", name),
			 errhint("Kinds are \"file\", \"directory\" and \"symlink\".")));
}

/* The components of a relative name, and NULL behind them. */
static char **
split_name(const text *name)
{
	char *string = text_to_cstring(name);
	char **component = palloc(sizeof(char *) * (strlen(string) / 2 + 2));
	int count = 0;
	char *rest = NULL;

	for (char *one = strtok_r(string, "/", &rest); one != NULL; one = strtok_r(NULL, "/", &rest))
		component[count++] = one;
	component[count] = NULL;
	return component;
}

PG_FUNCTION_INFO_V1(difs_list);

/* difs_list(path, recursive, pattern, after, max, kind) */
Datum
difs_list(PG_FUNCTION_ARGS)
{
	char *beginning[] = {NULL};
	Listing listing = {.room = PG_INT64_MAX};

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "recursive");

	InitMaterializedSRF(fcinfo, 0);
	listing.result = (ReturnSetInfo *) fcinfo->resultinfo;
	listing.recursive = PG_GETARG_BOOL(1);
	listing.pattern = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(4))
		listing.room = PG_GETARG_INT32(4);
	if (listing.room < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("max must not be negative")));
	listing.kind = PG_ARGISNULL(5) ? 0 : parse_kind(PG_GETARG_TEXT_PP(5));
	initStringInfo(&listing.name);
	listing.row_context = AllocSetContextCreate(CurrentMemoryContext, "difs listing", ALLOCSET_SMALL_SIZES);

	difs_read_begin();
	list_path(&listing, PG_GETARG_TEXT_PP(0), PG_ARGISNULL(3) ? beginning : split_name(PG_GETARG_TEXT_PP(3)));
	difs_read_end();
	return (Datum) 0;
}
