/*
 * fsck_digest.c - difs_fsck(digests): reads every version that has a digest, and compares.
 *
 * A version that cannot be read is a problem to report and not the end of the check: each is read in a
 * subtransaction, so that what an error leaves behind goes with it.
 *
 * No state but the digests' contexts, which libraries own and which live as long as the backend.
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "src/fetch.h"
#include "src/fsck.h"
#include "src/version.h"

#define PIECE_BYTES (16 * 1024 * 1024)
#define FETCH_ROWS 1000
#define XXH128_SIZE 16
#define HINT "Restore the version from a backup, or delete it."

static XXH3_state_t *xxh3 = NULL;
static EVP_MD_CTX *sha256 = NULL;

static const char *const query =
	"SELECT v.ino, v.version, 'version ' || v.version || ' of ' || coalesce(difs.path_of(v.ino), 'inode ' || v.ino)"
	" FROM difs.version v WHERE v.digest IS NOT NULL AND NOT EXISTS (SELECT FROM difs.doomed d"
	" WHERE d.ino = v.ino AND (d.version IS NULL OR d.version = v.version)) ORDER BY v.ino, v.version";

static void check_version(ReturnSetInfo *result, int64 ino, int32 number, Datum object);
static bool matches(int64 ino, int32 number, const char *name);
static void begin(bool long_digest);

void
difs_fsck_digests(ReturnSetInfo *result)
{
	Portal portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, false, 0);

	for (;;)
	{
		SPITupleTable *table;
		uint64 count;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		table = SPI_tuptable;
		count = SPI_processed;
		if (count == 0)
			break;
		for (uint64 i = 0; i < count; i++)
		{
			bool null;

			check_version(result, DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 1, &null)),
						  DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 2, &null)),
						  SPI_getbinval(table->vals[i], table->tupdesc, 3, &null));
		}
		SPI_freetuptable(table);
	}
	SPI_cursor_close(portal);
}

static void
check_version(ReturnSetInfo *result, int64 ino, int32 number, Datum object)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	volatile bool right = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		PushActiveSnapshot(GetLatestSnapshot());
		right = matches(ino, number, TextDatumGetCString(object));
		PopActiveSnapshot();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (error != NULL)
		difs_fsck_report(result, "unreadable version", object, CStringGetTextDatum(error->message), HINT);
	else if (!right)
		difs_fsck_report(result, "wrong digest", object, CStringGetTextDatum("its bytes are not those that were stored"), HINT);
}

static bool
matches(int64 ino, int32 number, const char *name)
{
	DifsVersion version;
	uint8 digest[EVP_MAX_MD_SIZE];
	char *piece;
	bool is_short;

	if (!difs_version_find(ino, number, &version))
		return true; /* collected meanwhile */
	piece = palloc(Min(version.size, PIECE_BYTES) + 1);
	is_short = version.digest_length == XXH128_SIZE;
	begin(!is_short);
	for (int64 at = 0; at < version.size; at += PIECE_BYTES)
	{
		int64 length = Min(version.size - at, PIECE_BYTES);

		CHECK_FOR_INTERRUPTS();
		difs_fetch_range(name, &version, at, length, DIFS_CACHING_NONE, piece);
		if (is_short)
			(void) XXH3_128bits_update(xxh3, piece, length); /* fails for null pointers only */
		else if (EVP_DigestUpdate(sha256, piece, length) != 1)
			elog(ERROR, "could not compute a digest");
	}
	pfree(piece);
	if (is_short)
		XXH128_canonicalFromHash((XXH128_canonical_t *) digest, XXH3_128bits_digest(xxh3));
	else if (EVP_DigestFinal_ex(sha256, digest, NULL) != 1)
		elog(ERROR, "could not compute a digest");
	return memcmp(digest, version.digest, version.digest_length) == 0;
}

static void
begin(bool long_digest)
{
	bool good;

	if (long_digest)
	{
		if (sha256 == NULL)
			sha256 = EVP_MD_CTX_new();
		good = sha256 != NULL && EVP_DigestInit_ex(sha256, EVP_sha256(), NULL) == 1;
	}
	else
	{
		if (xxh3 == NULL)
			xxh3 = XXH3_createState();
		good = xxh3 != NULL && XXH3_128bits_reset(xxh3) == XXH_OK;
	}
	if (!good)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not set up a digest")));
}
