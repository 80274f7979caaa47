/*
 * perm_change.c - changing who may do what: difs_chmod(), difs_chown(),
 * difs_grant() and difs_revoke().
 *
 * Each is a change of one inode, or with recursive of a tree, top-down: the rows
 * of inodes are locked and updated one by one, so who writes a file is waited for.
 * All or nothing: an entry in the tree that the user does not own is an error.
 * What is made below a directory while it is being changed begins with the
 * directory's old or new rights.
 *
 * No state.  One invalidation (perm.h) for each call that changes a directory.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "src/access.h"
#include "src/compat.h"
#include "src/dentry.h"
#include "src/mode.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/role_use.h"
#include "src/table.h"

typedef struct Change Change;

/* Makes the change in memory; false if there is nothing to change. Errors if the user may not. */
typedef bool (*Apply)(const Change *change, DifsInode *inode, const char *path);

struct Change
{
	Apply apply;
	const char *mode; /* chmod */
	bool set_owner;	  /* chown */
	bool set_group;
	Oid owner;
	Oid group;
	Oid role; /* grant, revoke */
	int may;
	bool inherit;
	bool recursive;
	int64 changed;	/* so far */
	bool announced; /* that rights of directories change */
};

static int64 change_path(const text *path, Change *change);
static void change_tree(const DifsInode *directory, Change *change, StringInfo path);
static bool change_inode(DifsInode *inode, Change *change, const char *path);
static bool apply_mode(const Change *change, DifsInode *inode, const char *path);
static bool apply_owner(const Change *change, DifsInode *inode, const char *path);
static bool apply_grant(const Change *change, DifsInode *inode, const char *path);
static bool apply_revoke(const Change *change, DifsInode *inode, const char *path);
static void require_member(const DifsInode *inode, Oid role, const char *path);
static void require_role(Oid role);

/* Returns how many were changed. */
static int64
change_path(const text *path, Change *change)
{
	for (;; difs_names_again())
	{
		DifsWalk walk;
		StringInfoData name;

		difs_path_find(path, &walk);
		difs_perm_require_owner(&walk.inode, walk.path->text);
		if (!change_inode(&walk.inode, change, walk.path->text))
			continue;

		if (change->recursive && walk.inode.kind == DIFS_KIND_DIRECTORY)
		{
			initStringInfo(&name);
			appendStringInfoString(&name, walk.path->text);
			while (name.len > 0 && name.data[name.len - 1] == '/')
				name.data[--name.len] = '\0';
			change_tree(&walk.inode, change, &name);
		}
		return change->changed;
	}
}

/* What is below a directory, which path leads to. Memory is that of one entry for each level. */
static void
change_tree(const DifsInode *directory, Change *change, StringInfo path)
{
	MemoryContext entry_context = AllocSetContextCreate(CurrentMemoryContext, "difs rights", ALLOCSET_SMALL_SIZES);
	MemoryContext caller_context = CurrentMemoryContext;
	int length = path->len;
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	check_stack_depth();

	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory->ino));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while ((row = difs_scan_next(scan, false)) != NULL)
	{
		TupleDesc desc = difs_scan_desc(scan);
		DifsInode inode;
		bool null;

		MemoryContextSwitchTo(entry_context);
		appendStringInfo(path, "/%s", TextDatumGetCString(heap_getattr(row, DIFS_DENTRY_NAME, desc, &null)));
		if (difs_inode_find(difs_dentry_ino(row, desc), &inode))
		{
			difs_perm_require_owner(&inode, path->data);
			if (change_inode(&inode, change, path->data) && inode.kind == DIFS_KIND_DIRECTORY)
			{
				MemoryContextSwitchTo(caller_context);
				change_tree(&inode, change, path);
			}
		}
		MemoryContextSwitchTo(caller_context);
		MemoryContextReset(entry_context);
		path->len = length;
		path->data[length] = '\0';
	}
	difs_scan_end(scan);
	MemoryContextDelete(entry_context);
}

/* False if it is gone. */
static bool
change_inode(DifsInode *inode, Change *change, const char *path)
{
	if (!difs_inode_lock(inode))
		return false;
	difs_perm_require_owner(inode, path); /* still, after a wait */
	if (!change->apply(change, inode, path))
		return true;

	/* before the row, so that the end of this command has ourselves forget, too */
	if (inode->kind == DIFS_KIND_DIRECTORY && !change->announced)
	{
		difs_perm_changed();
		change->announced = true;
	}
	inode->ctime = GetCurrentTimestamp();
	difs_inode_store_rights(inode);
	change->changed++;
	return true;
}

static bool
apply_mode(const Change *change, DifsInode *inode, const char *path)
{
	int32 mode = difs_mode_apply(change->mode, inode->mode, inode->kind == DIFS_KIND_DIRECTORY);

	if (mode == inode->mode)
		return false;
	inode->mode = mode;
	return true;
}

static bool
apply_owner(const Change *change, DifsInode *inode, const char *path)
{
	bool new_owner = change->set_owner && change->owner != inode->owner;
	bool new_group = change->set_group && change->group != inode->group;

	if (new_owner)
	{
		require_member(inode, change->owner, path);
		inode->owner = change->owner;
	}
	if (new_group)
	{
		if (OidIsValid(change->group))
			require_member(inode, change->group, path);
		difs_role_use(change->group);
		inode->group = change->group;
	}
	return new_owner || new_group;
}

