/*
 * test_common_conn.c - frames over a connection that stands: cut, pipelined, discarded, withdrawn, broken off.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "played_server.h"

/* A stream with every kind of reply in it. */
#define STREAM_PAYLOAD 50
static size_t
make_stream(uint8_t *out)
{
	uint8_t *payload = pattern(STREAM_PAYLOAD, 1);
	uint8_t *at = out;

	at = add_reply(at, REPLY(DIFS_MESSAGE_PUT), DIFS_OK, 1, NULL, 0, NULL, 0);
	at = add_reply(at, REPLY(DIFS_MESSAGE_GET), DIFS_OK, 2, "control", 7, payload, STREAM_PAYLOAD);
	at = add_reply(at, REPLY(DIFS_MESSAGE_GET), DIFS_ERROR_NO_SEGMENT, 3, "not here", 8, NULL, 0);
	at = add_reply(at, REPLY(DIFS_MESSAGE_LIST_GROUPS), DIFS_OK, 4, NULL, 0, payload, STREAM_PAYLOAD);
	free(payload);
	return (size_t) (at - out);
}

/* Takes what has come, counts it in *step, and checks each piece. */
static DifsEvent
follow_stream(DifsConn *conn, int *step, uint8_t *payload)
{
	static const struct
	{
		DifsEvent event;
		uint64_t request;
	} expected[] = {
		{DIFS_EVENT_FRAME, 1},
		{DIFS_EVENT_HEAD, 2},
		{DIFS_EVENT_FRAME, 2},
		{DIFS_EVENT_FRAME, 3},
		{DIFS_EVENT_HEAD, 4},
		{DIFS_EVENT_FRAME, 4},
	};
	uint8_t *right = pattern(STREAM_PAYLOAD, 1);
	DifsFrame frame;
	DifsError error;
	DifsEvent event;

	while ((event = difs_conn_advance(conn, &frame)) != DIFS_EVENT_NONE && event != DIFS_EVENT_BROKEN)
	{
		assert_true(*step < 6);
		assert_int_equal(event, expected[*step].event);
		assert_int_equal(frame.request, expected[*step].request);
		if (event == DIFS_EVENT_HEAD)
		{
			memset(payload, 0, STREAM_PAYLOAD);
			difs_conn_payload_into(conn, payload);
		}
		else if (frame.payload_length > 0)
			assert_memory_equal(payload, right, STREAM_PAYLOAD);
		if (frame.request == 2)
			assert_memory_equal(difs_conn_control(conn), "control", 7);
		if (frame.request == 3)
		{
			difs_conn_reply_error(conn, &frame, &error);
			assert_int_equal(error.code, DIFS_ERROR_NO_SEGMENT);
			assert_non_null(strstr(error.text, "/storage01 (127.0.0.1:"));
			assert_non_null(strstr(error.text, "): not here"));
		}
		++*step;
	}
	free(right);
	return event;
}

static void
puts_cut_frames_together(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	int fd = make_ready(conn);
	uint8_t stream[1024];
	uint8_t payload[STREAM_PAYLOAD];
	size_t length = make_stream(stream);

	(void) state;
	for (size_t cut = 1; cut < length; cut++)
	{
		int step = 0;
		time_t deadline = time(NULL) + DEADLINE_S;

		write_all(fd, stream, cut);
		wait_for_bytes(conn, (int) cut);
		assert_int_equal(follow_stream(conn, &step, payload), DIFS_EVENT_NONE);
		assert_true(step < 6);
		write_all(fd, stream + cut, length - cut);
		while (step < 6 && time(NULL) <= deadline)
			assert_int_equal(follow_stream(conn, &step, payload), DIFS_EVENT_NONE);
		assert_int_equal(step, 6);
	}
	close(fd);
	difs_conn_destroy(conn);
}

static void
takes_single_bytes(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	Server server = accept_hello(conn);
	uint8_t body[DIFS_WIRE_MAX_GREETING];
	uint8_t stream[1024];
	uint8_t payload[STREAM_PAYLOAD];
	DifsFrame frame;
	int step = 0;
	size_t length = make_challenge(&server, "/storage01", right_key, DIFS_WIRE_VERSION, body);

	(void) state;
	length = (size_t) (add_reply(stream, REPLY(DIFS_MESSAGE_HELLO), DIFS_OK, 0, body, length, NULL, 0) - stream);
	for (size_t i = 0; i < length; i++)
	{
		write_all(server.fd, stream + i, 1);
		wait_for_bytes(conn, 1);
		send_all(conn);
	}
	expect_proof(&server);
	send_reply(server.fd, REPLY(DIFS_MESSAGE_PROOF), DIFS_OK, 0, body, make_welcome(body));
	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_READY);
	assert_int_equal(difs_conn_advance(conn, &frame), DIFS_EVENT_NONE);

	length = make_stream(stream);
	for (size_t i = 0; i < length; i++)
	{
		write_all(server.fd, stream + i, 1);
		wait_for_bytes(conn, 1);
		assert_int_equal(follow_stream(conn, &step, payload), DIFS_EVENT_NONE);
	}
	assert_int_equal(step, 6);
	close(server.fd);
	difs_conn_destroy(conn);
}

