/*
 * fsck_deep.c - difs_fsck(deep): the tables against what each server says it has.
 *
 * First every server is asked for its block groups and the segments in them; the
 * answers become a relation "inventory" that the queries below can name.  Only then the tables
 * are read, under newer snapshots: so whatever a server listed has its row, if anything names it.  The other way
 * round, a row may be newer than the list; so what seems missing or damaged is asked for once more, by itself.
 *
 * A segment that no row names is an orphan only if its transaction has ended, and is older than what any
 * snapshot, standby, slot or prepared transaction could see: then it has aborted, or its rows are gone
 * for everybody.  Of others nothing can be said yet.  Nor is it one while it may belong to a resumable upload.
 *
 * No state.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#include "src/fsck.h"
#include "src/table.h"
#include "worker/mend.h"

/* A server without a group: it cannot be reached. A group without a segment: the group itself. */
enum InventoryColumn
{
	INVENTORY_SERVER,
	INVENTORY_GROUP,
	INVENTORY_SEGMENT,
	INVENTORY_STORED_LENGTH,
	INVENTORY_DEAD,
	INVENTORY_DAMAGED,
	INVENTORY_SETTLED, /* its transaction is older than all that anybody can see */
	INVENTORY_PROBLEM,
	INVENTORY_XID,
	INVENTORY_COLUMNS,
};

typedef struct Inventory
{
	Tuplestorestate *rows;
	TupleDesc desc;
	int64 count;
	uint64 horizon; /* 64-bit transaction id */
} Inventory;

/* What doomed content named may be collected already, unless a copy or another version has it, too. */
#define IS_NEEDED                                                                                                   \
	"(NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = m.ino)"                                                   \
	" OR EXISTS (SELECT FROM difs.version v WHERE v.ino = m.ino AND v.map_ino IS NULL AND" HAS_ROW("v.version") ")" \
																												" OR EXISTS (SELECT FROM difs.version v WHERE v.map_ino = m.ino AND" HAS_ROW("v.map_version") "))"
#define HAS_ROW(number)                                                                                     \
	" m.from_version BETWEEN v.base AND " number " AND (m.to_version IS NULL OR m.to_version > " number ")" \
	" AND NOT EXISTS (SELECT FROM difs.doomed d WHERE d.ino = v.ino AND (d.version IS NULL OR d.version = v.version))"

/* Segments that versions need, wherever they should be. */
#define NEEDED                                                                                   \
	"(SELECT DISTINCT m.segment, m.block_group, m.stored_length, g.members FROM difs.manifest m" \
	" JOIN difs.block_group g ON g.id = m.block_group WHERE " IS_NEEDED ") AS n CROSS JOIN LATERAL unnest(n.members) AS member (server)"
#define NAME_OF(id) "coalesce((SELECT name FROM difs.server WHERE server.id = " id "), 'server ' || " id ")"
#define IN_GROUP(group) "' of block group ' || " group

