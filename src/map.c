/*
 * map.c - which storage holds which segments of a version, as jsonb.
 *
 *	{"info":     {"name": "volume:/dir/file", "name_hash": …, "parent_hash": …, "root_hash": …, "version": …,
 *				  "ino": …, "size": …, "segments": …,
 *				  "volume": …, "segment_size": …, "compression": …, "replicas": …, "digest": …},
 *	 "storages": [{"storage_name": "/storage01", "segment": {"start_num": 0, "end_num": 9}}, …],
 *	 "segments": [{"num": 0, "segment": …, "block_group": …, "file_offset": …, "length": …,
 *				   "stored_length": …, "codec": …, "crc": …}, …],
 *	 "holes":    [{"file_offset": …, "length": …}, …]}
 *
 * The first line of "info", and "storages", are as a store of named data writes
 * its manifests: the hash of a name is that of name_hash.h, here of the file, of
 * its directory and of the volume's root; a storage stands there once for each
 * run of segments that it holds.
 *
 * Numbers count the version's extents in file order.  "segments" is there only
 * if details are asked for, "holes" only if there are some, too; "segment_offset"
 * and "raw_length" where an extent is a part of its segment, and "inline": true in
 * "info" where the bytes are in the database.  Compression and replicas are the volume's policy
 * for new content; what a segment really is, its details and its group say.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/rel.h"

#include "src/marker.h"
#include "src/name_hash.h"
#include "src/pending.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/stat.h"
#include "src/table.h"

#define EXTENTS_AT_ONCE 1024

/* A chunk server, and the ranges of segment numbers that it holds. */
typedef struct Storage
{
	int32 server;
	char *name;
	int64 start; /* the range at hand; numbers before it are in ranges */
	int64 end;
	StringInfoData json_name; /* the name as JSON */
	StringInfoData ranges;	  /* an element of "storages" for each */
} Storage;

/* The members of a block group. */
typedef struct MapGroup
{
	uint64 id; /* 0 = none read yet */
	int count;
	int32 member[DIFS_MAX_REPLICAS];
} MapGroup;

typedef struct Map
{
	List *storages;
	MapGroup group;		  /* the last one read: neighbours are mostly in the same */
	StringInfo segments;  /* JSON; NULL if no details are wanted */
	StringInfoData holes; /* JSON */
} Map;

static char *describe(const DifsWalk *walk, const DifsVersion *version, bool details);
static void add_info(StringInfo out, const DifsWalk *walk, const DifsVersion *version);
static void add_hash(StringInfo out, const char *key, const DifsPath *path, int count);
static void add_extents(Map *map, const DifsVersion *version);
static void add_hole(Map *map, int64 begin, int64 end);
static void add_segment(StringInfo out, int64 number, const DifsExtent *extent);
static void add_storages(StringInfo out, Map *map);
static void read_group(uint64 id, MapGroup *group);
static Storage *find_storage(Map *map, int32 server);
static char *server_name(int32 server);
static void extend_range(Storage *storage, int64 number);
static void end_range(Storage *storage);
static int compare_storages(const ListCell *a, const ListCell *b);

static char *
describe(const DifsWalk *walk, const DifsVersion *version, bool details)
{
	Map map = {.segments = details ? makeStringInfo() : NULL};
	StringInfoData out;

	initStringInfo(&map.holes);
	add_extents(&map, version);
	initStringInfo(&out);
	appendStringInfoString(&out, "{\"info\": ");
	add_info(&out, walk, version);
	appendStringInfoString(&out, ", \"storages\": ");
	add_storages(&out, &map);
	if (details)
		appendStringInfo(&out, ", \"segments\": [%s]", map.segments->data);
	if (details && map.holes.len > 0)
		appendStringInfo(&out, ", \"holes\": [%s]", map.holes.data);
	appendStringInfoChar(&out, '}');
	return out.data;
}