/* The server goes away after each byte of the stream: what came whole is reported, then the connection breaks. */
static void
notices_a_server_that_goes_away(void **state)
{
	uint8_t stream[1024];
	uint8_t payload[STREAM_PAYLOAD];
	size_t length = make_stream(stream);

	(void) state;
	for (size_t cut = 0; cut <= length; cut++)
	{
		DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
		int fd = make_ready(conn);
		time_t deadline = time(NULL) + DEADLINE_S;
		int step = 0;

		write_all(fd, stream, cut);
		close(fd);
		while (follow_stream(conn, &step, payload) != DIFS_EVENT_BROKEN)
			assert_true(time(NULL) <= deadline);
		assert_int_equal(step == 6, cut == length);
		assert_broken(conn, DIFS_ERROR_NETWORK, "server closed the connection");
		difs_conn_destroy(conn);
	}
}

/* Nobody is killed by SIGPIPE, and what is queued later goes nowhere. */
static void
survives_sending_to_nobody(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	int fd = make_ready(conn);
	time_t deadline = time(NULL) + DEADLINE_S;
	uint64_t number = 0;

	(void) state;
	signal(SIGPIPE, SIG_DFL);
	close(fd);
	do
	{
		uint64_t next = send_get(conn, 1);

		assert_true(next > number);
		number = next;
		assert_true(time(NULL) <= deadline);
	} while (difs_conn_flush(conn));
	assert_broken(conn, DIFS_ERROR_NETWORK, "could not send: Broken pipe");
	assert_false(difs_conn_flush(conn));
	difs_conn_destroy(conn);
}

static void
refuses_frames_that_break_the_rules(void **state)
{
	uint8_t frames[7][DIFS_WIRE_HEADER_SIZE + 8];

	(void) state;
	for (int i = 0; i < 7; i++)
		add_reply(frames[i], REPLY(DIFS_MESSAGE_GET), DIFS_OK, 1, "controls", 8, NULL, 0);
	frames[0][30] ^= 1; /* control */
	frames[1][8] ^= 1;	/* header */
	frames[2][18] = 1;	/* reserved */
	difs_put32(frames[3], DIFS_WIRE_MAX_CONTROL + 1);
	difs_put32(frames[4] + 4, DIFS_MAX_SEGMENT_SIZE + 1);
	add_reply(frames[5], DIFS_MESSAGE_GET, DIFS_OK, 1, "controls", 8, NULL, 0); /* a request */
	frames[6][17] = DIFS_ERROR_FULL;											/* an error with a payload */
	difs_put32(frames[6] + 4, 100);
	for (int i = 0; i < 7; i++)
	{
		DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
		int fd = make_ready(conn);

		write_all(fd, frames[i], sizeof(frames[i]));
		assert_broken(conn, DIFS_ERROR_PROTOCOL, "");
		close(fd);
		difs_conn_destroy(conn);
	}
}

