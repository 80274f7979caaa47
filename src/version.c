/*
 * version.c - versions of a file: rows of difs.version.
 *
 * No state here.  Rows are written once and never updated; what happens to them
 * at a rollback is PostgreSQL's business.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "src/table.h"
#include "src/version.h"

bool
difs_version_find(int64 ino, int32 version, DifsVersion *found)
{
	ScanKeyData keys[2];
	DifsScan *scan;
	HeapTuple tuple;

	if (version < 1)
		return false;

	DIFS_KEY(&keys[0], DIFS_VERSION_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	DIFS_KEY(&keys[1], DIFS_VERSION_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(version));

	scan = difs_scan_begin(DIFS_REL_VERSION, DIFS_REL_VERSION_PKEY, 2, keys);
	tuple = difs_scan_next(scan, false);
	if (tuple != NULL)
		difs_version_decode(tuple, difs_scan_desc(scan), found);
	difs_scan_end(scan);

	return tuple != NULL;
}

/* What difs_version_extent() has let through: all segments but the last are extent bytes long. */
bool
difs_version_of_inode(const DifsInode *inode, DifsVersion *found)
{
	if (inode->extent == 0)
		return difs_version_find(inode->ino, inode->version, found);
	*found = (DifsVersion){
		.ino = inode->ino,
		.version = inode->version,
		.size = inode->size,
		.segments = (int32) ((inode->size + inode->extent - 1) / inode->extent),
		.base = inode->version,
		.extent = inode->extent,
		.map_ino = inode->ino,
		.map_version = inode->version,
	};
	return true;
}

int32
difs_version_extent(const DifsVersion *version)
{
	bool whole = version->segments > 0 && !version->deleted && version->holes == 0;
	bool own = version->base == version->version && version->map_ino == version->ino && version->map_version == version->version;

	if (!whole || !own || version->segments != (version->size + version->extent - 1) / version->extent)
		return 0;
	return version->extent;
}

void
difs_version_decode(HeapTuple tuple, TupleDesc desc, DifsVersion *version)
{
	Datum values[DIFS_VERSION_COLUMNS];
	bool nulls[DIFS_VERSION_COLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);

	version->ino = DatumGetInt64(values[DIFS_VERSION_INO - 1]);
	version->version = DatumGetInt32(values[DIFS_VERSION_VERSION - 1]);
	version->size = DatumGetInt64(values[DIFS_VERSION_SIZE - 1]);
	version->segments = DatumGetInt32(values[DIFS_VERSION_SEGMENTS - 1]);
	version->base = DatumGetInt32(values[DIFS_VERSION_BASE - 1]);
	version->extent = DatumGetInt32(values[DIFS_VERSION_EXTENT - 1]);
	version->map_ino = version->ino;
	version->map_version = version->version;
	if (!nulls[DIFS_VERSION_MAP_INO - 1])
	{
		version->map_ino = DatumGetInt64(values[DIFS_VERSION_MAP_INO - 1]);
		version->map_version = DatumGetInt32(values[DIFS_VERSION_MAP_VERSION - 1]);
	}
	version->deleted = DatumGetBool(values[DIFS_VERSION_DELETED - 1]);
	version->author = DatumGetObjectId(values[DIFS_VERSION_AUTHOR - 1]);
	version->mtime = DatumGetTimestampTz(values[DIFS_VERSION_MTIME - 1]);
	version->digest_length = 0;
	if (!nulls[DIFS_VERSION_DIGEST - 1])
	{
		struct varlena *digest = PG_DETOAST_DATUM_PACKED(values[DIFS_VERSION_DIGEST - 1]);

		version->digest_length = Min(VARSIZE_ANY_EXHDR(digest), sizeof(version->digest));
		memcpy(version->digest, VARDATA_ANY(digest), version->digest_length);
	}
	version->holes = nulls[DIFS_VERSION_HOLES - 1] ? 0 : DatumGetInt64(values[DIFS_VERSION_HOLES - 1]);
}

void
difs_version_insert(const DifsVersion *version)
{
	Datum values[DIFS_VERSION_COLUMNS];
	bool nulls[DIFS_VERSION_COLUMNS] = {false};
	bool own_map = version->map_ino == version->ino && version->map_version == version->version;
	union
	{
		struct varlena header;
		char bytes[VARHDRSZ + sizeof(version->digest)];
	} digest;

	Assert(version->map_ino != 0);
	Assert(version->digest_length <= sizeof(version->digest));

	SET_VARSIZE(&digest, VARHDRSZ + version->digest_length);
	memcpy(digest.bytes + VARHDRSZ, version->digest, version->digest_length);

	values[DIFS_VERSION_INO - 1] = Int64GetDatum(version->ino);
	values[DIFS_VERSION_VERSION - 1] = Int32GetDatum(version->version);
	values[DIFS_VERSION_SIZE - 1] = Int64GetDatum(version->size);
	values[DIFS_VERSION_SEGMENTS - 1] = Int32GetDatum(version->segments);
	values[DIFS_VERSION_BASE - 1] = Int32GetDatum(version->base);
	values[DIFS_VERSION_EXTENT - 1] = Int32GetDatum(version->extent);
	values[DIFS_VERSION_MAP_INO - 1] = Int64GetDatum(version->map_ino);
	nulls[DIFS_VERSION_MAP_INO - 1] = own_map;
	values[DIFS_VERSION_MAP_VERSION - 1] = Int32GetDatum(version->map_version);
	nulls[DIFS_VERSION_MAP_VERSION - 1] = own_map;
	values[DIFS_VERSION_DELETED - 1] = BoolGetDatum(version->deleted);
	values[DIFS_VERSION_AUTHOR - 1] = ObjectIdGetDatum(version->author);
	values[DIFS_VERSION_MTIME - 1] = TimestampTzGetDatum(version->mtime);
	values[DIFS_VERSION_DIGEST - 1] = PointerGetDatum(&digest);
	nulls[DIFS_VERSION_DIGEST - 1] = version->digest_length == 0;
	values[DIFS_VERSION_HOLES - 1] = Int64GetDatum(version->holes);
	nulls[DIFS_VERSION_HOLES - 1] = version->holes == 0;

	difs_row_insert(DIFS_REL_VERSION, values, nulls);
}
