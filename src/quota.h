/*
 * quota.h - quota roots and their limits: rows of difs.quota.
 *
 * A volume knows whether it has none, one for its root only, or some for
 * directories below (volume.h, accounting): the first costs a put nothing, the
 * second no way up.  Otherwise the way from a directory up to the root is
 * walked, two index probes for each level.
 */
#ifndef DIFS_QUOTA_H
#define DIFS_QUOTA_H

#include "postgres.h"

#include "fmgr.h"

#include "src/usage.h"
#include "src/volume.h"

#define DIFS_NO_LIMIT	(-1)

typedef struct DifsQuota
{
	int64		root;
	int32		volume;
	int64		bytes;			/* or DIFS_NO_LIMIT */
	int64		files;			/* or DIFS_NO_LIMIT */
	bool		exact;			/* only one transaction at a time may let it grow */
} DifsQuota;

/* What is below a directory. */
typedef struct DifsTotals
{
	int64		bytes;
	int64		files;
	bool		linked;			/* a file below has another name elsewhere */
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

/* Counts what is below a directory, as of now, by walking. */
extern void difs_quota_count(int64 directory, DifsTotals *totals);

#endif
