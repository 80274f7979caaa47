/*
 * staging.c - segments in the database's own tables (staging.h).
 *
 * State: the database's entry in shared memory has the number of bytes that are
 * staged, so that the limit needs no row that everybody updates.  Inserts add to
 * it; rollbacks do not take away; who would exceed the limit, and the duty after
 * each round, count the rows and set it right.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "src/ids.h"
#include "src/report.h"
#include "src/settings.h"
#include "src/staging.h"
#include "src/table.h"

static bool enough_servers(DifsDatabase *database, const DifsClass *class);
static uint64 next_segment(DifsDatabase *database);
static bytea *copy_bytes(const void *bytes, Size length);
static void reserve(DifsDatabase *database, uint32 length);

bool
difs_staging_allowed(DifsDatabase *database, const DifsClass *class)
{
	return difs_staging == DIFS_STAGING_ALWAYS ||
		(difs_staging == DIFS_STAGING_AUTO && enough_servers(database, class));
}

bool
difs_staging_at_once(DifsDatabase *database, const DifsClass *class)
{
	return difs_staging == DIFS_STAGING_ALWAYS || difs_staging_is_stuck(database, class);
}

bool
difs_staging_is_stuck(DifsDatabase *database, const DifsClass *class)
{
	bool stuck = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_CLASSES; i++)
	{
		const DifsWantedClass *entry = &database->classes[i];

		if (difs_class_equal(&entry->class, class))
			stuck = entry->wanted && entry->problem.code != DIFS_OK && difs_staging_helps(entry->problem.code);
	}
	for (int i = 0; stuck && i < DIFS_MAX_OPEN_GROUPS; i++)
	{
		const DifsOpenGroup *group = &database->groups[i];

		stuck = group->state != DIFS_OPEN_GROUP_OPEN || group->avoided || !difs_class_equal(&group->class, class);
	}
	LWLockRelease(&difs_shared->lock);
	return stuck;
}

/* Full disks are the administrator's to see; a segment that is too large never fits; who is fenced must not write. */
bool
difs_staging_helps(DifsErrorCode code)
{
	return code != DIFS_ERROR_FULL && code != DIFS_ERROR_ARGUMENT && code != DIFS_ERROR_FENCED &&
		code != DIFS_ERROR_REFUSED;
}

DifsStaged *
difs_staging_take(int number, DifsStored *stored)
{
	DifsSlot *slot = difs_stream_slot(number);
	uint8 *packed = difs_pool_address(slot->run);
	DifsStaged *staged = palloc0(sizeof(DifsStaged));
	DifsSegment header = {
		.segment = next_segment(&difs_shared->databases[slot->database]),
		.xid = slot->xid,
		.raw_length = slot->raw_length,
		.stored_length = slot->stored_length,
		.crc = slot->crc,
		.codec = slot->codec,
	};

	staged->segment = stored->segment = header.segment;
	staged->class = slot->class;
	staged->packed = copy_bytes(packed, difs_segment_packed_size(slot->stored_length));
	difs_segment_pack(&header, NULL, (uint8 *) VARDATA(staged->packed));
	staged->bytes = PointerGetDatum(copy_bytes(packed + slot->payload_offset, slot->stored_length));
	difs_stream_release(number);
	return staged;
}