/* Heads of the largest size where the buffer has the least room behind them, with payloads that nobody wants. */
static void
discards_unwanted_payloads(void **state)
{
	const size_t filler = 65536 - DIFS_WIRE_HEADER_SIZE - DIFS_WIRE_MAX_CONTROL;
	const size_t big = 3000000;
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	int fd = make_ready(conn);
	uint8_t *stream = malloc(200000 + big);
	uint8_t *bytes = pattern(big, 3);
	uint8_t *at = stream;
	DifsFrame frame;

	(void) state;
	assert_non_null(stream);
	at = add_reply(at, REPLY(DIFS_MESSAGE_GET), DIFS_OK, 1, bytes, filler - DIFS_WIRE_HEADER_SIZE, NULL, 0);
	at = add_reply(at, REPLY(DIFS_MESSAGE_GET), DIFS_OK, 2, bytes, DIFS_WIRE_MAX_CONTROL, bytes, 50000);
	at = add_reply(at, REPLY(DIFS_MESSAGE_GET), DIFS_OK, 3, "x", 1, bytes, 10);
	write_all(fd, stream, (size_t) (at - stream));
	wait_for_bytes(conn, 65536);
	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_FRAME);
	for (uint64_t request = 2; request <= 3; request++)
	{
		size_t control_length = request == 2 ? DIFS_WIRE_MAX_CONTROL : 1;

		assert_int_equal(next_event(conn, &frame), DIFS_EVENT_HEAD);
		assert_int_equal(frame.request, request);
		if (request == 3)
			difs_conn_payload_into(conn, NULL);
		assert_int_equal(next_event(conn, &frame), DIFS_EVENT_FRAME);
		assert_int_equal(frame.request, request);
		assert_memory_equal(difs_conn_control(conn), request == 2 ? bytes : (const uint8_t *) "x", control_length);
	}

	/* larger than every buffer on the way, so it must flow; and what comes behind it is whole */
	at = add_reply(stream, REPLY(DIFS_MESSAGE_GET), DIFS_OK, 4, NULL, 0, bytes, big);
	at = add_reply(at, REPLY(DIFS_MESSAGE_PUT), DIFS_OK, 5, NULL, 0, NULL, 0);
	write_all(fd, stream, 100000);
	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_HEAD);
	for (size_t done = 100000; done < (size_t) (at - stream);)
	{
		size_t left = (size_t) (at - stream) - done;
		ssize_t sent = send(fd, stream + done, left, MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(sent > 0 || errno == EAGAIN);
		done += sent > 0 ? (size_t) sent : 0;
		if (done < (size_t) (at - stream))
			assert_int_equal(difs_conn_advance(conn, &frame), DIFS_EVENT_NONE);
	}
	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_FRAME);
	assert_int_equal(frame.request, 4);
	assert_int_equal(next_event(conn, &frame), DIFS_EVENT_FRAME);
	assert_int_equal(frame.request, 5);
	free(stream);
	free(bytes);
	close(fd);
	difs_conn_destroy(conn);
}

/* Reads what has arrived at the server, without waiting. */
static size_t
read_some(int fd, uint8_t *bytes, size_t room)
{
	ssize_t got = recv(fd, bytes, room, MSG_DONTWAIT);

	assert_true(got > 0 || (got < 0 && errno == EAGAIN));
	return got > 0 ? (size_t) got : 0;
}

/* Many requests, queued before the connection stands, leave in order; their replies come in the opposite order. */
#define PIPELINED 300
static void
pipelines(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	uint8_t *payloads[PIPELINED];
	size_t lengths[PIPELINED];
	uint64_t numbers[PIPELINED];
	size_t total = 0;
	size_t received = 0;
	uint8_t *expected;
	uint8_t *arrived;
	uint8_t *at;
	uint8_t *into = malloc(400000);
	time_t deadline = time(NULL) + DEADLINE_S;
	DifsFrame frame;
	int fd;

	(void) state;
	for (int i = 0; i < PIPELINED; i++)
	{
		lengths[i] = i % 3 == 0 ? 0 : (i % 50 == 1 ? 350000 : (size_t) i * 10);
		payloads[i] = pattern(lengths[i], (uint8_t) i);
		total += DIFS_WIRE_HEADER_SIZE + 4 + lengths[i];
	}
	at = expected = malloc(total);
	arrived = malloc(total);
	assert_true(expected != NULL && arrived != NULL && into != NULL);
	for (int i = 0; i < PIPELINED; i++)
	{
		uint8_t control[4];

		difs_put32(control, (uint32_t) i);
		frame = (DifsFrame){4, (uint32_t) lengths[i], (uint64_t) i, DIFS_MESSAGE_PUT, DIFS_OK};
		at = add_reply(at, DIFS_MESSAGE_PUT, DIFS_OK, (uint64_t) i, control, 4, payloads[i], lengths[i]);
		numbers[i] = difs_conn_send(conn, &frame, control, payloads[i]);
		assert_true(i == 0 || numbers[i] > numbers[i - 1]);
	}
	assert_int_equal(difs_conn_sent(conn), 0);

	fd = make_ready(conn);
	while (received < total)
	{
		assert_int_equal(difs_conn_advance(conn, &frame), DIFS_EVENT_NONE);
		received += read_some(fd, arrived + received, total - received);
		assert_true(time(NULL) <= deadline);
	}
	assert_memory_equal(arrived, expected, total);
	send_all(conn);
	assert_int_equal(difs_conn_sent(conn), numbers[PIPELINED - 1]);

	/* the replies, with the payloads back, from the last to the first */
	at = arrived;
	for (int i = PIPELINED - 1; i >= 0; i--)
		at = add_reply(at, REPLY(DIFS_MESSAGE_GET), DIFS_OK, (uint64_t) i, "back", 4, payloads[i], lengths[i]);
	received = 0;
	for (int i = PIPELINED - 1; i >= 0;)
	{
		ssize_t sent = send(fd, arrived + received, total - received, MSG_DONTWAIT | MSG_NOSIGNAL);
		DifsEvent event = difs_conn_advance(conn, &frame);

		received += sent > 0 ? (size_t) sent : 0;
		assert_true(time(NULL) <= deadline && event != DIFS_EVENT_BROKEN);
		if (event == DIFS_EVENT_NONE)
			continue;
		assert_int_equal(frame.request, i);
		assert_int_equal(frame.payload_length, lengths[i]);
		assert_memory_equal(difs_conn_control(conn), "back", 4);
		if (event == DIFS_EVENT_HEAD)
		{
			difs_conn_payload_into(conn, into);
			continue;
		}
		assert_memory_equal(into, payloads[i], lengths[i]);
		i--;
	}
	for (int i = 0; i < PIPELINED; i++)
		free(payloads[i]);
	free(expected);
	free(arrived);
	free(into);
	close(fd);
	difs_conn_destroy(conn);
}

