/*
 * client.c - what one client does: take an object, do the operation, note how long it took, until time or objects are used up.
 *
 * The number of the next object is the only thing that the clients share. Whoever writes takes numbers one after the other, whichever
 * client it is: systems that keep order by key then all see the same pattern.
 */
#include <stdatomic.h>

#include "load.h"

static _Atomic int64_t taken;
static _Atomic int64_t allowed;
static double deadline;

void
client_set_start(const Options *options)
{
	atomic_store(&allowed, options->count);
	deadline = options->seconds > 0 ? now_seconds() + options->seconds : 0;
}

int64_t
client_objects_used(void)
{
	return atomic_load(&taken);
}

/* splitmix64: the same sequence for each system. */
int64_t
client_random(Client *client, int64_t below)
{
	uint64_t value = client->random += 0x9e3779b97f4a7c15u;

	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	value ^= value >> 31;
	return (int64_t) (value % (uint64_t) below);
}

/* -1: there are no more. */
int64_t
client_next_object(Client *client)
{
	const Options *options = client->options;
	int64_t number;

	if (client->operation->access == ACCESS_RANDOM)
		return options->first + client_random(client, options->objects);
	number = atomic_fetch_add(&taken, 1);
	if (client->operation->access == ACCESS_ONCE && number >= options->objects)
		return -1;
	return options->first + number;
}

static bool
may_go_on(const Options *options)
{
	if (deadline > 0 && now_seconds() >= deadline)
		return false;
	return options->count == 0 || atomic_fetch_sub(&allowed, options->mode == MODE_SINGLE ? 1 : options->batch) > 0;
}

void
client_loop(Client *client)
{
	const Options *options = client->options;

	client->began = client->ended = now_seconds();
	while (may_go_on(options))
	{
		double before = client->ended;
		double took;

		if (options->mode != MODE_SINGLE)
			batch_run(client);
		else
		{
			int64_t object = client_next_object(client);

			if (object < 0)
				break;
			client->operation->run(client, object);
		}
		client->ended = now_seconds();
		took = client->ended - before;
		if (client->latencies.total < FIRST_LATENCIES)
			client->first[client->latencies.total] = took;
		histogram_add(&client->latencies, took);
		client->done += options->mode == MODE_SINGLE ? 1 : options->batch;
	}
}
