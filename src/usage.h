/*
 * usage.h - how much there is below each quota root.
 *
 * A quota root is a directory with a row in difs.quota: the root of a volume, or
 * one below it.  What counts is the current version of each file, and each file,
 * directory and symbolic link once; older versions do not.
 *
 * difs.usage has DIFS_USAGE_SLOTS rows for each root, whose sums are what is
 * there.  A transaction gathers what it changes in memory and adds it to one of
 * these rows when it commits, one that nobody else has locked: so writers never
 * wait for each other, no matter how long their transactions are.  What is
 * gathered follows savepoints.
 *
 * A quota is checked when something grows, against what is committed and what
 * this transaction has itself.  Transactions that are under way at the same time
 * do not see each other, and may together exceed it by what they hold; but an
 * "exact" quota lets only one at a time grow.
 */
#ifndef DIFS_USAGE_H
#define DIFS_USAGE_H

#include "postgres.h"

#define DIFS_USAGE_SLOTS 16

/* Quota roots, from the innermost outwards. */
typedef struct DifsRoots
{
	int count;
	int room;
	int64 *ino; /* palloc'd */
} DifsRoots;

/* Those of a that are not in b. */
extern void difs_roots_without(const DifsRoots *a, const DifsRoots *b, DifsRoots *rest);
extern void difs_roots_add(DifsRoots *roots, int64 ino);

/* So much more (or less) is below these roots. Errors: 53400 if a quota does not allow that. */
extern void difs_usage_add(const DifsRoots *roots, int64 bytes, int64 files);

/* What is below a root: committed, and this transaction's own. */
extern void difs_usage_sum(int64 root, int64 *bytes, int64 *files);

/* Makes the rows of a new root. */
extern void difs_usage_insert(int64 root, int64 bytes, int64 files);

/* Registers the transaction callbacks. From _PG_init. */
extern void difs_usage_install(void);

#endif
