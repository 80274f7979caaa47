/*
 * inline.c - tiny files inside the database: rows of difs.inline (inline.h).
 *
 * No state.  Rows are written once, with their version, and removed with it by
 * the keeper (worker/collect_doomed.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "utils/fmgroids.h"

#include "src/inline.h"
#include "src/report.h"
#include "src/table.h"

void
difs_inline_insert(int64 ino, int32 version, const char *bytes, uint32 length)
{
	Datum values[DIFS_INLINE_COLUMNS];
	bytea *value = palloc(VARHDRSZ + length);

	SET_VARSIZE(value, VARHDRSZ + length);
	memcpy(VARDATA(value), bytes, length);
	values[DIFS_INLINE_INO - 1] = Int64GetDatum(ino);
	values[DIFS_INLINE_VERSION - 1] = Int32GetDatum(version);
	values[DIFS_INLINE_BYTES - 1] = PointerGetDatum(value);
	difs_row_insert(DIFS_REL_INLINE, values, NULL);
	pfree(value);
}

void
difs_inline_read(const char *path, const DifsVersion *version, int64 offset, int64 length, char *out)
{
	ScanKeyData keys[2];
	DifsScan *scan;
	HeapTuple row;
	bytea *bytes = NULL;
	bool null;

	DIFS_KEY(&keys[0], DIFS_INLINE_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(version->map_ino));
	DIFS_KEY(&keys[1], DIFS_INLINE_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(version->map_version));
	scan = difs_scan_begin(DIFS_REL_INLINE, DIFS_REL_INLINE_PKEY, lengthof(keys), keys);
	row = difs_scan_next(scan, false);
	if (row != NULL)
		bytes = DatumGetByteaPP(heap_getattr(row, DIFS_INLINE_BYTES, difs_scan_desc(scan), &null));
	if (bytes == NULL || VARSIZE_ANY_EXHDR(bytes) != version->size)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("the bytes of version %d of file \"%s\" are missing", version->version, path),
				 errdetail("Table difs.inline has no row of " INT64_FORMAT " bytes for version %d of inode " INT64_FORMAT ".",
						   version->size, version->map_version, version->map_ino)));
	memcpy(out, VARDATA_ANY(bytes) + offset, length);
	difs_scan_end(scan);
}
