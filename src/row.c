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

/* A table opened for an insertion or for the index entries of an update. */
typedef struct Writer
{
	Relation	table;
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *slot;
} Writer;

static void writer_open(Writer *writer, DifsRelation table, bool speculative);
static void writer_store(Writer *writer, Datum *values, bool *nulls);
static void writer_close(Writer *writer);
static void require_visible(Writer *writer, ItemPointer tid);
static bool insert_speculatively(Writer *writer, List *arbiters);

void
difs_row_insert(DifsRelation table, Datum *values, bool *nulls)
{
	Writer		writer;

	writer_open(&writer, table, false);
	writer_store(&writer, values, nulls);
	table_tuple_insert(writer.table, writer.slot, GetCurrentCommandId(true), 0, NULL);
	if (writer.info->ri_NumIndices > 0)
		ExecInsertIndexTuples(writer.info, writer.slot, writer.estate, false, false, NULL, NIL, false);
	writer_close(&writer);

	difs_command_done();
}

bool
difs_row_insert_unless(DifsRelation table, DifsRelation index, Datum *values, bool *nulls)
{
	Writer		writer;
	List	   *arbiters = list_make1_oid(difs_relation(index));
	ItemPointerData conflict;
	ItemPointerData none;
	bool		inserted = false;

	ItemPointerSetInvalid(&none);
	writer_open(&writer, table, true);
	writer_store(&writer, values, nulls);

	while (!inserted)
	{
		CHECK_FOR_INTERRUPTS();

		if (!ExecCheckIndexConstraints(writer.info, writer.slot, writer.estate, &conflict, &none, arbiters))
		{
			require_visible(&writer, &conflict);
			break;
		}
		inserted = insert_speculatively(&writer, arbiters);
	}

	writer_close(&writer);
	list_free(arbiters);
	if (inserted)
		difs_command_done();

	return inserted;
}

bool
difs_row_lock(DifsRelation table, HeapTuple *tuple)
{
	Relation	rel = difs_table_open(table, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	uint8		flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	TM_FailureData failure;
	TM_Result	result;

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

/* The indexes are opened only if the new version needs entries in them, which it hardly ever does: keys stay, so
 * updates are HOT. */
void
difs_row_update(DifsRelation table, HeapTuple tuple, Datum *values, bool *nulls, bool *replace)
{
	Relation	rel = difs_table_open(table, RowExclusiveLock);
	HeapTuple	changed = heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TU_UpdateIndexes indexes;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	TM_Result	result;

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
		Writer		writer;

		writer_open(&writer, table, false);
		ExecInsertIndexTuples(writer.info, slot, writer.estate, true, false, NULL, NIL, indexes == TU_Summarizing);
		writer_close(&writer);
	}

	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(changed);
	table_close(rel, NoLock);

	difs_command_done();
}

void
difs_row_delete(DifsRelation table, HeapTuple tuple)
{
	Relation	rel = difs_table_open(table, RowExclusiveLock);

	simple_table_tuple_delete(rel, &tuple->t_self, GetActiveSnapshot());
	table_close(rel, NoLock);

	difs_command_done();
}

static void
writer_open(Writer *writer, DifsRelation table, bool speculative)
{
	MemoryContext old;

	writer->table = difs_table_open(table, RowExclusiveLock);
	writer->estate = CreateExecutorState();

	old = MemoryContextSwitchTo(writer->estate->es_query_cxt);
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, writer->table, 0, NULL, 0);
	ExecOpenIndices(writer->info, speculative);
	writer->slot = table_slot_create(writer->table, NULL);
	MemoryContextSwitchTo(old);
}

/* The slot points at the values rather than copying them. */
static void
writer_store(Writer *writer, Datum *values, bool *nulls)
{
	TupleTableSlot *slot = writer->slot;
	TupleDesc	desc = RelationGetDescr(writer->table);

	for (int i = 0; i < desc->natts; i++)
	{
		bool		null = nulls != NULL && nulls[i];

		if (null && TupleDescAttr(desc, i)->attnotnull)
			elog(ERROR, "null value in column \"%s\" of relation difs.%s",
				 NameStr(TupleDescAttr(desc, i)->attname), RelationGetRelationName(writer->table));
		slot->tts_values[i] = null ? (Datum) 0 : values[i];
		slot->tts_isnull[i] = null;
	}
	ExecStoreVirtualTuple(slot);
}

static void
writer_close(Writer *writer)
{
	ExecDropSingleTupleTableSlot(writer->slot);
	ExecCloseIndices(writer->info);
	FreeExecutorState(writer->estate);
	table_close(writer->table, NoLock);
}

/* A transaction with one snapshot for all its statements cannot go on from a row that this snapshot does not see. */
static void
require_visible(Writer *writer, ItemPointer tid)
{
	TupleTableSlot *slot;
	bool		visible;

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
insert_speculatively(Writer *writer, List *arbiters)
{
	TransactionId xid = GetCurrentTransactionId();
	uint32		token = SpeculativeInsertionLockAcquire(xid);
	bool		conflict = false;

	table_tuple_insert_speculative(writer->table, writer->slot, GetCurrentCommandId(true), 0, NULL, token);
	ExecInsertIndexTuples(writer->info, writer->slot, writer->estate, false, true, &conflict, arbiters, false);
	table_tuple_complete_speculative(writer->table, writer->slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);

	return !conflict;
}
