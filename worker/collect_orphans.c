/*
 * collect_orphans.c - segments that no row names (collect.h).
 *
 * They come from transactions that have rolled back, from block groups that failed
 * and whose segments went elsewhere, and from a future that was lost by a restore.
 * Each server is asked for its groups, and each group for its segments; one whose
 * creator is over for everybody, and that no row of the manifest names that
 * anybody could see, is deleted.  A segment that is stored but not named yet
 * belongs to a transaction that still runs, or to a resumable upload, so it stays.
 *
 * State: difs.inventory has a row for each copy of a group that was judged to its
 * last segment, with the size of its file and of what lives in it.  It is not listed
 * again until one of these has changed (an older copy of a server's data has the same
 * length, but more in it), or content in it was let go of (collect_doomed.c takes the
 * row away then).  So a round costs a list of groups, and what is new.  A row too few,
 * after a crash, costs one more list.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"

#include "common/bytes.h"
#include "common/fault.h"
#include "src/ids.h"
#include "src/liveness.h"
#include "worker/collect.h"
#include "worker/copy_epoch.h"
#include "worker/duties.h"
#include "worker/horizon.h"

#define PAGE_SIZE 4096	/* holes are punched in whole pages */
#define REWRITE_SHARE 8 /* what is lost is worth so many times as many live bytes to be written again */

/* One server's copy of a block group. */
typedef struct Copy
{
	DifsGroupEntry entry;
	bool known;	 /* difs.block_group has a row */
	bool member; /* and the server is in it */
	bool judged; /* and the inventory has these sizes */
} Copy;

/* What a copy has turned out to hold. */
typedef struct Findings
{
	bool all_judged;
	uint64 live_bytes;
	uint64 lost_bytes; /* of dead segments: what is not in whole pages */
} Findings;

static bool visit_server(int32 server);
static int list_groups(int32 server, uint64 after, Copy *copies);
static bool look_up(int32 server, Copy *copies, int count);
static Datum ids_datum(const Copy *copies, int count);
static Copy *find_copy(Copy *copies, int count, uint64 group);
static void drop_stranger(int32 server, const Copy *copy);
static bool judge_copy(int32 server, const Copy *copy);
static bool judge_list(int32 server, uint64 group, const DifsReply *reply, Findings *findings);
static bool is_over(const DifsHorizon *horizon, const DifsListEntry *entry);
static uint64 lost_bytes(const DifsListEntry *entry);
static bool remember(int32 server, const Copy *copy);

bool
difs_collect_orphans(void)
{
	const int32 *ids;
	int32 servers[DIFS_MAX_SERVERS];
	int count;

	if (!difs_collect_begin())
		return false;
	SPI_execute("DELETE FROM difs.inventory WHERE NOT EXISTS (SELECT FROM difs.block_group WHERE id = block_group "
				"AND server = ANY (members))",
				false, 0);
	count = difs_collect_servers(&ids);
	memcpy(servers, ids, count * sizeof(int32));
	difs_duty_commit();
	for (int i = 0; i < count; i++)
	{
		difs_duty_progress(i, count);
		if (!visit_server(servers[i]))
			return false;
	}
	return true;
}

/* False if the extension is gone. A server that does not answer is left for the next round. */
static bool
visit_server(int32 server)
{
	Copy *copies = palloc(DIFS_GROUPS_MAX_ENTRIES * sizeof(Copy));
	uint64 after = 0;
	int count;
	bool alive = true;

	while (alive && (count = list_groups(server, after, copies)) > 0)
	{
		after = copies[count - 1].entry.group;
		alive = look_up(server, copies, count);
		for (int i = 0; i < count && alive; i++)
		{
			if (!copies[i].known)
				drop_stranger(server, &copies[i]);
			else if (copies[i].member && !copies[i].judged)
				alive = judge_copy(server, &copies[i]);
		}
	}
	pfree(copies);
	return alive;
}

