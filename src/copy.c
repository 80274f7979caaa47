/*
 * copy.c - copies that move no bytes; those of a part are in concat.c.
 *
 * A copy is one version row that names the inode and version whose manifest rows
 * it shares; a copy of a copy names the original, so reading never follows a
 * chain.  The keeper asks the index on version(map_ino) before it collects
 * doomed content, uncommitted rows included, so the source may be deleted at any
 * time.
 *
 * A source that this transaction has just put may still have segments on their
 * way to chunk servers.  They need no waiting for: their manifest rows are
 * written under the source's inode, in this transaction, and become visible with
 * the copy.  Who reads the copy before that settles the source's inode first, as
 * for any version.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "src/concat.h"
#include "src/copy.h"
#include "src/create.h"
#include "src/dentry.h"
#include "src/history.h"
#include "src/hook.h"
#include "src/marker.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/retain.h"
#include "src/stat.h"
#include "src/table.h"

static const char *placement_of(const DifsVolume *volume);
static int32 copy(const text *from, const text *to, int32 number, int32 if_version);
static int64 range_argument(FunctionCallInfo fcinfo, int argument, const char *name, int64 otherwise);

/* number 0: the current version. Returns the target's new version. */
static int32
copy(const text *from, const text *to, int32 number, int32 if_version)
{
	DifsWalk source;
	DifsWalk target;
	DifsInode inode;
	DifsVersion version;
	bool created;

	difs_copy_find_source(from, number, &source, &version);
	difs_file_open_for_write(to, false, if_version, &target, &inode, &created);
	if (created)
		inode.mode &= source.inode.mode; /* a copy of what is private is private */
	difs_copy_check_classes(&source, &target);

	/*
	 * Opening may have waited, and the source may have changed since, all the more if it is the target.  What
	 * counts is what a snapshot of now sees; and as long as that is in force, it is out of the keeper's reach.
	 */
	difs_names_again();
	difs_copy_check_gone(from, &target, &inode);
	difs_copy_find_source(from, number, &source, &version);

	version.ino = inode.ino;
	version.version = difs_inode_next_version(&inode);
	version.author = GetUserId();
	version.mtime = GetCurrentTimestamp();
	difs_version_insert(&version);

	inode.version = version.version;
	inode.size = version.size;
	inode.mtime = version.mtime;
	inode.ctime = version.mtime;
	difs_retain_after_put(&target.volume, &inode);
	difs_inode_store_content(&inode);
	difs_hook_before_put(&inode, version.version, version.size);
	return version.version;
}

void
difs_copy_find_source(const text *path, int32 number, DifsWalk *walk, DifsVersion *version)
{
	if (number == 0)
		difs_path_find_file(path, walk);
	else
		difs_marker_path_find(path, walk);
	difs_perm_require(&walk->inode, DIFS_MAY_READ, walk->path->text);
	difs_stat_version(walk, number == 0 ? walk->inode.version : number, version);
	if (version->deleted)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("version %d of file \"%s\" has no content", version->version, walk->path->text),
				 errdetail("It says that the file was deleted.")));
}

void
difs_copy_check_gone(const text *path, const DifsWalk *target, const DifsInode *inode)
{
	DifsPath *source;
	bool same;

	if (!inode->fresh)
		return;
	source = difs_path_parse(path);
	same = source->count == target->path->count && strcmp(source->volume, target->path->volume) == 0;
	for (int i = 0; i < source->count && same; i++)
		same = strcmp(source->component[i], target->path->component[i]) == 0;
	if (same)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_NO_FILE),
				 errmsg("file or directory \"%s\" does not exist", source->text)));
}

static const char *
placement_of(const DifsVolume *volume)
{
	return volume->placement[0] != '\0' ? psprintf("placement %s", volume->placement) : "no placement function";
}

void
difs_copy_check_classes(const DifsWalk *from, const DifsWalk *to)
{
	const DifsClass *source = &from->volume.class;
	const DifsClass *target = &to->volume.class;

	if (!difs_class_equal(source, target))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot copy \"%s\" to \"%s\" without moving bytes", from->path->text, to->path->text),
				 errdetail("Volume \"%s\" has replicas %d, tier \"%s\" and %s, volume \"%s\" replicas %d, tier \"%s\" and %s.",
						   from->volume.name, source->replicas, source->tier, placement_of(&from->volume),
						   to->volume.name, target->replicas, target->tier, placement_of(&to->volume)),
				 errhint("Store the content anew with difs_put().")));
}

static int64
range_argument(FunctionCallInfo fcinfo, int argument, const char *name, int64 otherwise)
{
	int64 value = PG_ARGISNULL(argument) ? otherwise : PG_GETARG_INT64(argument);

	if (value < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("%s must not be negative: %lld", name, (long long) value)));
	return value;
}

PG_FUNCTION_INFO_V1(difs_copy);
PG_FUNCTION_INFO_V1(difs_restore);

Datum
difs_copy(PG_FUNCTION_ARGS)
{
	int32 number = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	int32 if_version = PG_ARGISNULL(3) ? DIFS_ANY_VERSION : PG_GETARG_INT32(3);
	DifsPart part = {.version = number};
	int32 version;

	DIFS_ARG_NOT_NULL(0, "from_path");
	DIFS_ARG_NOT_NULL(1, "to_path");
	if (!PG_ARGISNULL(3) && if_version < 0)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_ARGUMENT),
				 errmsg("if_version must not be negative")));

	part.path = PG_GETARG_TEXT_PP(0);
	part.offset = range_argument(fcinfo, 4, "offset", 0);
	part.length = range_argument(fcinfo, 5, "length", PG_INT64_MAX);

	difs_write_begin("difs_copy");
	if (part.offset == 0 && part.length == PG_INT64_MAX)
		version = copy(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1), number, if_version);
	else
		version = difs_concat_parts(&part, 1, PG_GETARG_TEXT_PP(1), if_version);
	difs_write_end();
	PG_RETURN_INT32(version);
}

/* difs_restore(path, version): a copy of an old version of a file to that file itself. */
Datum
difs_restore(PG_FUNCTION_ARGS)
{
	int32 number;
	int32 version;

	DIFS_ARG_NOT_NULL(0, "path");
	DIFS_ARG_NOT_NULL(1, "version");
	number = difs_version_argument(fcinfo, 1);

	difs_write_begin("difs_restore");
	version = copy(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(0), number, DIFS_ANY_VERSION);
	difs_write_end();
	PG_RETURN_INT32(version);
}
