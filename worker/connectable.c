/*
 * connectable.c - the databases that may have workers, by pg_database (connectable.h).
 *
 * State: the list of this turn, in the launcher's memory of a turn.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "utils/snapmgr.h"

#include "worker/connectable.h"

static List *databases_of_turn = NIL;
static bool known = false;

void
difs_connectable_forget(void)
{
	known = false;
}

bool
difs_connectable(Oid database)
{
	if (!known)
		databases_of_turn = difs_connectable_read();
	known = true;
	return list_member_oid(databases_of_turn, database);
}

List *
difs_connectable_read(void)
{
	MemoryContext turn_context = CurrentMemoryContext;
	List *databases = NIL;
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot(); /* the catalog's snapshot needs one before it */
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext before;

		if (!row->datallowconn || row->datistemplate)
			continue;
		before = MemoryContextSwitchTo(turn_context);
		databases = lappend_oid(databases, row->oid);
		MemoryContextSwitchTo(before);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(turn_context);
	return databases;
}
