/*
 * process.c - signals and pauses of background workers (process.h).
 *
 * No state but PostgreSQL's own flags that the signal handlers set.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"

#include "worker/process.h"

#define FIRST_PAUSE_MS 500
#define LONGEST_PAUSE_MS 10000
#define LONG_LIFE_MS 10000

static void handle_terminate(SIGNAL_ARGS);

void
difs_process_begin(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_terminate);
	BackgroundWorkerUnblockSignals();
}

bool
difs_process_asked_to_stop(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	return ShutdownRequestPending;
}

void
difs_pause_started(DifsPause *pause)
{
	pause->started_at = GetCurrentTimestamp();
}

void
difs_pause_ended(DifsPause *pause)
{
	if (TimestampDifferenceExceeds(pause->started_at, GetCurrentTimestamp(), LONG_LIFE_MS))
		pause->length_ms = 0;
	pause->retry_at = difs_process_in(pause->length_ms);
	pause->length_ms = pause->length_ms == 0 ? FIRST_PAUSE_MS : Min(2 * pause->length_ms, LONGEST_PAUSE_MS);
}

static void
handle_terminate(SIGNAL_ARGS)
{
	if (IsTransactionState())
		die(postgres_signal_arg);
	else
		SignalHandlerForShutdownRequest(postgres_signal_arg);
}
