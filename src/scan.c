/*
 * scan.c - index scans of the tables in schema difs.
 *
 * A read of a small file is four scans of one row each, and to set up a scan costs
 * as much as to find the row (a btree scan alone takes 27 KiB of memory).  So
 * a scan that has ended is parked, one for each index, and used again by the
 * next one, in this or a later transaction.
 *
 * What a parked scan holds: memory, below CacheMemoryContext, and pointers to relations in
 * the relation cache.  No lock, no pin, no reference: those belong to the
 * transaction, so relations are opened and locked for each use, and
 * buffers are let go before it is parked.  What the index takes memory for while it is scanned, it keeps in the scan, so
 * that is done in the scan's context.  PostgreSQL may free a relation that nobody refers to, but
 * says so before; then what is parked is thrown away.  A scan in use belongs to the
 * memory context of its caller, so after an error it goes with that, and what it
 * had pinned with the resource owner.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/compat.h"
#include "src/row_hint.h"
#include "src/table.h"

struct DifsScan
{
	MemoryContext context; /* holds all of it, this included */
	DifsRelation index_name;
	Relation table;
	Relation index;
	Oid table_oid; /* to be compared when the pointers may not be followed */
	Oid index_oid;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	int key_count;
	uint64 changes; /* heard of when it began */
};

static DifsScan *parked[DIFS_RELATIONS]; /* by index; NULL: none */
static uint64 changes = 0;				 /* of any relation, as far as we have heard */

static DifsScan *unpark(DifsRelation index_name, Relation table, Relation index, int key_count);
static DifsScan *make(DifsRelation index_name, Relation table, Relation index, int key_count);
static void forget_parked(Datum unused, Oid changed);
static void convert_keys(Relation index, int key_count, ScanKey keys, ScanKey converted);

HeapTuple
difs_row_find(DifsRelation table, DifsRelation index, int key_count, ScanKey keys)
{
	DifsScan *scan = difs_scan_begin(table, index, key_count, keys);
	HeapTuple tuple = difs_scan_next(scan, false);

	if (tuple != NULL)
		tuple = heap_copytuple(tuple);
	difs_scan_end(scan);

	return tuple;
}

/* Recovery may have ended since a parked scan was made. */
DifsScan *
difs_scan_begin(DifsRelation table_name, DifsRelation index_name, int key_count, ScanKey keys)
{
	Relation table = difs_table_open(table_name, AccessShareLock);
	Relation index = index_open(difs_relation(index_name), AccessShareLock);
	DifsScan *scan = unpark(index_name, table, index, key_count);

	if (scan == NULL)
		scan = make(index_name, table, index, key_count);
	scan->changes = changes;
	scan->scan->xs_snapshot = GetActiveSnapshot();
	scan->scan->xactStartedInRecovery = TransactionStartedDuringRecovery();
	scan->scan->ignore_killed_tuples = !scan->scan->xactStartedInRecovery;
	difs_scan_again(scan, keys);

	return scan;
}

void
difs_scan_again(DifsScan *scan, ScanKey keys)
{
	ScanKeyData converted[DIFS_MAX_KEYS];
	MemoryContext caller = MemoryContextSwitchTo(scan->context);

	convert_keys(scan->index, scan->key_count, keys, converted);
	index_rescan(scan->scan, converted, scan->key_count, NULL, 0);
	MemoryContextSwitchTo(caller);
}

HeapTuple
difs_scan_next(DifsScan *scan, bool backward)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->context);
	HeapTuple tuple = NULL;

	CHECK_FOR_INTERRUPTS();
	if (index_getnext_slot(scan->scan, backward ? BackwardScanDirection : ForwardScanDirection, scan->slot))
		tuple = ExecFetchSlotHeapTuple(scan->slot, false, NULL);
	MemoryContextSwitchTo(caller);

	return tuple;
}

TupleDesc
difs_scan_desc(DifsScan *scan)
{
	return RelationGetDescr(scan->table);
}

