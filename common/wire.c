/*
 * wire.c - frame headers.  Bodies are in wire_body.c.  No state.
 */
#include "wire.h"

#include "bytes.h"
#include "crc32c.h"

enum
{
	AT_CONTROL_LENGTH = 0,
	AT_PAYLOAD_LENGTH = 4,
	AT_REQUEST = 8,
	AT_MESSAGE = 16,
	AT_STATUS = 17,
	AT_RESERVED = 18,
	AT_CRC = 20,
};

static uint32_t frame_crc(const uint8_t *header, const uint8_t *control, uint32_t control_length);

void
difs_wire_pack(const DifsFrame *frame, const uint8_t *control, uint8_t out[DIFS_WIRE_HEADER_SIZE])
{
	difs_put32(out + AT_CONTROL_LENGTH, frame->control_length);
	difs_put32(out + AT_PAYLOAD_LENGTH, frame->payload_length);
	difs_put64(out + AT_REQUEST, frame->request);
	out[AT_MESSAGE] = frame->message;
	out[AT_STATUS] = frame->status;
	difs_put16(out + AT_RESERVED, 0);
	difs_put32(out + AT_CRC, frame_crc(out, control, frame->control_length));
}

bool
difs_wire_unpack(const uint8_t header[DIFS_WIRE_HEADER_SIZE], uint32_t max_control, uint32_t max_payload,
				 DifsFrame *frame, DifsError *error)
{
	frame->control_length = difs_get32(header + AT_CONTROL_LENGTH);
	frame->payload_length = difs_get32(header + AT_PAYLOAD_LENGTH);
	frame->request = difs_get64(header + AT_REQUEST);
	frame->message = header[AT_MESSAGE];
	frame->status = header[AT_STATUS];

	if (frame->control_length > max_control)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s frame has %u bytes of control, more than %u",
							  difs_message_name(frame->message), frame->control_length, max_control);
	if (frame->payload_length > max_payload)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s frame has %u bytes of payload, more than %u",
							  difs_message_name(frame->message), frame->payload_length, max_payload);
	if (difs_get16(header + AT_RESERVED) != 0)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s frame has reserved bytes that are not 0",
							  difs_message_name(frame->message));
	if (frame->status != DIFS_OK && (frame->message & DIFS_WIRE_REPLY) == 0)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s request has the status %u",
							  difs_message_name(frame->message), frame->status);
	if (frame->status != DIFS_OK && frame->payload_length != 0)
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s reply has an error and a payload",
							  difs_message_name(frame->message));
	return true;
}

bool
difs_wire_check(const uint8_t header[DIFS_WIRE_HEADER_SIZE], const uint8_t *control, DifsError *error)
{
	uint32_t control_length = difs_get32(header + AT_CONTROL_LENGTH);

	if (difs_get32(header + AT_CRC) != frame_crc(header, control, control_length))
		return difs_error_set(error, DIFS_ERROR_PROTOCOL, "%s frame does not match its checksum",
							  difs_message_name(header[AT_MESSAGE]));
	return true;
}

const char *
difs_message_name(uint8_t message)
{
	switch (message & ~DIFS_WIRE_REPLY)
	{
		case DIFS_MESSAGE_HELLO:
			return "HELLO";
		case DIFS_MESSAGE_PROOF:
			return "PROOF";
		case DIFS_MESSAGE_HELLO_TOKEN:
			return "HELLO_TOKEN";
		case DIFS_MESSAGE_CREATE_GROUP:
			return "CREATE_GROUP";
		case DIFS_MESSAGE_SEAL_GROUP:
			return "SEAL_GROUP";
		case DIFS_MESSAGE_DROP_GROUP:
			return "DROP_GROUP";
		case DIFS_MESSAGE_PUT:
			return "PUT";
		case DIFS_MESSAGE_GET:
			return "GET";
		case DIFS_MESSAGE_DELETE:
			return "DELETE";
		case DIFS_MESSAGE_LIST:
			return "LIST";
		case DIFS_MESSAGE_LIST_GROUPS:
			return "LIST_GROUPS";
		case DIFS_MESSAGE_STAT:
			return "STAT";
		case DIFS_MESSAGE_VERIFY:
			return "VERIFY";
		case DIFS_MESSAGE_PULL:
			return "PULL";
		case DIFS_MESSAGE_VERIFY_GROUP:
			return "VERIFY_GROUP";
		case DIFS_MESSAGE_MEND:
			return "MEND";
		default:
			return "unknown";
	}
}

static uint32_t
frame_crc(const uint8_t *header, const uint8_t *control, uint32_t control_length)
{
	return difs_crc32c(difs_crc32c(0, header, AT_CRC), control, control_length);
}
