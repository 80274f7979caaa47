/*
 * quota.h - quota roots and their limits: rows of difs.quota.
 *
 * A volume knows whether it has none, one for its root only, or some for
 * directories below (volume.h, accounting): the first costs a put nothing, the
 * second no way up unless the volume has a trash, where a directory may have gone
 * since a path led to it.  Otherwise the way from a directory up to the root is
 * walked, two index probes for each level.
 */
#ifndef DIFS_QUOTA_H
#define DIFS_QUOTA_H

#include "postgres.h"

#include "fmgr.h"

#include "src/usage.h"
#include "src/volume.h"

#define DIFS_NO_LIMIT (-1)

typedef struct DifsQuota
{
	int64 root;
	int32 volume;
	int64 bytes; /* or DIFS_NO_LIMIT */
	int64 files; /* or DIFS_NO_LIMIT */
	bool exact;	 /* only one transaction at a time may let it grow */
} DifsQuota;

/* What is below a directory. */
typedef struct DifsTotals
{
	int64 bytes;
	int64 files;
	bool linked; /* a file below has another name elsewhere */
} DifsTotals;

/* Takes the limits from arguments n (bytes), n + 1 (files) and n + 2 (exact); null is no limit. 22023 if one is negative. */
extern void difs_quota_limits(FunctionCallInfo fcinfo, int n, DifsQuota *quota);

/* Makes a quota root, below which there is so much. */
extern void difs_quota_insert(const DifsQuota *quota, int64 bytes, int64 files);

/* It is no quota root any more, if it was. */
extern void difs_quota_remove(int64 root);

/* The quota roots that count what is in a directory, as of now. */
extern void difs_quota_roots(const DifsVolume *volume, int64 directory, DifsRoots *roots);

/* May so much be added below a root? 53400 if not. */
extern void difs_quota_check(int64 root, int64 bytes, int64 files);

/* Counts what is below a directory and would not be counted without it: not files that have another name below the volume's root. linked says
 * whether there are any. As of now, by walking. */
extern void difs_quota_count_own(const DifsVolume *volume, int64 directory, DifsTotals *totals);

/* The next directory after one, by number, that has another name of a file below a directory and is below the volume's root itself; 0: no more. */
extern int64 difs_quota_next_outside(const DifsVolume *volume, int64 directory, int64 after);

/* How many names of a file lead from the volume's root to it: those of the trash do not. */
extern int difs_quota_count_names(const DifsVolume *volume, int64 ino);

/* Counts what is below a directory, as of now, by walking. */
extern void difs_quota_count(int64 directory, DifsTotals *totals);

#endif
