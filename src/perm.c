/*
 * perm.c - who may do what (perm.h).
 *
 * State: of this process, what the current user may do everywhere in a volume
 * (the last answer), and with directories (a direct-mapped table).  Both are
 * filled under the newest snapshot and emptied by invalidations: of the relation
 * cache's entry of difs.volume, which difs_perm_changed() and the triggers of
 * difs.volume and difs.inode send, at their commit or, for the sender itself, at
 * once and at its rollback; and of roles and their memberships.  An answer that was
 * worked out while one came in is used but not kept.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "src/access.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/role_use.h"
#include "src/table.h"

#define KEPT_DIRECTORIES 1024 /* a power of two */

#define RESTRICTED 8 /* beside DIFS_MAY_…: sticky, and the user does not own the directory */

/* may: DIFS_MAY_…, RESTRICTED. Directories that are kept are of volumes in which their user is not privileged. */
typedef struct KeptDirectory
{
	int64 ino; /* 0 = not in use */
	Oid user;
	int may;
} KeptDirectory;

static struct
{
	Oid user; /* InvalidOid = not in use */
	int32 volume;
	bool privileged;
} kept_volume;
static KeptDirectory kept[KEPT_DIRECTORIES];
static Oid watched_table; /* difs.volume */
static uint64 changes;	  /* invalidations heard of */

static void watch(void);
static void forget(void);
static void forget_relation(Datum unused, Oid relation);
static void forget_role(Datum unused, int cache, uint32 hash);
static int work_out(const DifsInode *inode);
static bool find_latest(int64 ino, DifsInode *inode);
static int directory_flags(int32 volume, int64 ino);
pg_noreturn static void deny(const char *path, const char *detail);
static const char *user_name(void);

bool
difs_perm_privileged(int32 volume)
{
	Oid user = GetUserId();
	uint64 before;
	bool privileged;

	if (kept_volume.user == user && kept_volume.volume == volume)
		return kept_volume.privileged;

	watch();
	before = changes;
	privileged = has_privs_of_role(user, difs_volume_owner(volume));
	if (before == changes)
	{
		kept_volume.user = user;
		kept_volume.volume = volume;
		kept_volume.privileged = privileged;
	}
	return privileged;
}

/* In READ COMMITTED, what a statement reads is new enough; transactions that keep a snapshot look at the row of now. */
int
difs_perm_of(const DifsInode *inode)
{
	DifsInode now;

	if (difs_perm_privileged(inode->volume))
		return DIFS_MAY_ALL;
	if (IsolationUsesXactSnapshot() && !inode->fresh && find_latest(inode->ino, &now))
		return work_out(&now);
	return work_out(inode);
}

int
difs_perm_of_directory(int32 volume, int64 ino)
{
	return difs_perm_privileged(volume) ? DIFS_MAY_ALL : directory_flags(volume, ino) & DIFS_MAY_ALL;
}

void
difs_perm_search(const DifsPath *path, int count, int32 volume, int64 directory)
{
	if (difs_perm_privileged(volume) || (directory_flags(volume, directory) & DIFS_MAY_SEARCH) != 0)
		return;
	deny(path->text, psprintf("Role \"%s\" may not search directory \"%s\".", user_name(), difs_path_leading(path, count)));
}

void
difs_perm_require(const DifsInode *inode, int wanted, const char *path)
{
	const char *what;
	int missing = wanted & ~difs_perm_of(inode);

	if (missing == 0)
		return;
	what = (missing & DIFS_MAY_READ) ? "read" : ((missing & DIFS_MAY_WRITE) ? "write to" : "search");
	deny(path, psprintf("Role \"%s\" may not %s this %s.", user_name(), what, inode->kind == DIFS_KIND_DIRECTORY ? "directory" : "file"));
}

void
difs_perm_require_entry(int32 volume, int64 directory, const char *path)
{
	int wanted = DIFS_MAY_WRITE | DIFS_MAY_SEARCH;

	if (!difs_perm_privileged(volume) && (directory_flags(volume, directory) & wanted) != wanted)
		deny(path, psprintf("Role \"%s\" may not create, rename or delete anything in the directory that it is in.", user_name()));
}

void
difs_perm_require_removal(int64 directory, const DifsInode *inode, const char *path)
{
	if (difs_perm_privileged(inode->volume))
		return;
	difs_perm_require_entry(inode->volume, directory, path);
	if ((directory_flags(inode->volume, directory) & RESTRICTED) != 0 && !has_privs_of_role(GetUserId(), inode->owner))
		deny(path, psprintf("Its directory has the sticky bit, and role \"%s\" owns neither.", user_name()));
}

