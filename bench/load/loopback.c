/*
 * loopback.c - what the network costs without anything above it: a plain file by sendfile() over loopback TCP, received into memory.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static void loopback_open(Client *client);
static void run_loopback(Client *client, int64_t object);

const Operation loopback_operations[] = {
	{"files", "loopback", ACCESS_RANDOM, loopback_open, run_loopback, NULL, NULL},
	{0},
};

typedef struct Sending
{
	int socket;
	int file;
	int64_t length;
} Sending;

static void
loopback_open(Client *client)
{
	client->buffer = malloc(PIECE_BYTES);
	if (client->buffer == NULL)
		fail("out of memory");
}

static void *
send_file(void *argument)
{
	Sending *sending = argument;

	while (sending->length > 0)
	{
		ssize_t sent = sendfile(sending->socket, sending->file, NULL, (size_t) sending->length);

		if (sent <= 0)
			fail("sendfile: %s", sent == 0 ? "the file is too short" : strerror(errno));
		sending->length -= sent;
	}
	close(sending->socket);
	return NULL;
}

/* Both ends of one connection. */
static void
connect_pair(int *one, int *other)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *one < 0 || bind(listener, (struct sockaddr *) &address, length) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0 ||
		connect(*one, (struct sockaddr *) &address, length) != 0 || (*other = accept(listener, NULL, NULL)) < 0)
		fail("loopback: %s", strerror(errno));
	close(listener);
}

static void
run_loopback(Client *client, int64_t object)
{
	const Options *options = client->options;
	char path[PATH_BYTES];
	Sending sending = {.length = options->size_bytes};
	pthread_t thread;
	int64_t offset = 0;
	ssize_t length;
	int receiver;

	snprintf(path, sizeof(path), "%s/%016" PRId64, options->place, object);
	sending.file = open(path, O_RDONLY | O_CLOEXEC);
	if (sending.file < 0)
		fail("%s: %s", path, strerror(errno));
	connect_pair(&sending.socket, &receiver);
	if (pthread_create(&thread, NULL, send_file, &sending) != 0)
		fail("no thread");
	while ((length = read(receiver, client->buffer, PIECE_BYTES)) > 0)
	{
		check_bytes(options, object, offset, client->buffer, length);
		offset += length;
	}
	pthread_join(thread, NULL);
	close(receiver);
	close(sending.file);
	if (length < 0 || offset != options->size_bytes)
		fail("%" PRId64 " bytes came over the network", offset);
}
