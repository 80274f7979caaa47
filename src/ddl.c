/*
 * ddl.c - statements that concern the workers, and what the workers must know of them.
 *
 * A worker that is connected to a database is in the way of DROP DATABASE, ALTER
 * DATABASE … RENAME or SET TABLESPACE, and CREATE DATABASE … TEMPLATE.  Before
 * such a statement runs, its database is blocked (difs_shared->blocked_database:
 * the launcher starts nothing there) and its workers are told to exit; then we
 * wait until the launcher has emptied their entry.  The block ends with the
 * transaction, since the database's lock does too, and the launcher gets a hint to
 * look again.  Workers are only disturbed for who may run the statement.
 *
 * After CREATE EXTENSION and ALTER EXTENSION UPDATE the launcher has to look as soon
 * as that is committed.  Versions that this library does not know are refused.
 * Before a DROP that takes the extension or a database with it is committed, what
 * will be left on chunk servers is written down (worker/legacy.h); after a DROP of
 * the extension its workers are told to exit.
 *
 * State: what the end of the transaction has to do, in this backend; the block, in
 * shared memory.  A backend that dies in between ends its block in an exit hook.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#include "src/compat.h"
#include "src/ddl.h"
#include "src/extension.h"
#include "src/shmem.h"
#include "src/wait.h"
#include "worker/legacy.h"

#define STOP_TIMEOUT_MS 10000 /* for workers to exit; then PostgreSQL says who is in the way */
#define DEFAULT_TEMPLATE "template1"

static ProcessUtility_hook_type previous_hook = NULL;

/* what the end of this transaction has to do */
static Oid blocked = InvalidOid;
static Oid to_look_at = InvalidOid; /* a database for the launcher, if we commit */
static bool dropped = false;		/* the extension */

static void utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
					ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination,
					QueryCompletion *completion);
static const char *database_to_clear(Node *statement);
static const char *database_to_look_at(Node *statement);
static bool may_change_version(Node *statement);
static bool may_drop_extension(Node *statement);
static const char *option_string(List *options, const char *name);
static void clear_database(const char *name, bool drops);
static bool block(Oid database);
static void stop_workers(Oid database);
static bool has_workers(Oid database);
static void unblock(void);
static void at_end_of_transaction(XactEvent event, void *arg);
static void at_exit(int code, Datum arg);

void
difs_ddl_install(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	RegisterXactCallback(at_end_of_transaction, NULL);
}

static void
utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context,
		ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination, QueryCompletion *completion)
{
	Node *node = statement->utilityStmt;
	const char *to_clear = database_to_clear(node);
	const char *new_database = database_to_look_at(node);
	bool creates = IsA(node, CreateExtensionStmt);
	bool changes_version = may_change_version(node);
	bool drops = may_drop_extension(node) && OidIsValid(get_extension_oid("difs", true));

	/* the statement may be freed while it runs (a ROLLBACK, say): no look at it after that */
	if (new_database != NULL)
		new_database = pstrdup(new_database);

	if (to_clear != NULL)
		clear_database(to_clear, IsA(node, DropdbStmt));

	if (previous_hook != NULL)
		previous_hook(statement, query, read_only_tree, context, parameters, environment, destination, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, parameters, environment, destination,
								completion);

	if (drops)
	{
		CommandCounterIncrement();
		drops = !OidIsValid(get_extension_oid("difs", true));
		if (drops)
			difs_legacy_write(MyDatabaseId);
	}
	if (changes_version)
	{
		CommandCounterIncrement();
		difs_extension_check();
		CacheInvalidateRelcacheAll(); /* other processes look at the version again (table.c) */
	}
	if (new_database != NULL)
	{
		CommandCounterIncrement();
		to_look_at = get_database_oid(new_database, true);
	}
	else if (creates || changes_version)
		to_look_at = MyDatabaseId;
	dropped = dropped || drops;
}

/* The database that no worker may be connected to while a statement runs. */
static const char *
database_to_clear(Node *statement)
{
	const char *template;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) statement)->subname :
				NULL;
		case T_AlterDatabaseStmt:
			return option_string(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL ?
				((AlterDatabaseStmt *) statement)->dbname :
				NULL;
		case T_CreatedbStmt:
			template = option_string(((CreatedbStmt *) statement)->options, "template");
			return template != NULL ? template : DEFAULT_TEMPLATE;
		default:
			return NULL;
	}
}

