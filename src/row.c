/*
 * row.c - what changes rows of the tables in schema difs, without SPI.
 *
 * No state here.  These are the steps of the executor's INSERT, INSERT … ON
 * CONFLICT DO NOTHING, SELECT … FOR NO KEY UPDATE, UPDATE and DELETE, without
 * plans, triggers and CHECK constraints.  Each ends with a new command id, so
 * that the next step sees its row.  After an error or a crash, the transaction
 * takes it all back.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/compat.h"
#include "src/table.h"
#include "src/writer.h"

static void store(DifsWriter *writer, TupleTableSlot *slot, const Datum *values, const bool *nulls);
static bool insert_unless(DifsRelation table, DifsRelation index, Datum *values, bool *nulls, bool look);
static void require_visible(DifsWriter *writer, ItemPointer tid);
static bool insert_speculatively(DifsWriter *writer, List *arbiters);

void
difs_row_insert(DifsRelation table, Datum *values, bool *nulls)
{
	DifsWriter *writer = difs_writer_open(table, false);

	store(writer, writer->slot, values, nulls);
	table_tuple_insert(writer->table, writer->slot, GetCurrentCommandId(true), 0, NULL);
	if (writer->info->ri_NumIndices > 0)
		ExecInsertIndexTuples(writer->info, writer->slot, writer->estate, false, false, NULL, NIL, false);
	difs_writer_close(writer);

	difs_command_done();
}

/* As COPY does it: the rows of a page are one record in WAL. */
void
difs_rows_insert(DifsRelation table, int count, const Datum *values, const bool *nulls)
{
	DifsWriter *writer = difs_writer_open(table, false);
	int columns = RelationGetDescr(writer->table)->natts;
	TupleTableSlot **slots = difs_writer_slots(writer, count);

	for (int i = 0; i < count; i++)
		store(writer, slots[i], values + i * columns, nulls + i * columns);
	table_multi_insert(writer->table, slots, count, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < count; i++)
	{
		ExecInsertIndexTuples(writer->info, slots[i], writer->estate, false, false, NULL, NIL, false);
		ExecClearTuple(slots[i]);
	}
	difs_writer_close(writer);

	difs_command_done();
}

bool
difs_row_insert_unless(DifsRelation table, DifsRelation index, Datum *values, bool *nulls)
{
	return insert_unless(table, index, values, nulls, true);
}

bool
difs_row_insert_missing(DifsRelation table, DifsRelation index, Datum *values, bool *nulls)
{
	return insert_unless(table, index, values, nulls, false);
}

/* look: before the first attempt, too. Without, an attempt that meets the key leaves a dead row, but one that does not saves a descent. */
static bool
insert_unless(DifsRelation table, DifsRelation index, Datum *values, bool *nulls, bool look)
{
	DifsWriter *writer = difs_writer_open(table, true);
	List *arbiters = list_make1_oid(difs_relation(index));
	ItemPointerData conflict;
	ItemPointerData none;
	bool inserted = false;

	ItemPointerSetInvalid(&none);
	store(writer, writer->slot, values, nulls);

	while (!inserted)
	{
		CHECK_FOR_INTERRUPTS();

		if (look && !ExecCheckIndexConstraints(writer->info, writer->slot, writer->estate, &conflict, &none, arbiters))
		{
			require_visible(writer, &conflict);
			break;
		}
		inserted = insert_speculatively(writer, arbiters);
		look = true;
	}

	difs_writer_close(writer);
	list_free(arbiters);
	if (inserted)
		difs_command_done();

	return inserted;
}

bool
difs_row_lock(DifsRelation table, HeapTuple *tuple)
{
	Relation rel = difs_table_open(table, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	uint8 flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	TM_FailureData failure;
	TM_Result result;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;

	result = table_tuple_lock(rel, &(*tuple)->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(false),
							  LockTupleNoKeyExclusive, LockWaitBlock, flags, &failure);

	if (result == TM_Ok)
		*tuple = ExecCopySlotHeapTuple(slot);
	else if (result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "unexpected result of locking a row of \"%s\": %d", RelationGetRelationName(rel), (int) result);
	else if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update"));
	else if (result == TM_Updated)
		elog(ERROR, "locking a row of \"%s\" did not find its newest version", RelationGetRelationName(rel));

	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);

	return result == TM_Ok;
}