void
difs_perm_require_owner(const DifsInode *inode, const char *path)
{
	if (!difs_perm_privileged(inode->volume) && !has_privs_of_role(GetUserId(), inode->owner))
		deny(path, psprintf("Role \"%s\" does not own it.", user_name()));
}

void
difs_perm_require_volume(const DifsVolume *volume)
{
	if (!difs_perm_privileged(volume->id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for volume \"%s\"", volume->name),
				 errdetail("Role \"%s\" does not own it.", user_name())));
}

void
difs_perm_changed(void)
{
	CacheInvalidateRelcacheByRelid(difs_relation(DIFS_REL_VOLUME));
}

/* Before anything is read that is to be kept. */
static void
watch(void)
{
	static bool watching = false;

	if (!watching)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_role, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_role, (Datum) 0);
		watching = true;
	}
	watched_table = difs_relation(DIFS_REL_VOLUME);
}

static void
forget(void)
{
	kept_volume.user = InvalidOid;
	memset(kept, 0, sizeof(kept));
	difs_role_use_forget();
	changes++;
}

static void
forget_relation(Datum unused, Oid relation)
{
	if (!OidIsValid(relation) || relation == watched_table)
		forget();
}

static void
forget_role(Datum unused, int cache, uint32 hash)
{
	forget();
}

/* DIFS_MAY_… of who is not privileged. */
static int
work_out(const DifsInode *inode)
{
	Oid user = GetUserId();
	int may;

	if (has_privs_of_role(user, inode->owner))
		may = inode->mode >> 6;
	else if (OidIsValid(inode->group) && has_privs_of_role(user, inode->group))
		may = inode->mode >> 3;
	else
		may = inode->mode;

	for (int i = 0; inode->access != NULL && i < inode->access->count; i++)
	{
		if (has_privs_of_role(user, inode->access->entry[i].role))
			may |= inode->access->entry[i].mode;
	}
	return may & DIFS_MAY_ALL;
}

/* As it is now, committed or by this transaction. Parallel mode has no new snapshots: as the active one shows it. */
static bool
find_latest(int64 ino, DifsInode *inode)
{
	bool found;

	if (IsInParallelMode())
		return difs_inode_find(ino, inode);
	PushActiveSnapshot(GetLatestSnapshot());
	found = difs_inode_find(ino, inode);
	PopActiveSnapshot();
	return found;
}

/*
 * DIFS_MAY_… and RESTRICTED of who is not privileged.  A directory that is gone
 * by now was as the active snapshot shows it; what is no directory lets everybody pass, so
 * that the walk comes to report that.
 */
static int
directory_flags(int32 volume, int64 ino)
{
	Oid user = GetUserId();
	KeptDirectory *place = &kept[hash_bytes_uint32((uint32) ino ^ (uint32) (ino >> 32)) % KEPT_DIRECTORIES];
	uint64 before;
	DifsInode inode;
	bool latest;
	int may;

	if (place->ino == ino && place->user == user)
		return place->may;

	watch();
	before = changes;
	latest = find_latest(ino, &inode);
	if (!latest && !difs_inode_find(ino, &inode))
		return 0;
	if (inode.kind != DIFS_KIND_DIRECTORY)
		return DIFS_MAY_ALL;

	may = work_out(&inode);
	if ((inode.mode & DIFS_MODE_STICKY) != 0 && !has_privs_of_role(user, inode.owner))
		may |= RESTRICTED;
	if (latest && before == changes && !IsInParallelMode())
		*place = (KeptDirectory){.ino = ino, .user = user, .may = may};
	return may;
}

static void
deny(const char *path, const char *detail)
{
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied for \"%s\"", path),
			errdetail("%s", detail),
			errhint("difs_access() shows who may do what; owners change it with difs_chmod() and difs_grant()."));
}

static const char *
user_name(void)
{
	return GetUserNameFromId(GetUserId(), true);
}

/* Trigger of difs.inode, for changes that are made in SQL, as by a restore: roles may be named that were not. */
PG_FUNCTION_INFO_V1(difs_inode_changed);
Datum
difs_inode_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("difs.inode_changed can only be called as a trigger"));
	difs_perm_changed();
	difs_role_use_all();
	PG_RETURN_POINTER(NULL);
}
