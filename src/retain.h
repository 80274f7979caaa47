/*
 * retain.h - retention: which old versions stay.
 *
 * Two rules, of the volume or in its place of the file (policy.h).  A version
 * that is not the current one stays as long as one of them keeps it:
 *
 *	keep_versions	the newest n with content, the current one included
 *	keep_for		those that were current within that time
 *
 * Without a rule every version stays.  A file that is held (policy.h) loses none.
 *
 * Retention acts when a version is added, and by the keeper (worker/collect_outdated.c) for
 * what time alone makes old: difs.expiring says which files to look at, and when;
 * the root of a volume stands for all of its files there.
 * A delete marker that is left without any other version goes with its file.
 */
#ifndef DIFS_RETAIN_H
#define DIFS_RETAIN_H

#include "postgres.h"

#include "fmgr.h"

#include "src/history.h"

/* The two columns of a row. False if there is no rule. */
extern bool difs_retention_decode(Datum keep_versions, bool versions_null, Datum keep_for, bool for_null, DifsRetention *retention);

/* The two arguments of an SQL function, the second after the first: 22023 for what is not positive, or a negative time. */
extern void difs_retention_argument(FunctionCallInfo fcinfo, int argument, DifsRetention *retention);

/* An interval that must not be negative (22023), nor lead out of the range of timestamps (22008); false if it is null. */
extern bool difs_interval_argument(FunctionCallInfo fcinfo, int argument, const char *name, Interval *interval);

/* A version was added to a file whose row is locked, and *inode says so; the caller stores it afterwards. May replace the active snapshot
 * by a newer one. */
extern void difs_retain_after_put(const DifsVolume *volume, DifsInode *inode);

/* Other rules hold for all files of a volume: the keeper looks at each. Between difs_write_begin() and _end(). */
extern void difs_retain_volume(const DifsVolume *volume);

/* Lets go of what is old in any file now; all of it, or some and the keeper does the rest. False if the file is gone. Between difs_write_begin() and
 * _end(). */
extern bool difs_retain_apply(int64 ino, bool all);

#endif
