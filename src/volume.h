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

#include "src/compat.h"
#include "src/shmem.h"

typedef enum DifsDigest
{
	DIFS_DIGEST_NONE,
	DIFS_DIGEST_XXH128,			/* 16 bytes, big-endian ("canonical"): what xxh128sum prints */
	DIFS_DIGEST_SHA256
} DifsDigest;

typedef struct DifsVolume
{
	int32		id;
	char		name[NAMEDATALEN];
	int64		root;
	DifsClass	class;
	int32		segment_size;
	int			compression_level;	/* 0 = none */
	DifsDigest	digest;
	int			inline_limit;	/* files of up to so many bytes are in difs.inline; 0 = none */
} DifsVolume;

/* Finds one by name, as it is now rather than at the active snapshot; 58P01 with the hint to create it if there is
 * none. */
extern void difs_volume_find(const char *name, DifsVolume *volume);

/* That 58P01. */
pg_noreturn extern void difs_volume_report_missing(const char *name);

/* Reads one by id under the active snapshot; false if there is none. */
extern bool difs_volume_find_id(int32 id, DifsVolume *volume);

#endif
