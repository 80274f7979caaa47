/*
 * unlink_trigger.c - difs_unlink_on_delete(column): a file goes with the row that
 * names it.
 *
 * The column has inode numbers.  When its row is deleted, or the column changes to
 * another number, all names of the file it held are removed, in the same
 * transaction, so a rollback brings back both.  It is an AFTER trigger: a foreign
 * key of that column to difs.inode does not hold the file any more then, while
 * one of another row or table still does (23503 names it).
 *
 * The file may be gone already, or be about to go: with ON DELETE CASCADE the
 * removal of the file deletes the row, and this is called within.  Its inode
 * cannot be seen any more then, and nothing is to be done.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "src/change.h"
#include "src/dentry.h"
#include "src/hardlink.h"
#include "src/journal.h"
#include "src/perm.h"
#include "src/removal.h"
#include "src/report.h"
#include "src/table.h"

static void check_call(FunctionCallInfo fcinfo);
static int find_column(const TriggerData *call);
static void unlink_file(int64 ino);
static bool unlink_names(const DifsInode *inode);
static void walk_name(const DifsVolume *volume, const DifsInode *inode, const DifsName *name, DifsWalk *walk);

static void
check_call(FunctionCallInfo fcinfo)
{
	const TriggerData *call = (const TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(call->tg_event) || !TRIGGER_FIRED_FOR_ROW(call->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(call->tg_event))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("difs_unlink_on_delete must be called as a trigger"),
				errhint("CREATE TRIGGER … AFTER DELETE OR UPDATE … FOR EACH ROW EXECUTE FUNCTION difs_unlink_on_delete('column')."));
	if (call->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("trigger \"%s\" on table \"%s\" must give difs_unlink_on_delete one argument, the name of a column",
					   call->tg_trigger->tgname, RelationGetRelationName(call->tg_relation)));
}

/* Its number. */
static int
find_column(const TriggerData *call)
{
	TupleDesc desc = RelationGetDescr(call->tg_relation);
	const char *name = call->tg_trigger->tgargs[0];
	int column = SPI_fnumber(desc, name);

	if (column <= 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(call->tg_relation)),
				errdetail("Trigger \"%s\" is to remove the files that it names.", call->tg_trigger->tgname));
	if (TupleDescAttr(desc, column - 1)->atttypid != INT8OID)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of table \"%s\" is not of type bigint", name, RelationGetRelationName(call->tg_relation)),
				errdetail("Trigger \"%s\" takes it for the inode numbers of files.", call->tg_trigger->tgname));
	return column;
}

static void
unlink_file(int64 ino)
{
	for (;; difs_names_again())
	{
		DifsInode inode;

		if (!difs_inode_find(ino, &inode))
			return;
		if (inode.kind == DIFS_KIND_DIRECTORY)
			ereport(ERROR,
					errcode(DIFS_ERRCODE_WRONG_KIND),
					errmsg("inode " INT64_FORMAT " is a directory", ino),
					errdetail("difs_unlink_on_delete removes files only."));
		if (!unlink_names(&inode))
			return;
	}
}

/*
 * The entries in the order of their keys, and then the inode (names.c). Those that others have changed meanwhile, or
 * added, are left to another round.  The last one may go to the history or the trash (removal.h), as the volume says.
 * False if the file is there already.
 */
static bool
unlink_names(const DifsInode *inode)
{
	int count;
	DifsName *names = difs_dentry_names(inode->ino, &count);
	DifsVolume volume;
	bool found = difs_volume_find_current(inode->volume, &volume);
	bool counted = found && volume.accounting != DIFS_ACCOUNTING_NONE;
	int removed = 0;
	DifsWalk last;

	if (counted)
		difs_change_enter(&volume);
	if (!found || count == 0 || names[0].parent < 0)
		return false;
	walk_name(&volume, inode, &names[count - 1], &last);
	if (!difs_removal_prepare(&last))
		return true;
	for (int i = 0; i < count; i++)
	{
		HeapTuple row;

		difs_perm_require_removal(names[i].parent, inode, names[i].name);
		row = difs_dentry_lock(names[i].parent, names[i].name, inode->ino);
		if (row == NULL)
			continue;
		if (i == count - 1)
		{
			for (; removed > 0; removed--)
				difs_inode_unlink(inode, last.path->text);
			if (difs_removal_keeps(&last, row))
				return false;
		}
		difs_change_removing(names[i].parent, inode);
		difs_row_delete(DIFS_REL_DENTRY, row);
		/* where files are counted, the last name must be known as such before it goes */
		if (counted)
			difs_inode_unlink(inode, last.path->text);
		else
			removed++;
	}
	for (; removed > 0; removed--)
		difs_inode_unlink(inode, last.path->text);
	return true;
}

/* What a walk to the name would find. */
static void
walk_name(const DifsVolume *volume, const DifsInode *inode, const DifsName *name, DifsWalk *walk)
{
	char *directory = difs_journal_path(volume, name->parent);

	*walk = (DifsWalk){
		.path = difs_path_parse(cstring_to_text(psprintf("%s:%s/%s", volume->name, directory[1] == '\0' ? "" : directory, name->name))),
		.volume = *volume,
		.parent = {.ino = name->parent, .volume = volume->id, .kind = DIFS_KIND_DIRECTORY},
		.name = name->name,
		.found = true,
		.inode = *inode,
	};
}

PG_FUNCTION_INFO_V1(difs_unlink_on_delete);

Datum
difs_unlink_on_delete(PG_FUNCTION_ARGS)
{
	TriggerData *call = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	int column;
	bool null;
	bool new_null = true;
	Datum value;
	Datum new_value = 0;

	check_call(fcinfo);
	desc = RelationGetDescr(call->tg_relation);
	column = find_column(call);
	value = heap_getattr(call->tg_trigtuple, column, desc, &null);
	if (TRIGGER_FIRED_BY_UPDATE(call->tg_event))
		new_value = heap_getattr(call->tg_newtuple, column, desc, &new_null);
	if (null || (!new_null && DatumGetInt64(value) == DatumGetInt64(new_value)))
		return PointerGetDatum(NULL);

	difs_write_begin("difs_unlink_on_delete");
	unlink_file(DatumGetInt64(value));
	difs_write_end();
	return PointerGetDatum(NULL);
}
