/*
 * placement.c - choosing the members of a block group.
 *
 * No state.  A usable server is alive, takes groups, is of the right tier and has
 * room for the whole group beside what open groups on it may still take.  Members
 * are chosen one by one: servers in zones that have none yet come first; among
 * them the one with the fewest open groups for its weight and free space.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "worker/placement.h"

static bool is_chosen(int32 server, const int32 *member, int chosen);
static bool zone_is_taken(const char *zone, const DifsSharedServer *servers, int count, const int32 *member,
						  int chosen);
static double burden(const DifsSharedServer *server, const DifsLoad *load);
static void describe(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers,
					 const DifsLoad *load, int count, int usable, DifsError *problem);
static void describe_server(StringInfo text, const DifsClass *class, uint64 capacity_bytes,
							const DifsSharedServer *server, const DifsLoad *load);

bool
difs_placement_choose(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers,
					  const DifsLoad *load, int count, int32 *member, DifsError *problem)
{
	for (int chosen = 0; chosen < class->replicas; chosen++)
	{
		if (!difs_placement_choose_one(class, capacity_bytes, servers, load, count, member, chosen, &member[chosen],
									   problem))
			return false;
	}
	return true;
}

bool
difs_placement_choose_one(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers,
						  const DifsLoad *load, int count, const int32 *others, int other_count, int32 *chosen,
						  DifsError *problem)
{
	int best = -1;
	bool best_is_near = false;

	for (int i = 0; i < count; i++)
	{
		bool near;

		if (!difs_placement_usable(class, capacity_bytes, &servers[i], &load[i]) || is_chosen(servers[i].id, others, other_count))
			continue;
		near = zone_is_taken(servers[i].zone, servers, count, others, other_count);
		if (best == -1 || (best_is_near && !near) ||
			(best_is_near == near && burden(&servers[i], &load[i]) < burden(&servers[best], &load[best])))
		{
			best = i;
			best_is_near = near;
		}
	}
	if (best == -1)
	{
		describe(class, capacity_bytes, servers, load, count, other_count, problem);
		return false;
	}
	*chosen = servers[best].id;
	return true;
}

int
difs_placement_servers(const DifsClass *class, const DifsSharedServer *servers, int count)
{
	int fitting = 0;

	for (int i = 0; i < count; i++)
	{
		if (servers[i].accepts_groups && strcmp(servers[i].tier, class->tier) == 0)
			fitting++;
	}
	return fitting;
}

bool
difs_placement_usable(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *server,
					  const DifsLoad *load)
{
	return server->alive && server->accepts_groups && strcmp(server->tier, class->tier) == 0 &&
		difs_placement_room(server, load) >= capacity_bytes;
}

uint64
difs_placement_room(const DifsSharedServer *server, const DifsLoad *load)
{
	return server->free_bytes > load->promised_bytes ? server->free_bytes - load->promised_bytes : 0;
}

void
difs_load_add(DifsLoad *load, const DifsOpenGroup *group, const DifsSharedServer *servers, int count)
{
	for (int i = 0; i < group->class.replicas; i++)
	{
		for (int j = 0; j < count; j++)
		{
			if (servers[j].id != group->member[i])
				continue;
			load[j].groups++;
			if (group->capacity_bytes > group->reserved_bytes)
				load[j].promised_bytes += group->capacity_bytes - group->reserved_bytes;
		}
	}
}

static bool
is_chosen(int32 server, const int32 *member, int chosen)
{
	for (int i = 0; i < chosen; i++)
	{
		if (member[i] == server)
			return true;
	}
	return false;
}

static bool
zone_is_taken(const char *zone, const DifsSharedServer *servers, int count, const int32 *member, int chosen)
{
	for (int i = 0; i < count; i++)
	{
		if (is_chosen(servers[i].id, member, chosen) && strcmp(servers[i].zone, zone) == 0)
			return true;
	}
	return false;
}

static double
burden(const DifsSharedServer *server, const DifsLoad *load)
{
	return (load->groups + 1.0) / ((double) server->weight * (double) difs_placement_room(server, load));
}

/* "2 replicas on tier disk are asked for, but only 1 of 2 servers is usable: /storage02 (10.0.0.2:7100): connection
 * refused" */
static void
describe(const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *servers, const DifsLoad *load,
		 int count, int usable, DifsError *problem)
{
	StringInfoData text;
	int without_room = 0;

	initStringInfo(&text);
	appendStringInfo(&text, "%d replica%s on tier %s %s asked for, but ", class->replicas,
					 class->replicas == 1 ? "" : "s", class->tier, class->replicas == 1 ? "is" : "are");
	if (count == 0)
		appendStringInfoString(&text, "there is no chunk server");
	else
		appendStringInfo(&text, "only %d of %d servers %s usable", usable, count, usable == 1 ? "is" : "are");
	for (int i = 0, told = 0; i < count; i++)
	{
		if (difs_placement_usable(class, capacity_bytes, &servers[i], &load[i]))
			continue;
		if (difs_placement_usable(class, 0, &servers[i], &load[i]))
			without_room++;
		appendStringInfoString(&text, told++ == 0 ? ": " : "; ");
		describe_server(&text, class, capacity_bytes, &servers[i], &load[i]);
	}
	errno = 0;
	difs_error_set(problem, usable + without_room >= class->replicas ? DIFS_ERROR_FULL : DIFS_ERROR_NETWORK,
				   "%s", text.data);
	pfree(text.data);
}

static void
describe_server(StringInfo text, const DifsClass *class, uint64 capacity_bytes, const DifsSharedServer *server,
				const DifsLoad *load)
{
	appendStringInfo(text, "%s (%s:%u): ", server->name, server->host, server->port);
	if (!server->alive)
		appendStringInfoString(text, server->problem);
	else if (!server->accepts_groups)
		appendStringInfoString(text, "draining");
	else if (strcmp(server->tier, class->tier) != 0)
		appendStringInfo(text, "tier %s", server->tier);
	else
		appendStringInfo(text, "disk full, " UINT64_FORMAT " MB free of " UINT64_FORMAT " MB for a block group",
						 difs_placement_room(server, load) >> 20, capacity_bytes >> 20);
}
