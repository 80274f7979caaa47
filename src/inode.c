/*
 * inode.c - rows of difs.inode, and the locks by inode number.
 *
 * No state but the plan of one statement, which PostgreSQL makes anew when the
 * table has changed.  Rows and locks are the transaction's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "src/access.h"
#include "src/change.h"
#include "src/inode.h"
#include "src/policy.h"
#include "src/role_use.h"
#include "src/row_hint.h"
#include "src/settings.h"
#include "src/table.h"

/* Lock tags: PostgreSQL's own advisory locks have 1 or 2 in their last field, so a number other than these is ours
 * alone. */
#define LOCK_SPACE 0xD1F5
#define LOCK_BUCKETS 1024

typedef enum LockClass
{
	LOCK_CLASS_INODE = 1,
	LOCK_CLASS_RENAME = 2,
	LOCK_CLASS_USAGE = 3,
	LOCK_CLASS_QUOTA = 4
} LockClass;

static DifsScan *scan_inode(int64 ino);
static bool find_by_hint(int64 ino, uint64 key, DifsInode *inode);
static void decode(HeapTuple tuple, TupleDesc desc, DifsInode *inode);
static void find_own_row(DifsInode *inode);
static void set_rights(const DifsInode *inode, Datum *values, bool *nulls);
static int32 initial_mode(DifsKind kind);
static uint32 hash_ino(int64 ino);
static void lock_number(LockClass class, uint32 number, LOCKMODE mode);

bool
difs_inode_find(int64 ino, DifsInode *inode)
{
	uint64 key = difs_row_hint_number(DIFS_REL_INODE, ino, 0);
	DifsScan *scan;
	HeapTuple tuple;

	if (find_by_hint(ino, key, inode))
		return true;

	scan = scan_inode(ino);
	tuple = difs_scan_next(scan, false);
	if (tuple != NULL)
	{
		decode(tuple, difs_scan_desc(scan), inode);
		difs_scan_note(scan, key);
	}
	difs_scan_end(scan);

	return tuple != NULL;
}

void
difs_inode_free(DifsInode *inode)
{
	if (inode->target != NULL)
		pfree(unconstify(char *, inode->target));
	if (inode->access != NULL)
		pfree(inode->access);
	inode->target = NULL;
	inode->access = NULL;
}

void
difs_inode_prepare(int32 volume, DifsKind kind, const DifsInode *directory, DifsInode *inode)
{
	TimestampTz now = GetCurrentTimestamp();

	*inode = (DifsInode){
		.ino = difs_sequence_next(DIFS_REL_SEQ_INO),
		.volume = volume,
		.kind = kind,
		.mode = initial_mode(kind),
		.owner = GetUserId(),
		.nlink = 1,
		.atime = now,
		.mtime = now,
		.ctime = now,
		.btime = now,
		.own = true,
		.fresh = true,
	};
	if (directory != NULL)
	{
		inode->group = directory->group;
		inode->access = difs_access_inherit(directory->access, kind == DIFS_KIND_DIRECTORY);
	}
}

void
difs_inode_insert(DifsInode *inode)
{
	Datum values[DIFS_INODE_COLUMNS];
	bool nulls[DIFS_INODE_COLUMNS] = {false};

	values[DIFS_INODE_INO - 1] = Int64GetDatum(inode->ino);
	values[DIFS_INODE_VOLUME - 1] = Int32GetDatum(inode->volume);
	values[DIFS_INODE_KIND - 1] = CharGetDatum(inode->kind);
	values[DIFS_INODE_MODE - 1] = Int32GetDatum(inode->mode);
	values[DIFS_INODE_OWNER - 1] = ObjectIdGetDatum(inode->owner);
	values[DIFS_INODE_NLINK - 1] = Int32GetDatum(inode->nlink);
	values[DIFS_INODE_VERSION - 1] = Int32GetDatum(inode->version);
	values[DIFS_INODE_SIZE - 1] = Int64GetDatum(inode->size);
	values[DIFS_INODE_ATIME - 1] = TimestampTzGetDatum(inode->atime);
	values[DIFS_INODE_MTIME - 1] = TimestampTzGetDatum(inode->mtime);
	values[DIFS_INODE_CTIME - 1] = TimestampTzGetDatum(inode->ctime);
	values[DIFS_INODE_BTIME - 1] = TimestampTzGetDatum(inode->btime);
	nulls[DIFS_INODE_TARGET - 1] = inode->target == NULL;
	values[DIFS_INODE_TARGET - 1] = inode->target != NULL ? CStringGetTextDatum(inode->target) : (Datum) 0;
	nulls[DIFS_INODE_ATTRS - 1] = true;
	values[DIFS_INODE_EXTENT - 1] = Int32GetDatum(inode->new_extent);
	nulls[DIFS_INODE_EXTENT - 1] = inode->new_extent == 0;
	set_rights(inode, values, nulls);
	nulls[DIFS_INODE_LAST_VERSION - 1] = true;
	nulls[DIFS_INODE_LET_GO - 1] = true;
	nulls[DIFS_INODE_POLICY - 1] = true;

	difs_row_insert(DIFS_REL_INODE, values, nulls);
	inode->fresh = false;
}

