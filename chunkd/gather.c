/*
 * gather.c - see gather.h.
 */
#include "gather.h"

#include "connection.h"
#include "group.h"

void
difs_gather_init(DifsGather *gather)
{
	gather->depth = 0;
	TAILQ_INIT(&gather->groups);
	TAILQ_INIT(&gather->connections);
}

void
difs_gather_begin(DifsGather *gather)
{
	gather->depth++;
}

/* What it starts may gather anew, and end that. */
void
difs_gather_end(DifsGather *gather)
{
	DifsGroup *group;
	DifsConnection *connection;

	if (--gather->depth > 0)
		return;
	while ((group = TAILQ_FIRST(&gather->groups)) != NULL)
	{
		difs_gather_forget_group(gather, group);
		difs_group_schedule(group);
	}
	while ((connection = TAILQ_FIRST(&gather->connections)) != NULL)
	{
		difs_gather_forget_connection(gather, connection);
		difs_connection_send(connection);
		difs_connection_update(connection);
	}
}

void
difs_gather_group(DifsGather *gather, DifsGroup *group)
{
	if (gather->depth == 0)
		difs_group_schedule(group);
	else if (!group->gathered)
	{
		group->gathered = true;
		TAILQ_INSERT_TAIL(&gather->groups, group, gather_link);
	}
}

void
difs_gather_connection(DifsGather *gather, DifsConnection *connection)
{
	if (gather->depth == 0)
		difs_connection_send(connection);
	else if (!connection->gathered)
	{
		connection->gathered = true;
		TAILQ_INSERT_TAIL(&gather->connections, connection, gather_link);
	}
}

void
difs_gather_forget_group(DifsGather *gather, DifsGroup *group)
{
	if (group->gathered)
		TAILQ_REMOVE(&gather->groups, group, gather_link);
	group->gathered = false;
}

void
difs_gather_forget_connection(DifsGather *gather, DifsConnection *connection)
{
	if (connection->gathered)
		TAILQ_REMOVE(&gather->connections, connection, gather_link);
	connection->gathered = false;
}