static void
add_info(StringInfo out, const DifsWalk *walk, const DifsVersion *version)
{
	char digest[2 * sizeof(version->digest) + 1];

	appendStringInfoString(out, "{\"name\": ");
	escape_json(out, difs_path_write(walk->path, walk->path->count));
	add_hash(out, "name_hash", walk->path, walk->path->count);
	add_hash(out, "parent_hash", walk->path, walk->path->count - 1);
	add_hash(out, "root_hash", walk->path, 0);
	appendStringInfo(out, ", \"version\": %d, \"ino\": " INT64_FORMAT ", \"size\": " INT64_FORMAT ", \"segments\": %d",
					 version->version, version->ino, version->size, version->segments);
	appendStringInfoString(out, ", \"volume\": ");
	escape_json(out, walk->volume.name);
	appendStringInfo(out, ", \"segment_size\": %d, \"compression\": \"%s\", \"replicas\": %d, \"digest\": ",
					 walk->volume.segment_size, walk->volume.compression_level > 0 ? "zstd" : "none",
					 walk->volume.class.replicas);
	digest[hex_encode((const char *) version->digest, version->digest_length, digest)] = '\0';
	if (version->digest_length > 0)
		appendStringInfo(out, "\"%s\"", digest);
	else
		appendStringInfoString(out, "null");
	if (difs_version_is_inline(version))
		appendStringInfoString(out, ", \"inline\": true");
	appendStringInfoChar(out, '}');
}

/* Of the path's first components. */
static void
add_hash(StringInfo out, const char *key, const DifsPath *path, int count)
{
	char *name = difs_path_write(path, count);
	uint8 hash[DIFS_NAME_HASH_SIZE];
	char hex[2 * sizeof(hash) + 1];

	difs_name_hash_compute(name, strlen(name), hash);
	hex[hex_encode((const char *) hash, sizeof(hash), hex)] = '\0';
	appendStringInfo(out, ", \"%s\": \"%s\"", key, hex);
}

static void
add_extents(Map *map, const DifsVersion *version)
{
	int64 number = 0;
	int64 offset = 0;
	int count;

	do
	{
		DifsExtent *extents = difs_manifest_range(version, offset, version->size - offset, EXTENTS_AT_ONCE, &count);

		for (int i = 0; i < count; i++, number++)
		{
			const DifsExtent *extent = &extents[i];

			if (extent->stored.group != map->group.id)
				read_group(extent->stored.group, &map->group);
			for (int j = 0; j < map->group.count; j++)
				extend_range(find_storage(map, map->group.member[j]), number);
			add_hole(map, offset, extent->file_offset);
			if (map->segments != NULL)
				add_segment(map->segments, number, extent);
			offset = extent->file_offset + extent->length;
		}
		pfree(extents);
	} while (count == EXTENTS_AT_ONCE);
	if (!difs_version_is_inline(version))
		add_hole(map, offset, version->size);
}

static void
add_hole(Map *map, int64 begin, int64 end)
{
	if (begin < end)
		appendStringInfo(&map->holes, "%s{\"file_offset\": " INT64_FORMAT ", \"length\": " INT64_FORMAT "}",
						 map->holes.len > 0 ? ", " : "", begin, end - begin);
}

static void
add_segment(StringInfo out, int64 number, const DifsExtent *extent)
{
	const DifsStored *stored = &extent->stored;

	appendStringInfo(out, "%s{\"num\": " INT64_FORMAT ", ", number > 0 ? ", " : "", number);
	appendStringInfo(out, "\"segment\": " UINT64_FORMAT ", \"block_group\": " UINT64_FORMAT,
					 stored->segment, stored->group);
	appendStringInfo(out, ", \"file_offset\": " INT64_FORMAT ", \"length\": %d, \"stored_length\": %u",
					 extent->file_offset, extent->length, stored->stored_length);
	if (extent->length < stored->raw_length)
		appendStringInfo(out, ", \"segment_offset\": %u, \"raw_length\": %u", extent->segment_offset, stored->raw_length);
	appendStringInfo(out, ", \"codec\": \"%s\", \"crc\": %u}",
					 stored->codec == DIFS_CODEC_ZSTD ? "zstd" : "raw", stored->crc);
}

/* In the order of their names. */
static void
add_storages(StringInfo out, Map *map)
{
	ListCell *cell;

	list_sort(map->storages, compare_storages);
	appendStringInfoChar(out, '[');
	foreach (cell, map->storages)
	{
		Storage *storage = lfirst(cell);

		end_range(storage);
		appendStringInfo(out, "%s%s", cell == list_head(map->storages) ? "" : ", ", storage->ranges.data);
	}
	appendStringInfoChar(out, ']');
}