bool
difs_inode_lock(DifsInode *inode)
{
	DifsScan *scan = scan_inode(inode->ino);
	HeapTuple tuple = difs_scan_next(scan, false);
	bool locked = tuple != NULL && difs_row_lock(DIFS_REL_INODE, &tuple);

	if (locked)
	{
		decode(tuple, difs_scan_desc(scan), inode);
		inode->row = tuple;
	}
	difs_scan_end(scan);

	return locked;
}

void
difs_inode_store_content(DifsInode *inode)
{
	if (inode->fresh)
	{
		difs_change_content(inode, NULL);
		difs_inode_insert(inode);
		return;
	}
	find_own_row(inode);
	difs_change_content(inode, inode->row);
	difs_inode_store_history(inode);
}

void
difs_inode_store_history(DifsInode *inode)
{
	Datum values[DIFS_INODE_COLUMNS] = {0};
	bool nulls[DIFS_INODE_COLUMNS] = {false};
	bool replace[DIFS_INODE_COLUMNS] = {false};

	values[DIFS_INODE_VERSION - 1] = Int32GetDatum(inode->version);
	values[DIFS_INODE_SIZE - 1] = Int64GetDatum(inode->size);
	values[DIFS_INODE_MTIME - 1] = TimestampTzGetDatum(inode->mtime);
	values[DIFS_INODE_CTIME - 1] = TimestampTzGetDatum(inode->ctime);
	values[DIFS_INODE_EXTENT - 1] = Int32GetDatum(inode->new_extent);
	nulls[DIFS_INODE_EXTENT - 1] = inode->new_extent == 0;
	replace[DIFS_INODE_EXTENT - 1] = true;
	values[DIFS_INODE_LAST_VERSION - 1] = Int32GetDatum(inode->last_version);
	values[DIFS_INODE_LET_GO - 1] = Int32GetDatum(inode->let_go);
	replace[DIFS_INODE_VERSION - 1] = true;
	replace[DIFS_INODE_SIZE - 1] = true;
	replace[DIFS_INODE_MTIME - 1] = true;
	replace[DIFS_INODE_CTIME - 1] = true;
	replace[DIFS_INODE_LAST_VERSION - 1] = inode->last_version != 0;
	replace[DIFS_INODE_LET_GO - 1] = inode->let_go != 0;

	difs_inode_update(inode, values, nulls, replace);
}

/* A row that this transaction made needs no lock, and is looked up here. */
static void
find_own_row(DifsInode *inode)
{
	ScanKeyData key;

	if (inode->row != NULL)
		return;
	Assert(inode->own);
	DIFS_KEY(&key, DIFS_INODE_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(inode->ino));
	inode->row = difs_row_find(DIFS_REL_INODE, DIFS_REL_INODE_PKEY, 1, &key);
	if (inode->row == NULL)
		elog(ERROR, "inode " INT64_FORMAT " is gone though this transaction made it", inode->ino);
}

int32
difs_inode_next_version(const DifsInode *inode)
{
	int32 last = Max(inode->version, inode->last_version);

	if (last == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("file \"%s\" cannot have more versions", difs_policy_path(inode))));
	return last + 1;
}

void
difs_inode_store_policy(DifsInode *inode)
{
	Datum values[DIFS_INODE_COLUMNS] = {0};
	bool nulls[DIFS_INODE_COLUMNS] = {false};
	bool replace[DIFS_INODE_COLUMNS] = {false};

	inode->policy = true;
	values[DIFS_INODE_POLICY - 1] = BoolGetDatum(true);
	replace[DIFS_INODE_POLICY - 1] = true;
	difs_inode_update(inode, values, nulls, replace);
}

