/*
 * pending.h - what this transaction has handed to the streamer.
 *
 * Each entry is a segment of a version that this transaction makes.  Its
 * manifest row can only be written when the segment is stored (only then its
 * group is known), so the list is settled at the latest in the PRE_COMMIT or
 * PRE_PREPARE callback, and earlier for a file that the transaction reads itself.
 *
 * Every entry knows the nesting level of the subtransaction that made it, and
 * that of the one that wrote its row.  A subtransaction that is rolled back drops
 * its entries; an entry of an outer level whose row it had written becomes
 * unwritten again.  One that ends well hands everything to its parent's level.
 *
 * A segment that could not be stored and may be staged is written to difs.staging
 * (staging.h) with its manifest row; its bytes stay in this process as long as an
 * inner subtransaction that wrote them may be rolled back.
 *
 * What a write keeps of a segment that it cuts is an entry as well, which has nothing
 * to wait for: the rows of left part, new bytes and right part are then one record in WAL.
 *
 * A rollback abandons what is still on its way: the streamer frees those slots,
 * and their segments are orphans, recognised by the xid in their headers.
 */
#ifndef DIFS_PENDING_H
#define DIFS_PENDING_H

#include "postgres.h"

#include "src/version.h"

/* Adds the segment in a slot that difs_stream_finish() has queued: bytes [file_offset, file_offset + length) of that version. */
extern void difs_pending_add(int slot, int64 ino, int32 version, int64 file_offset, int32 length);

/* Adds a part of a segment that is stored already, for the row of that version to be written together with those of what is new. */
extern void difs_pending_share(int64 ino, int32 version, const DifsExtent *extent);

/* Waits for this inode's segments and writes their manifest rows, so that scans see them. Cheap if there are none. */
extern void difs_pending_settle(int64 ino);

/* Registers the transaction callbacks and the exit hook, once. From _PG_init. */
extern void difs_pending_install(void);

#endif
