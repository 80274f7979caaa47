/*
 * attrs.c - attributes that users give to files, directories and links: jsonb in the inode's row.
 *
 * The media type is one of them, "media_type", so that a file without attributes
 * has no byte and no column of it.  Attributes belong to the inode: all its names
 * have them, rename takes them along, and versions do not keep them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "src/attrs.h"
#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

#define MEDIA_TYPE "media_type"
#define MAX_ATTRS_BYTES (64 * 1024)

static void set_attrs(const text *path, Jsonb *change);
static Jsonb *attrs_of_row(HeapTuple row);
static Jsonb *merge(Jsonb *attrs, Jsonb *change);
static void check_attrs(const char *path, Jsonb *change, Jsonb *merged);
static bool is_media_type(const char *text, int length);
pg_noreturn static void report_media_type(const char *path);

static void
set_attrs(const text *path, Jsonb *change)
{
	for (;; difs_names_again())
	{
		DifsWalk walk;
		Jsonb *merged;
		Datum values[DIFS_INODE_COLUMNS] = {0};
		bool nulls[DIFS_INODE_COLUMNS] = {false};
		bool replace[DIFS_INODE_COLUMNS] = {false};

		difs_path_find(path, &walk);
		if (!difs_inode_lock(&walk.inode))
			continue;
		difs_perm_require(&walk.inode, DIFS_MAY_WRITE, walk.path->text);
		merged = merge(attrs_of_row(walk.inode.row), change);
		check_attrs(walk.path->text, change, merged);

		values[DIFS_INODE_ATTRS - 1] = JsonbPGetDatum(merged);
		nulls[DIFS_INODE_ATTRS - 1] = JB_ROOT_COUNT(merged) == 0;
		values[DIFS_INODE_CTIME - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
		replace[DIFS_INODE_ATTRS - 1] = true;
		replace[DIFS_INODE_CTIME - 1] = true;
		difs_inode_update(&walk.inode, values, nulls, replace);
		return;
	}
}

/* An empty object if there are none. */
static Jsonb *
attrs_of_row(HeapTuple row)
{
	Relation table = table_open(difs_relation(DIFS_REL_INODE), AccessShareLock);
	bool null;
	Datum value = heap_getattr(row, DIFS_INODE_ATTRS, RelationGetDescr(table), &null);
	Jsonb *attrs = null ? DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))) : DatumGetJsonbPCopy(value);

	table_close(table, NoLock);
	return attrs;
}

/* The keys of change take the place of those of the same name; null removes one. */
static Jsonb *
merge(Jsonb *attrs, Jsonb *change)
{
	Datum merged = DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(attrs), JsonbPGetDatum(change));
	JsonbIterator *iterator = JsonbIteratorInit(&change->root);
	JsonbIteratorToken token;
	JsonbValue value;
	text *key = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = cstring_to_text_with_len(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvNull)
			merged = DirectFunctionCall2(jsonb_delete, merged, PointerGetDatum(key));
	}
	return DatumGetJsonbP(merged);
}

static void
check_attrs(const char *path, Jsonb *change, Jsonb *merged)
{
	JsonbValue buffer;
	JsonbValue *type = getKeyJsonValueFromContainer(&change->root, MEDIA_TYPE, strlen(MEDIA_TYPE), &buffer);

	if (type != NULL && type->type != jbvNull &&
		(type->type != jbvString || !is_media_type(type->val.string.val, type->val.string.len)))
		report_media_type(path);
	if (VARSIZE(merged) > MAX_ATTRS_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("attributes of \"%s\" are too large", path),
				errdetail("They have %d bytes; at most %d are allowed.", (int) VARSIZE(merged), MAX_ATTRS_BYTES),
				errhint("Keep them in a file, or in a table that references difs.inode."));
}

static void
report_media_type(const char *path)
{
	ereport(ERROR,
			errcode(DIFS_ERRCODE_ARGUMENT),
			errmsg("attribute \"%s\" of \"%s\" is not a media type", MEDIA_TYPE, path),
			errhint("A media type is a string such as \"text/plain; charset=utf-8\"."));
}

void
difs_media_type_check(const char *path, const text *type)
{
	if (!is_media_type(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type)))
		report_media_type(path);
}

void
difs_media_type_set(const text *path, const text *type)
{
	StringInfoData object;

	initStringInfo(&object);
	appendStringInfoString(&object, "{\"" MEDIA_TYPE "\": ");
	escape_json(&object, text_to_cstring(type));
	appendStringInfoChar(&object, '}');
	set_attrs(path, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(object.data))));
}

/* type/subtype in printable ASCII, perhaps with parameters: fit to stand in a header of HTTP. */
text *
difs_media_type_of(int64 ino)
{
	ScanKeyData key;
	HeapTuple row;
	JsonbValue *type;

	DIFS_KEY(&key, DIFS_INODE_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	row = difs_row_find(DIFS_REL_INODE, DIFS_REL_INODE_PKEY, 1, &key);
	if (row == NULL)
		return NULL;
	type = getKeyJsonValueFromContainer(&attrs_of_row(row)->root, MEDIA_TYPE, strlen(MEDIA_TYPE), NULL);
	return type != NULL && type->type == jbvString ? cstring_to_text_with_len(type->val.string.val, type->val.string.len) : NULL;
}

static bool
is_media_type(const char *text, int length)
{
	int slash = -1;

	for (int i = 0; i < length; i++)
	{
		if (text[i] < ' ' || text[i] > '~')
			return false;
		if (text[i] == ' ' && slash < 0)
			return false;
		if (text[i] == '/' && slash < 0)
			slash = i;
	}
	return slash > 0 && slash < length - 1 && length <= 255;
}

PG_FUNCTION_INFO_V1(difs_setattr);
PG_FUNCTION_INFO_V1(difs_getattr);

Datum
difs_setattr(PG_FUNCTION_ARGS)
{
	Jsonb *change;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "attrs");
	change = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_OBJECT(change))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("attrs must be an object"),
				errhint("As in difs_setattr('/file', '{\"media_type\": \"text/plain\"}'); null removes an attribute."));

	difs_write_begin("difs_setattr");
	set_attrs(PG_GETARG_TEXT_PP(0), change);
	difs_write_end();
	PG_RETURN_VOID();
}

Datum
difs_getattr(PG_FUNCTION_ARGS)
{
	DifsWalk walk;
	ScanKeyData key;
	HeapTuple row;
	Jsonb *attrs;

	DIFS_ARG_NOT_NULL(0, "path");

	difs_read_begin();
	difs_path_find(PG_GETARG_TEXT_PP(0), &walk);
	difs_perm_require(&walk.inode, DIFS_MAY_READ, walk.path->text);
	DIFS_KEY(&key, DIFS_INODE_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(walk.inode.ino));
	row = difs_row_find(DIFS_REL_INODE, DIFS_REL_INODE_PKEY, 1, &key);
	attrs = attrs_of_row(row);
	difs_read_end();
	PG_RETURN_JSONB_P(attrs);
}
