/*
 * concat.c - files made of parts of others: difs_concat(), and difs_copy() of a range.
 *
 * A row of the manifest is written for each segment of the parts, so the cost follows their number and not the
 * bytes.  The rows are the target's own: the sources may change or go away, and the keeper deletes a segment when
 * the last row that names it goes (liveness.h).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"

#include "src/concat.h"
#include "src/copy.h"
#include "src/create.h"
#include "src/dentry.h"
#include "src/report.h"
#include "src/splice.h"
#include "src/table.h"

static int64 share_part(DifsSplice *splice, const DifsPart *part, const DifsWalk *target, int64 at);
static DifsPart *parts_argument(ArrayType *paths, int *count);

int32
difs_concat_parts(const DifsPart *parts, int count, const text *to, int32 if_version)
{
	DifsWalk source;
	DifsWalk target;
	DifsInode inode;
	DifsVersion version;
	DifsSplice splice;
	bool created;
	int64 at = 0;

	for (int i = 0; i < count; i++)
		difs_copy_find_source(parts[i].path, parts[i].version, &source, &version);
	difs_file_open_for_write(to, false, if_version, &target, &inode, &created);

	/* as in copy.c: opening may have waited, and what counts is what a snapshot of now sees */
	difs_names_again();
	for (int i = 0; i < count; i++)
		difs_copy_check_gone(parts[i].path, &target, &inode);
	difs_splice_begin(&splice, &target, &inode, 0, PG_INT64_MAX);
	difs_splice_resize(&splice, 0);
	for (int i = 0; i < count; i++)
		at += share_part(&splice, &parts[i], &target, at);
	return difs_splice_end(&splice);
}

/* Returns its length. */
static int64
share_part(DifsSplice *splice, const DifsPart *part, const DifsWalk *target, int64 at)
{
	DifsWalk source;
	DifsVersion version;
	int64 offset;
	int64 length;

	CHECK_FOR_INTERRUPTS();
	difs_copy_find_source(part->path, part->version, &source, &version);
	difs_copy_check_classes(&source, target);
	offset = Min(part->offset, version.size);
	length = Min(part->length, version.size - offset);
	difs_splice_share(splice, source.path->text, &version, offset, length, at);
	return length;
}

static DifsPart *
parts_argument(ArrayType *paths, int *count)
{
	Datum *values;
	bool *nulls;
	DifsPart *parts;

	deconstruct_array(paths, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, count);
	parts = palloc0(sizeof(DifsPart) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(DIFS_ERRCODE_ARGUMENT),
					 errmsg("path %d of paths must not be null", i + 1)));
		parts[i].path = DatumGetTextPP(values[i]);
		parts[i].length = PG_INT64_MAX;
	}
	return parts;
}

PG_FUNCTION_INFO_V1(difs_concat);

/* difs_concat(paths text[], to_path text, if_version int) returns int */
Datum
difs_concat(PG_FUNCTION_ARGS)
{
	DifsPart *parts;
	int count;
	int32 version;

	DIFS_ARG_NOT_NULL(0, "paths");
	DIFS_ARG_NOT_NULL(1, "to_path");
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("if_version must not be negative")));
	parts = parts_argument(PG_GETARG_ARRAYTYPE_P(0), &count);
	difs_write_begin("difs_concat");
	version = difs_concat_parts(parts, count, PG_GETARG_TEXT_PP(1), PG_ARGISNULL(2) ? DIFS_ANY_VERSION : PG_GETARG_INT32(2));
	difs_write_end();
	PG_RETURN_INT32(version);
}
