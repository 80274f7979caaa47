/*
 * row_hint.c - where rows were found last (row_hint.h).
 *
 * Shared state: a table of hints, direct-mapped by the hash of the key, two or
 * more for a page of shared_buffers, because a row in no buffer needs none: below 1 % of that memory.  No
 * lock: what is read while somebody writes it is a wrong hint, and a hint is looked at
 * before anything follows from it.
 *
 * State of this process: how many hints it has looked at.  One in so many is passed over, because a page that is read by a
 * hint does not count as used for PostgreSQL's choice of buffers, and is not pruned, while an index scan does
 * both.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "src/compat.h"
#include "src/row_hint.h"

#define HINTS_FOR_A_PAGE 2
#define PASS_OVER 31 /* odd, so that it is not always the same one of the few that a call looks at */

typedef struct RowHint
{
	pg_atomic_uint32 check;	 /* the half of the hash that did not choose it */
	pg_atomic_uint32 buffer; /* 0: none */
	pg_atomic_uint32 block;
	pg_atomic_uint32 item;
} RowHint;

static RowHint *hints = NULL;
static uint32 looks = 0;

static uint32 hint_count(void);
static RowHint *choose(uint64 key, uint32 *check);
static bool take_item(Relation table, ItemPointer place, Snapshot snapshot, DifsHintedRow *row);

Size
difs_row_hint_shmem_size(void)
{
	return mul_size(hint_count(), sizeof(RowHint));
}

void
difs_row_hint_shmem_init(void *shared, bool found)
{
	hints = shared;
	for (uint32 i = 0; !found && i < hint_count(); i++)
	{
		pg_atomic_init_u32(&hints[i].check, 0);
		pg_atomic_init_u32(&hints[i].buffer, 0);
		pg_atomic_init_u32(&hints[i].block, 0);
		pg_atomic_init_u32(&hints[i].item, 0);
	}
}

bool
difs_row_hint_find(Relation table, uint64 key, DifsHintedRow *row)
{
	RowHint *hint;
	uint32 check;
	BlockNumber block;
	ItemPointerData place;

	if (hints == NULL || IsolationIsSerializable() || table->rd_rel->relam != HEAP_TABLE_AM_OID || ++looks % PASS_OVER == 0)
		return false;
	hint = choose(key, &check);
	row->buffer = (Buffer) pg_atomic_read_u32(&hint->buffer);
	if (pg_atomic_read_u32(&hint->check) != check || row->buffer < 1 || row->buffer > NBuffers)
		return false;
	block = pg_atomic_read_u32(&hint->block);
	ItemPointerSet(&place, block, (OffsetNumber) pg_atomic_read_u32(&hint->item));
	return ReadRecentBuffer(table->rd_locator, MAIN_FORKNUM, block, row->buffer) &&
		take_item(table, &place, GetActiveSnapshot(), row);
}

void
difs_row_hint_release(DifsHintedRow *row)
{
	ReleaseBuffer(row->buffer);
}

void
difs_row_hint_note(uint64 key, ItemPointer place, Buffer buffer)
{
	RowHint *hint;
	uint32 check;

	if (hints == NULL || BufferIsLocal(buffer))
		return;
	hint = choose(key, &check);
	pg_atomic_write_u32(&hint->buffer, (uint32) buffer);
	pg_atomic_write_u32(&hint->block, ItemPointerGetBlockNumber(place));
	pg_atomic_write_u32(&hint->item, ItemPointerGetOffsetNumber(place));
	pg_atomic_write_u32(&hint->check, check);
}

static uint32
hint_count(void)
{
	return pg_nextpower2_32((uint32) NBuffers) * HINTS_FOR_A_PAGE;
}

/* Databases have the same numbers and names. Mixed as in cache.c, by the finalizer of splitmix64. */
static RowHint *
choose(uint64 key, uint32 *check)
{
	uint64 hash = key + MyDatabaseId * UINT64CONST(0xA24BAED4963EE407);

	hash = (hash ^ (hash >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	hash = (hash ^ (hash >> 27)) * UINT64CONST(0x94D049BB133111EB);
	hash ^= hash >> 31;
	*check = (uint32) (hash >> 32);
	return &hints[(uint32) hash & (hint_count() - 1)];
}

/* The page is pinned, and stays so if there is a visible row: then that does not move. */
static bool
take_item(Relation table, ItemPointer place, Snapshot snapshot, DifsHintedRow *row)
{
	OffsetNumber number = ItemPointerGetOffsetNumberNoCheck(place);
	Page page = BufferGetPage(row->buffer);
	bool visible = false;

	LockBuffer(row->buffer, BUFFER_LOCK_SHARE);
	TestForOldSnapshot(snapshot, table, page);
	if (number >= FirstOffsetNumber && number <= PageGetMaxOffsetNumber(page))
	{
		ItemId item = PageGetItemId(page, number);

		if (ItemIdIsNormal(item))
		{
			row->tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
			row->tuple.t_len = ItemIdGetLength(item);
			row->tuple.t_tableOid = RelationGetRelid(table);
			row->tuple.t_self = *place;
			visible = HeapTupleSatisfiesVisibility(&row->tuple, snapshot, row->buffer);
		}
	}
	LockBuffer(row->buffer, BUFFER_LOCK_UNLOCK);
	if (!visible)
		ReleaseBuffer(row->buffer);
	return visible;
}
