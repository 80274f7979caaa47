/*
 * memory.h - the two kinds of memory that a server takes.
 *
 * Small objects (connections, requests, groups, entries of an index), whose
 * number is limited elsewhere, come from difs_alloc().  When even those cannot be
 * had, the process ends: it may be killed at any moment anyway, and nothing that
 * it has acknowledged depends on what it holds in memory.
 *
 * Bytes of requests that peers send are charged to one budget for the whole
 * server, in steps, as they arrive; see memory.c.
 */
#ifndef DIFS_MEMORY_H
#define DIFS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define DIFS_BUDGET_BYTES (256 * 1024 * 1024)

struct DifsConnection;
struct DifsRequest;

typedef TAILQ_HEAD(DifsBudgetQueue, DifsConnection) DifsBudgetQueue;

typedef struct DifsBudget
{
	size_t used;
	const struct DifsRequest *overdraft; /* the one request that may go over the budget, or NULL */
	DifsBudgetQueue waiting;			 /* connections that have stopped to read, in order */
	size_t charged;						 /* since memory was last given back to the system */
	size_t charged_before;				 /* the same, as it was at quiet_ms */
	uint64_t quiet_ms;
} DifsBudget;

/* At start: what is freed is kept for the next request, as pages that come fresh from the system for each of them cost as much as receiving into them. */
extern void difs_memory_prepare(void);

/* Now and then: gives it back to the system when there has been no request for a while. */
extern void difs_memory_tick(DifsBudget *budget, uint64_t now_ms);

extern void difs_budget_init(DifsBudget *budget);

/* Charges bytes to a request that is being received.  False if its connection has to wait: it stands in the queue then,
 * and difs_connection_memory_granted() is called once the bytes have been charged. */
extern bool difs_budget_take(DifsBudget *budget, struct DifsRequest *request, size_t bytes);

/* Gives back all that was charged to a request, and lets those go on who waited for it. */
extern void difs_budget_give(DifsBudget *budget, struct DifsRequest *request);

/* Takes a connection that is about to close out of the queue. */
extern void difs_budget_forget(DifsBudget *budget, struct DifsConnection *connection);

extern void *difs_alloc(size_t size_bytes); /* zeroed */
extern void *difs_realloc(void *memory, size_t size_bytes);

#endif
