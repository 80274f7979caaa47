/*
 * path_step.c - steps of a walk: from a directory and a name to what it names.
 *
 * State: of one walk, in its caller's hands: the table, and a scan of its index once a step has had
 * to ask that, which serves for the steps after it.  Most need none: the row is where it was
 * found last (row_hint.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "src/compat.h"
#include "src/path.h"
#include "src/row_hint.h"
#include "src/table.h"

/* A component as a value of type text, without palloc. */
typedef union NameText
{
	struct varlena header;
	char bytes[VARHDRSZ + DIFS_MAX_COMPONENT];
} NameText;

/* What is looked for. */
typedef struct Entry
{
	int64 directory;
	const char *name;
	size_t length;
	uint64 key; /* for row hints */
} Entry;

static bool find_by_hint(Relation table, const Entry *entry, int64 *ino);
static bool is_entry(HeapTuple tuple, TupleDesc desc, const Entry *entry);
static bool find_by_index(DifsSteps *steps, const Entry *entry, int64 *ino);
static Datum column(HeapTuple tuple, TupleDesc desc, int number);

bool
difs_path_step(DifsSteps *steps, int64 directory, const char *name, int64 *ino)
{
	Entry entry = {.directory = directory, .name = name, .length = strlen(name)};

	entry.key = difs_row_hint_name(DIFS_REL_DENTRY, directory, name, entry.length);
	if (steps->table == NULL)
		steps->table = difs_table_open(DIFS_REL_DENTRY, AccessShareLock);
	return find_by_hint(steps->table, &entry, ino) || find_by_index(steps, &entry, ino);
}

void
difs_path_steps_end(DifsSteps *steps)
{
	if (steps->scan != NULL)
		difs_scan_end(steps->scan);
	if (steps->table != NULL)
		table_close(steps->table, NoLock);
}

static bool
find_by_hint(Relation table, const Entry *entry, int64 *ino)
{
	DifsHintedRow row;
	bool found;

	if (!difs_row_hint_find(table, entry->key, &row))
		return false;
	found = is_entry(&row.tuple, RelationGetDescr(table), entry);
	if (found)
		*ino = DatumGetInt64(column(&row.tuple, RelationGetDescr(table), DIFS_DENTRY_INO));
	difs_row_hint_release(&row);
	return found;
}

/* Names are short and not compressed; one that is all the same is left to the index. */
static bool
is_entry(HeapTuple tuple, TupleDesc desc, const Entry *entry)
{
	struct varlena *name;

	if (DatumGetInt64(column(tuple, desc, DIFS_DENTRY_PARENT)) != entry->directory)
		return false;
	name = (struct varlena *) DatumGetPointer(column(tuple, desc, DIFS_DENTRY_NAME));
	if (VARATT_IS_EXTERNAL(name) || VARATT_IS_COMPRESSED(name))
		return false;
	return VARSIZE_ANY_EXHDR(name) == entry->length && memcmp(VARDATA_ANY(name), entry->name, entry->length) == 0;
}

static bool
find_by_index(DifsSteps *steps, const Entry *entry, int64 *ino)
{
	ScanKeyData keys[2];
	NameText name;
	HeapTuple tuple;

	SET_VARSIZE(&name, VARHDRSZ + entry->length);
	memcpy(name.bytes + VARHDRSZ, entry->name, entry->length);
	DIFS_KEY(&keys[0], DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(entry->directory));
	DIFS_KEY(&keys[1], DIFS_DENTRY_NAME, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(&name));
	if (steps->scan == NULL)
		steps->scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, lengthof(keys), keys);
	else
		difs_scan_again(steps->scan, keys);

	tuple = difs_scan_next(steps->scan, false);
	if (tuple == NULL)
		return false;
	*ino = DatumGetInt64(column(tuple, difs_scan_desc(steps->scan), DIFS_DENTRY_INO));
	difs_scan_note(steps->scan, entry->key);
	return true;
}

/* A column that is never null. */
static Datum
column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool null;

	return heap_getattr(tuple, number, desc, &null);
}