/* The row is in its buffer, since nobody has asked for a copy. */
void
difs_scan_note(DifsScan *scan, uint64 key)
{
	if (TTS_IS_BUFFERTUPLE(scan->slot))
		difs_row_hint_note(key, &scan->slot->tts_tid, ((BufferHeapTupleTableSlot *) scan->slot)->buffer);
}

/* To begin anew is what lets go of buffers. */
void
difs_scan_end(DifsScan *scan)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->context);

	index_rescan(scan->scan, scan->scan->keyData, scan->key_count, NULL, 0);
	MemoryContextSwitchTo(caller);
	ExecClearTuple(scan->slot);
	index_close(scan->index, NoLock);
	table_close(scan->table, NoLock);

	if (scan->changes != changes || parked[scan->index_name] != NULL)
	{
		MemoryContextDelete(scan->context);
		return;
	}
	MemoryContextSetParent(scan->context, CacheMemoryContext);
	parked[scan->index_name] = scan;
}

/* The parked scan of an index, for the caller; NULL if there is none that serves. */
static DifsScan *
unpark(DifsRelation index_name, Relation table, Relation index, int key_count)
{
	DifsScan *scan = parked[index_name];

	if (scan == NULL || scan->table != table || scan->index != index || scan->key_count != key_count)
		return NULL;
	parked[index_name] = NULL;
	MemoryContextSetParent(scan->context, CurrentMemoryContext);
	return scan;
}

/* The slot has a description of the rows of its own, since that of the relation is counted by the transaction. So is the reference to the index
 * that index_beginscan() takes beside ours: it is given back here, and index_endscan(), which would do it, is not used. */
static DifsScan *
make(DifsRelation index_name, Relation table, Relation index, int key_count)
{
	static bool watching = false;
	MemoryContext context;
	MemoryContext caller;
	DifsScan *scan;

	if (!watching)
	{
		CacheRegisterRelcacheCallback(forget_parked, (Datum) 0);
		watching = true;
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "difs scan", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	scan = palloc(sizeof(DifsScan));
	scan->context = context;
	scan->index_name = index_name;
	scan->table = table;
	scan->index = index;
	scan->table_oid = RelationGetRelid(table);
	scan->index_oid = RelationGetRelid(index);
	scan->key_count = key_count;
	scan->slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(table)), table_slot_callbacks(table));
	scan->scan = index_beginscan(table, index, GetActiveSnapshot(), NULL, key_count, 0);
	RelationDecrementReferenceCount(index);
	MemoryContextSwitchTo(caller);

	return scan;
}

/* A relation's entry in the relation cache is no longer right; InvalidOid means all of them. Scans in use are not parked at their end. */
static void
forget_parked(Datum unused, Oid changed)
{
	changes++;
	for (int i = 0; i < DIFS_RELATIONS; i++)
	{
		DifsScan *scan = parked[i];

		if (scan == NULL || (OidIsValid(changed) && changed != scan->table_oid && changed != scan->index_oid))
			continue;
		parked[i] = NULL;
		MemoryContextDelete(scan->context);
	}
}

/* From columns of the table to columns of the index. */
static void
convert_keys(Relation index, int key_count, ScanKey keys, ScanKey converted)
{
	int2vector *columns = &index->rd_index->indkey;

	if (key_count > DIFS_MAX_KEYS)
		elog(ERROR, "too many keys for a scan of index \"%s\"", RelationGetRelationName(index));

	for (int i = 0; i < key_count; i++)
	{
		int column = 0;

		while (column < columns->dim1 && columns->values[column] != keys[i].sk_attno)
			column++;
		if (column == columns->dim1)
			elog(ERROR, "column %d is not in index \"%s\"", (int) keys[i].sk_attno, RelationGetRelationName(index));

		converted[i] = keys[i];
		converted[i].sk_attno = column + 1;
	}
}
