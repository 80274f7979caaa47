/*
 * memory.c - the budget for what peers send.
 *
 * All of it belongs to the loop thread.  A request that is being received holds
 * what has been charged to it until it is answered.  When the budget is used up,
 * connections wait in one queue, first come, first served.  As all of them may
 * stand in the middle of a payload, none of which could ever be finished, the
 * first one to wait goes on beyond the budget until its request is answered, then
 * the next.  So the total is at most the budget and one request.  The one in
 * overdraft cannot hold up the others by sending nothing: connection.c closes it.
 */
#include "memory.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include "connection.h"
#include "log.h"

#define MAPPED_FROM (32 * 1024 * 1024) /* the most that malloc knows */
#define TRIM_FROM (4 * 1024 * 1024)
#define QUIET_MS 5000

static bool charge(DifsBudget *budget, DifsRequest *request, size_t bytes);

void
difs_memory_prepare(void)
{
	mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
	mallopt(M_TRIM_THRESHOLD, DIFS_BUDGET_BYTES);
}

void
difs_memory_tick(DifsBudget *budget, uint64_t now_ms)
{
	if (budget->charged != budget->charged_before || budget->used > 0)
	{
		budget->charged_before = budget->charged;
		budget->quiet_ms = now_ms;
	}
	else if (budget->charged >= TRIM_FROM && now_ms - budget->quiet_ms >= QUIET_MS)
	{
		malloc_trim(0);
		budget->charged = budget->charged_before = 0;
	}
}

void
difs_budget_init(DifsBudget *budget)
{
	*budget = (DifsBudget){0};
	TAILQ_INIT(&budget->waiting);
}

bool
difs_budget_take(DifsBudget *budget, DifsRequest *request, size_t bytes)
{
	DifsConnection *connection = request->connection;

	/* Who comes later does not overtake those who wait, but for the one that they all wait for. */
	if ((TAILQ_EMPTY(&budget->waiting) || budget->overdraft == request) && charge(budget, request, bytes))
		return true;
	connection->memory_wanted = bytes;
	TAILQ_INSERT_TAIL(&budget->waiting, connection, memory_link);
	return false;
}

void
difs_budget_give(DifsBudget *budget, DifsRequest *request)
{
	DifsConnection *connection;

	budget->used -= request->charged_bytes;
	request->charged_bytes = 0;
	if (budget->overdraft == request)
		budget->overdraft = NULL;

	while ((connection = TAILQ_FIRST(&budget->waiting)) != NULL &&
		   charge(budget, connection->receiving, connection->memory_wanted))
	{
		TAILQ_REMOVE(&budget->waiting, connection, memory_link);
		connection->memory_wanted = 0;
		difs_connection_memory_granted(connection);
	}
}

void
difs_budget_forget(DifsBudget *budget, DifsConnection *connection)
{
	if (connection->memory_wanted == 0)
		return;
	TAILQ_REMOVE(&budget->waiting, connection, memory_link);
	connection->memory_wanted = 0;
}

void *
difs_alloc(size_t size_bytes)
{
	void *memory = calloc(1, size_bytes);

	if (memory == NULL)
	{
		difs_log(DIFS_LOG_ERROR, "out of memory for %zu bytes", size_bytes);
		abort();
	}
	return memory;
}

void *
difs_realloc(void *memory, size_t size_bytes)
{
	memory = realloc(memory, size_bytes);
	if (memory == NULL)
	{
		difs_log(DIFS_LOG_ERROR, "out of memory for %zu bytes", size_bytes);
		abort();
	}
	return memory;
}

static bool
charge(DifsBudget *budget, DifsRequest *request, size_t bytes)
{
	if (budget->used + bytes > DIFS_BUDGET_BYTES)
	{
		if (budget->overdraft != NULL && budget->overdraft != request)
			return false;
		budget->overdraft = request;
	}
	budget->used += bytes;
	budget->charged += bytes;
	request->charged_bytes += bytes;
	return true;
}
