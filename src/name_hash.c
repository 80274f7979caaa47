/*
 * name_hash.c - difs_name_hash() and looking a name up by its hash.
 *
 * The look-up walks, name by name: an index would have to be kept by every put,
 * and a rename of a directory would have to rewrite what is below.  Who knows a
 * directory above narrows it with "below".
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "src/dentry.h"
#include "src/name_hash.h"
#include "src/perm.h"
#include "src/report.h"
#include "src/table.h"

static bool find_hash(const uint8 *hash, StringInfo path, const DifsInode *inode);
static bool find_below(const uint8 *hash, StringInfo path, int64 directory);

void
difs_name_hash_compute(const char *name, size_t length, uint8 *hash)
{
	static EVP_MD_CTX *context = NULL;
	static EVP_MD *sha256 = NULL; /* looked up once: that takes longer than the hash */

	if (context == NULL)
		context = EVP_MD_CTX_new();
	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (context == NULL || sha256 == NULL || EVP_DigestInit_ex(context, sha256, NULL) != 1 ||
		EVP_DigestUpdate(context, name, length) != 1 || EVP_DigestFinal_ex(context, hash, NULL) != 1)
		elog(ERROR, "could not compute the hash of a name");
}

/* Is it the inode at that path, or one below? If so, *path is where. Directories that the user may not read and search are not gone into, as by
 * difs_list(). */
static bool
find_hash(const uint8 *hash, StringInfo path, const DifsInode *inode)
{
	const int wanted = DIFS_MAY_READ | DIFS_MAY_SEARCH;
	uint8 found[DIFS_NAME_HASH_SIZE];

	difs_name_hash_compute(path->data, path->len, found);
	return memcmp(found, hash, DIFS_NAME_HASH_SIZE) == 0 ||
		(inode->kind == DIFS_KIND_DIRECTORY && (difs_perm_of(inode) & wanted) == wanted && find_below(hash, path, inode->ino));
}

static bool
find_below(const uint8 *hash, StringInfo path, int64 directory)
{
	int length = path->len;
	bool found = false;
	ScanKeyData key;
	DifsScan *scan;
	HeapTuple row;

	check_stack_depth();

	DIFS_KEY(&key, DIFS_DENTRY_PARENT, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(directory));
	scan = difs_scan_begin(DIFS_REL_DENTRY, DIFS_REL_DENTRY_PKEY, 1, &key);
	while (!found && (row = difs_scan_next(scan, false)) != NULL)
	{
		bool null;
		text *name = DatumGetTextPP(heap_getattr(row, DIFS_DENTRY_NAME, difs_scan_desc(scan), &null));
		int64 ino = difs_dentry_ino(row, difs_scan_desc(scan));
		DifsInode inode;

		if (!difs_inode_find(ino, &inode))
			elog(ERROR, "inode " INT64_FORMAT ", to which an entry of inode " INT64_FORMAT " leads, is missing", ino, directory);
		if (path->data[length - 1] != '/')
			appendStringInfoChar(path, '/');
		appendBinaryStringInfo(path, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		found = find_hash(hash, path, &inode);
		difs_inode_free(&inode);
		if (!found)
		{
			path->len = length;
			path->data[length] = '\0';
		}
	}
	difs_scan_end(scan);
	return found;
}

PG_FUNCTION_INFO_V1(difs_name_hash);
PG_FUNCTION_INFO_V1(difs_find_by_hash);

Datum
difs_name_hash(PG_FUNCTION_ARGS)
{
	DifsPath *path;
	char *name;
	bytea *hash = palloc(VARHDRSZ + DIFS_NAME_HASH_SIZE);

	DIFS_ARG_NOT_NULL(0, "path");
	path = difs_path_parse(PG_GETARG_TEXT_PP(0));
	name = difs_path_write(path, path->count);
	SET_VARSIZE(hash, VARHDRSZ + DIFS_NAME_HASH_SIZE);
	difs_name_hash_compute(name, strlen(name), (uint8 *) VARDATA(hash));
	PG_RETURN_BYTEA_P(hash);
}

/* Null if there is none. */
Datum
difs_find_by_hash(PG_FUNCTION_ARGS)
{
	bytea *hash;
	DifsWalk walk;
	StringInfoData path;
	bool found;

	DIFS_ARG_NOT_NULL(0, "hash");
	DIFS_ARG_NOT_NULL(1, "below");
	hash = PG_GETARG_BYTEA_PP(0);
	if (VARSIZE_ANY_EXHDR(hash) != DIFS_NAME_HASH_SIZE)
		ereport(ERROR,
				errcode(DIFS_ERRCODE_ARGUMENT),
				errmsg("hash of a name must have %d bytes, not %d", DIFS_NAME_HASH_SIZE, (int) VARSIZE_ANY_EXHDR(hash)));

	difs_read_begin();
	difs_path_find(PG_GETARG_TEXT_PP(1), &walk);
	initStringInfo(&path);
	appendStringInfoString(&path, difs_path_write(walk.path, walk.path->count));
	found = find_hash((const uint8 *) VARDATA_ANY(hash), &path, &walk.inode);
	difs_read_end();
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(path.data, path.len));
}
