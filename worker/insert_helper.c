/*
 * insert_helper.c - a helper for difs_insert(): its life, and how it takes processes
 * (inserts.h).
 *
 * Two helpers never work at one process: who takes a row has it locked, and enters
 * its number in shared memory before the others can have the lock; and an entry
 * is cleared only after the last transaction about it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/fault.h"
#include "src/compat.h"
#include "src/create.h"
#include "src/settings.h"
#include "worker/inserts.h"
#include "worker/keeper.h"
#include "worker/served.h"

static DifsDatabase *served = NULL;
static DifsInsertHelper *self = NULL; /* our entry */
static MemoryContext process_context; /* what is known of one process */

static void enter(int index);
static void leave(int code, Datum arg);
static bool take(DifsInsert *insert);
static bool take_row(DifsInsert *insert);
static ArrayType *list_taken(void);
static bool occupy(int64 process);
static void release(void);
static char *text_column(int number);

void
difs_insert_main(Datum arg)
{
	Oid database;
	DifsInsert insert;

	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(database));
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	difs_keeper_settings();
	pgstat_report_appname("difs insert");
	enter(DatumGetInt32(arg));
	process_context = AllocSetContextCreate(TopMemoryContext, "difs insert", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		MemoryContextReset(process_context);
		MemoryContextSwitchTo(process_context);
		difs_insert_interrupts();
		if (!take(&insert))
			proc_exit(0);
		DIFS_FAULT("keeper.insert.taken");
		difs_insert_run(&insert);
		release();
	}
}

void
difs_insert_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (served->state != DIFS_DATABASE_RUNNING || served->database != MyDatabaseId)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("difs: a helper for difs_insert() ends, since the workers of its database do")));
}

void
difs_insert_show(int64 segments, int64 bytes, int64 total_bytes)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	self->segments = segments;
	self->bytes = bytes;
	self->total_bytes = total_bytes;
	LWLockRelease(&difs_shared->lock);
}

void
difs_insert_show_bytes(int64 bytes, int64 total_bytes)
{
	difs_insert_show(self->segments, bytes, total_bytes);
}

bool
difs_insert_begin(void)
{
	bool begun = difs_served_begin(served);

	MemoryContextSwitchTo(process_context);
	return begun;
}

uint64
difs_insert_execute(const char *statement, int count, Oid *types, Datum *values, const char *nulls)
{
	uint64 rows;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_execute_with_args(statement, count, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", statement);
	rows = SPI_processed;
	PopActiveSnapshot();
	SPI_finish();
	CommandCounterIncrement();
	return rows;
}

/* Without one of the entries there are too many helpers already. */
static void
enter(int index)
{
	int others = 0;

	served = &difs_shared->databases[index];
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		others += served->inserts[i].pid != 0;
		if (served->inserts[i].pid == 0 && self == NULL)
			self = &served->inserts[i];
	}
	if (self != NULL && others < difs_max_inserts && served->database == MyDatabaseId && served->state == DIFS_DATABASE_RUNNING)
		*self = (DifsInsertHelper){.pid = MyProcPid, .total_bytes = -1};
	else
		self = NULL;
	LWLockRelease(&difs_shared->lock);
	if (self == NULL)
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);
}

/* After the transaction, if one was open: exit hooks run in the reverse order. */
static void
leave(int code, Datum arg)
{
	if (IsTransactionState())
		AbortOutOfAnyTransaction();
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	memset(self, 0, sizeof(*self));
	LWLockRelease(&difs_shared->lock);
}

/* The oldest process that nobody works at; false if there is none. */
static bool
take(DifsInsert *insert)
{
	for (;;)
	{
		difs_insert_interrupts();
		if (!difs_insert_begin())
			return false;
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (!take_row(insert))
		{
			PopActiveSnapshot();
			SPI_finish();
			CommitTransactionCommand();
			return false;
		}
		PopActiveSnapshot();
		SPI_finish();
		if (occupy(insert->id))
			break;
		AbortCurrentTransaction(); /* another helper was quicker, and works at it */
		MemoryContextSwitchTo(process_context);
	}
	(void) difs_insert_execute("UPDATE difs.insert_process SET state = 'in progress', begun = begun + 1,"
							   " started = pg_catalog.clock_timestamp(), segments = NULL, bytes = NULL, total_bytes = NULL WHERE id = $1",
							   1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(insert->id)}, NULL);
	CommitTransactionCommand();
	MemoryContextSwitchTo(process_context);
	return true;
}

static bool
take_row(DifsInsert *insert)
{
	Oid types[] = {INT8ARRAYOID};
	Datum values[] = {PointerGetDatum(list_taken())};
	char *if_version;

	if (difs_max_inserts == 0)
		return false;
	if (SPI_execute_with_args("SELECT id, path, source, role, if_version, parents, begun FROM difs.insert_process"
							  " WHERE state IN ('accepted', 'in progress') AND id <> ALL ($1)"
							  " ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
							  lengthof(types), types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.insert_process");
	if (SPI_processed == 0)
		return false;
	insert->id = strtoll(text_column(1), NULL, 10);
	insert->path = text_column(2);
	insert->source = text_column(3);
	insert->role = (Oid) strtoul(text_column(4), NULL, 10);
	if_version = text_column(5);
	insert->if_version = if_version == NULL ? DIFS_ANY_VERSION : atoi(if_version);
	insert->parents = text_column(6)[0] == 't';
	insert->begun = atoi(text_column(7)) + 1;
	return true;
}

static ArrayType *
list_taken(void)
{
	Datum taken[DIFS_MAX_INSERTS];
	int count = 0;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < DIFS_MAX_INSERTS; i++)
	{
		if (served->inserts[i].process != 0)
			taken[count++] = Int64GetDatum(served->inserts[i].process);
	}
	LWLockRelease(&difs_shared->lock);
	return construct_array(taken, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static bool
occupy(int64 process)
{
	bool free = true;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DIFS_MAX_INSERTS && free; i++)
		free = served->inserts[i].process != process;
	if (free)
	{
		self->process = process;
		self->segments = self->bytes = 0;
		self->total_bytes = -1;
	}
	LWLockRelease(&difs_shared->lock);
	return free;
}

/* From here on no signal is meant for the process that we had; one that has come has nobody to end. */
static void
release(void)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	self->process = 0;
	LWLockRelease(&difs_shared->lock);
	QueryCancelPending = false;
}

/* In the process's memory. */
static char *
text_column(int number)
{
	char *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number);

	return text == NULL ? NULL : MemoryContextStrdup(process_context, text);
}
