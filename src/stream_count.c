/*
 * stream_count.c - segments on their way, counted by the states of their slots (stream.h). Others go on meanwhile.
 */
#include "postgres.h"

#include "src/stream.h"

void
difs_stream_count(int database, DifsStreamCount *count)
{
	*count = (DifsStreamCount){.oldest = DT_NOEND};
	for (int i = 0; i < difs_stream_slot_count(); i++)
	{
		DifsSlot *slot = difs_stream_slot(i);
		uint32 state = pg_atomic_read_u32(&slot->state);

		if ((state != DIFS_SLOT_QUEUED && state != DIFS_SLOT_SENT) || slot->database != database)
			continue;
		*(state == DIFS_SLOT_SENT ? &count->in_flight : &count->queued) += 1;
		*(state == DIFS_SLOT_SENT ? &count->in_flight_bytes : &count->queued_bytes) += slot->stored_length;
		count->oldest = Min(count->oldest, slot->queued_at);
	}
}
