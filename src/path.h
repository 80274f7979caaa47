/*
 * path.h - paths as users write them, and the way from a path to an inode.
 *
 * "/dir/file" is in the session's volume (difs.volume), "volume:/dir/file" names
 * one.  Components are at most 255 bytes, a path at most 4096 without the volume.  "." and ".." are
 * refused rather than interpreted; several slashes count as one; a slash at the
 * end says that the thing is a directory.  Names are bytes in the database's
 * encoding: names that differ only in Unicode normalisation differ.
 *
 * Symbolic links on the way are followed, at most DIFS_MAX_LINKS of them for a
 * path.  One at its end is followed too, but by the functions "_entry", which are
 * for those who act on the name itself (delete, rename, readlink).  How a link's
 * target is read: path_link.c.
 *
 * Resolving takes no lock: what was true at the snapshot is the answer, and who
 * goes on to change something locks and looks again (names.c).
 */
#ifndef DIFS_PATH_H
#define DIFS_PATH_H

#include "postgres.h"

#include "src/inode.h"
#include "src/volume.h"

#define DIFS_MAX_PATH 4096
#define DIFS_MAX_COMPONENT 255
#define DIFS_MAX_LINKS 40

typedef struct DifsPath
{
	const char *text;	/* as given, for messages */
	const char *volume; /* name of the volume */
	int count;			/* number of components; 0 = the root */
	char **component;
	bool directory; /* had a slash at the end (or is the root) */
} DifsPath;

/* Takes a path apart; errors: 22023 empty, relative, "." or "..", 42622 too long. */
extern DifsPath *difs_path_parse(const text *path);

/* The path in one way of writing: "volume:/dir/file", without needless slashes, as far as its first count components. */
extern char *difs_path_write(const DifsPath *path, int count);

/*
 * A path whose first components lead to *reached: if that is a symbolic link, its
 * target takes their place; if it is a directory and "." or ".." follows (from an
 * earlier target), these go.  Returns the new path, to be walked from its root, or
 * NULL if there is nothing of the kind.  *links counts.  Errors: 54000 more than
 * DIFS_MAX_LINKS, 42622 too long.
 */
extern DifsPath *difs_path_expand(const DifsPath *path, int components, const DifsInode *reached, int *links);
/* Its first components as a path of their own, for messages; palloc'd. */
extern char *difs_path_leading(const DifsPath *path, int count);

/* One step of a walk after the other, under the active snapshot, with what they share: zero at first. Where the name in the directory
 * leads; false if there is none. What is at hand when a step fails belongs to the transaction. */
typedef struct DifsSteps
{
	struct RelationData *table;
	struct DifsScan *scan;
} DifsSteps;
extern bool difs_path_step(DifsSteps *steps, int64 directory, const char *name, int64 *ino);
extern void difs_path_steps_end(DifsSteps *steps);

/* How far a path leads. */
typedef struct DifsWalk
{
	DifsPath *path; /* with symbolic links resolved; its text is as given */
	DifsVolume volume;
	DifsInode parent; /* directory that holds (or would hold) the last component; the root itself for "/". The
								 * find functions fill in no more than ino and volume, which is all that readers need */
	const char *name; /* last component; NULL for the root */
	bool found;
	DifsInode inode; /* if found */
} DifsWalk;

/* Walks a path. Errors: 58P01 if the volume or a directory on the way does not exist, 42809 if something on the way
 * is not a directory, or if the path says directory and a file is found, 42501 if the user may not search one of them (perm.h). The last component may be missing: found is
 * false then. */
extern void difs_path_walk(const text *path, DifsWalk *walk);
extern void difs_path_walk_entry(const text *path, DifsWalk *walk);

/* The same for who only wants to know: also false if it is a directory on the way that is missing, something on the way is not a
 * directory, or symbolic links lead in a circle. Only found and inode are filled in, and a volume that is missing is an error still. */
extern bool difs_path_look(const text *path, DifsWalk *walk);

/* What a walk found, or what would be created, must be a regular file: 42809 if it is something else or the path has
 * a slash at the end. */
extern void difs_path_expect_file(const DifsWalk *walk);

/* The same as difs_path_walk(), and errors out with 58P01 "file or directory "%s" does not exist" if it is not found.
 * */
extern void difs_path_find(const text *path, DifsWalk *walk);
extern void difs_path_find_entry(const text *path, DifsWalk *walk);

/* The same, and 42809 unless it is a regular file. */
extern void difs_path_find_file(const text *path, DifsWalk *walk);

#endif
