/*
 * pull_source.c - a pool thread's connection to another chunk server (pull.h).
 *
 * The thread waits, in poll(), never for long: it looks several times a second
 * whether the pull shall end.  State: the DifsSource, the thread's own.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../common/bytes.h"
#include "memory.h"
#include "pull.h"

#define LOOK_MS 100
#define MAX_IN_FLIGHT 256

/* GETs that have been sent, and what comes for them. */
typedef struct Flight
{
	DifsSource *source;
	int number;
	DifsPullItem *items;
	uint32_t next; /* item to ask for */
	uint32_t count;
	uint64_t first_request; /* of item 0: they are numbered like the items */
	int in_flight;
	uint64_t in_flight_bytes;
	uint8_t *payload; /* of the reply that is being received */
	uint32_t payload_length;
	uint64_t began_ms;
	uint64_t bytes_before; /* pull->bytes then */
	DifsPullTake take;
	void *context;
	uint8_t packed[DIFS_MAX_PACKED_SIZE];
} Flight;

static uint64_t clock_ms(void);
static bool break_source(DifsSource *source, DifsErrorCode code, const char *what);
static DifsEvent wait_event(DifsSource *source, DifsFrame *frame);
static bool wait_socket(DifsSource *source, int timeout_ms);
static void send_request(DifsSource *source, DifsMessage message, const uint8_t *control, size_t length);
static bool receive_list(DifsSource *source, uint8_t *payload, uint32_t *length, uint64_t *next);
static void send_more(Flight *flight);
static bool is_wanted(const Flight *flight, const DifsPullItem *item);
static uint64_t pause_ms(const Flight *flight);
static bool receive_one(Flight *flight);
static bool take_reply(Flight *flight, const DifsFrame *frame);
static bool check_reply(Flight *flight, const DifsPullItem *item, const DifsFrame *frame, DifsSegment *segment);

bool
difs_source_open(DifsSource *source, const DifsGroupPull *pull, int number)
{
	const DifsPullSource *address = &pull->asked.sources[number];
	DifsPeer peer = {.port = address->port, .epoch = pull->epoch};
	DifsFrame frame;

	*source = (DifsSource){.pull = pull, .heard_ms = clock_ms()};
	memcpy(peer.name, address->name, sizeof(peer.name));
	memcpy(peer.host, address->host, sizeof(peer.host));
	memcpy(peer.cluster, pull->tenant->cluster, DIFS_UUID_SIZE);
	memcpy(peer.key, pull->key, DIFS_KEY_SIZE);
	peer.tls = pull->tls;
	source->conn = difs_conn_create(&peer);
	explicit_bzero(&peer, sizeof(peer));
	if (source->conn == NULL)
		return break_source(source, DIFS_ERROR_MEMORY, "out of memory");
	return wait_event(source, &frame) == DIFS_EVENT_READY ||
		break_source(source, DIFS_ERROR_PROTOCOL, "a frame came before the handshake was done");
}

void
difs_source_close(DifsSource *source)
{
	difs_conn_destroy(source->conn);
	source->conn = NULL;
}

bool
difs_source_list(DifsSource *source, DifsIndex *entries)
{
	uint8_t *payload = difs_alloc(DIFS_LIST_MAX_ENTRIES * DIFS_LIST_ENTRY_SIZE);
	uint64_t cursor = 0;
	uint64_t next;
	uint32_t length;
	bool ok;

	do
	{
		uint8_t control[16];

		send_request(source, DIFS_MESSAGE_LIST, control, difs_pair_pack(source->pull->asked.group, cursor, control));
		ok = receive_list(source, payload, &length, &next);
		if (ok && next != 0 && next <= cursor)
			ok = break_source(source, DIFS_ERROR_PROTOCOL, "a list of segments goes in a circle");
		for (uint32_t at = 0; ok && at < length; at += DIFS_LIST_ENTRY_SIZE)
		{
			DifsListEntry entry;

			difs_list_entry_unpack(payload + at, &entry);
			if (entry.segment != 0 && (entry.stored_length == 0 || entry.stored_length > DIFS_MAX_SEGMENT_SIZE))
				ok = break_source(source, DIFS_ERROR_PROTOCOL, "a segment has an impossible length");
			else if (entry.segment != 0)
				difs_index_append(entries, &entry);
		}
		if (ok && entries->count > DIFS_GROUP_MAX_SEGMENTS)
			ok = break_source(source, DIFS_ERROR_PROTOCOL, "a block group has too many segments");
		cursor = next;
	} while (ok && cursor != 0);
	free(payload);
	difs_index_sort(entries);
	return ok;
}