void
difs_inode_store_rights(DifsInode *inode)
{
	Datum values[DIFS_INODE_COLUMNS] = {0};
	bool nulls[DIFS_INODE_COLUMNS] = {false};
	bool replace[DIFS_INODE_COLUMNS] = {false};

	set_rights(inode, values, nulls);
	values[DIFS_INODE_MODE - 1] = Int32GetDatum(inode->mode);
	values[DIFS_INODE_OWNER - 1] = ObjectIdGetDatum(inode->owner);
	values[DIFS_INODE_CTIME - 1] = TimestampTzGetDatum(inode->ctime);
	replace[DIFS_INODE_GRP - 1] = true;
	replace[DIFS_INODE_ACL_ROLE - 1] = true;
	replace[DIFS_INODE_ACL_MODE - 1] = true;
	replace[DIFS_INODE_MODE - 1] = true;
	replace[DIFS_INODE_OWNER - 1] = true;
	replace[DIFS_INODE_CTIME - 1] = true;

	difs_inode_update(inode, values, nulls, replace);
}

void
difs_inode_update(DifsInode *inode, Datum *values, bool *nulls, bool *replace)
{
	difs_row_update(DIFS_REL_INODE, inode->row, values, nulls, replace);
	heap_freetuple(inode->row);
	inode->row = NULL;
}

/*
 * As a foreign key's own queries do it: with the rights of the table's owner,
 * and through the executor.  What follows from it, foreign keys and then triggers of
 * the tables that they change, runs for the user again, as it would after his own
 * DELETE: never code of others with our rights.  It waits for who has locked the row, and
 * looks at the number of links after that.
 */
bool
difs_inode_remove(int64 ino, bool *policy)
{
	static SPIPlanPtr plan = NULL;
	Oid types[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(ino)};
	Relation table = difs_table_open(DIFS_REL_INODE, RowExclusiveLock);
	Oid owner = table->rd_rel->relowner;
	EState *estate;
	Oid user;
	int context;
	bool removed;
	bool no_policy = true;

	table_close(table, NoLock);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (plan == NULL)
	{
		SPIPlanPtr prepared = SPI_prepare("DELETE FROM difs.inode WHERE ino OPERATOR(pg_catalog.=) $1"
										  " AND nlink OPERATOR(pg_catalog.<=) 1 RETURNING policy",
										  1, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare the removal of an inode: %s", SPI_result_code_string(SPI_result));
		plan = prepared;
	}
	AfterTriggerBeginQuery();
	if (SPI_execute_snapshot(plan, values, NULL, InvalidSnapshot, InvalidSnapshot, false, false, 0) != SPI_OK_DELETE_RETURNING)
		elog(ERROR, "could not remove inode " INT64_FORMAT ": %s", ino, SPI_result_code_string(SPI_result));
	removed = SPI_processed > 0;
	if (removed)
		(void) SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &no_policy);
	*policy = !no_policy;
	SetUserIdAndSecContext(user, context);
	estate = CreateExecutorState();
	AfterTriggerEndQuery(estate);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	SPI_finish();
	difs_command_done();
	return removed;
}

void
difs_inode_share(const DifsInode *directory)
{
	if (!directory->own)
		lock_number(LOCK_CLASS_INODE, hash_ino(directory->ino), ShareLock);
}

void
difs_inode_exclude(const DifsInode *directory)
{
	if (!directory->own)
		lock_number(LOCK_CLASS_INODE, hash_ino(directory->ino), ExclusiveLock);
}

void
difs_volume_rename_lock(int32 volume)
{
	lock_number(LOCK_CLASS_RENAME, (uint32) volume, ExclusiveLock);
}

void
difs_volume_usage_lock(int32 volume, bool exclusive)
{
	lock_number(LOCK_CLASS_USAGE, (uint32) volume, exclusive ? ExclusiveLock : ShareLock);
}

void
difs_quota_lock(int64 root)
{
	lock_number(LOCK_CLASS_QUOTA, hash_ino(root), ExclusiveLock);
}

static DifsScan *
scan_inode(int64 ino)
{
	ScanKeyData key;

	DIFS_KEY(&key, DIFS_INODE_INO, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ino));
	return difs_scan_begin(DIFS_REL_INODE, DIFS_REL_INODE_PKEY, 1, &key);
}

static bool
find_by_hint(int64 ino, uint64 key, DifsInode *inode)
{
	Relation table = difs_table_open(DIFS_REL_INODE, AccessShareLock);
	TupleDesc desc = RelationGetDescr(table);
	DifsHintedRow row;
	bool found = false;
	bool null;

	if (difs_row_hint_find(table, key, &row))
	{
		found = ino == DatumGetInt64(heap_getattr(&row.tuple, DIFS_INODE_INO, desc, &null));
		if (found)
			decode(&row.tuple, desc, inode);
		difs_row_hint_release(&row);
	}
	table_close(table, NoLock);
	return found;
}

