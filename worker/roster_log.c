/*
 * roster_log.c - what has become of chunk servers by their rows, for the server log (roster.h).
 *
 * The keeper says it, not who changes a row: then it is committed, and said once.
 */
#include "postgres.h"

#include "worker/roster.h"

static const DifsSharedServer *find(const DifsSharedServer *servers, int count, int32 id);
static void log_change(const DifsSharedServer *before, const DifsSharedServer *after);

void
difs_roster_log(const DifsSharedServer *before, int before_count, const DifsSharedServer *after, int after_count)
{
	for (int i = 0; i < before_count; i++)
		if (find(after, after_count, before[i].id) == NULL)
			ereport(LOG,
					(errmsg("difs: chunk server %s (%s:%u) has been removed", before[i].name, before[i].host, before[i].port)));
	for (int i = 0; i < after_count; i++)
		log_change(find(before, before_count, after[i].id), &after[i]);
}

static const DifsSharedServer *
find(const DifsSharedServer *servers, int count, int32 id)
{
	for (int i = 0; i < count; i++)
		if (servers[i].id == id)
			return &servers[i];
	return NULL;
}

/* before NULL: there was none. */
static void
log_change(const DifsSharedServer *before, const DifsSharedServer *after)
{
	if (before == NULL)
		ereport(LOG,
				(errmsg("difs: chunk server %s (%s:%u) has been added", after->name, after->host, after->port)));
	else if (before->port != after->port || strcmp(before->host, after->host) != 0)
		ereport(LOG,
				(errmsg("difs: chunk server %s has moved from %s:%u to %s:%u", after->name, before->host, before->port,
						after->host, after->port)));
	if (before != NULL && before->accepts_groups != after->accepts_groups)
		ereport(LOG,
				(errmsg(after->accepts_groups ? "difs: chunk server %s is active again" :
												"difs: chunk server %s is to be emptied, and gets no new block groups",
						after->name)));
}