/* A database that may have the extension, or allow connections, only after a statement. */
static const char *
database_to_look_at(Node *statement)
{
	if (IsA(statement, CreatedbStmt))
		return ((CreatedbStmt *) statement)->dbname;
	if (IsA(statement, AlterDatabaseStmt))
		return ((AlterDatabaseStmt *) statement)->dbname;
	return NULL;
}

static bool
may_change_version(Node *statement)
{
	if (IsA(statement, CreateExtensionStmt))
		return strcmp(((CreateExtensionStmt *) statement)->extname, "difs") == 0 && !OidIsValid(get_extension_oid("difs", true));
	return IsA(statement, AlterExtensionStmt) && strcmp(((AlterExtensionStmt *) statement)->extname, "difs") == 0;
}

/* DROP EXTENSION does, and so may anything that cascades to the extension from its schema or owner. */
static bool
may_drop_extension(Node *statement)
{
	if (IsA(statement, DropOwnedStmt))
		return true;
	return IsA(statement, DropStmt) && (((DropStmt *) statement)->removeType == OBJECT_EXTENSION || ((DropStmt *) statement)->removeType == OBJECT_SCHEMA);
}

static const char *
option_string(List *options, const char *name)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* Has the workers of a database exit, if it has any; before it is dropped, what they know is written down. If they do not, PostgreSQL's own check finds them and says so. */
static void
clear_database(const char *name, bool drops)
{
	Oid database = get_database_oid(name, true);
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), STOP_TIMEOUT_MS);

	if (!OidIsValid(database) || !has_workers(database) || !difs_owns_database(database, GetUserId()))
		return;
	if (drops)
		difs_legacy_write(database);
	ConditionVariablePrepareToSleep(&difs_shared->changed);
	while (!block(database) || has_workers(database))
	{
		long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left_ms <= 0)
			break;
		ConditionVariableTimedSleep(&difs_shared->changed, left_ms, difs_wait_event(DIFS_WAIT_WORKERS));
	}
	ConditionVariableCancelSleep();
}

/* Takes the block for a database and tells its workers to exit; false while another backend has it. */
static bool
block(Oid database)
{
	static bool hook_set = false;

	if (!hook_set)
		before_shmem_exit(at_exit, (Datum) 0);
	hook_set = true;
	if (blocked == database)
		return true;
	if (OidIsValid(blocked))
		unblock(); /* several in one transaction: the earlier one is locked already */

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	if (!OidIsValid(difs_shared->blocked_database))
	{
		difs_shared->blocked_database = blocked = database;
		difs_shared->blocked_by = DIFS_MY_PROC_NUMBER;
		stop_workers(database);
	}
	LWLockRelease(&difs_shared->lock);
	return OidIsValid(blocked);
}

/* Under the lock. */
static void
stop_workers(Oid database)
{
	for (int i = 0; i < difs_shared->database_count; i++)
	{
		DifsDatabase *entry = &difs_shared->databases[i];

		if (entry->state == DIFS_DATABASE_UNUSED || entry->database != database)
			continue;
		entry->state = DIFS_DATABASE_STOPPING;
		difs_wake(entry->keeper);
		difs_wake(entry->streamer);
		difs_wake(difs_shared->launcher);
	}
}

static bool
has_workers(Oid database)
{
	bool found = false;

	LWLockAcquire(&difs_shared->lock, LW_SHARED);
	for (int i = 0; i < difs_shared->database_count; i++)
		found = found || (difs_shared->databases[i].state != DIFS_DATABASE_UNUSED && difs_shared->databases[i].database == database);
	LWLockRelease(&difs_shared->lock);
	return found;
}

/* Never errors: it runs in an abort. */
static void
unblock(void)
{
	Oid database = blocked;

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	difs_shared->blocked_database = blocked = InvalidOid;
	difs_shared->blocked_by = -1;
	LWLockRelease(&difs_shared->lock);
	ConditionVariableBroadcast(&difs_shared->changed); /* somebody may wait to block another one */
	difs_database_hint(database);
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (OidIsValid(blocked))
		unblock();
	if (OidIsValid(to_look_at) && event == XACT_EVENT_COMMIT)
		difs_database_hint(to_look_at);
	if (dropped && event == XACT_EVENT_COMMIT)
	{
		/* our locks keep others from the tables of another extension that we may have made: they find no workers until there are new ones */
		LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
		stop_workers(MyDatabaseId);
		LWLockRelease(&difs_shared->lock);
		difs_database_hint(MyDatabaseId);
	}
	to_look_at = InvalidOid;
	dropped = false;
}

static void
at_exit(int code, Datum arg)
{
	if (OidIsValid(blocked))
		unblock();
}