static const DifsCheck checks[] = {
	{"unreachable server",
	 "SELECT " NAME_OF("i.server") ", i.problem FROM inventory i WHERE i.block_group IS NULL",
	 "What it holds could not be compared. See difs.servers, and start it."},
	{"unreadable group",
	 "SELECT 'block group ' || i.block_group || ' on ' || " NAME_OF("i.server") ", i.problem FROM inventory i"
																				" WHERE i.block_group IS NOT NULL AND i.problem IS NOT NULL"
																				" AND EXISTS (SELECT FROM difs.block_group g WHERE g.id = i.block_group AND i.server = ANY (g.members))",
	 "difs_scrub_all() makes the copy anew from another member, unless its disk fails."},
	{"missing group",
	 "SELECT 'block group ' || g.id || ' on ' || " NAME_OF("member.server") ", 'the server does not have it'"
																			" FROM difs.block_group g CROSS JOIN LATERAL unnest(g.members) AS member (server)"
																			" WHERE EXISTS (SELECT FROM inventory i WHERE i.server = member.server AND i.block_group = 0)"
																			" AND NOT EXISTS (SELECT FROM inventory i WHERE i.server = member.server AND i.block_group = g.id)"
																			" AND EXISTS (SELECT FROM difs.manifest m WHERE m.block_group = g.id AND " IS_NEEDED ")",
	 "difs_scrub_all() makes the copy anew from another member."},
	{"unknown group",
	 "SELECT 'block group ' || i.block_group || ' on ' || " NAME_OF("i.server") ", 'no row names it'"
																				" FROM inventory i WHERE i.block_group <> 0 AND i.segment IS NULL"
																				" AND NOT EXISTS (SELECT FROM difs.block_group g WHERE g.id = i.block_group)",
	 "It may be what a restore to an earlier time has left; the keeper drops what nobody needs."},
	{"stray group",
	 "SELECT 'block group ' || i.block_group || ' on ' || " NAME_OF("i.server") ", 'the server is not a member'"
																				" FROM inventory i JOIN difs.block_group g ON g.id = i.block_group"
																				" WHERE i.segment IS NULL AND i.server <> ALL (g.members) AND g.state <> 'repairing'",
	 "The server was replaced while it was away; the keeper drops its copy."},
	{"missing segment",
	 "SELECT 'segment ' || n.segment || " IN_GROUP("n.block_group") " || ' on ' || " NAME_OF("member.server") ", look.outcome FROM " NEEDED
																											  " CROSS JOIN LATERAL (SELECT difs.copy_outcome(member.server, n.block_group, n.segment) AS outcome OFFSET 0) AS look"
																											  " WHERE EXISTS (SELECT FROM inventory i WHERE i.server = member.server AND i.block_group = n.block_group"
																											  "  AND i.segment IS NULL AND i.problem IS NULL)"
																											  " AND NOT EXISTS (SELECT FROM inventory i WHERE i.server = member.server AND i.block_group = n.block_group"
																											  "  AND i.segment = n.segment AND NOT i.dead) AND look.outcome <> 'good'",
	 "difs_scrub_all() mends it from another member."},
	{"wrong length",
	 "SELECT 'segment ' || n.segment || " IN_GROUP("n.block_group") " || ' on ' || " NAME_OF("i.server") ","
																										 " 'it has ' || i.stored_length || ' bytes, the manifest says ' || n.stored_length FROM " NEEDED
																										 " JOIN inventory i ON i.server = member.server AND i.block_group = n.block_group AND i.segment = n.segment"
																										 " WHERE NOT i.dead AND i.stored_length <> n.stored_length",
	 "One of the two is wrong: compare with the other members."},
	{"damaged segment",
	 "SELECT 'segment ' || n.segment || " IN_GROUP("n.block_group") " || ' on ' || " NAME_OF("i.server") ", look.outcome FROM " NEEDED
																										 " JOIN inventory i ON i.server = member.server AND i.block_group = n.block_group AND i.segment = n.segment"
																										 " AND i.damaged AND NOT i.dead"
																										 " CROSS JOIN LATERAL (SELECT difs.copy_outcome(i.server, i.block_group, i.segment) AS outcome OFFSET 0) AS look"
																										 " WHERE look.outcome <> 'good'",
	 "difs_scrub_all() mends it from another member."},
	{"orphan",
	 "SELECT 'segment ' || i.segment || " IN_GROUP("i.block_group") " || ' on ' || " NAME_OF("i.server") ","
																										 " 'nothing names its ' || i.stored_length || ' bytes, and nothing can any more'"
																										 " FROM inventory i WHERE i.segment <> 0 AND NOT i.dead AND i.settled"
																										 " AND NOT EXISTS (SELECT FROM difs.manifest m WHERE m.segment = i.segment)"
																										 " AND NOT EXISTS (SELECT FROM difs.upload u WHERE u.xid = i.xid)"
																										 " AND EXISTS (SELECT FROM difs.block_group g WHERE g.id = i.block_group AND i.server = ANY (g.members))",
	 "The keeper collects it; difs_collect() does so at once."},
};

static TupleDesc make_desc(void);
static uint64 find_horizon(void);
static void take_inventory(Inventory *inventory);
static void ask_server(Inventory *inventory, int32 server);
static bool list_group(Inventory *inventory, int32 server, uint64 group, DifsError *error);
static void add_row(Inventory *inventory, int32 server, uint64 group, const DifsListEntry *entry, const char *problem);
static void register_inventory(const Inventory *inventory);

void
difs_fsck_deep(ReturnSetInfo *result)
{
	Inventory inventory = {.desc = make_desc(), .horizon = find_horizon()};

	inventory.rows = tuplestore_begin_heap(true, false, work_mem);
	take_inventory(&inventory);
	register_inventory(&inventory);
	difs_fsck_run(result, checks, lengthof(checks));
	SPI_unregister_relation("inventory");
	tuplestore_end(inventory.rows);
}

static TupleDesc
make_desc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(INVENTORY_COLUMNS);

	TupleDescInitEntry(desc, INVENTORY_SERVER + 1, "server", INT4OID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_GROUP + 1, "block_group", INT8OID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_SEGMENT + 1, "segment", INT8OID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_STORED_LENGTH + 1, "stored_length", INT4OID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_DEAD + 1, "dead", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_DAMAGED + 1, "damaged", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_SETTLED + 1, "settled", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_PROBLEM + 1, "problem", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, INVENTORY_XID + 1, "xid", INT8OID, -1, 0);
	return desc;
}

/* No snapshot anywhere sees the rows of an older transaction in another way than ours does. */
static uint64
find_horizon(void)
{
	Relation manifest = table_open(difs_relation(DIFS_REL_MANIFEST), AccessShareLock);
	TransactionId oldest = GetOldestNonRemovableTransactionId(manifest);
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

	table_close(manifest, NoLock);
	return next - (uint32) ((uint32) next - oldest);
}

