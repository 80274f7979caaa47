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

#include "datatype/timestamp.h"

#include "src/compat.h"
#include "src/shmem.h"

typedef enum DifsDigest
{
	DIFS_DIGEST_NONE,
	DIFS_DIGEST_XXH128,			/* 16 bytes, big-endian ("canonical"): what xxh128sum prints */
	DIFS_DIGEST_SHA256
} DifsDigest;

/* For how long old versions stay, and when a version is old: which rule keeps it (retain.h). */
typedef struct DifsRetention
{
	int32		keep_versions;	/* so many newest ones stay; 0 = no such rule */
	bool		has_keep_for;
	Interval	keep_for;		/* and those that were current within this time */
} DifsRetention;

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
	bool		versioning;		/* the delete of a file leaves a marker (marker.h) */
	DifsRetention retention;
	bool		has_trash;		/* what is deleted goes to the trash (trash.h) */
	Interval	trash_for;
} DifsVolume;

/* Finds one by name, as it is now rather than at the active snapshot; 58P01 with the hint to create it if there is
 * none. */
extern void difs_volume_find(const char *name, DifsVolume *volume);

/* That 58P01. */
pg_noreturn extern void difs_volume_report_missing(const char *name);

/* Reads one by id under the active snapshot; false if there is none. */
extern bool difs_volume_find_id(int32 id, DifsVolume *volume);

#endif