static int
list_groups(int32 server, uint64 after, Copy *copies)
{
	DifsReply reply;
	uint8 control[8];
	int count;

	if (!difs_collect_call(server, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(after, control), &reply))
		return 0;
	count = Min(reply.payload_length / DIFS_GROUP_ENTRY_SIZE, DIFS_GROUPS_MAX_ENTRIES);
	for (int i = 0; i < count; i++)
	{
		memset(&copies[i], 0, sizeof(Copy));
		difs_group_entry_unpack(reply.payload + i * DIFS_GROUP_ENTRY_SIZE, &copies[i].entry);
	}
	if (reply.payload != NULL)
		pfree(reply.payload);
	/* in order, as it should be, or the next list would not go on from here */
	return count > 0 && copies[count - 1].entry.group > after ? count : 0;
}

/* After the list: a group's row is committed before a server hears of it. */
static bool
look_up(int32 server, Copy *copies, int count)
{
	Oid types[] = {INT8ARRAYOID, INT4OID};
	Datum values[] = {ids_datum(copies, count), Int32GetDatum(server)};

	if (!difs_collect_begin())
		return false;
	if (SPI_execute_with_args("SELECT id, $2 = ANY (members), file_bytes, live_bytes FROM difs.block_group "
							  "LEFT JOIN difs.inventory ON block_group = id AND server = $2 WHERE id = ANY ($1)",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read difs.block_group");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool null;
		Copy *copy = find_copy(copies, count, (uint64) DatumGetInt64(SPI_getbinval(tuple, desc, 1, &null)));
		Datum file_bytes;
		Datum live_bytes;

		if (copy == NULL)
			continue;
		copy->known = true;
		copy->member = DatumGetBool(SPI_getbinval(tuple, desc, 2, &null));
		file_bytes = SPI_getbinval(tuple, desc, 3, &null);
		live_bytes = SPI_getbinval(tuple, desc, 4, &null);
		copy->judged = !null && (uint64) DatumGetInt64(file_bytes) == copy->entry.file_bytes &&
			(uint64) DatumGetInt64(live_bytes) == copy->entry.live_bytes;
	}
	difs_duty_commit();
	return true;
}

static Datum
ids_datum(const Copy *copies, int count)
{
	Datum *ids = palloc(count * sizeof(Datum));
	Datum array;

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum((int64) copies[i].entry.group);
	array = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE));
	pfree(ids);
	return array;
}

/* They are in order of their ids. */
static Copy *
find_copy(Copy *copies, int count, uint64 group)
{
	int low = 0;
	int high = count;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (copies[middle].entry.group < group)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && copies[low].entry.group == group ? &copies[low] : NULL;
}

/* No row names it: it is of a lost future, or its row went while this server was away. */
static void
drop_stranger(int32 server, const Copy *copy)
{
	uint8 control[16];

	if (difs_copy_owner(copy->entry.epoch) > difs_duty_database->epoch)
		return; /* of an owner who came after us: the server would refuse anyway */
	ereport(LOG,
			(errmsg("difs: dropping block group " UINT64_FORMAT " on server %d: it belongs to nobody",
					copy->entry.group, server)));
	if (difs_collect_call(server, DIFS_MESSAGE_DROP_GROUP, control,
						  difs_pair_pack(copy->entry.group, copy->entry.epoch, control), NULL))
		difs_collect_count(DIFS_COLLECTED_BYTES, copy->entry.live_bytes);
}

static bool
judge_copy(int32 server, const Copy *copy)
{
	Findings findings = {.all_judged = true};
	uint64_t cursor = 0;

	do
	{
		DifsReply reply;
		DifsError error;
		uint8 control[16];

		if (!difs_collect_call(server, DIFS_MESSAGE_LIST, control,
							   difs_pair_pack(copy->entry.group, cursor, control), &reply) ||
			reply.control == NULL)
			return true;
		if (reply.control_length != sizeof(uint64))
		{
			difs_error_set(&error, DIFS_ERROR_PROTOCOL, "LIST has a reply of %u bytes", reply.control_length);
			ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg_internal("%s", error.text)));
		}
		cursor = difs_get64(reply.control);
		if (!judge_list(server, copy->entry.group, &reply, &findings))
			return false;
		pfree(reply.control);
		if (reply.payload != NULL)
			pfree(reply.payload);
	} while (cursor != 0);

	if (findings.lost_bytes > findings.live_bytes / REWRITE_SHARE)
	{
		difs_collect_rewrite(server, copy->entry.group);
		findings.all_judged = false; /* to be looked at again until it is done */
	}
	return !findings.all_judged || remember(server, copy);
}