void
difs_staging_insert(const DifsStaged *staged, const DifsStored *stored)
{
	Datum values[DIFS_STAGING_COLUMNS];

	reserve(difs_database_require(), stored->stored_length);
	values[DIFS_STAGING_SEGMENT - 1] = Int64GetDatum((int64) staged->segment);
	values[DIFS_STAGING_REPLICAS - 1] = Int16GetDatum(staged->class.replicas);
	values[DIFS_STAGING_TIER - 1] = CStringGetTextDatum(staged->class.tier);
	values[DIFS_STAGING_RAW_LENGTH - 1] = Int32GetDatum((int32) stored->raw_length);
	values[DIFS_STAGING_STORED_LENGTH - 1] = Int32GetDatum((int32) stored->stored_length);
	values[DIFS_STAGING_CODEC - 1] = Int16GetDatum(stored->codec);
	values[DIFS_STAGING_CRC - 1] = Int32GetDatum((int32) stored->crc);
	values[DIFS_STAGING_STAGED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[DIFS_STAGING_PACKED - 1] = PointerGetDatum(staged->packed);
	values[DIFS_STAGING_BYTES - 1] = staged->bytes;
	values[DIFS_STAGING_PLACEMENT - 1] = Int64GetDatum(staged->class.placement);
	difs_row_insert(DIFS_REL_STAGING, values, NULL);
	pfree(DatumGetPointer(values[DIFS_STAGING_TIER - 1]));
}

void
difs_staging_drop(DifsStaged *staged)
{
	pfree(staged->packed);
	pfree(DatumGetPointer(staged->bytes));
	pfree(staged);
}

DifsStaged *
difs_staging_find(uint64 segment)
{
	DifsStaged *staged;
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple tuple;
	Datum values[DIFS_STAGING_COLUMNS];
	bool nulls[DIFS_STAGING_COLUMNS];

	DIFS_KEY(&key, DIFS_STAGING_SEGMENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) segment));
	scan = difs_scan_begin(DIFS_REL_STAGING, DIFS_REL_STAGING_PKEY, 1, &key);
	tuple = difs_scan_next(scan, false);
	if (tuple == NULL)
	{
		difs_scan_end(scan);
		return NULL;
	}
	heap_deform_tuple(heap_copytuple(tuple), difs_scan_desc(scan), values, nulls);
	difs_scan_end(scan);

	staged = palloc0(sizeof(DifsStaged));
	staged->segment = segment;
	staged->class.replicas = DatumGetInt16(values[DIFS_STAGING_REPLICAS - 1]);
	strlcpy(staged->class.tier, TextDatumGetCString(values[DIFS_STAGING_TIER - 1]), sizeof(staged->class.tier));
	staged->class.placement = DatumGetInt64(values[DIFS_STAGING_PLACEMENT - 1]);
	staged->packed = DatumGetByteaPCopy(values[DIFS_STAGING_PACKED - 1]);
	staged->bytes = values[DIFS_STAGING_BYTES - 1];
	return staged;
}

bytea *
difs_staging_slice(const DifsStaged *staged, uint32 offset, uint32 length)
{
	bytea *slice = DatumGetByteaPSlice(staged->bytes, offset, length);

	return VARSIZE_ANY_EXHDR(slice) == length ? slice : NULL;
}

bytea *
difs_staging_verified(const DifsStaged *staged, DifsSegment *header, DifsError *error)
{
	const uint8 *packed = (const uint8 *) VARDATA_ANY(staged->packed);
	bytea *bytes;

	if (!difs_segment_unpack(packed, VARSIZE_ANY_EXHDR(staged->packed), header, error))
		return NULL;
	bytes = difs_staging_slice(staged, 0, header->stored_length);
	if (bytes == NULL)
	{
		difs_error_set(error, DIFS_ERROR_CORRUPT, "it is cut short");
		return NULL;
	}
	return difs_segment_verify(packed, 0, VARDATA_ANY(bytes), header->stored_length, error) ? bytes : NULL;
}

uint64
difs_staging_count(DifsDatabase *database)
{
	Relation table = difs_table_open(DIFS_REL_STAGING, AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan = table_beginscan(table, snapshot, 0, NULL);
	uint64 bytes = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool null;

		CHECK_FOR_INTERRUPTS();
		bytes += DatumGetInt32(slot_getattr(slot, DIFS_STAGING_STORED_LENGTH, &null));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(table, NoLock);
	pg_atomic_write_u64(&database->staged_bytes, bytes);
	return bytes;
}

/* Could the class be served if all servers ran? */
static bool
enough_servers(DifsDatabase *database, const DifsClass *class)
{
	int fitting = 0;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_SERVERS; i++)
	{
		const DifsSharedServer *server = &database->servers[i];

		fitting += server->id != 0 && server->accepts_groups && strcmp(server->tier, class->tier) == 0;
	}
	LWLockRelease(&difs_shared->lock);
	return fitting >= class->replicas;
}

static uint64
next_segment(DifsDatabase *database)
{
	uint64 segment;

	while ((segment = difs_segment_next(database)) == 0)
		difs_segment_refill(database);
	return segment;
}

static bytea *
copy_bytes(const void *bytes, Size length)
{
	bytea *copy = palloc(VARHDRSZ + length);

	SET_VARSIZE(copy, VARHDRSZ + length);
	memcpy(VARDATA(copy), bytes, length);
	return copy;
}

/* Counts bytes that are about to be staged. */
static void
reserve(DifsDatabase *database, uint32 length)
{
	uint64 limit = (uint64) difs_staging_limit * 1024 * 1024;
	uint64 before = pg_atomic_fetch_add_u64(&database->staged_bytes, length);

	if (before + length <= limit)
		return;
	before = difs_staging_count(database);
	if (before + length > limit)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_FULL),
				 errmsg("too few chunk servers can be reached, and staging is full"),
				 errdetail("%llu bytes are staged, and difs.staging_limit is %d MB.", (unsigned long long) before,
						   difs_staging_limit),
				 errhint("Bring chunk servers back (see the view difs.servers), and staging empties by itself; "
						 "or raise difs.staging_limit.")));
	pg_atomic_fetch_add_u64(&database->staged_bytes, length);
}
