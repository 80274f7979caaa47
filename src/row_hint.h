/*
 * row_hint.h - where rows were found last: the way around the index.
 *
 * To find a row by its key, an index is opened, locked and descended: ten times
 * the work of looking at the row itself.  So who has found a row notes its place (block, item, and the buffer that the block
 * was in) in shared memory, and who looks for the same key next, in any backend, looks there
 * first.
 *
 * A hint is never believed.  The buffer must still hold that block of that table, the item must be a
 * row that the active snapshot sees, and the caller compares the row with the key.  Keys are unique
 * among the rows that one snapshot sees, so a row that passes is what the index would have found.  Whatever else happened
 * to it (update, deletion, rollback, vacuum, rewriting, truncation, another table in its place, eviction), it does not
 * pass, and the index is asked.  So nothing has to be invalidated, and old snapshots see what they saw.
 *
 * Not in SERIALIZABLE: there the index scan is also what remembers what was looked for.
 */
#ifndef DIFS_ROW_HINT_H
#define DIFS_ROW_HINT_H

#include "postgres.h"

#include "access/htup.h"
#include "common/hashfn.h"
#include "storage/buf.h"
#include "utils/relcache.h"

#include "src/catalog.h"

/* A row in its page, which is pinned until difs_row_hint_release(). */
typedef struct DifsHintedRow
{
	HeapTupleData tuple;
	Buffer buffer;
} DifsHintedRow;

extern Size difs_row_hint_shmem_size(void);
extern void difs_row_hint_shmem_init(void *shared, bool found);

/* The key as a number, for note and find. */
static inline uint64
difs_row_hint_number(DifsRelation table, int64 first, int64 second)
{
	return (uint64) first * UINT64CONST(0x9E3779B97F4A7C15) ^ (uint64) second * UINT64CONST(0xD6E8FEB86659FD93) ^
		((uint64) table << 56);
}

static inline uint64
difs_row_hint_name(DifsRelation table, int64 first, const char *name, size_t length)
{
	return hash_bytes_extended((const unsigned char *) name, (int) length, (uint64) first ^ ((uint64) table << 56));
}

/* A row that may have this key and is visible; the table is open and locked. If false, there is no hint that serves. */
extern bool difs_row_hint_find(Relation table, uint64 key, DifsHintedRow *row);
extern void difs_row_hint_release(DifsHintedRow *row);

/* The row with this key was found here, in a buffer that is pinned. */
extern void difs_row_hint_note(uint64 key, ItemPointer place, Buffer buffer);

#endif
