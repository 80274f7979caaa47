/*
 * access.c - access entries (access.h).
 *
 * No state.  Sets of entries are not changed but copied.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "src/access.h"
#include "src/perm.h"
#include "src/report.h"

static DifsAccess *copy_with_room(const DifsAccess *access);
static int find_role(const DifsAccess *access, Oid role);

DifsAccess *
difs_access_decode(const Datum *roles, const Datum *modes)
{
	ArrayType *role_array = roles != NULL ? DatumGetArrayTypeP(*roles) : NULL;
	ArrayType *mode_array = modes != NULL ? DatumGetArrayTypeP(*modes) : NULL;
	int count = roles != NULL ? ArrayGetNItems(ARR_NDIM(role_array), ARR_DIMS(role_array)) : 0;
	DifsAccess *access;

	if (roles == NULL && modes == NULL)
		return NULL;
	if (roles == NULL || modes == NULL || ARR_HASNULL(role_array) || ARR_HASNULL(mode_array) ||
		count != ArrayGetNItems(ARR_NDIM(mode_array), ARR_DIMS(mode_array)))
		ereport(ERROR,
				errcode(DIFS_ERRCODE_CORRUPT),
				errmsg("access entries of an inode are damaged"),
				errhint("difs_fsck() names it."));

	access = palloc(offsetof(DifsAccess, entry) + sizeof(access->entry[0]) * count);
	access->count = count;
	for (int i = 0; i < count; i++)
	{
		access->entry[i].role = ((Oid *) ARR_DATA_PTR(role_array))[i];
		access->entry[i].mode = ((int16 *) ARR_DATA_PTR(mode_array))[i];
	}
	return access;
}

bool
difs_access_encode(const DifsAccess *access, Datum *roles, Datum *modes)
{
	Datum *elements;

	if (access == NULL)
		return false;

	elements = palloc(sizeof(Datum) * access->count);
	for (int i = 0; i < access->count; i++)
		elements[i] = ObjectIdGetDatum(access->entry[i].role);
	*roles = PointerGetDatum(construct_array(elements, access->count, REGROLEOID, sizeof(Oid), true, TYPALIGN_INT));
	for (int i = 0; i < access->count; i++)
		elements[i] = Int16GetDatum(access->entry[i].mode);
	*modes = PointerGetDatum(construct_array(elements, access->count, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	return true;
}

DifsAccess *
difs_access_add(const DifsAccess *access, Oid role, int mode)
{
	DifsAccess *changed = copy_with_room(access);
	int place = find_role(changed, role);

	if (place == changed->count)
	{
		if (changed->count == DIFS_MAX_ACCESS)
			ereport(ERROR,
					errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("a file or directory cannot have more than %d access entries", DIFS_MAX_ACCESS),
					errhint("Grant to a role that others are members of."));
		changed->entry[place].role = role;
		changed->entry[place].mode = 0;
		changed->count++;
	}
	changed->entry[place].mode |= mode;
	return changed;
}

DifsAccess *
difs_access_remove(const DifsAccess *access, Oid role, int mode)
{
	DifsAccess *changed = copy_with_room(access);
	int place = find_role(changed, role);

	if (place < changed->count)
	{
		changed->entry[place].mode &= ~mode;
		if (changed->entry[place].mode == 0)
			changed->entry[place] = changed->entry[--changed->count];
	}
	return changed->count > 0 ? changed : NULL;
}

/* Search means nothing for a file. */
DifsAccess *
difs_access_inherit(const DifsAccess *access, bool directory)
{
	DifsAccess *inherited;

	if (access == NULL)
		return NULL;

	inherited = copy_with_room(access);
	inherited->count = 0;
	for (int i = 0; i < access->count; i++)
	{
		int may = access->entry[i].mode >> 3 & DIFS_MAY_ALL;
		int mode = directory ? may | DIFS_ACCESS_DEFAULT(may) : may & ~DIFS_MAY_SEARCH;

		if (mode != 0)
		{
			inherited->entry[inherited->count].role = access->entry[i].role;
			inherited->entry[inherited->count++].mode = mode;
		}
	}
	return inherited->count > 0 ? inherited : NULL;
}

int
difs_access_parse(const char *privileges)
{
	int may = 0;

	for (const char *letter = privileges; *letter != '\0'; letter++)
	{
		int bit = *letter == 'r' ? DIFS_MAY_READ : (*letter == 'w' ? DIFS_MAY_WRITE : (*letter == 'x' ? DIFS_MAY_SEARCH : 0));

		if (bit == 0)
			may = -1;
		if (may >= 0)
			may |= bit;
	}
	if (may <= 0)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("invalid privileges \"%s\"", privileges),
				errhint("They are one or more of the letters r (read), w (write) and x (search)."));
	return may;
}

char *
difs_access_letters(int may)
{
	return psprintf("%c%c%c", (may & DIFS_MAY_READ) ? 'r' : '-', (may & DIFS_MAY_WRITE) ? 'w' : '-',
					(may & DIFS_MAY_SEARCH) ? 'x' : '-');
}

/* With room for one entry more. */
static DifsAccess *
copy_with_room(const DifsAccess *access)
{
	int count = access == NULL ? 0 : access->count;
	DifsAccess *copy = palloc(offsetof(DifsAccess, entry) + sizeof(copy->entry[0]) * (count + 1));

	copy->count = count;
	if (count > 0)
		memcpy(copy->entry, access->entry, sizeof(copy->entry[0]) * count);
	return copy;
}

/* Its place, or the one behind the last. */
static int
find_role(const DifsAccess *access, Oid role)
{
	int place = 0;

	while (place < access->count && access->entry[place].role != role)
		place++;
	return place;
}
