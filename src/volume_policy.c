/*
 * volume_policy.c - the policy of a volume, as arguments of difs_volume_create() and difs_volume_alter() (volume.h).
 *
 * No state here: what is given is checked and goes to a DifsVolume.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/segment.h"
#include "src/inline.h"
#include "src/journal.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/volume.h"

#define SEGMENT_SIZE_UNIT 4096
#define MAX_COMPRESSION_LEVEL 19
#define MAX_JOURNAL_KEEP (INT64CONST(1000) * 366 * SECS_PER_DAY)

static void check_tier(const char *tier);
static void check_range(const char *argument, int value, int min, int max);
static void check_segment_size(int segment_size);
static int stored_level(const char *compression, int level);
static int64 seconds_of(const Interval *interval);

void
difs_volume_policy(FunctionCallInfo fcinfo, DifsVolume *volume)
{
	if (!PG_ARGISNULL(1))
	{
		check_range("replicas", PG_GETARG_INT32(1), 1, DIFS_MAX_REPLICAS);
		volume->class.replicas = PG_GETARG_INT32(1);
	}
	if (!PG_ARGISNULL(2))
	{
		volume->segment_size = PG_GETARG_INT32(2);
		check_segment_size(volume->segment_size);
	}
	if (!PG_ARGISNULL(3) || !PG_ARGISNULL(4))
	{
		int level = !PG_ARGISNULL(4) ? PG_GETARG_INT32(4) : Max(volume->compression_level, 1);
		const char *compression = !PG_ARGISNULL(3) ? text_to_cstring(PG_GETARG_TEXT_PP(3)) : (level == 0 ? "none" : "zstd");

		volume->compression_level = stored_level(compression, level);
	}
	if (!PG_ARGISNULL(5))
	{
		const char *tier = text_to_cstring(PG_GETARG_TEXT_PP(5));

		check_tier(tier);
		strlcpy(volume->class.tier, tier, sizeof(volume->class.tier));
	}
	if (!PG_ARGISNULL(6))
		volume->digest = difs_volume_digest(text_to_cstring(PG_GETARG_TEXT_PP(6)));
	if (!PG_ARGISNULL(7))
	{
		check_range("inline_limit", PG_GETARG_INT32(7), 0, DIFS_MAX_INLINE);
		volume->inline_limit = PG_GETARG_INT32(7);
	}
	if (!PG_ARGISNULL(8))
		volume->journal = PG_GETARG_BOOL(8);
	if (!PG_ARGISNULL(9))
		volume->journal_keep = seconds_of(PG_GETARG_INTERVAL_P(9));
	if (!PG_ARGISNULL(10))
		volume->notify = PG_GETARG_BOOL(10);
}

void
difs_volume_keeping(FunctionCallInfo fcinfo, int argument, DifsVolume *volume)
{
	DifsRetention given;
	Interval trash_for;

	if (!PG_ARGISNULL(argument))
		volume->versioning = PG_GETARG_BOOL(argument);
	difs_retention_argument(fcinfo, argument + 1, &given);
	if (given.keep_versions > 0)
		volume->retention.keep_versions = given.keep_versions;
	if (given.has_keep_for)
	{
		volume->retention.has_keep_for = true;
		volume->retention.keep_for = given.keep_for;
	}
	if (difs_interval_argument(fcinfo, argument + 3, "trash_for", &trash_for))
	{
		volume->has_trash = true;
		volume->trash_for = trash_for;
	}
}

void
difs_volume_check_name(const DifsVolume *volume, const char *name)
{
	int limit = volume->notify ? NAMEDATALEN - sizeof(DIFS_CHANNEL_PREFIX) : NAMEDATALEN - 1;

	if (name[0] == '\0' || strlen(name) > limit || strpbrk(name, ":/") != NULL)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid volume name \"%s\"", name),
				errhint("A name has 1 to %d bytes, and neither colon nor slash.", limit));
}

static void
check_tier(const char *tier)
{
	if (tier[0] == '\0' || strlen(tier) >= DIFS_TIER_SIZE)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid tier \"%s\"", tier),
				errhint("A tier has 1 to %d bytes, and is one that chunk servers were added with.",
						DIFS_TIER_SIZE - 1));
}

static void
check_range(const char *argument, int value, int min, int max)
{
	if (value < min || value > max)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("%s must be from %d to %d, not %d", argument, min, max, value));
}

static void
check_segment_size(int segment_size)
{
	if (segment_size < DIFS_MIN_SEGMENT_SIZE || segment_size > DIFS_MAX_SEGMENT_SIZE ||
		segment_size % SEGMENT_SIZE_UNIT != 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid segment_size: %d bytes", segment_size),
				errhint("It is a multiple of %d from %d to %d.",
						SEGMENT_SIZE_UNIT, DIFS_MIN_SEGMENT_SIZE, DIFS_MAX_SEGMENT_SIZE));
}

/* The two arguments are one column: 0 is no compression. */
static int
stored_level(const char *compression, int level)
{
	bool none = strcmp(compression, "none") == 0;

	if (!none && strcmp(compression, "zstd") != 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid compression \"%s\"", compression),
				errhint("Compressions are \"none\" and \"zstd\"."));
	check_range("compression_level", level, none ? 0 : 1, MAX_COMPRESSION_LEVEL);

	return none ? 0 : level;
}

/* 0 is for ever. */
static int64
seconds_of(const Interval *interval)
{
	int64 days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64 seconds = days * SECS_PER_DAY + interval->time / USECS_PER_SEC;

	if (interval->month < 0 || interval->day < 0 || interval->time < 0 || seconds > MAX_JOURNAL_KEEP)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("journal_keep must be from 0 to 1000 years"),
				errhint("0 keeps the journal for ever."));
	return seconds == 0 && interval->time > 0 ? 1 : seconds;
}
