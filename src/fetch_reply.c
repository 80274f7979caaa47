/*
 * fetch_reply.c - a chunk server's answer to GET: is it what was asked for?
 *
 * Nothing that a server says is believed.  The packed header must name the
 * segment, group, lengths, codec and checksum that the manifest row has; its block
 * checksums then prove the bytes (common/segment.h).  Bytes may be received into
 * the caller's result before they are proved, but a call never ends well with
 * bytes that were not.
 */
#include "postgres.h"

#include "common/bytes.h"
#include "common/fault.h"
#include "src/fetch_lane.h"

static bool may_be_direct(const DifsPiece *piece);
static bool deliver_decoded(const DifsPiece *piece, const char *scratch, DifsError *error);
static void keep(const DifsPiece *piece, uint32 raw_offset, uint32 length, const char *raw);
static bool deliver_chunk(DifsLane *lane, const char *scratch, bool *done, DifsError *error);
static void ask_for_chunk(DifsLane *lane);

bool
difs_lane_begin_chunks(DifsLane *lane)
{
	DifsPiece *piece = &lane->piece;
	DifsError error;
	bool done;

	lane->inflate = difs_inflate_begin(&piece->stored, piece->raw_offset);
	if (!difs_inflate_feed(lane->inflate, NULL, 0, piece->raw_offset, piece->length, piece->out, &done, &error))
		elog(ERROR, "%s", error.text);
	if (!done)
		ask_for_chunk(lane);
	return done;
}

bool
difs_lane_take_head(DifsLane *lane, int member, const DifsFrame *frame, const uint8 *control,
					void **payload_into, DifsError *error)
{
	const DifsPiece *piece = &lane->piece;
	DifsTry *try = &lane->tries[member];
	const char *label = difs_conn_label(try->link->conn);
	size_t packed_size = difs_segment_packed_size(piece->stored.stored_length);

	errno = 0;
	if (frame->control_length != 4 + packed_size || frame->payload_length != piece->get_length ||
		difs_get32(control) != piece->get_offset / DIFS_BLOCK_SIZE)
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "%s: sent another part than was asked for", label);
	if (!difs_lane_check_header(lane, label, control + 4, packed_size, error))
		return false;

	try->first_block = difs_get32(control);
	try->packed = palloc(packed_size);
	memcpy(try->packed, control + 4, packed_size);
	if (lane->direct == -1 && may_be_direct(piece))
		lane->direct = member;
	else
		try->scratch = palloc(piece->get_length);
	*payload_into = try->scratch != NULL ? try->scratch : piece->out;
	return true;
}

bool
difs_lane_check_payload(const DifsLane *lane, int member, DifsError *error)
{
	const DifsTry *try = &lane->tries[member];
	const char *bytes = try->scratch != NULL ? try->scratch : lane->piece.out;
	DifsError reason;

	if (DIFS_FAULT_SKIP("backend.read.checksum") ||
		difs_segment_verify(try->packed, try->first_block, bytes, lane->piece.get_length, &reason))
		return true;
	errno = 0;
	return difs_error_set(error, reason.code, "%s: %s", difs_conn_label(try->link->conn), reason.text);
}

bool
difs_lane_deliver(DifsLane *lane, int member, bool *done, DifsError *error)
{
	const DifsPiece *piece = &lane->piece;
	const char *scratch = lane->tries[member].scratch;

	*done = true;
	if (piece->chunked)
		return deliver_chunk(lane, scratch, done, error);
	if (piece->stored.codec != DIFS_CODEC_RAW)
		return deliver_decoded(piece, scratch, error);
	if (scratch != NULL)
		memcpy(piece->out, scratch + (piece->raw_offset - piece->get_offset), piece->length);
	keep(piece, piece->get_offset, piece->get_length, scratch != NULL ? scratch : piece->out);
	return true;
}

bool
difs_lane_check_header(const DifsLane *lane, const char *label, const uint8 *packed, size_t size, DifsError *error)
{
	const DifsStored *stored = &lane->piece.stored;
	DifsSegment header;
	DifsError reason;

	errno = 0;
	if (!difs_segment_unpack(packed, size, &header, &reason))
		return difs_error_set(error, reason.code, "%s: %s", label, reason.text);
	if (header.dead)
		return difs_error_set(error, DIFS_ERROR_NO_SEGMENT, "%s: has deleted it", label);
	if (header.segment != stored->segment || header.group != stored->group || header.crc != stored->crc ||
		header.raw_length != stored->raw_length || header.stored_length != stored->stored_length ||
		header.codec != stored->codec)
		return difs_error_set(error, DIFS_ERROR_CORRUPT,
							  "%s: holds something else in its place "
							  "(segment %llu of group %llu, %u bytes, checksum %08X instead of %08X)",
							  label, (unsigned long long) header.segment, (unsigned long long) header.group,
							  header.stored_length, header.crc, stored->crc);
	return true;
}

/* Can the payload be received where it is wanted? */
static bool
may_be_direct(const DifsPiece *piece)
{
	return piece->stored.codec == DIFS_CODEC_RAW &&
		piece->get_offset == piece->raw_offset && piece->get_length == piece->length;
}

/* A compressed segment, all of which is there. */
static bool
deliver_decoded(const DifsPiece *piece, const char *scratch, DifsError *error)
{
	const DifsStored *stored = &piece->stored;
	bool whole = piece->length == stored->raw_length;
	char *raw = whole ? piece->out : palloc(stored->raw_length);
	bool ok = difs_segment_decode(stored->codec, scratch, stored->stored_length, raw, stored->raw_length, error);

	if (ok)
		keep(piece, 0, stored->raw_length, raw);
	if (ok && !whole)
		memcpy(piece->out, raw + piece->raw_offset, piece->length);
	if (!whole)
		pfree(raw);
	return ok;
}

/* What has been checked may go into the cache. */
static void
keep(const DifsPiece *piece, uint32 raw_offset, uint32 length, const char *raw)
{
	if (piece->keep)
		difs_cache_keep(difs_servers_cluster(), &piece->stored, raw_offset, length, raw, piece->raw_offset, piece->length);
}

/* A stored form whose checksum is right but which cannot be decompressed was made so, and what has come out of it
 * is of no use. */
static bool
deliver_chunk(DifsLane *lane, const char *scratch, bool *done, DifsError *error)
{
	const DifsPiece *piece = &lane->piece;
	bool ok = difs_inflate_feed(lane->inflate, scratch, piece->get_length,
								piece->raw_offset, piece->length, piece->out, done, error);

	if (ok && !*done && difs_inflate_stored_at(lane->inflate) >= piece->stored.stored_length)
		ok = difs_error_set(error, DIFS_ERROR_CORRUPT, "segment ends before its bytes have come");
	if (!ok)
	{
		difs_inflate_drop(lane->inflate);
		lane->inflate = NULL;
		lane->inflate = difs_inflate_begin(&piece->stored, piece->raw_offset);
	}
	if (!ok || !*done)
		ask_for_chunk(lane);
	return ok;
}

static void
ask_for_chunk(DifsLane *lane)
{
	DifsPiece *piece = &lane->piece;

	piece->get_offset = difs_inflate_stored_at(lane->inflate);
	piece->get_length = Min(piece->stored.stored_length - piece->get_offset, DIFS_INFLATE_CHUNK);
}