/* False if the extension is gone. */
static bool
judge_list(int32 server, uint64 group, const DifsReply *reply, Findings *findings)
{
	static uint64 orphans[DIFS_LIST_MAX_ENTRIES];
	DifsLiveness *liveness;
	DifsHorizon horizon;
	uint64 bytes = 0;
	uint32 lost = 0;
	int orphan_count = 0;
	int count = Min(reply->payload_length / DIFS_LIST_ENTRY_SIZE, DIFS_LIST_MAX_ENTRIES);

	if (!difs_collect_begin())
		return false;
	difs_horizon_read(&horizon);
	liveness = difs_liveness_begin(false);
	for (int i = 0; i < count; i++)
	{
		DifsListEntry entry;

		difs_list_entry_unpack(reply->payload + i * DIFS_LIST_ENTRY_SIZE, &entry);
		if ((entry.flags & DIFS_LIST_DEAD) != 0)
			findings->lost_bytes += lost_bytes(&entry);
		else if (entry.segment == 0 || !is_over(&horizon, &entry))
			findings->all_judged = false;
		else if (!difs_segment_may_die(liveness, entry.segment, NULL, 0, NULL))
			findings->live_bytes += entry.stored_length;
		else if (difs_upload_may_commit(liveness, entry.xid) && !DIFS_FAULT_SKIP("keeper.collect.upload"))
			findings->all_judged = false;
		else
		{
			orphans[orphan_count++] = entry.segment;
			bytes += entry.stored_length;
			lost += lost_bytes(&entry);
		}
	}
	difs_liveness_end(liveness);
	difs_duty_commit();

	if (orphan_count == 0)
		return true;
	if (difs_collect_delete(server, group, orphans, orphan_count))
	{
		DIFS_FAULT("keeper.collect.orphans");
		findings->lost_bytes += lost;
		difs_collect_count(DIFS_COLLECTED_ORPHANS, orphan_count);
		difs_collect_count(DIFS_COLLECTED_BYTES, (int64) bytes);
	}
	else
		findings->all_judged = false;
	return true;
}

/* Is its creator over for everybody? One that has not begun yet is of a lost future, if its epoch is of the past, too. */
static bool
is_over(const DifsHorizon *horizon, const DifsListEntry *entry)
{
	return difs_horizon_passed(horizon, entry->xid) &&
		(entry->xid < horizon->next_xid || entry->segment >> DIFS_ID_EPOCH_SHIFT < difs_duty_database->epoch);
}

/* What a dead segment still takes on the disk. */
static uint64
lost_bytes(const DifsListEntry *entry)
{
	uint64 payload = entry->offset + difs_segment_packed_size(entry->stored_length);
	uint64 end = payload + entry->stored_length;
	uint64 first_page = TYPEALIGN(PAGE_SIZE, payload);
	uint64 end_page = TYPEALIGN_DOWN(PAGE_SIZE, end);

	return end - entry->offset - (end_page > first_page ? end_page - first_page : 0);
}

/* With the sizes that were listed before its segments were: what has come and gone since changes them. */
static bool
remember(int32 server, const Copy *copy)
{
	Oid types[] = {INT4OID, INT8OID, INT8OID, INT8OID};
	Datum values[] = {
		Int32GetDatum(server),
		Int64GetDatum((int64) copy->entry.group),
		Int64GetDatum((int64) copy->entry.file_bytes),
		Int64GetDatum((int64) copy->entry.live_bytes),
	};

	if (!difs_duty_begin())
		return false;
	SPI_execute_with_args("INSERT INTO difs.inventory (server, block_group, file_bytes, live_bytes) VALUES ($1, $2, $3, $4) "
						  "ON CONFLICT (server, block_group) DO UPDATE SET file_bytes = excluded.file_bytes, live_bytes = excluded.live_bytes",
						  lengthof(types), types, values, NULL, false, 0);
	difs_duty_commit();
	DIFS_FAULT("keeper.collect.judged");
	return true;
}