/* Search and the default are of use in directories only. */
static bool
apply_grant(const Change *change, DifsInode *inode, const char *path)
{
	int mode = change->may;

	if (inode->kind != DIFS_KIND_DIRECTORY)
		mode &= ~DIFS_MAY_SEARCH;
	else if (change->inherit)
		mode |= DIFS_ACCESS_DEFAULT(mode);
	if (mode == 0)
		return false;

	for (int i = 0; inode->access != NULL && i < inode->access->count; i++)
	{
		if (inode->access->entry[i].role == change->role && (mode & ~inode->access->entry[i].mode) == 0)
			return false;
	}
	inode->access = difs_access_add(inode->access, change->role, mode);
	difs_role_use(change->role);
	return true;
}

static bool
apply_revoke(const Change *change, DifsInode *inode, const char *path)
{
	int mode = change->may | DIFS_ACCESS_DEFAULT(change->may);

	for (int i = 0; inode->access != NULL && i < inode->access->count; i++)
	{
		if (inode->access->entry[i].role == change->role && (mode & inode->access->entry[i].mode) != 0)
		{
			inode->access = difs_access_remove(inode->access, change->role, mode);
			return true;
		}
	}
	return false;
}

/* Nobody makes a file look as if somebody else had made it; as for ALTER … OWNER TO. */
static void
require_member(const DifsInode *inode, Oid role, const char *path)
{
	if (difs_perm_privileged(inode->volume) || member_can_set_role(GetUserId(), role))
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied to give \"%s\" to role \"%s\"", path, GetUserNameFromId(role, true)),
			errdetail("Role \"%s\" is not a member of it.", GetUserNameFromId(GetUserId(), true)));
}

/* A number that is no role's passes as regrole. */
static void
require_role(Oid role)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role with OID %u does not exist", role));
}

PG_FUNCTION_INFO_V1(difs_chmod);
PG_FUNCTION_INFO_V1(difs_chown);
PG_FUNCTION_INFO_V1(difs_grant);
PG_FUNCTION_INFO_V1(difs_revoke);

/* difs_chmod(path, mode, recursive) */
Datum
difs_chmod(PG_FUNCTION_ARGS)
{
	Change change = {.apply = apply_mode};

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "mode");
	DIFS_ARG_NOT_NULL(2, "recursive");
	change.mode = text_to_cstring(PG_GETARG_TEXT_PP(1));
	change.recursive = PG_GETARG_BOOL(2);
	(void) difs_mode_apply(change.mode, 0, false);

	difs_write_begin("difs_chmod");
	(void) change_path(PG_GETARG_TEXT_PP(0), &change);
	difs_write_end();
	PG_RETURN_INT64(change.changed);
}

/* difs_chown(path, owner, "group", recursive) */
Datum
difs_chown(PG_FUNCTION_ARGS)
{
	Change change = {.apply = apply_owner};

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(3, "recursive");
	change.set_owner = !PG_ARGISNULL(1);
	change.set_group = !PG_ARGISNULL(2);
	change.owner = change.set_owner ? PG_GETARG_OID(1) : InvalidOid;
	change.group = change.set_group ? PG_GETARG_OID(2) : InvalidOid;
	change.recursive = PG_GETARG_BOOL(3);
	if (change.set_owner)
		require_role(change.owner);
	if (OidIsValid(change.group))
		require_role(change.group);

	difs_write_begin("difs_chown");
	(void) change_path(PG_GETARG_TEXT_PP(0), &change);
	difs_write_end();
	PG_RETURN_INT64(change.changed);
}

/* difs_grant(path, role, privileges, recursive, inherit) */
Datum
difs_grant(PG_FUNCTION_ARGS)
{
	Change change = {.apply = apply_grant};

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "role");
	DIFS_ARG_NOT_NULL(2, "privileges");
	DIFS_ARG_NOT_NULL(3, "recursive");
	DIFS_ARG_NOT_NULL(4, "inherit");
	change.role = PG_GETARG_OID(1);
	change.may = difs_access_parse(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	change.recursive = PG_GETARG_BOOL(3);
	change.inherit = PG_GETARG_BOOL(4);
	require_role(change.role);

	difs_write_begin("difs_grant");
	(void) change_path(PG_GETARG_TEXT_PP(0), &change);
	difs_write_end();
	PG_RETURN_INT64(change.changed);
}

/* difs_revoke(path, role, privileges, recursive): also from a role that has been dropped, by its number. */
Datum
difs_revoke(PG_FUNCTION_ARGS)
{
	Change change = {.apply = apply_revoke};

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "role");
	DIFS_ARG_NOT_NULL(2, "privileges");
	DIFS_ARG_NOT_NULL(3, "recursive");
	change.role = PG_GETARG_OID(1);
	change.may = difs_access_parse(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	change.recursive = PG_GETARG_BOOL(3);

	difs_write_begin("difs_revoke");
	(void) change_path(PG_GETARG_TEXT_PP(0), &change);
	difs_write_end();
	PG_RETURN_INT64(change.changed);
}
