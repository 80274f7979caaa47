/*
 * writer.h - a table of schema difs with its indexes, open for insertions.
 *
 * What the executor makes for each INSERT (its state, descriptions of the indexes,
 * a slot) costs more than the insertion itself, so it is kept for the next one, in
 * this or a later transaction.
 */
#ifndef DIFS_WRITER_H
#define DIFS_WRITER_H

#include "postgres.h"

#include "executor/executor.h"

#include "src/table.h"

typedef struct DifsWriter
{
	MemoryContext context; /* holds all of it, this included */
	DifsRelation name;
	bool speculative;
	Relation table;
	Oid table_oid; /* to be compared when the pointer may not be followed */
	EState *estate;
	ResultRelInfo *info; /* its indexes are open between open and close only */
	Oid *index_oids;
	TupleTableSlot *slot;
	TupleTableSlot **slots; /* for several rows at once: slot_count of them, NULL until they are wanted */
	int slot_count;
	uint64 changes; /* heard of when it was opened */
} DifsWriter;

/* Opens and locks the table; speculative: for ON CONFLICT. After an error it goes with the current memory context. */
extern DifsWriter *difs_writer_open(DifsRelation table, bool speculative);

/* Empty slots for count rows; whoever fills them clears them. */
extern TupleTableSlot **difs_writer_slots(DifsWriter *writer, int count);

/* The lock stays until the end of the transaction. */
extern void difs_writer_close(DifsWriter *writer);

#endif
