/*
 * compat.h - the newest PostgreSQL API, offered to older releases.
 *
 * Every test of PG_VERSION_NUM is in this file.  Code elsewhere is written as
 * for the newest release that difs supports (15 to 18).
 */
#ifndef DIFS_COMPAT_H
#define DIFS_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

/* 16: what postgres.h said about varlena is in a header of its own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18: the attribute goes in front */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 17: proc numbers have a type and a name of their own, and numbers of transactions are kept elsewhere */
#if PG_VERSION_NUM < 170000
#define DIFS_MY_PROC_NUMBER (MyProc->pgprocno)
#define DIFS_PROC_BY_NUMBER(n) (&ProcGlobal->allProcs[(n)])
#define DIFS_MY_LXID (MyProc->lxid)
#else
#define DIFS_MY_PROC_NUMBER MyProcNumber
#define DIFS_PROC_BY_NUMBER(n) GetPGProcByNumber(n)
#define DIFS_MY_LXID (MyProc->vxid.lxid)
#endif

/* 17: a wait set belongs to a resource owner or, without one, lives as long as its process */
#if PG_VERSION_NUM < 170000
#define DIFS_CREATE_WAIT_SET(events) CreateWaitEventSet(TopMemoryContext, (events))
#else
#define DIFS_CREATE_WAIT_SET(events) CreateWaitEventSet(NULL, (events))
#endif

/* 17: LogLogicalMessage() can flush by itself; we flush where we need it */
#if PG_VERSION_NUM < 170000
#define difs_log_message(prefix, message, size) LogLogicalMessage((prefix), (message), (size), false)
#else
#define difs_log_message(prefix, message, size) LogLogicalMessage((prefix), (message), (size), false, false)
#endif

/* 17: what an index has set up for insertions may hold pins */
#if PG_VERSION_NUM < 170000
#define DIFS_INSERT_CLEANUP(index, info) ((void) 0)
#else
#define DIFS_INSERT_CLEANUP(index, info) index_insert_cleanup((index), (info))
#endif

/* 16: an update may concern the summarizing indexes only */
#if PG_VERSION_NUM < 160000
typedef bool TU_UpdateIndexes;
#define TU_None false
#define ExecInsertIndexTuples(info, slot, estate, update, no_error, conflict, arbiters, only_summarizing) \
	(ExecInsertIndexTuples)((info), (slot), (estate), (update), (no_error), (conflict), (arbiters))
#endif

/* 17: whether this process has a lock can be asked of stronger modes, too */
#if PG_VERSION_NUM < 170000
#define difs_lock_is_held(tag, mode) LockHeldByMe((tag), (mode))
#else
#define difs_lock_is_held(tag, mode) LockHeldByMe((tag), (mode), false)
#endif

/* 16: one function checks who owns an object of any kind */
#if PG_VERSION_NUM < 160000
#define difs_owns_database(database, role) pg_database_ownercheck((database), (role))
#else
#define difs_owns_database(database, role) object_ownercheck(DatabaseRelationId, (database), (role))
#endif

/* 16: where a relation's file is has a name of its own */
#if PG_VERSION_NUM < 160000
#define rd_locator rd_node
#endif

/* 17: snapshots do not become too old any more */
#if PG_VERSION_NUM >= 170000
#define TestForOldSnapshot(snapshot, table, page) ((void) 0)
#endif

/* 16: and one asks for rights on it */
#if PG_VERSION_NUM < 160000
#define difs_may_execute(function, role) (pg_proc_aclcheck((function), (role), ACL_EXECUTE) == ACLCHECK_OK)
#else
#define difs_may_execute(function, role) (object_aclcheck(ProcedureRelationId, (function), (role), ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* 16: being a member of a role, and being allowed to become it, are two things */
#if PG_VERSION_NUM < 160000
#define member_can_set_role(member, role) is_member_of_role((member), (role))
#endif

/* 16: the record that tells standbys of rows that nobody may see any more says of which table they are */
#if PG_VERSION_NUM < 160000
#define gistXLogPageReuse(index, table, block, xid) (gistXLogPageReuse)((index), (block), (xid))
#endif

/* 17: wait events of extensions have names */
#if PG_VERSION_NUM < 170000
#define difs_wait_event_new(name) ((void) (name), PG_WAIT_EXTENSION)
#else
#define difs_wait_event_new(name) WaitEventExtensionNew(name)
#endif

/* 18: a tuple that does not count as a conflict */
#if PG_VERSION_NUM < 180000
#define ExecCheckIndexConstraints(info, slot, estate, conflict, tuple, arbiters) \
	((void) (tuple), (ExecCheckIndexConstraints) ((info), (slot), (estate), (conflict), (arbiters)))
#define index_beginscan(table, index, snapshot, instrument, keys, order_bys) \
	(index_beginscan)((table), (index), (snapshot), (keys), (order_bys))
#endif

#endif
