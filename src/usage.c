/*
 * usage.c - how much there is below each quota root (usage.h).
 *
 * State: what this transaction has changed, for each root and nesting level of
 * subtransactions.  A subtransaction that is rolled back drops its own, one that
 * ends well hands it to its parent's level, and PRE_COMMIT or PRE_PREPARE adds all
 * of it to rows of difs.usage.  If the process dies, nothing has been written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "src/compat.h"
#include "src/dentry.h"
#include "src/quota.h"
#include "src/table.h"
#include "src/usage.h"

typedef struct Change
{
	int64 root;
	int level; /* of the subtransaction */
	int64 bytes;
	int64 files;
} Change;

/* In TopTransactionContext. */
static Change *changes;
static int change_count;
static int change_room;

static void note(int64 root, int64 bytes, int64 files);
static void write_changes(void);
static void add_to_slot(int64 root, int64 bytes, int64 files);
static HeapTuple find_slot(int64 root, int slot);
static void at_transaction_event(XactEvent event, void *arg);
static void at_subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);

void
difs_roots_add(DifsRoots *roots, int64 ino)
{
	if (roots->count == roots->room)
	{
		roots->room = Max(4, roots->room * 2);
		roots->ino = roots->ino == NULL ? palloc(roots->room * sizeof(int64)) :
										  repalloc(roots->ino, roots->room * sizeof(int64));
	}
	roots->ino[roots->count++] = ino;
}

void
difs_roots_without(const DifsRoots *a, const DifsRoots *b, DifsRoots *rest)
{
	*rest = (DifsRoots){0};
	for (int i = 0; i < a->count; i++)
	{
		bool found = false;

		for (int j = 0; j < b->count; j++)
			found = found || a->ino[i] == b->ino[j];
		if (!found)
			difs_roots_add(rest, a->ino[i]);
	}
}

void
difs_usage_add(const DifsRoots *roots, int64 bytes, int64 files)
{
	for (int i = 0; i < roots->count; i++)
	{
		difs_quota_check(roots->ino[i], bytes, files);
		note(roots->ino[i], bytes, files);
	}
}

void
difs_usage_sum(int64 root, int64 *bytes, int64 *files)
{
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	*bytes = *files = 0;
	difs_latest_begin();
	DIFS_KEY(&key, DIFS_USAGE_ROOT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(root));
	scan = difs_scan_begin(DIFS_REL_USAGE, DIFS_REL_USAGE_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		bool null;

		*bytes += DatumGetInt64(heap_getattr(row, DIFS_USAGE_BYTES, difs_scan_desc(scan), &null));
		*files += DatumGetInt64(heap_getattr(row, DIFS_USAGE_FILES, difs_scan_desc(scan), &null));
	}
	difs_scan_end(scan);
	difs_latest_end();

	for (int i = 0; i < change_count; i++)
	{
		*bytes += changes[i].root == root ? changes[i].bytes : 0;
		*files += changes[i].root == root ? changes[i].files : 0;
	}
}

void
difs_usage_insert(int64 root, int64 bytes, int64 files)
{
	for (int slot = 0; slot < DIFS_USAGE_SLOTS; slot++)
	{
		Datum values[DIFS_USAGE_COLUMNS];

		values[DIFS_USAGE_ROOT - 1] = Int64GetDatum(root);
		values[DIFS_USAGE_SLOT - 1] = Int16GetDatum(slot);
		values[DIFS_USAGE_BYTES - 1] = Int64GetDatum(slot == 0 ? bytes : 0);
		values[DIFS_USAGE_FILES - 1] = Int64GetDatum(slot == 0 ? files : 0);
		difs_row_insert(DIFS_REL_USAGE, values, NULL);
	}
}

void
difs_usage_install(void)
{
	RegisterXactCallback(at_transaction_event, NULL);
	RegisterSubXactCallback(at_subtransaction_event, NULL);
}

static void
note(int64 root, int64 bytes, int64 files)
{
	int level = GetCurrentTransactionNestLevel();
	int i = 0;

	while (i < change_count && (changes[i].root != root || changes[i].level != level))
		i++;
	if (i == change_room)
	{
		change_room = Max(8, change_room * 2);
		changes = changes == NULL ? MemoryContextAlloc(TopTransactionContext, change_room * sizeof(Change)) :
									repalloc(changes, change_room * sizeof(Change));
	}
	if (i == change_count)
		changes[change_count++] = (Change){.root = root, .level = level};
	changes[i].bytes += bytes;
	changes[i].files += files;
}