bool
difs_source_fetch(DifsSource *source, int number, DifsPullItem *items, uint32_t count, DifsPullTake take, void *context)
{
	Flight *flight = difs_alloc(sizeof(*flight));
	bool ok = true;

	flight->source = source;
	flight->number = number;
	flight->items = items;
	flight->count = count;
	flight->take = take;
	flight->context = context;
	flight->first_request = source->last_request + 1;
	flight->began_ms = clock_ms();
	flight->bytes_before = atomic_load(&source->pull->bytes);
	source->last_request += count;
	while (ok)
	{
		send_more(flight);
		if (flight->in_flight > 0)
			ok = receive_one(flight);
		else if (flight->next < count)
			ok = wait_socket(source, LOOK_MS); /* its rate makes it wait */
		else
			break;
	}
	free(flight->payload);
	free(flight);
	return ok;
}

static uint64_t
clock_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* The first reason stays. */
static bool
break_source(DifsSource *source, DifsErrorCode code, const char *what)
{
	if (!source->broken)
	{
		errno = 0;
		difs_error_set(&source->error, code, "%s: %s", source->conn != NULL ? difs_conn_label(source->conn) : "source", what);
	}
	source->broken = true;
	return false;
}

/* READY, HEAD or FRAME; or BROKEN, with the reason in the source. */
static DifsEvent
wait_event(DifsSource *source, DifsFrame *frame)
{
	while (!source->broken)
	{
		DifsEvent event = difs_conn_advance(source->conn, frame);

		if (event == DIFS_EVENT_BROKEN)
		{
			source->broken = true;
			source->error = *difs_conn_error(source->conn);
		}
		else if (event != DIFS_EVENT_NONE)
			return event;
		else if (difs_conn_moved(source->conn) != source->moved)
		{
			source->moved = difs_conn_moved(source->conn);
			source->heard_ms = clock_ms();
		}
		if (!source->broken && clock_ms() - source->heard_ms > DIFS_PULL_SILENCE_MS)
			break_source(source, DIFS_ERROR_NETWORK, "no answer");
		if (!source->broken)
			(void) wait_socket(source, LOOK_MS);
	}
	return DIFS_EVENT_BROKEN;
}

static bool
wait_socket(DifsSource *source, int timeout_ms)
{
	struct pollfd pollfd = {.fd = difs_conn_fd(source->conn), .events = POLLIN};

	if (difs_pull_stopped(source->pull))
		return break_source(source, DIFS_ERROR_REFUSED, "the pull was given up");
	if (difs_conn_wants_write(source->conn))
		pollfd.events |= POLLOUT;
	if (poll(&pollfd, 1, timeout_ms) < 0 && errno != EINTR)
		return break_source(source, DIFS_ERROR_NETWORK, "could not wait for the socket");
	return true;
}

static void
send_request(DifsSource *source, DifsMessage message, const uint8_t *control, size_t length)
{
	DifsFrame frame = {.control_length = (uint32_t) length, .request = ++source->last_request, .message = message};

	(void) difs_conn_send(source->conn, &frame, control, NULL);
	source->heard_ms = clock_ms();
}

static bool
receive_list(DifsSource *source, uint8_t *payload, uint32_t *length, uint64_t *next)
{
	DifsFrame frame;

	for (;;)
	{
		switch (wait_event(source, &frame))
		{
			case DIFS_EVENT_HEAD:
				if (frame.payload_length > DIFS_LIST_MAX_ENTRIES * DIFS_LIST_ENTRY_SIZE)
					return break_source(source, DIFS_ERROR_PROTOCOL, "a list of segments is too long");
				difs_conn_payload_into(source->conn, payload);
				break;
			case DIFS_EVENT_FRAME:
				if (frame.status != DIFS_OK)
				{
					difs_conn_reply_error(source->conn, &frame, &source->error);
					source->broken = true;
					return false;
				}
				if (frame.control_length != 8 || frame.payload_length % DIFS_LIST_ENTRY_SIZE != 0)
					return break_source(source, DIFS_ERROR_PROTOCOL, "a list of segments has an impossible length");
				*length = frame.payload_length;
				*next = difs_get64(difs_conn_control(source->conn));
				return true;
			default:
				return false;
		}
	}
}

