/*
 * placement_function.h - SQL functions that choose the chunk servers of a volume's block groups.
 *
 *	difs_placement_set(volume, function)
 *	function(volume text, replicas integer, candidates difs.candidate[]) RETURNS text[]
 *
 * The function is asked by background workers (worker/place.h), so it runs as its owner, with search_path "pg_catalog, pg_temp".  Where data
 * lies is the business of whoever runs the servers, so it is not the volume's owner who sets it: difs_placement_set() is granted.
 *
 * The key.  Segments of volumes of one class share block groups.  A volume with a function is in a class of its own, and after each change of the
 * function in another one, so nothing new goes to groups that were placed otherwise.  The key has the volume's id in its upper half
 * and the number of the change below.
 *
 * The name.  As with before_put (hook.h): the qualified name is kept, and a function that is not there is not got round.
 */
#ifndef DIFS_PLACEMENT_FUNCTION_H
#define DIFS_PLACEMENT_FUNCTION_H

#include "postgres.h"

#include "src/volume.h"

/* DifsClass.placement of a volume: 0 if it has no function; and the volume's id out of it. */
static inline int64
difs_placement_key(const DifsVolume *volume)
{
	return volume->placement[0] == '\0' ? 0 : (int64) volume->id << 32 | (uint32) volume->placement_changes;
}

static inline int32
difs_placement_volume(int64 key)
{
	return (int32) (key >> 32);
}

/* The row type difs.candidate, of what the function is given. */
extern Oid difs_placement_candidate_type(void);

/* The function of that qualified name; 42883 or 42P13 if there is none that can be asked. */
extern Oid difs_placement_find(const char *name);

#endif
