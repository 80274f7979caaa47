/*
 * wait.c - wait events, and times waited (wait.h).
 *
 * State: of this process.
 */
#include "postgres.h"

#include "src/compat.h"
#include "src/pace.h"
#include "src/wait.h"

uint64 difs_waited_us[DIFS_WAITS];

uint32
difs_wait_event(DifsWait wait)
{
	static const char *const names[DIFS_WAITS] = {
		[DIFS_WAIT_POOL] = "DifsStreamPool",
		[DIFS_WAIT_STREAMER] = "DifsStreamer",
		[DIFS_WAIT_SERVER] = "DifsChunkServer",
		[DIFS_WAIT_GROUP] = "DifsBlockGroup",
		[DIFS_WAIT_LOCK] = "DifsLock",
		[DIFS_WAIT_WORKERS] = "DifsWorkers",
		[DIFS_WAIT_DUTY] = "DifsDuty",
		[DIFS_WAIT_RATE] = "DifsRate",
		[DIFS_WAIT_SOURCE] = "DifsSource",
		[DIFS_WAIT_EXPORT] = "DifsExport",
		[DIFS_WAIT_KEEPER_MAIN] = "DifsKeeperMain",
		[DIFS_WAIT_STREAMER_MAIN] = "DifsStreamerMain",
		[DIFS_WAIT_LAUNCHER_MAIN] = "DifsLauncherMain",
	};
	static uint32 events[DIFS_WAITS];

	if (events[wait] == 0)
		events[wait] = difs_wait_event_new(names[wait]);
	return events[wait];
}

int64
difs_wait_begin(void)
{
	return difs_pace_clock_us();
}

void
difs_wait_end(DifsWait wait, int64 began_us)
{
	difs_waited_us[wait] += difs_pace_clock_us() - began_us;
}
