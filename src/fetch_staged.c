/*
 * fetch_staged.c - pieces whose segment is in the database itself (staging.h).
 *
 * The same checks and the same way into place as for a server's reply, with the
 * row in difs.staging in place of the server.  Only the blocks that are needed are
 * read from the table.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "src/fetch_lane.h"
#include "src/report.h"
#include "src/staging.h"

static bool take(DifsLane *lane, const DifsStaged *staged, bool *done, DifsError *error);

void
difs_lane_take_staged(DifsLane *lane)
{
	const DifsPiece *piece = &lane->piece;
	DifsStaged *staged = difs_staging_find(piece->stored.segment);
	DifsError error = {DIFS_ERROR_NO_SEGMENT, 0, "it is not in difs.staging"};
	bool done = false;

	errno = 0;
	while (staged != NULL && !done)
	{
		CHECK_FOR_INTERRUPTS();
		if (!take(lane, staged, &done, &error))
			break;
	}
	if (!done)
		ereport(ERROR,
				(errcode(DIFS_ERRCODE_CORRUPT),
				 errmsg("file \"%s\" is damaged at offset %lld", lane->path, (long long) piece->file_offset),
				 errdetail("No good copy of staged segment %llu is left: %s.",
						   (unsigned long long) piece->stored.segment, error.text)));
	pfree(staged->packed);
	pfree(staged);
}

/* The blocks that piece->get_offset and get_length name: all that are needed, or the next chunk of a chunked piece. */
static bool
take(DifsLane *lane, const DifsStaged *staged, bool *done, DifsError *error)
{
	const DifsPiece *piece = &lane->piece;
	const uint8 *packed = (const uint8 *) VARDATA_ANY(staged->packed);
	bytea *slice;
	bool ok;

	if (!difs_lane_check_header(lane, "difs.staging", packed, VARSIZE_ANY_EXHDR(staged->packed), error))
		return false;
	slice = difs_staging_slice(staged, piece->get_offset, piece->get_length);
	if (slice == NULL)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "difs.staging: it is cut short");
	ok = difs_segment_verify(packed, piece->get_offset / DIFS_BLOCK_SIZE, VARDATA_ANY(slice), piece->get_length, error);
	if (ok)
	{
		lane->tries[0].scratch = VARDATA_ANY(slice);
		ok = difs_lane_deliver(lane, 0, done, error);
		lane->tries[0].scratch = NULL;
	}
	pfree(slice);
	return ok;
}
