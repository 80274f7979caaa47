/*
 * touch.c - difs_touch(): times as their users want them.
 *
 * atime and mtime can be set, ctime says when that was done, and btime never
 * changes.  Who moves which time otherwise: README.md, "Times".
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "src/dentry.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

static void touch(const text *path, const TimestampTz *atime, const TimestampTz *mtime);
static void check_time(const char *argument, TimestampTz time);

/* NULL: keep it; both: now. */
static void
touch(const text *path, const TimestampTz *atime, const TimestampTz *mtime)
{
	for (;; difs_names_again())
	{
		DifsWalk walk;
		TimestampTz now;
		bool both;
		Datum values[DIFS_INODE_COLUMNS] = {0};
		bool nulls[DIFS_INODE_COLUMNS] = {false};
		bool replace[DIFS_INODE_COLUMNS] = {false};

		difs_path_find(path, &walk);
		if (!difs_inode_lock(&walk.inode))
			continue;
		both = atime == NULL && mtime == NULL;
		if (both)
			difs_perm_require(&walk.inode, DIFS_MAY_WRITE, walk.path->text);
		else
			difs_perm_require_owner(&walk.inode, walk.path->text);

		now = GetCurrentTimestamp();
		values[DIFS_INODE_ATIME - 1] = TimestampTzGetDatum(atime != NULL ? *atime : now);
		values[DIFS_INODE_MTIME - 1] = TimestampTzGetDatum(mtime != NULL ? *mtime : now);
		values[DIFS_INODE_CTIME - 1] = TimestampTzGetDatum(now);
		replace[DIFS_INODE_ATIME - 1] = both || atime != NULL;
		replace[DIFS_INODE_MTIME - 1] = both || mtime != NULL;
		replace[DIFS_INODE_CTIME - 1] = true;
		difs_inode_update(&walk.inode, values, nulls, replace);
		return;
	}
}

static void
check_time(const char *argument, TimestampTz time)
{
	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("%s must be finite", argument));
}

PG_FUNCTION_INFO_V1(difs_touch);

Datum
difs_touch(PG_FUNCTION_ARGS)
{
	TimestampTz atime = PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz mtime = PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMPTZ(2);

	DIFS_ARG_NOT_NULL(0, "path");
	check_time("atime", atime);
	check_time("mtime", mtime);

	difs_write_begin("difs_touch");
	touch(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? NULL : &atime, PG_ARGISNULL(2) ? NULL : &mtime);
	difs_write_end();
	PG_RETURN_VOID();
}
