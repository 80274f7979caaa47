/*
 * table.h - rows of the tables in schema difs, without SPI: table.c opens the
 * tables, scan.c finds rows, row.c changes them.
 *
 * Reads are index scans under the active snapshot (so a statement sees what SQL
 * in its place would see); writes go through the executor's index maintenance.
 * What an UPDATE in SQL does about concurrent changes is done by
 * difs_row_lock(): READ COMMITTED follows the newest version of a row, higher
 * levels fail with 40001.
 *
 * No access rights are checked here: callers do that (tables are closed to
 * PUBLIC, and these functions are not SQL).  User triggers on these tables are
 * not fired, with one exception: rows of difs.inode are removed by
 * difs_inode_remove() (inode.h), by way of SPI, so that foreign keys of users
 * to difs.inode are obeyed.  NOT NULL is enforced here; CHECK constraints are
 * for SQL, and it is the C code's duty to write values that they allow.
 *
 * Locks on relations are kept until the end of the transaction, as SQL keeps
 * them: so nobody can drop the extension below a transaction that used it.
 */
#ifndef DIFS_TABLE_H
#define DIFS_TABLE_H

#include "postgres.h"

#include "access/htup.h"
#include "access/skey.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "src/catalog.h"

/* OID of a table, index or sequence of schema difs; cached; errors out (55000) if the extension is not installed in
 * this database. */
extern Oid difs_relation(DifsRelation relation);

/* Is the extension installed in this database? */
extern bool difs_installed(void);

/* Opens a table, after a look at the number of its columns: callers have arrays for those of catalog.h. Close it with
 * NoLock. */
extern Relation difs_table_open(DifsRelation table, LOCKMODE lock);

/*
 * The snapshot of a call.  Every SQL entry point that reads or writes these tables stands between begin and end;
 * code that no SQL function called (callbacks, workers) does too.  Nothing has to be done after an error: an abort
 * pops snapshots.
 *
 * write_begin: the newest snapshot that the isolation level allows, as each statement of a volatile SQL function
 * has it, so READ COMMITTED sees what others have just committed.  Refuses read-only transactions, standbys and
 * parallel mode; the function's SQL name ("difs_put") is for that message.  NULL: no such check, for rows that
 * complete what an earlier call was allowed to do (PRE_COMMIT).  And refuses a database that does not hold the claim to
 * its files (claim.h), which admin_begin does not: for what concerns servers and policies.
 *
 * read_begin: the snapshot of the statement that calls, if this transaction has written nothing since it was taken.
 * If it has ("SELECT difs_put('/a', …), difs_get('/a')"), what write_begin would take: the statement's snapshot
 * with a newer command id would not do, because the put may have built on a row that somebody committed after that
 * snapshot.  Allowed everywhere.
 *
 * All of them take in what others have committed that this process keeps outside snapshots: volumes (volume.c) and rights on directories
 * (perm.c).
 *
 * The snapshot that they push belongs to nobody else, so difs_command_done() may change its command id.
 */
extern void difs_write_begin(const char *function);
extern void difs_admin_begin(const char *function);
extern void difs_write_end(void);
extern void difs_read_begin(void);
extern void difs_read_end(void);

/* One condition of a scan: column of the table, btree strategy, comparison procedure (F_INT8EQ …), value. The
 * collation is "C". The keys of an index go from its first column on without a gap. */
#define DIFS_KEY(key, column, strategy, procedure, value) \
	ScanKeyInit((key), (column), (strategy), (procedure), (value))
#define DIFS_MAX_KEYS 4

/* The first row that an index finds under the active snapshot, copied into the current memory context; NULL if there
 * is none. */
extern HeapTuple difs_row_find(DifsRelation table, DifsRelation index, int key_count, ScanKey keys);

/* An ordered scan under the active snapshot, which must stay in force until its end. next returns a tuple that is
 * valid until the call after, or NULL. again starts anew with other keys, as many as before, which is much cheaper
 * than another begin. note: the row that next has returned has this key (row_hint.h). Whether rows that the caller itself writes while the scan goes on are seen is not defined. */
typedef struct DifsScan DifsScan;
extern DifsScan *difs_scan_begin(DifsRelation table, DifsRelation index, int key_count, ScanKey keys);
extern HeapTuple difs_scan_next(DifsScan *scan, bool backward);
extern void difs_scan_again(DifsScan *scan, ScanKey keys);
extern TupleDesc difs_scan_desc(DifsScan *scan);
extern void difs_scan_note(DifsScan *scan, uint64 key);
extern void difs_scan_end(DifsScan *scan);

/* What insert, insert_unless, update and delete have written is seen by later scans: they end with
 * difs_command_done(). */

/* Inserts a row; a violated unique key is PostgreSQL's own error (23505). nulls may be NULL: no column is null. */
extern void difs_row_insert(DifsRelation table, Datum *values, bool *nulls);

/* Inserts up to DIFS_ROWS_AT_ONCE rows, whose columns follow each other in values and nulls, with less WAL and work than one by one. */
#define DIFS_ROWS_AT_ONCE 64
extern void difs_rows_insert(DifsRelation table, int count, const Datum *values, const bool *nulls);

/* Inserts a row unless one with the same key is there in the unique index named; waits for a concurrent inserter of
 * that key to end. False if there is one now. What INSERT … ON CONFLICT DO NOTHING does: in READ COMMITTED the active
 * snapshot may not see that row yet (difs_write_end(), difs_write_begin() takes one that does); REPEATABLE READ and
 * above: 40001 if the snapshot does not see it. */
extern bool difs_row_insert_unless(DifsRelation table, DifsRelation index, Datum *values, bool *nulls);

/* The same where the caller has just seen that there is no such row: tries before it looks. */
extern bool difs_row_insert_missing(DifsRelation table, DifsRelation index, Datum *values, bool *nulls);

/* Changes and removes a row that difs_row_lock() returned (or that this transaction made, or that is guarded by a lock on another). Columns
 * of unique keys cannot be changed. update, REPEATABLE READ and above: 40001 if it was changed since the snapshot. */
extern void difs_row_update(DifsRelation table, HeapTuple tuple, Datum *values, bool *nulls, bool *replace);
extern void difs_row_delete(DifsRelation table, HeapTuple tuple);

/* Locks a row against change and removal (FOR NO KEY UPDATE: the foreign key checks of others do not wait for it),
 * waiting for others. The tuple comes from a scan under the active snapshot. On return *tuple is the newest version,
 * which this transaction may change (copied). False if the row is gone. REPEATABLE READ and above: 40001 if it was
 * changed since the snapshot. */
extern bool difs_row_lock(DifsRelation table, HeapTuple *tuple);

/* The same, but false, without waiting or an error, if somebody else has locked or changed the row. */
extern bool difs_row_try_lock(DifsRelation table, HeapTuple *tuple);

/* The same in all isolation levels, for rows that only say how many there are of something: the newest version, whatever the snapshot. Without
 * wait, a row that somebody else has locked is not waited for. */
typedef enum DifsRowState
{
	DIFS_ROW_LOCKED,
	DIFS_ROW_BUSY, /* not with wait */
	DIFS_ROW_GONE
} DifsRowState;
extern DifsRowState difs_row_lock_newest(DifsRelation table, HeapTuple *tuple, bool wait);

/* nextval() of a sequence, without a check of rights. */
extern int64 difs_sequence_next(DifsRelation sequence);

/* Makes later scans of this command see what was just written: CommandCounterIncrement() and a fresh command id in
 * the active snapshot. */
extern void difs_command_done(void);

#endif
