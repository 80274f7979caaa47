/*
 * inode.h - rows of difs.inode, and the locks by inode number.
 *
 * The lock of an inode number is a heavyweight transaction lock, so it costs
 * neither a row lock nor WAL, shows in pg_locks, takes part in deadlock
 * detection and ends with the transaction.  Creating an entry below a directory
 * takes it shared, removing the directory exclusive.  Numbers share 1,024 lock
 * tags, so that a transaction over any number of directories fits into the lock
 * table; two directories with one tag at worst wait for each other once.
 */
#ifndef DIFS_INODE_H
#define DIFS_INODE_H

#include "postgres.h"

#include "access/htup.h"
#include "datatype/timestamp.h"

typedef enum DifsKind
{
	DIFS_KIND_FILE = 'f',
	DIFS_KIND_DIRECTORY = 'd',
	DIFS_KIND_SYMLINK = 'l'
} DifsKind;

typedef struct DifsInode
{
	int64 ino;
	int32 volume;
	DifsKind kind;
	int32 mode; /* permission bits */
	Oid owner;
	int32 nlink;
	int32 version;		/* current version of a file */
	int64 size;			/* of the current version */
	int32 last_version; /* highest number ever given to a version, if that is above the current one; else 0 or less than it */
	int32 let_go;		/* how many versions have been let go of one by one (history.h) */
	bool policy;		/* has a row in difs.file_policy (policy.h) */
	TimestampTz atime;
	TimestampTz mtime;
	TimestampTz ctime;
	TimestampTz btime;
	const char *target;		   /* of a symbolic link, palloc'd; else NULL */
	Oid group;				   /* InvalidOid: none */
	struct DifsAccess *access; /* entries for more roles (access.h); NULL: none */
	int32 extent;			   /* of the current version, as read: see difs_version_of_inode(); 0: difs.version says */
	int32 new_extent;		   /* what difs_inode_store_content() writes; 0 unless the writer sets it after reading or preparing */
	bool own;				   /* made by this very transaction: nobody else can see it, so no lock is needed */
	bool fresh;				   /* prepared: it has no row yet */
	HeapTuple row;			   /* its newest row, once difs_inode_lock() has locked it; NULL before */
} DifsInode;

/* Reads one under the active snapshot; false if there is none. */
extern bool difs_inode_find(int64 ino, DifsInode *inode);

/* Frees what a found one has palloc'd, target and access entries: for who reads many. */
extern void difs_inode_free(DifsInode *inode);

/* A new one of a kind in a volume: takes a number and fills in *inode, but writes no row yet. Its owner is the current user;
 * modes are 0666 for files, 0777 for directories, less difs.umask. From the directory that it is made in, if any, come the group and
 * entries for more roles. */
extern void difs_inode_prepare(int32 volume, DifsKind kind, const DifsInode *directory, DifsInode *inode);

/* Writes the row of a prepared one. */
extern void difs_inode_insert(DifsInode *inode);

/* Locks the row of a file for a new version; *inode becomes its newest state. False if it is gone. REPEATABLE READ
 * and above: 40001 if somebody changed it since the snapshot. */
extern bool difs_inode_lock(DifsInode *inode);

/* After difs_inode_lock() or _prepare(): writes version, last_version, let_go, size, mtime, ctime and new_extent from *inode, into its row or a
 * new one. The lock is good for one update. */
extern void difs_inode_store_content(DifsInode *inode);

/* The same for what is told to others in another way (change.h): a file goes to where nobody counts it, or comes back, or only its history changes. */
extern void difs_inode_store_history(DifsInode *inode);

/* After difs_inode_lock(): writes other columns, as for difs_row_update(). The lock is good for one update. */
extern void difs_inode_update(DifsInode *inode, Datum *values, bool *nulls, bool *replace);

/* After difs_inode_lock(): writes owner, group, mode, access entries and ctime from *inode into its row. */
extern void difs_inode_store_rights(DifsInode *inode);

/* The number that the next version of a file gets: none is given twice. 54000 if there are no more. */
extern int32 difs_inode_next_version(const DifsInode *inode);

/* After difs_inode_lock(): notes that it has a row in difs.file_policy. */
extern void difs_inode_store_policy(DifsInode *inode);

/* Removes the row, unless it has got more than one link meanwhile (then false, as if it is not there); foreign keys
 * that reference it act (an error 23503 names the constraint). *policy: its newest state had a row in difs.file_policy. */
extern bool difs_inode_remove(int64 ino, bool *policy);

/* Locks by number, until the end of the transaction. */
extern void difs_inode_share(const DifsInode *directory);	/* somebody creates something below it */
extern void difs_inode_exclude(const DifsInode *directory); /* it is being removed */

/* The lock under which directories of a volume move. */
extern void difs_volume_rename_lock(int32 volume);

/* Who changes what a quota counts has it shared; exclusive: who moves the borders between quota roots. */
extern void difs_volume_usage_lock(int32 volume, bool exclusive);

/* The lock under which what an exact quota counts grows. */
extern void difs_quota_lock(int64 root);

#endif
