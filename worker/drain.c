/*
 * drain.c - the end of draining and removing a server (repair.h).
 *
 *	active --difs_server_drain()--> draining --no row names it--> drained
 *	any    --difs_server_remove()--> removed --no row names it--> no row
 *
 * The copies on a draining server are moved like lost ones, only that they are still good
 * to copy from.  The row of an embedded server that has been removed stays: without it the keeper would announce the
 * server anew.
 *
 * While a server is draining or leaves, rounds of repair follow each other quickly: its open block groups have to be sealed first.
 *
 * State: difs.server.state.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "worker/duties.h"
#include "worker/repair.h"

#define DRAIN_PAUSE_MS 2000

void
difs_drain_settle(void)
{
	difs_repair_begin();
	SPI_execute("UPDATE difs.server SET state = 'drained' WHERE state = 'draining' AND "
				"NOT EXISTS (SELECT FROM difs.block_group WHERE server.id = ANY (members)) RETURNING name",
				false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		ereport(LOG,
				(errmsg("difs: chunk server %s is drained: it has no copies any more",
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1))));
	SPI_execute("DELETE FROM difs.server WHERE state = 'removed' AND NOT embedded AND "
				"NOT EXISTS (SELECT FROM difs.block_group WHERE server.id = ANY (members))",
				false, 0);
	SPI_execute("SELECT FROM difs.server WHERE state = 'draining' OR (state = 'removed' AND NOT embedded) LIMIT 1", true, 1);
	if (SPI_processed > 0)
		difs_duty_again(DRAIN_PAUSE_MS);
	difs_repair_commit();
}
