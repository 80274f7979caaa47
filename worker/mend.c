/*
 * mend.c - replaces a bad copy of a segment by a good one (mend.h).
 *
 * No state.  The good copy is read as any reader reads it, checksum by checksum, and
 * must be what the manifest says; the server checks it again before it writes, and reads it
 * back from its disk.  A crash leaves the copy bad, to be found by the next scrub.
 *
 * Requests need a transaction, as addresses and identity are rows; where the caller has none, each
 * request gets one of its own, without a snapshot, so that nothing waits for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "common/bytes.h"
#include "src/servers.h"
#include "src/settings.h"
#include "worker/mend.h"

static bool is_down(int32 server, DifsError *error);
static bool read_good(DifsMend *mend, int32 server, DifsReply *reply, DifsError *error);
static bool write_good(DifsMend *mend, int32 server, const DifsReply *good, DifsError *error);

bool
difs_mend_ask(int32 server, uint64 group, DifsMessage message, const void *control, uint32 control_length,
			  const void *payload, uint32 payload_length, DifsReply *reply, DifsError *error)
{
	MemoryContext caller = CurrentMemoryContext;
	bool own_transaction = !IsTransactionState();
	bool done = false;

	CHECK_FOR_INTERRUPTS();
	if (is_down(server, error))
		return false;
	if (own_transaction)
	{
		StartTransactionCommand();
		MemoryContextSwitchTo(caller);
	}
	for (int try = 0; try < 2 && !done; try++)
	{
		DifsMembers members;

		done = difs_call(server, message, control, control_length, payload, payload_length, difs_server_timeout,
						 reply, error);
		if (done || error->code != DIFS_ERROR_NETWORK)
			break;
		/* perhaps it has another address now */
		if (difs_group_members(group, &members))
			difs_servers_forget(group);
	}
	if (own_transaction)
	{
		CommitTransactionCommand();
		MemoryContextSwitchTo(caller);
	}
	return done;
}

DifsCopyState
difs_mend_look(int32 server, uint64 group, uint64 segment, DifsError *error)
{
	uint8 control[16];

	if (difs_mend_ask(server, group, DIFS_MESSAGE_VERIFY, control, difs_pair_pack(group, segment, control), NULL, 0,
					  NULL, error))
		return DIFS_COPY_GOOD;
	switch (error->code)
	{
		case DIFS_ERROR_CORRUPT:
		case DIFS_ERROR_IO:
			return DIFS_COPY_DAMAGED;
		case DIFS_ERROR_NO_SEGMENT:
		case DIFS_ERROR_NO_GROUP:
			return DIFS_COPY_MISSING;
		default:
			return DIFS_COPY_UNREACHABLE;
	}
}

void
difs_mend_segment(DifsMend *mend)
{
	DifsReply good = {0};
	bool have_good = false;
	DifsError error;

	for (int i = 0; i < mend->count && !have_good; i++)
	{
		if (mend->copy[i] != DIFS_COPY_GOOD)
			continue;
		have_good = read_good(mend, mend->server[i], &good, &error);
		if (!have_good)
			mend->copy[i] = error.code == DIFS_ERROR_CORRUPT ? DIFS_COPY_DAMAGED : DIFS_COPY_UNREACHABLE;
	}
	if (!have_good)
		return;
	for (int i = 0; i < mend->count; i++)
	{
		if (mend->copy[i] != DIFS_COPY_DAMAGED && mend->copy[i] != DIFS_COPY_MISSING)
			continue;
		if (write_good(mend, mend->server[i], &good, &error))
			mend->copy[i] = DIFS_COPY_MENDED;
		else
			mend->error = error;
	}
	pfree(good.control);
	if (good.payload != NULL)
		pfree(good.payload);
}

bool
difs_mend_is_lost(const DifsMend *mend)
{
	for (int i = 0; i < mend->count; i++)
	{
		if (mend->copy[i] != DIFS_COPY_DAMAGED && mend->copy[i] != DIFS_COPY_MISSING)
			return false;
	}
	return true;
}

bool
difs_mend_group(int32 server, uint64 group, DifsError *error)
{
	uint8 control[8];

	return difs_mend_ask(server, group, DIFS_MESSAGE_MEND, control, difs_group_pack(group, control), NULL, 0, NULL,
						 error);
}

bool
difs_mend_make_group(int32 server, const DifsCreateGroup *create, bool damaged, DifsError *error)
{
	/* create->epoch is above that of every copy that there is */
	uint8 control[DIFS_WIRE_MAX_GREETING];

	if (damaged &&
		!difs_mend_ask(server, create->group, DIFS_MESSAGE_DROP_GROUP, control,
					   difs_pair_pack(create->group, create->epoch - 1, control), NULL, 0, NULL, error) &&
		error->code != DIFS_ERROR_NO_GROUP)
		return false;
	return difs_mend_ask(server, create->group, DIFS_MESSAGE_CREATE_GROUP, control,
						 difs_create_group_pack(create, control), NULL, 0, NULL, error);
}

const char *
difs_copy_state_name(DifsCopyState state)
{
	static const char *const names[] = {"good", "mended", "damaged", "missing", "unreachable"};

	return names[state];
}

/* A server of which the keeper has not heard yet is asked. */
static bool
is_down(int32 server, DifsError *error)
{
	DifsDatabase *database = difs_database_find(MyDatabaseId);
	DifsSharedServer *copy = palloc(sizeof(DifsSharedServer));
	bool down = database != NULL && difs_server_lookup(database, server, copy) && !copy->alive &&
		copy->problem[0] != '\0';

	errno = 0;
	if (down)
		difs_error_set(error, DIFS_ERROR_NETWORK, "%s: %s", copy->name, copy->problem);
	pfree(copy);
	return down;
}

/* The reply of a GET of the whole segment, if it is the right one and every checksum matches. */
static bool
read_good(DifsMend *mend, int32 server, DifsReply *reply, DifsError *error)
{
	DifsGet get = {.group = mend->group, .segment = mend->segment};
	uint8 control[DIFS_WIRE_MAX_GREETING];
	DifsSegment header;

	if (!difs_mend_ask(server, mend->group, DIFS_MESSAGE_GET, control, difs_get_pack(&get, control), NULL, 0, reply,
					   error))
		return false;
	errno = 0;
	if (reply->control_length < 4 || difs_get32(reply->control) != 0 ||
		!difs_segment_unpack(reply->control + 4, reply->control_length - 4, &header, error) ||
		header.segment != mend->segment || header.group != mend->group || header.dead ||
		header.stored_length != reply->payload_length ||
		(mend->expected && (header.crc != mend->crc || header.stored_length != mend->stored_length)))
		return difs_error_set(error, DIFS_ERROR_CORRUPT, "server %d holds something else in the place of segment %llu",
							  server, (unsigned long long) mend->segment);
	return difs_segment_verify(reply->control + 4, 0, reply->payload, reply->payload_length, error);
}

static bool
write_good(DifsMend *mend, int32 server, const DifsReply *good, DifsError *error)
{
	return difs_mend_ask(server, mend->group, DIFS_MESSAGE_MEND, good->control + 4, good->control_length - 4,
						 good->payload, good->payload_length, NULL, error) &&
		difs_mend_look(server, mend->group, mend->segment, error) == DIFS_COPY_GOOD;
}
