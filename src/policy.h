/*
 * policy.h - a file's own policy: retention, hold, and write-once.
 *
 *	retention	in place of the volume's (retain.h)
 *	held		until a time, no version of the file goes: not by hand, not by retention, not with the file, a tree or the volume.
 *				New versions may come
 *	write-once	the same, and no new version may come either
 *
 * The two times can be moved on but not back, by nobody: no function does so, and
 * a trigger refuses it to SQL.  They count by the clock, not by the start of a
 * transaction.
 *
 * A policy is a row of difs.file_policy, and a flag in the inode's row, so files
 * without one cost nothing.  It goes with the inode.  Who sets one locks the
 * inode's row, and so does who adds or removes.
 */
#ifndef DIFS_POLICY_H
#define DIFS_POLICY_H

#include "postgres.h"

#include "access/htup.h"

#include "src/inode.h"
#include "src/volume.h"

typedef struct DifsFilePolicy
{
	int64 ino;
	int32 volume;
	DifsRetention retention;
	bool has_retention;		/* else the volume's counts */
	TimestampTz held_until; /* the later of hold and write-once; DT_NOBEGIN = never was */
	TimestampTz write_once_until;
} DifsFilePolicy;

/* The policy of an inode, as it is now, whatever the snapshot. False, and no rules, if it has none. */
extern bool difs_policy_find(const DifsInode *inode, DifsFilePolicy *policy);

/* The path of an inode for messages, volume included, as it is now; palloc'd. */
extern char *difs_policy_path(const DifsInode *inode);

/* Refuses (55006, naming path and time) what a locked inode's policy forbids: a new version; that a version, or all of the file, goes. */
extern void difs_policy_refuse_write(const DifsInode *inode, const char *path);
extern void difs_policy_refuse_removal(const DifsInode *inode, const char *path);

/* Is the file held now? */
extern bool difs_policy_is_held(const DifsInode *inode);

/* After the inode is gone: its row goes, too; refuses if it was held (the transaction ends). */
extern void difs_policy_remove(const DifsInode *inode, const char *path);

/* Refuses if a file at or below a directory is held: a look at each file of the volume that is. For the volume as a whole with its root. */
extern void difs_policy_refuse_tree(const DifsInode *directory);

#endif