static void
decode(HeapTuple tuple, TupleDesc desc, DifsInode *inode)
{
	Datum values[DIFS_INODE_COLUMNS];
	bool nulls[DIFS_INODE_COLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);

	inode->ino = DatumGetInt64(values[DIFS_INODE_INO - 1]);
	inode->volume = DatumGetInt32(values[DIFS_INODE_VOLUME - 1]);
	inode->kind = (DifsKind) DatumGetChar(values[DIFS_INODE_KIND - 1]);
	inode->mode = DatumGetInt32(values[DIFS_INODE_MODE - 1]);
	inode->owner = DatumGetObjectId(values[DIFS_INODE_OWNER - 1]);
	inode->nlink = DatumGetInt32(values[DIFS_INODE_NLINK - 1]);
	inode->version = DatumGetInt32(values[DIFS_INODE_VERSION - 1]);
	inode->size = DatumGetInt64(values[DIFS_INODE_SIZE - 1]);
	inode->atime = DatumGetTimestampTz(values[DIFS_INODE_ATIME - 1]);
	inode->mtime = DatumGetTimestampTz(values[DIFS_INODE_MTIME - 1]);
	inode->ctime = DatumGetTimestampTz(values[DIFS_INODE_CTIME - 1]);
	inode->btime = DatumGetTimestampTz(values[DIFS_INODE_BTIME - 1]);
	inode->extent = nulls[DIFS_INODE_EXTENT - 1] ? 0 : DatumGetInt32(values[DIFS_INODE_EXTENT - 1]);
	inode->new_extent = 0;
	inode->target = nulls[DIFS_INODE_TARGET - 1] ? NULL : TextDatumGetCString(values[DIFS_INODE_TARGET - 1]);
	inode->group = nulls[DIFS_INODE_GRP - 1] ? InvalidOid : DatumGetObjectId(values[DIFS_INODE_GRP - 1]);
	inode->access = difs_access_decode(nulls[DIFS_INODE_ACL_ROLE - 1] ? NULL : &values[DIFS_INODE_ACL_ROLE - 1],
									   nulls[DIFS_INODE_ACL_MODE - 1] ? NULL : &values[DIFS_INODE_ACL_MODE - 1]);
	inode->last_version = nulls[DIFS_INODE_LAST_VERSION - 1] ? 0 : DatumGetInt32(values[DIFS_INODE_LAST_VERSION - 1]);
	inode->let_go = nulls[DIFS_INODE_LET_GO - 1] ? 0 : DatumGetInt32(values[DIFS_INODE_LET_GO - 1]);
	inode->policy = !nulls[DIFS_INODE_POLICY - 1];
	inode->row = NULL;
	inode->fresh = false;

	/* a row that this transaction wrote may be the update of one that others see: not its own then */
	inode->own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)) &&
		(tuple->t_data->t_infomask & HEAP_UPDATED) == 0;
}

/* The columns that are null where they are not used. */
static void
set_rights(const DifsInode *inode, Datum *values, bool *nulls)
{
	bool has_access = difs_access_encode(inode->access, &values[DIFS_INODE_ACL_ROLE - 1],
										 &values[DIFS_INODE_ACL_MODE - 1]);

	nulls[DIFS_INODE_ACL_ROLE - 1] = nulls[DIFS_INODE_ACL_MODE - 1] = !has_access;
	values[DIFS_INODE_GRP - 1] = ObjectIdGetDatum(inode->group);
	nulls[DIFS_INODE_GRP - 1] = !OidIsValid(inode->group);
	difs_role_use(inode->owner);
}

static int32
initial_mode(DifsKind kind)
{
	switch (kind)
	{
		case DIFS_KIND_FILE:
			return 0666 & ~difs_umask;
		case DIFS_KIND_DIRECTORY:
			return 0777 & ~difs_umask;
		case DIFS_KIND_SYMLINK:
			return 0777;
	}
	elog(ERROR, "unknown kind of inode: %d", (int) kind);
}

static uint32
hash_ino(int64 ino)
{
	return hash_bytes((const unsigned char *) &ino, sizeof(ino));
}

static void
lock_number(LockClass class, uint32 number, LOCKMODE mode)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) class, number % LOCK_BUCKETS, LOCK_SPACE);
	LockAcquire(&tag, mode, false, false);
}