/* Keeps the window full, as far as the rate allows. */
static void
send_more(Flight *flight)
{
	DifsSource *source = flight->source;

	for (; flight->next < flight->count; flight->next++)
	{
		const DifsPullItem *item = &flight->items[flight->next];
		DifsGet get = {.group = source->pull->asked.group, .segment = item->entry.segment};
		DifsFrame frame = {.message = DIFS_MESSAGE_GET, .request = flight->first_request + flight->next};
		uint8_t control[32];

		if (!is_wanted(flight, item))
			continue;
		if (flight->in_flight == MAX_IN_FLIGHT || pause_ms(flight) > 0 ||
			(flight->in_flight > 0 && flight->in_flight_bytes + item->entry.stored_length > DIFS_PULL_WINDOW_BYTES))
			return;
		frame.control_length = (uint32_t) difs_get_pack(&get, control);
		(void) difs_conn_send(source->conn, &frame, control, NULL);
		if (flight->in_flight++ == 0)
			source->heard_ms = clock_ms();
		flight->in_flight_bytes += item->entry.stored_length;
	}
}

static bool
is_wanted(const Flight *flight, const DifsPullItem *item)
{
	return !item->settled && (item->sources & 1U << flight->number) != 0;
}

/* How long the rate says that no more may be asked for. */
static uint64_t
pause_ms(const Flight *flight)
{
	const DifsGroupPull *pull = flight->source->pull;
	uint64_t bytes = atomic_load(&pull->bytes) - flight->bytes_before + flight->in_flight_bytes;
	uint64_t passed_ms = clock_ms() - flight->began_ms;
	uint64_t needed_ms = pull->asked.rate > 0 ? (uint64_t) ((double) bytes * 1000 / (double) pull->asked.rate) : 0;

	return needed_ms > passed_ms ? needed_ms - passed_ms : 0;
}

/* Up to the end of one frame. */
static bool
receive_one(Flight *flight)
{
	DifsSource *source = flight->source;
	DifsFrame frame;

	for (;;)
	{
		switch (wait_event(source, &frame))
		{
			case DIFS_EVENT_HEAD:
				if (frame.payload_length > DIFS_MAX_SEGMENT_SIZE)
					return break_source(source, DIFS_ERROR_PROTOCOL, "a segment is too long");
				free(flight->payload);
				flight->payload = difs_alloc(frame.payload_length);
				flight->payload_length = frame.payload_length;
				difs_conn_payload_into(source->conn, flight->payload);
				break;
			case DIFS_EVENT_FRAME:
				return take_reply(flight, &frame);
			default:
				return false;
		}
	}
}

static bool
take_reply(Flight *flight, const DifsFrame *frame)
{
	DifsSource *source = flight->source;
	uint64_t index = frame->request - flight->first_request;
	DifsPullItem *item = index < flight->next ? &flight->items[index] : NULL;
	DifsSegment segment;

	if (item == NULL || !is_wanted(flight, item))
		return break_source(source, DIFS_ERROR_PROTOCOL, "a reply came that nobody has asked for");
	flight->in_flight--;
	flight->in_flight_bytes -= item->entry.stored_length;
	if (frame->status == DIFS_OK && check_reply(flight, item, frame, &segment))
		return flight->take(flight->context, item, &segment, flight->packed, flight->payload);
	if (frame->status == DIFS_ERROR_NO_GROUP)
		return break_source(source, DIFS_ERROR_NO_GROUP, "it has lost the block group");
	if (frame->status == DIFS_ERROR_NO_SEGMENT)
		item->settled = true; /* deleted since it was listed */
	else
		item->sources &= ~(1U << flight->number);
	return true;
}

/* Is it the segment that the list has promised, and every block of it right? */
static bool
check_reply(Flight *flight, const DifsPullItem *item, const DifsFrame *frame, DifsSegment *segment)
{
	const uint8_t *control = difs_conn_control(flight->source->conn);
	uint32_t packed_size = frame->control_length - 4;

	if (frame->control_length <= 4 || packed_size > sizeof(flight->packed) || difs_get32(control) != 0)
		return false;
	memcpy(flight->packed, control + 4, packed_size);
	return difs_segment_unpack(flight->packed, packed_size, segment, NULL) && !segment->dead &&
		segment->segment == item->entry.segment && segment->group == flight->source->pull->asked.group &&
		segment->stored_length == item->entry.stored_length && frame->payload_length == segment->stored_length &&
		difs_segment_packed_size(segment->stored_length) == packed_size &&
		difs_segment_verify(flight->packed, 0, flight->payload, frame->payload_length, NULL);
}
