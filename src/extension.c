/*
 * extension.c - the extension in this database, and versions that fit.
 *
 * No state: pg_extension is read each time.  table.c remembers that all is well as
 * long as it knows the tables, and ddl.c looks when a version is about to change.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "src/extension.h"

/*
 * Versions of the SQL that this library works with, the oldest first; the last one is its own (scripts/check-meta).  A
 * version with one more number, "1.0.2", is a revision of the one that it begins with: it changes nothing that C code
 * knows of.
 */
static const char *const known[] = {"1.0"};

static Oid look_up(char **version);
static bool is_known(const char *version);
static bool is_older(const char *version, const char *other);

void
difs_extension_check(void)
{
	const char *oldest = known[0];
	const char *newest = known[lengthof(known) - 1];
	char *version;

	if (creating_extension || !OidIsValid(look_up(&version)) || is_known(version))
		return;
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("extension difs in database \"%s\" is of version %s, which the loaded library does not know",
				   get_database_name(MyDatabaseId), version),
			lengthof(known) == 1 ? errdetail("The library is of version %s.", newest) :
								   errdetail("The library is of version %s, and knows those from %s on.", newest, oldest),
			is_older(version, newest) ? errhint("Run ALTER EXTENSION difs UPDATE.") :
										errhint("Install the package of that version, and restart PostgreSQL, which loads the library at its start."));
}

Oid
difs_extension_hold(void)
{
	char *version;
	Oid extension = look_up(&version);

	if (!OidIsValid(extension))
		return InvalidOid;
	/* as ALTER and DROP EXTENSION do, but shared; it may have gone while we waited */
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	extension = look_up(&version);
	difs_extension_check();
	return extension;
}

static Oid
look_up(char **version)
{
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	Oid extension = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("difs"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool null;

		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*version = TextDatumGetCString(heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &null));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return extension;
}

static bool
is_known(const char *version)
{
	for (int i = 0; i < lengthof(known); i++)
	{
		size_t length = strlen(known[i]);

		if (strncmp(version, known[i], length) == 0 && (version[length] == '\0' || version[length] == '.'))
			return true;
	}
	return false;
}

/* By the two numbers that a version begins with. */
static bool
is_older(const char *version, const char *other)
{
	char *rest;
	char *other_rest;
	long number = strtol(version, &rest, 10);
	long other_number = strtol(other, &other_rest, 10);

	if (number != other_number || *rest != '.' || *other_rest != '.')
		return number < other_number;
	return strtol(rest + 1, NULL, 10) < strtol(other_rest + 1, NULL, 10);
}