static void
take_inventory(Inventory *inventory)
{
	int count;
	int32 *servers;
	bool null;

	SPI_execute("SELECT id FROM difs.server WHERE state <> 'removed' ORDER BY id", false, 0);
	count = (int) SPI_processed;
	servers = palloc(sizeof(int32) * (count + 1));
	for (int i = 0; i < count; i++)
		servers[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	for (int i = 0; i < count; i++)
		ask_server(inventory, servers[i]);
}

static void
ask_server(Inventory *inventory, int32 server)
{
	uint64 after = 0;
	uint32 count;

	do
	{
		uint8 control[8];
		DifsReply reply;
		DifsError error;

		if (!difs_mend_ask(server, 0, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(after, control), NULL, 0,
						   &reply, &error))
		{
			add_row(inventory, server, 0, NULL, error.text);
			return;
		}
		/* an empty problem: it has answered */
		if (after == 0)
			add_row(inventory, server, 0, &(DifsListEntry){0}, "");
		count = reply.payload_length / DIFS_GROUP_ENTRY_SIZE;
		for (uint32 i = 0; i < count; i++)
		{
			DifsGroupEntry group;

			difs_group_entry_unpack(reply.payload + (Size) i * DIFS_GROUP_ENTRY_SIZE, &group);
			after = group.group;
			if (!list_group(inventory, server, group.group, &error))
				add_row(inventory, server, group.group, NULL, error.text);
			else
				add_row(inventory, server, group.group, NULL,
						group.state == DIFS_GROUP_FAILED ? "a write or sync has failed: it is read-only" : NULL);
		}
	} while (count > 0);
}

static bool
list_group(Inventory *inventory, int32 server, uint64 group, DifsError *error)
{
	uint64 cursor = 0;

	do
	{
		uint8 control[16];
		DifsReply reply;

		if (!difs_mend_ask(server, group, DIFS_MESSAGE_LIST, control, difs_pair_pack(group, cursor, control), NULL, 0,
						   &reply, error) ||
			!difs_group_unpack(reply.control, reply.control_length, &cursor, error))
			return false;
		for (uint32 at = 0; at + DIFS_LIST_ENTRY_SIZE <= reply.payload_length; at += DIFS_LIST_ENTRY_SIZE)
		{
			DifsListEntry entry;

			difs_list_entry_unpack(reply.payload + at, &entry);
			add_row(inventory, server, group, &entry, NULL);
		}
		pfree(reply.control);
		if (reply.payload != NULL)
			pfree(reply.payload);
	} while (cursor != 0);
	return true;
}

/* group 0: of the server; entry NULL: of the group. */
static void
add_row(Inventory *inventory, int32 server, uint64 group, const DifsListEntry *entry, const char *problem)
{
	Datum values[INVENTORY_COLUMNS] = {0};
	bool nulls[INVENTORY_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	nulls[INVENTORY_SERVER] = false;
	values[INVENTORY_SERVER] = Int32GetDatum(server);
	if (group != 0 || entry != NULL)
	{
		nulls[INVENTORY_GROUP] = false;
		values[INVENTORY_GROUP] = Int64GetDatum((int64) group);
	}
	if (group != 0 && entry != NULL)
	{
		nulls[INVENTORY_SEGMENT] = nulls[INVENTORY_STORED_LENGTH] = false;
		nulls[INVENTORY_DEAD] = nulls[INVENTORY_DAMAGED] = nulls[INVENTORY_SETTLED] = nulls[INVENTORY_XID] = false;
		values[INVENTORY_SEGMENT] = Int64GetDatum((int64) entry->segment);
		values[INVENTORY_STORED_LENGTH] = Int32GetDatum((int32) entry->stored_length);
		values[INVENTORY_DEAD] = BoolGetDatum(entry->flags & DIFS_LIST_DEAD);
		values[INVENTORY_DAMAGED] = BoolGetDatum(entry->flags & DIFS_LIST_DAMAGED);
		values[INVENTORY_SETTLED] = BoolGetDatum(entry->xid < inventory->horizon);
		values[INVENTORY_XID] = Int64GetDatum((int64) entry->xid);
	}
	if (problem != NULL)
	{
		nulls[INVENTORY_PROBLEM] = false;
		values[INVENTORY_PROBLEM] = CStringGetTextDatum(problem);
	}
	tuplestore_putvalues(inventory->rows, inventory->desc, values, nulls);
	inventory->count++;
}

static void
register_inventory(const Inventory *inventory)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = "inventory";
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = inventory->desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = (double) inventory->count;
	relation->reldata = inventory->rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the inventory");
}

PG_FUNCTION_INFO_V1(difs_copy_outcome);

/* Asks a server about its copy of a segment. */
Datum
difs_copy_outcome(PG_FUNCTION_ARGS)
{
	DifsError error;
	DifsCopyState state = difs_mend_look(PG_GETARG_INT32(0), (uint64) PG_GETARG_INT64(1), (uint64) PG_GETARG_INT64(2),
										 &error);

	PG_RETURN_TEXT_P(cstring_to_text(difs_copy_state_name(state)));
}