bool
difs_row_try_lock(DifsRelation table, HeapTuple *tuple)
{
	Relation rel = difs_table_open(table, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_FailureData failure;
	bool locked;

	locked = table_tuple_lock(rel, &(*tuple)->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(false),
							  LockTupleNoKeyExclusive, LockWaitSkip, 0, &failure) == TM_Ok;
	if (locked)
		*tuple = ExecCopySlotHeapTuple(slot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);

	return locked;
}

DifsRowState
difs_row_lock_newest(DifsRelation table, HeapTuple *tuple, bool wait)
{
	Relation rel = difs_table_open(table, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_FailureData failure;
	TM_Result result;

	result = table_tuple_lock(rel, &(*tuple)->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(false),
							  LockTupleNoKeyExclusive, wait ? LockWaitBlock : LockWaitSkip,
							  TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS | TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_Ok)
		*tuple = ExecCopySlotHeapTuple(slot);
	else if (result != TM_WouldBlock && result != TM_Deleted)
		elog(ERROR, "unexpected result of locking a row of \"%s\": %d", RelationGetRelationName(rel), (int) result);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return result == TM_Ok ? DIFS_ROW_LOCKED : (result == TM_WouldBlock ? DIFS_ROW_BUSY : DIFS_ROW_GONE);
}

/* The indexes are opened only if the new version needs entries in them, which it hardly ever does: keys stay, so
 * updates are HOT. */
void
difs_row_update(DifsRelation table, HeapTuple tuple, Datum *values, bool *nulls, bool *replace)
{
	Relation rel = difs_table_open(table, RowExclusiveLock);
	HeapTuple changed = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TU_UpdateIndexes indexes;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	TM_Result result;

	ExecForceStoreHeapTuple(changed, slot, false);
	result = table_tuple_update(rel, &tuple->t_self, slot, GetCurrentCommandId(true), GetActiveSnapshot(), InvalidSnapshot,
								true, &failure, &lock_mode, &indexes);
	if (result == TM_Updated && IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update"));
	if (result != TM_Ok)
		elog(ERROR, "unexpected result of updating a row of \"%s\": %d", RelationGetRelationName(rel), (int) result);

	if (indexes != TU_None)
	{
		DifsWriter *writer = difs_writer_open(table, false);

		ExecInsertIndexTuples(writer->info, slot, writer->estate, true, false, NULL, NIL, indexes == TU_Summarizing);
		difs_writer_close(writer);
	}

	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(changed);
	table_close(rel, NoLock);

	difs_command_done();
}

void
difs_row_delete(DifsRelation table, HeapTuple tuple)
{
	Relation rel = difs_table_open(table, RowExclusiveLock);

	simple_table_tuple_delete(rel, &tuple->t_self, GetActiveSnapshot());
	table_close(rel, NoLock);

	difs_command_done();
}

/* The slot points at the values rather than copying them. */
static void
store(DifsWriter *writer, TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	TupleDesc desc = RelationGetDescr(writer->table);

	for (int i = 0; i < desc->natts; i++)
	{
		bool null = nulls != NULL && nulls[i];

		if (null && TupleDescAttr(desc, i)->attnotnull)
			elog(ERROR, "null value in column \"%s\" of relation difs.%s",
				 NameStr(TupleDescAttr(desc, i)->attname), RelationGetRelationName(writer->table));
		slot->tts_values[i] = null ? (Datum) 0 : values[i];
		slot->tts_isnull[i] = null;
	}
	ExecStoreVirtualTuple(slot);
}

/* A transaction with one snapshot for all its statements cannot go on from a row that this snapshot does not see. */
static void
require_visible(DifsWriter *writer, ItemPointer tid)
{
	TupleTableSlot *slot;
	bool visible;

	if (!IsolationUsesXactSnapshot())
		return;

	slot = table_slot_create(writer->table, NULL);
	visible = table_tuple_fetch_row_version(writer->table, tid, GetActiveSnapshot(), slot);
	ExecDropSingleTupleTableSlot(slot);

	if (!visible)
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update"));
}

/* Inserts, and takes it back if somebody else got the key first. */
static bool
insert_speculatively(DifsWriter *writer, List *arbiters)
{
	TransactionId xid = GetCurrentTransactionId();
	uint32 token = SpeculativeInsertionLockAcquire(xid);
	bool conflict = false;

	table_tuple_insert_speculative(writer->table, writer->slot, GetCurrentCommandId(true), 0, NULL, token);
	ExecInsertIndexTuples(writer->info, writer->slot, writer->estate, false, true, &conflict, arbiters, false);
	table_tuple_complete_speculative(writer->table, writer->slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);

	return !conflict;
}