static void
read_group(uint64 id, MapGroup *group)
{
	Relation table;
	ScanKeyData key;
	HeapTuple row;
	ArrayType *members;
	bool null;

	group->id = id;
	group->count = 0;
	if (id == 0)
		return; /* staged: no storage has it */
	DIFS_KEY(&key, DIFS_BLOCK_GROUP_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) id));
	row = difs_row_find(DIFS_REL_BLOCK_GROUP, DIFS_REL_BLOCK_GROUP_PKEY, 1, &key);
	if (row == NULL)
		elog(ERROR, "block group " UINT64_FORMAT " is missing", id);

	table = table_open(difs_relation(DIFS_REL_BLOCK_GROUP), NoLock);
	members = DatumGetArrayTypeP(heap_getattr(row, DIFS_BLOCK_GROUP_MEMBERS, RelationGetDescr(table), &null));
	table_close(table, NoLock);

	group->count = Min(ArrayGetNItems(ARR_NDIM(members), ARR_DIMS(members)), DIFS_MAX_REPLICAS);
	memcpy(group->member, ARR_DATA_PTR(members), group->count * sizeof(int32));
}

static Storage *
find_storage(Map *map, int32 server)
{
	ListCell *cell;
	Storage *storage;

	foreach (cell, map->storages)
	{
		storage = lfirst(cell);
		if (storage->server == server)
			return storage;
	}

	storage = palloc0(sizeof(Storage));
	storage->server = server;
	storage->name = server_name(server);
	storage->end = -1;
	initStringInfo(&storage->json_name);
	escape_json(&storage->json_name, storage->name);
	initStringInfo(&storage->ranges);
	map->storages = lappend(map->storages, storage);
	return storage;
}

/* Rows of servers outlive the servers, as long as groups name them. */
static char *
server_name(int32 server)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;
	char *name;
	bool null;

	DIFS_KEY(&key, DIFS_SERVER_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(server));
	scan = difs_scan_begin(DIFS_REL_SERVER, DIFS_REL_SERVER_PKEY, 1, &key);
	row = difs_scan_next(scan, false);
	if (row == NULL)
		elog(ERROR, "chunk server %d is missing", server);
	name = TextDatumGetCString(heap_getattr(row, DIFS_SERVER_NAME, difs_scan_desc(scan), &null));
	difs_scan_end(scan);
	return name;
}

/* Numbers come in ascending order. */
static void
extend_range(Storage *storage, int64 number)
{
	if (number != storage->end + 1)
	{
		end_range(storage);
		storage->start = number;
	}
	storage->end = number;
}

static void
end_range(Storage *storage)
{
	if (storage->end >= storage->start)
		appendStringInfo(&storage->ranges,
						 "%s{\"storage_name\": %s, \"segment\": {\"start_num\": " INT64_FORMAT ", \"end_num\": " INT64_FORMAT "}}",
						 storage->ranges.len > 0 ? ", " : "", storage->json_name.data, storage->start, storage->end);
}

static int
compare_storages(const ListCell *a, const ListCell *b)
{
	return strcmp(((const Storage *) lfirst(a))->name, ((const Storage *) lfirst(b))->name);
}

PG_FUNCTION_INFO_V1(difs_manifest);

/* difs_manifest(path, version, details) */
Datum
difs_manifest(PG_FUNCTION_ARGS)
{
	DifsWalk walk;
	DifsVersion version;
	char *json;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(2, "details");

	difs_read_begin();
	if (PG_ARGISNULL(1))
		difs_path_find_file(PG_GETARG_TEXT_PP(0), &walk);
	else
		difs_marker_path_find(PG_GETARG_TEXT_PP(0), &walk);
	difs_perm_require(&walk.inode, DIFS_MAY_READ, walk.path->text);
	difs_stat_version(&walk, PG_ARGISNULL(1) ? walk.inode.version : PG_GETARG_INT32(1), &version);
	difs_pending_settle(version.map_ino);
	json = describe(&walk, &version, PG_GETARG_BOOL(2));
	difs_read_end();

	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}
