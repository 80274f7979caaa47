/*
 * repair_copies.c - what servers say that they hold (repair.h).
 *
 * No state.  Answers are taken page by page; a server that fails to answer is
 * silent for the rest of the question, and nothing is concluded from that.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "common/bytes.h"
#include "worker/repair.h"

#define ASK_AT_ONCE 4096 /* segments in one look at the manifest */

/* The segments of one server's copy, sorted. */
typedef struct Inventory
{
	DifsListEntry *entries;
	uint32 count;
	uint32 allocated;
} Inventory;

static bool list_server(int32 server, uint64 after, uint64 last, DifsCopies *copies);
static void add_copy(DifsCopies *copies, int32 server, const DifsGroupEntry *entry);
static int compare_copies(const void *a, const void *b);
static bool read_inventory(uint64 group, int32 server, Inventory *inventory);
static int compare_entries(const void *a, const void *b);
static bool lacks_needed(const Inventory *have, const Inventory *other);
static bool is_good(const DifsListEntry *entry);
static bool any_named(const uint64 *segments, int count);

DifsCopies *
difs_copies_list(const DifsSharedServer *servers, int count, uint64 after, uint64 last)
{
	DifsCopies *copies = palloc0(sizeof(DifsCopies));

	for (int i = 0; i < count; i++)
	{
		if (!servers[i].alive || !list_server(servers[i].id, after, last, copies))
			copies->silent[copies->silent_count++] = servers[i].id;
	}
	if (copies->count > 1)
		qsort(copies->copies, copies->count, sizeof(DifsCopy), compare_copies);
	return copies;
}

bool
difs_copies_silent(const DifsCopies *copies, int32 server)
{
	for (int i = 0; i < copies->silent_count; i++)
	{
		if (copies->silent[i] == server)
			return true;
	}
	return false;
}

DifsCopy *
difs_copies_find(const DifsCopies *copies, uint64 group, int *count)
{
	int low = 0;
	int high = copies->count;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (copies->copies[middle].entry.group < group)
			low = middle + 1;
		else
			high = middle;
	}
	for (*count = 0; low + *count < copies->count && copies->copies[low + *count].entry.group == group;)
		(*count)++;
	return copies->copies + low;
}

DifsCopy *
difs_copies_of(const DifsCopies *copies, uint64 group, int32 server)
{
	int count;
	DifsCopy *found = difs_copies_find(copies, group, &count);

	for (int i = 0; i < count; i++)
	{
		if (found[i].server == server)
			return &found[i];
	}
	return NULL;
}

bool
difs_copies_compare(uint64 group, const int32 *servers, int count, bool *lacking)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(before, "difs inventories", ALLOCSET_DEFAULT_SIZES);
	Inventory *inventories;
	bool answered = true;

	MemoryContextSwitchTo(context);
	inventories = palloc0(sizeof(Inventory) * count);
	for (int i = 0; i < count && answered; i++)
		answered = read_inventory(group, servers[i], &inventories[i]);
	for (int i = 0; i < count && answered; i++)
	{
		lacking[i] = false;
		for (int j = 0; j < count && !lacking[i]; j++)
			lacking[i] = i != j && lacks_needed(&inventories[i], &inventories[j]);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return answered;
}

static bool
list_server(int32 server, uint64 after, uint64 last, DifsCopies *copies)
{
	uint32 listed = DIFS_GROUPS_MAX_ENTRIES;

	while (listed == DIFS_GROUPS_MAX_ENTRIES && after < last)
	{
		DifsReply reply;
		DifsError error;
		uint8 control[8];

		if (!difs_repair_call(server, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(after, control), &reply, &error))
		{
			ereport(LOG,
					(errmsg("difs repair: could not list block groups: %s", error.text)));
			return false;
		}
		listed = reply.payload_length / DIFS_GROUP_ENTRY_SIZE;
		for (uint32 i = 0; i < listed; i++)
		{
			DifsGroupEntry entry;

			difs_group_entry_unpack(reply.payload + i * DIFS_GROUP_ENTRY_SIZE, &entry);
			if (entry.group <= after)
				return false; /* not in order: it makes no sense */
			after = entry.group;
			if (after > last)
				break;
			add_copy(copies, server, &entry);
		}
		if (reply.payload != NULL)
			pfree(reply.payload);
	}
	return true;
}

