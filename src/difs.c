/*
 * difs.c - what happens when the library is loaded.
 *
 * Preloaded (shared_preload_libraries = 'difs'): settings, shared memory, hooks
 * and the launcher.  Loaded on demand by a function call: settings that a session
 * may change and the transaction callbacks; functions that need the rest say what
 * to set (difs_shmem_require()).
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "src/atime.h"
#include "src/ddl.h"
#include "src/journal.h"
#include "src/pending.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "src/usage.h"
#include "worker/launcher.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (IsBinaryUpgrade)
		return;
	difs_settings_define(process_shared_preload_libraries_in_progress);
	difs_journal_install();
	difs_usage_install(); /* before pending.c: PostgreSQL asks the last first, and so rows of usage are locked after the wait for segments */
	difs_pending_install();
	difs_atime_install();
	if (!process_shared_preload_libraries_in_progress)
		return;
	difs_shmem_install();
	difs_ddl_install();
	difs_launcher_register();
}
