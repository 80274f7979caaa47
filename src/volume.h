/*
 * volume.h - volumes and their policy.
 *
 * A volume is made by difs_volume_create() in SQL: the install script makes
 * "main", which takes the first id, 1.  Its root is an inode like any other,
 * but no dentry leads to it.
 */
#ifndef DIFS_VOLUME_H
#define DIFS_VOLUME_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "datatype/timestamp.h"

#include "src/compat.h"
#include "src/hook.h"
#include "src/shmem.h"

typedef enum DifsDigest
{
	DIFS_DIGEST_NONE,
	DIFS_DIGEST_XXH128, /* 16 bytes, big-endian ("canonical"): what xxh128sum prints */
	DIFS_DIGEST_SHA256
} DifsDigest;

/* Where there are quota roots (usage.h). */
typedef enum DifsAccounting
{
	DIFS_ACCOUNTING_NONE,
	DIFS_ACCOUNTING_VOLUME, /* the volume's root only */
	DIFS_ACCOUNTING_TREES	/* directories below it */
} DifsAccounting;
/* For how long old versions stay, and when a version is old: which rule keeps it (retain.h). */
typedef struct DifsRetention
{
	int32 keep_versions; /* so many newest ones stay; 0 = no such rule */
	bool has_keep_for;
	Interval keep_for; /* and those that were current within this time */
} DifsRetention;

typedef struct DifsVolume
{
	int32 id;
	char name[NAMEDATALEN];
	int64 root;
	DifsClass class;
	int32 segment_size;
	int compression_level; /* 0 = none */
	DifsDigest digest;
	int inline_limit; /* files of up to so many bytes are in difs.inline; 0 = none */
	Oid owner;
	DifsAccounting accounting;
	bool journal;		/* changes go to difs.journal */
	int64 journal_keep; /* for so many seconds; 0 = for ever */
	bool notify;		/* changes are notified to channel difs_<name> */
	bool versioning;	/* the delete of a file leaves a marker (marker.h) */
	DifsRetention retention;
	bool has_trash; /* what is deleted goes to the trash (trash.h) */
	Interval trash_for;
	char before_put[DIFS_HOOK_NAME_SIZE]; /* qualified name of a function; empty: none */
	char placement[DIFS_HOOK_NAME_SIZE];  /* the same (placement_function.h) */
	int32 placement_changes;			  /* how often that was set */
} DifsVolume;

/* Finds one by name, as it is now rather than at the active snapshot; 58P01 with the hint to create it if there is
 * none. */
extern void difs_volume_find(const char *name, DifsVolume *volume);

/* That 58P01. */
pg_noreturn extern void difs_volume_report_missing(const char *name);

/* The owner of one by id, as it is now; 58P01 if there is none. */
extern Oid difs_volume_owner(int32 id);
/* Reads one by name under the active snapshot; false if there is none. */
extern bool difs_volume_find_name(const char *name, DifsVolume *volume);

/* Reads one by id under the active snapshot; false if there is none. */
extern bool difs_volume_find_id(int32 id, DifsVolume *volume);

/* Finds one by id, as it is now, from the cache if it is there; false if there is none. */
extern bool difs_volume_find_current(int32 id, DifsVolume *volume);

/* Locks the row of one for a change (58P01 if there is none), and writes *volume into a locked row: all but id, root and time of birth. All sessions
 * are told. */
extern HeapTuple difs_volume_lock(const char *name, DifsVolume *volume);
extern void difs_volume_store(HeapTuple row, const DifsVolume *volume);
extern void difs_volume_remove(HeapTuple row);

/* A new one, and its root, whose ids it fills in; 58P02 if there is one of its name. */
extern void difs_volume_insert(DifsVolume *volume);

/* Reads a row into *volume. */
extern void difs_volume_decode(HeapTuple tuple, TupleDesc desc, DifsVolume *volume);

/* "none", "xxh128" or "sha256". */
extern DifsDigest difs_volume_digest(const char *name);

/* Arguments 1 to 9 of difs_volume_create() and difs_volume_alter(): those that are not null, checked, into *volume. */
extern void difs_volume_policy(FunctionCallInfo fcinfo, DifsVolume *volume);

/* Four arguments of the same two: versioning, keep_versions, keep_for and trash_for, in the same way. */
extern void difs_volume_keeping(FunctionCallInfo fcinfo, int argument, DifsVolume *volume);

extern void difs_volume_check_name(const DifsVolume *volume, const char *name);

#endif