static void
add_copy(DifsCopies *copies, int32 server, const DifsGroupEntry *entry)
{
	if (copies->count == copies->allocated)
	{
		copies->allocated = copies->allocated == 0 ? 64 : 2 * copies->allocated;
		copies->copies = copies->copies == NULL ? palloc(sizeof(DifsCopy) * copies->allocated) :
												  repalloc_huge(copies->copies, sizeof(DifsCopy) * copies->allocated);
	}
	copies->copies[copies->count].server = server;
	copies->copies[copies->count++].entry = *entry;
}

static int
compare_copies(const void *a, const void *b)
{
	const DifsCopy *left = a;
	const DifsCopy *right = b;

	if (left->entry.group != right->entry.group)
		return left->entry.group < right->entry.group ? -1 : 1;
	return left->server < right->server ? -1 : left->server > right->server;
}

static bool
read_inventory(uint64 group, int32 server, Inventory *inventory)
{
	uint64 cursor = 0;

	do
	{
		DifsReply reply;
		DifsError error;
		uint8 control[16];
		uint32 listed;

		if (!difs_repair_call(server, DIFS_MESSAGE_LIST, control, difs_pair_pack(group, cursor, control), &reply, &error) ||
			reply.control_length != 8)
			return false;
		listed = reply.payload_length / DIFS_LIST_ENTRY_SIZE;
		if (inventory->count + listed > inventory->allocated)
		{
			inventory->allocated = 2 * inventory->allocated + listed;
			inventory->entries = inventory->entries == NULL ?
				MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DifsListEntry) * inventory->allocated) :
				repalloc_huge(inventory->entries, sizeof(DifsListEntry) * inventory->allocated);
		}
		for (uint32 i = 0; i < listed; i++)
			difs_list_entry_unpack(reply.payload + i * DIFS_LIST_ENTRY_SIZE, &inventory->entries[inventory->count++]);
		if (reply.payload != NULL)
			pfree(reply.payload);
		if (difs_get64(reply.control) != 0 && difs_get64(reply.control) <= cursor)
			return false;
		cursor = difs_get64(reply.control);
	} while (cursor != 0);
	if (inventory->count > 1)
		qsort(inventory->entries, inventory->count, sizeof(DifsListEntry), compare_entries);
	return true;
}

static int
compare_entries(const void *a, const void *b)
{
	const DifsListEntry *left = a;
	const DifsListEntry *right = b;

	return left->segment < right->segment ? -1 : left->segment > right->segment;
}

/* Segments that were never acknowledged may be on one server only: no row names those. And where one has been deleted, it will be
 * elsewhere. */
static bool
lacks_needed(const Inventory *have, const Inventory *other)
{
	uint64 *lacking = palloc(sizeof(uint64) * ASK_AT_ONCE);
	int count = 0;
	uint32 i = 0;

	for (uint32 j = 0; j < other->count; j++)
	{
		const DifsListEntry *entry = &other->entries[j];

		if (!is_good(entry))
			continue;
		while (i < have->count && have->entries[i].segment < entry->segment)
			i++;
		if (i < have->count && have->entries[i].segment == entry->segment &&
			((have->entries[i].flags & DIFS_LIST_DEAD) != 0 || is_good(&have->entries[i])))
			continue;
		lacking[count++] = entry->segment;
		if (count == ASK_AT_ONCE)
		{
			if (any_named(lacking, count))
				return true;
			count = 0;
		}
	}
	return count > 0 && any_named(lacking, count);
}

static bool
is_good(const DifsListEntry *entry)
{
	return entry->segment != 0 && (entry->flags & (DIFS_LIST_DEAD | DIFS_LIST_DAMAGED)) == 0;
}

static bool
any_named(const uint64 *segments, int count)
{
	Oid types[] = {INT8ARRAYOID};
	Datum *ids = palloc(sizeof(Datum) * count);
	Datum values[1];
	bool named;

	difs_repair_begin();
	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum((int64) segments[i]);
	values[0] = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	SPI_execute_with_args("SELECT FROM difs.manifest WHERE segment = ANY ($1) LIMIT 1", 1, types, values, NULL, true, 1);
	named = SPI_processed > 0;
	difs_repair_commit();
	return named;
}