/* In the order of their roots, so that two who wait for slots wait in one order. A root that is gone counts no more. */
static void
write_changes(void)
{
	difs_write_begin(NULL);
	for (;;)
	{
		Change *first = NULL;

		for (int i = 0; i < change_count; i++)
		{
			if ((changes[i].bytes != 0 || changes[i].files != 0) && (first == NULL || changes[i].root < first->root))
				first = &changes[i];
		}
		if (first == NULL)
			break;
		add_to_slot(first->root, first->bytes, first->files);
		first->bytes = first->files = 0;
	}
	difs_write_end();
	change_count = 0;
}

static void
add_to_slot(int64 root, int64 bytes, int64 files)
{
	difs_latest_begin();
	for (int i = 0; i <= DIFS_USAGE_SLOTS; i++)
	{
		HeapTuple row = find_slot(root, (DIFS_MY_PROC_NUMBER + i) % DIFS_USAGE_SLOTS);
		DifsRowState state = row == NULL ? DIFS_ROW_GONE :
										   difs_row_lock_newest(DIFS_REL_USAGE, &row, i == DIFS_USAGE_SLOTS);
		Datum values[DIFS_USAGE_COLUMNS] = {0};
		bool nulls[DIFS_USAGE_COLUMNS] = {0};
		bool replace[DIFS_USAGE_COLUMNS] = {0};
		Relation table;
		bool null;

		if (state == DIFS_ROW_GONE)
			break;
		if (state == DIFS_ROW_BUSY)
			continue;
		table = difs_table_open(DIFS_REL_USAGE, RowExclusiveLock);
		bytes += DatumGetInt64(heap_getattr(row, DIFS_USAGE_BYTES, RelationGetDescr(table), &null));
		files += DatumGetInt64(heap_getattr(row, DIFS_USAGE_FILES, RelationGetDescr(table), &null));
		table_close(table, NoLock);
		values[DIFS_USAGE_BYTES - 1] = Int64GetDatum(bytes);
		values[DIFS_USAGE_FILES - 1] = Int64GetDatum(files);
		replace[DIFS_USAGE_BYTES - 1] = replace[DIFS_USAGE_FILES - 1] = true;
		difs_row_update(DIFS_REL_USAGE, row, values, nulls, replace);
		break;
	}
	difs_latest_end();
}

static HeapTuple
find_slot(int64 root, int slot)
{
	ScanKeyData keys[2];

	DIFS_KEY(&keys[0], DIFS_USAGE_ROOT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(root));
	DIFS_KEY(&keys[1], DIFS_USAGE_SLOT, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(slot));
	return difs_row_find(DIFS_REL_USAGE, DIFS_REL_USAGE_PKEY, lengthof(keys), keys);
}

static void
at_transaction_event(XactEvent event, void *arg)
{
	if (change_count > 0 && (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE))
		write_changes();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
	{
		changes = NULL;
		change_count = change_room = 0;
	}
}

static void
at_subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	int kept = 0;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (int i = 0; i < change_count; i++)
	{
		int j = 0;

		if (changes[i].level >= level && event == SUBXACT_EVENT_ABORT_SUB)
			continue;
		changes[i].level = Min(changes[i].level, event == SUBXACT_EVENT_COMMIT_SUB ? level - 1 : level);
		while (j < kept && (changes[j].root != changes[i].root || changes[j].level != changes[i].level))
			j++;
		if (j == kept)
			changes[kept++] = changes[i];
		else
		{
			changes[j].bytes += changes[i].bytes;
			changes[j].files += changes[i].files;
		}
	}
	change_count = kept;
}

/* difs.own_usage() → setof (root, bytes, files): what this transaction has changed and not written yet. */
PG_FUNCTION_INFO_V1(difs_own_usage);
Datum
difs_own_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < change_count; i++)
	{
		Datum values[] = {
			Int64GetDatum(changes[i].root),
			Int64GetDatum(changes[i].bytes),
			Int64GetDatum(changes[i].files),
		};
		bool nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
