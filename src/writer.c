/*
 * writer.c - tables open for insertions, kept between them (writer.h).
 *
 * As with the scans of scan.c, what is kept holds memory and pointers to relations,
 * but no lock, no pin and no reference: those belong to a transaction.  What PostgreSQL
 * says about changed relations throws it away.
 *
 * Indexes are not locked one by one: whatever could take one away or exchange it
 * needs a lock on the table, or waits for those that hold one, that conflicts with ours.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "src/compat.h"
#include "src/writer.h"

static DifsWriter *kept[DIFS_RELATIONS][2]; /* by table, and speculative or not; NULL: none */
static uint64 changes = 0;					/* of any relation, as far as we have heard */

static DifsWriter *take_kept(DifsRelation table, bool speculative, Relation rel);
static DifsWriter *make(DifsRelation table, bool speculative, Relation rel);
static void open_indexes(DifsWriter *writer);
static void close_indexes(DifsWriter *writer);
static void forget_kept(Datum unused, Oid changed);

DifsWriter *
difs_writer_open(DifsRelation table, bool speculative)
{
	Relation rel = difs_table_open(table, RowExclusiveLock);
	DifsWriter *writer = take_kept(table, speculative, rel);

	if (writer == NULL)
		writer = make(table, speculative, rel);
	else
		open_indexes(writer);
	writer->changes = changes;
	return writer;
}

void
difs_writer_close(DifsWriter *writer)
{
	DifsWriter **place = &kept[writer->name][writer->speculative];

	ExecClearTuple(writer->slot);
	ResetPerTupleExprContext(writer->estate);
	close_indexes(writer);
	table_close(writer->table, NoLock);
	if (writer->changes != changes || *place != NULL)
	{
		MemoryContextDelete(writer->context);
		return;
	}
	MemoryContextSetParent(writer->context, CacheMemoryContext);
	*place = writer;
}

TupleTableSlot **
difs_writer_slots(DifsWriter *writer, int count)
{
	MemoryContext caller = MemoryContextSwitchTo(writer->context);

	if (writer->slots == NULL)
		writer->slots = palloc(sizeof(TupleTableSlot *) * DIFS_ROWS_AT_ONCE);
	for (; writer->slot_count < count; writer->slot_count++)
		writer->slots[writer->slot_count] = MakeSingleTupleTableSlot(writer->slot->tts_tupleDescriptor,
																	 table_slot_callbacks(writer->table));
	MemoryContextSwitchTo(caller);
	return writer->slots;
}

static DifsWriter *
take_kept(DifsRelation table, bool speculative, Relation rel)
{
	DifsWriter *writer = kept[table][speculative];

	if (writer == NULL || writer->table != rel || writer->table_oid != RelationGetRelid(rel))
		return NULL;
	kept[table][speculative] = NULL;
	MemoryContextSetParent(writer->context, CurrentMemoryContext);
	return writer;
}

/* The slot has a description of the rows of its own, since that of the relation is counted by the transaction. */
static DifsWriter *
make(DifsRelation table, bool speculative, Relation rel)
{
	static bool watching = false;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "difs writer", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	DifsWriter *writer = palloc0(sizeof(DifsWriter));

	if (!watching)
	{
		CacheRegisterRelcacheCallback(forget_kept, (Datum) 0);
		watching = true;
	}
	writer->context = context;
	writer->name = table;
	writer->speculative = speculative;
	writer->table = rel;
	writer->table_oid = RelationGetRelid(rel);
	writer->estate = CreateExecutorState();
	writer->slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)), table_slot_callbacks(rel));
	MemoryContextSwitchTo(writer->estate->es_query_cxt);
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, rel, 0, NULL, 0);
	ExecOpenIndices(writer->info, speculative);
	writer->index_oids = palloc(sizeof(Oid) * Max(writer->info->ri_NumIndices, 1));
	for (int i = 0; i < writer->info->ri_NumIndices; i++)
		writer->index_oids[i] = RelationGetRelid(writer->info->ri_IndexRelationDescs[i]);
	MemoryContextSwitchTo(caller);
	return writer;
}

/* PostgreSQL finds its entries of the relation cache where they were, or has told us. */
static void
open_indexes(DifsWriter *writer)
{
	for (int i = 0; i < writer->info->ri_NumIndices; i++)
	{
		Relation index = RelationIdGetRelation(writer->index_oids[i]);

		if (!RelationIsValid(index))
			elog(ERROR, "could not open index %u", writer->index_oids[i]);
		writer->info->ri_IndexRelationDescs[i] = index;
	}
}

static void
close_indexes(DifsWriter *writer)
{
	for (int i = 0; i < writer->info->ri_NumIndices; i++)
	{
		DIFS_INSERT_CLEANUP(writer->info->ri_IndexRelationDescs[i], writer->info->ri_IndexRelationInfo[i]);
		RelationClose(writer->info->ri_IndexRelationDescs[i]);
		writer->info->ri_IndexRelationDescs[i] = NULL;
	}
}

/* A relation's entry in the relation cache is no longer right; InvalidOid means all of them. Writers in use are not kept at their end. */
static void
forget_kept(Datum unused, Oid changed)
{
	changes++;
	for (int i = 0; i < DIFS_RELATIONS; i++)
	{
		for (int speculative = 0; speculative < 2; speculative++)
		{
			DifsWriter *writer = kept[i][speculative];
			bool concerned = writer != NULL && (!OidIsValid(changed) || changed == writer->table_oid);

			for (int j = 0; writer != NULL && !concerned && j < writer->info->ri_NumIndices; j++)
				concerned = changed == writer->index_oids[j];
			if (!concerned)
				continue;
			kept[i][speculative] = NULL;
			MemoryContextDelete(writer->context);
		}
	}
}