static void
unsends(void **state)
{
	const size_t big = 30000000;
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	int fd = make_ready(conn);
	uint8_t *payload = pattern(big, 1);
	uint8_t control[DIFS_WIRE_MAX_CONTROL];
	DifsFrame put = {.request = 5, .payload_length = (uint32_t) big, .message = DIFS_MESSAGE_PUT};
	time_t deadline = time(NULL) + DEADLINE_S;
	uint64_t first = send_get(conn, 1);
	uint64_t second = send_get(conn, 2);
	uint64_t third = send_get(conn, 3);
	uint64_t fourth = send_get(conn, 4);
	uint64_t number;
	size_t left = big;

	(void) state;
	assert_true(difs_conn_unsend(conn, second));
	assert_false(difs_conn_unsend(conn, second));
	assert_true(difs_conn_unsend(conn, fourth));
	assert_false(difs_conn_unsend(conn, 1000));
	send_all(conn);
	assert_int_equal(difs_conn_sent(conn), third);
	assert_int_equal(read_request(fd, control).request, 1);
	assert_int_equal(read_request(fd, control).request, 3);
	assert_false(difs_conn_unsend(conn, first));

	/* one that has begun to leave must be finished; the one behind it need not be begun */
	number = difs_conn_send(conn, &put, NULL, payload);
	fourth = send_get(conn, 6);
	send_get(conn, 7);
	assert_true(difs_conn_flush(conn));
	assert_true(difs_conn_wants_write(conn));
	assert_int_equal(difs_conn_sent(conn), third);
	assert_false(difs_conn_unsend(conn, number));
	assert_true(difs_conn_unsend(conn, fourth));
	assert_int_equal(read_request(fd, control).request, 5);
	while (left > 0)
	{
		assert_true(difs_conn_flush(conn));
		left -= read_some(fd, control, left < sizeof(control) ? left : sizeof(control));
		assert_true(time(NULL) <= deadline);
	}
	send_all(conn);
	assert_int_equal(read_request(fd, control).request, 7);

	/* the queue is empty and works as before */
	number = send_get(conn, 8);
	assert_true(difs_conn_unsend(conn, number));
	send_get(conn, 9);
	send_all(conn);
	assert_int_equal(read_request(fd, control).request, 9);
	free(payload);
	close(fd);
	difs_conn_destroy(conn);
}

static void
limits_the_queue(void **state)
{
	DifsConn *conn = connect_to("127.0.0.1", "/storage01", right_key);
	uint64_t number = 0;

	(void) state;
	for (int i = 0; i < DIFS_CONN_MAX_QUEUE; i++)
		number = send_get(conn, 1);
	assert_int_not_equal(difs_conn_state(conn), DIFS_CONN_BROKEN);
	assert_true(difs_conn_unsend(conn, number));
	send_get(conn, 1);
	assert_int_not_equal(difs_conn_state(conn), DIFS_CONN_BROKEN);
	send_get(conn, 1);
	assert_broken(conn, DIFS_ERROR_MEMORY, "65537 requests");
	difs_conn_destroy(conn);
	close(accept(listener, NULL, NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_cut_frames_together),
		cmocka_unit_test(takes_single_bytes),
		cmocka_unit_test(notices_a_server_that_goes_away),
		cmocka_unit_test(survives_sending_to_nobody),
		cmocka_unit_test(refuses_frames_that_break_the_rules),
		cmocka_unit_test(discards_unwanted_payloads),
		cmocka_unit_test(pipelines),
		cmocka_unit_test(unsends),
		cmocka_unit_test(limits_the_queue),
	};

	return cmocka_run_group_tests_name("common/conn", tests, start_listening, stop_listening);
}
