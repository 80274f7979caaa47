/*
 * test_chunkd_harness.c - see test_chunkd_harness.h.
 */
#include "test_chunkd_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"

#define MAX_ARGUMENTS 64

static void spawn(Server *server, const char *const *prefix, const char *const *options);
static void exec_server(const Server *server, const char *const *prefix, const char *const *options, int stdin_fd);
static bool read_address(Server *server);
static bool wait_for(Client *client, uint64_t deadline);
static void collect(Client *client, const DifsFrame *frame, Reply *reply);

void
server_prepare(Server *server, const char *directory)
{
	const char *top = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
	char		path[256];
	DifsKeyring keyring;
	DifsError	error;

	*server = (Server) {.stdin_fd = -1};
	if (directory != NULL)
		snprintf(server->directory, sizeof(server->directory), "%s", directory);
	else
	{
		snprintf(server->directory, sizeof(server->directory), "%.40s/difsd-XXXXXX", top);
		assert_non_null(mkdtemp(server->directory));
	}
	snprintf(path, sizeof(path), "%s/key", server->directory);
	assert_true(difs_keyring_create(path, &error));
	assert_true(difs_keyring_load(path, &keyring, &error));
	snprintf(server->data, sizeof(server->data), "%s/data", server->directory);
	snprintf(server->group_directory, sizeof(server->group_directory), "%s/01010101010101010101010101010101",
			 server->data);
	strcpy(server->peer.name, "/storage01");
	strcpy(server->peer.host, "127.0.0.1");
	memset(server->peer.cluster, 1, DIFS_UUID_SIZE);
	server->peer.epoch = 1;
	memset(server->peer.claim, 1, DIFS_CLAIM_SIZE);
	memcpy(server->peer.key, keyring.key[0], DIFS_KEY_SIZE);
}

void
server_start(Server *server, const char *const *options)
{
	server_start_under(server, NULL, options);
}

void
server_start_under(Server *server, const char *const *prefix, const char *const *options)
{
	uint64_t	deadline = now_ms() + DEADLINE_MS;

	spawn(server, prefix, options);
	while (!read_address(server))
	{
		if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
		{
			server->pid = 0;
			fail_msg("difsd ended instead of listening, see %s/log", server->directory);
		}
		assert_true(now_ms() < deadline);
		pause_ms(2);
	}
}

bool
have_strace(void)
{
	if (system("strace -o /dev/null true 2>/dev/null") == 0)
		return true;
	print_message("strace cannot be used here\n");
	return false;
}

int
server_start_fails(Server *server, const char *const *options)
{
	spawn(server, NULL, options);
	return WEXITSTATUS(server_wait(server));
}

int
server_end(Server *server, int signal_number)
{
	assert_int_equal(kill(server->pid, signal_number), 0);
	return server_wait(server);
}

int
server_wait(Server *server)
{
	uint64_t	deadline = now_ms() + DEADLINE_MS;
	int			status;

	while (waitpid(server->pid, &status, WNOHANG) == 0)
	{
		assert_true(now_ms() < deadline);
		pause_ms(2);
	}
	server->pid = 0;
	if (server->stdin_fd >= 0)
		close(server->stdin_fd);
	server->stdin_fd = -1;
	return status;
}

static int
remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void) status;
	(void) type;
	(void) walk;
	return remove(path);
}

void
server_remove(Server *server)
{
	/* Under the sanitizers, its exit code also tells of leaks. */
	if (server->pid > 0)
		assert_int_equal(server_end(server, SIGTERM), 0);
	nftw(server->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

bool
has_logged(const Server *server, const char *text)
{
	char		path[256];
	char		line[2048];
	bool		found = false;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/log", server->directory);
	file = fopen(path, "r");
	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
		found = strstr(line, text) != NULL;
	if (file != NULL)
		fclose(file);
	return found;
}

void
expect_log(const Server *server, const char *text)
{
	uint64_t	deadline = now_ms() + DEADLINE_MS;

	while (!has_logged(server, text))
	{
		if (now_ms() >= deadline)
			fail_msg("\"%s\" is not in %s/log", text, server->directory);
		pause_ms(5);
	}
}

void
group_path(const Server *server, uint64_t group, const char *suffix, char path[256])
{
	snprintf(path, 256, "%s/%016llx%s", server->group_directory, (unsigned long long) group, suffix);
}

uint64_t
file_bytes(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 ? (uint64_t) status.st_size : 0;
}

uint64_t
allocated_bytes(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 ? (uint64_t) status.st_blocks * 512 : 0;
}

Client *
client_connect(const Server *server)
{
	return client_connect_as(&server->peer);
}

Client *
client_connect_as(const DifsPeer *peer)
{
	Client	   *client = calloc(1, sizeof(*client));
	uint64_t	deadline = now_ms() + DEADLINE_MS;
	DifsFrame	frame;
	DifsEvent	event;

	client->conn = difs_conn_create(peer);
	client->next_request = 1;
	while ((event = difs_conn_advance(client->conn, &frame)) == DIFS_EVENT_NONE)
		assert_true(wait_for(client, deadline));
	if (event != DIFS_EVENT_READY)
		fail_msg("%s", difs_conn_error(client->conn)->text);
	return client;
}

DifsErrorCode
connect_fails(const DifsPeer *peer)
{
	Client		client = {.conn = difs_conn_create(peer)};
	uint64_t	deadline = now_ms() + DEADLINE_MS;
	DifsFrame	frame;
	DifsEvent	event;
	DifsErrorCode code;

	while ((event = difs_conn_advance(client.conn, &frame)) == DIFS_EVENT_NONE)
		assert_true(wait_for(&client, deadline));
	code = event == DIFS_EVENT_BROKEN ? difs_conn_error(client.conn)->code : DIFS_OK;
	difs_conn_destroy(client.conn);
	return code;
}

void
client_close(Client *client)
{
	difs_conn_destroy(client->conn);
	free(client->payload);
	free(client);
}

uint64_t
client_send(Client *client, uint8_t message, const void *control, size_t control_length, const void *payload,
			size_t payload_length)
{
	DifsFrame	frame = {
		.control_length = (uint32_t) control_length,
		.payload_length = (uint32_t) payload_length,
		.request = client->next_request++,
		.message = message
	};

	difs_conn_send(client->conn, &frame, control, payload);
	difs_conn_flush(client->conn);
	return frame.request;
}

bool
client_receive(Client *client, Reply *reply)
{
	uint64_t	deadline = now_ms() + DEADLINE_MS;
	DifsFrame	frame;

	for (;;)
	{
		switch (difs_conn_advance(client->conn, &frame))
		{
			case DIFS_EVENT_HEAD:
				client->payload = malloc(frame.payload_length);
				difs_conn_payload_into(client->conn, client->payload);
				break;
			case DIFS_EVENT_FRAME:
				collect(client, &frame, reply);
				return true;
			case DIFS_EVENT_BROKEN:
				return false;
			default:
				assert_true(wait_for(client, deadline));
		}
	}
}

void
reply_free(Reply *reply)
{
	free(reply->payload);
	reply->payload = NULL;
}

DifsErrorCode
call(Client *client, uint8_t message, const void *control, size_t control_length, Reply *reply)
{
	uint64_t	request = client_send(client, message, control, control_length, NULL, 0);

	if (!client_receive(client, reply))
		fail_msg("%s", difs_conn_error(client->conn)->text);
	assert_int_equal(reply->request, request);
	return reply->status;
}

static DifsErrorCode
call_without_reply(Client *client, uint8_t message, const void *control, size_t control_length)
{
	Reply		reply;
	DifsErrorCode status = call(client, message, control, control_length, &reply);

	reply_free(&reply);
	return status;
}

DifsErrorCode
create_group(Client *client, uint64_t group, uint64_t capacity)
{
	DifsCreateGroup create = {.group = group, .epoch = 1, .capacity = capacity};
	uint8_t		control[64];

	return call_without_reply(client, DIFS_MESSAGE_CREATE_GROUP, control, difs_create_group_pack(&create, control));
}

DifsErrorCode
seal_group(Client *client, uint64_t group)
{
	uint8_t		control[8];

	return call_without_reply(client, DIFS_MESSAGE_SEAL_GROUP, control, difs_group_pack(group, control));
}

DifsErrorCode
drop_group(Client *client, uint64_t group)
{
	return drop_group_up_to(client, group, UINT64_MAX);
}

DifsErrorCode
drop_group_up_to(Client *client, uint64_t group, uint64_t epoch)
{
	uint8_t		control[16];

	return call_without_reply(client, DIFS_MESSAGE_DROP_GROUP, control, difs_pair_pack(group, epoch, control));
}

void
fill(uint64_t segment, uint8_t *bytes, size_t length)
{
	uint64_t	state = segment * 0x9E3779B97F4A7C15 + 1;

	for (size_t i = 0; i < length; i++)
	{
		state = state * 6364136223846793005 + 1442695040888963407;
		bytes[i] = (uint8_t) (state >> 56);
	}
}

size_t
pack_put(uint64_t group, uint64_t segment, const uint8_t *bytes, uint32_t length, uint8_t *packed)
{
	DifsSegment header = {
		.segment = segment,
		.xid = segment + 1000,
		.group = group,
		.raw_length = length,
		.stored_length = length,
		.codec = DIFS_CODEC_RAW
	};
	uint32_t   *block_crc = malloc(difs_segment_blocks(length) * sizeof(uint32_t));

	difs_segment_checksum(bytes, length, block_crc, &header.crc);
	difs_segment_pack(&header, block_crc, packed);
	free(block_crc);
	return difs_segment_packed_size(length);
}

/* bytes has room for length, and stays until the request has left. */
uint64_t
send_put(Client *client, uint64_t group, uint64_t segment, uint32_t length, uint8_t *bytes)
{
	uint8_t		packed[DIFS_MAX_PACKED_SIZE];
	size_t		packed_size;

	fill(segment, bytes, length);
	packed_size = pack_put(group, segment, bytes, length, packed);
	return client_send(client, DIFS_MESSAGE_PUT, packed, packed_size, bytes, length);
}

DifsErrorCode
put(Client *client, uint64_t group, uint64_t segment, uint32_t length)
{
	uint8_t    *bytes = malloc(length);
	uint64_t	request = send_put(client, group, segment, length, bytes);
	Reply		reply;

	if (!client_receive(client, &reply))
		fail_msg("%s", difs_conn_error(client->conn)->text);
	assert_int_equal(reply.request, request);
	free(bytes);
	return reply.status;
}

DifsErrorCode
get(Client *client, uint64_t group, uint64_t segment, uint32_t length)
{
	DifsGet		request = {.group = group, .segment = segment};
	uint8_t		control[64];
	uint8_t    *expected;
	DifsSegment header;
	DifsError	error;
	Reply		reply;

	if (call(client, DIFS_MESSAGE_GET, control, difs_get_pack(&request, control), &reply) != DIFS_OK)
		return reply.status;
	assert_int_equal(difs_get32(reply.control), 0);
	assert_true(difs_segment_unpack(reply.control + 4, reply.control_length - 4, &header, &error));
	assert_int_equal(header.segment, segment);
	assert_int_equal(header.synced, 0);
	assert_int_equal(header.stored_length, length);
	assert_int_equal(reply.payload_length, length);
	expected = malloc(length);
	fill(segment, expected, length);
	assert_memory_equal(reply.payload, expected, length);
	free(expected);
	reply_free(&reply);
	return DIFS_OK;
}

DifsErrorCode
delete_segments(Client *client, uint64_t group, const uint64_t *ids, uint32_t count, uint32_t *deleted)
{
	uint8_t		control[DIFS_WIRE_MAX_CONTROL];
	Reply		reply;

	if (call(client, DIFS_MESSAGE_DELETE, control, difs_delete_pack(group, ids, count, control), &reply) != DIFS_OK)
		return reply.status;
	*deleted = difs_get32(reply.control);
	assert_int_equal(*deleted + difs_get32(reply.control + 4), count);
	return DIFS_OK;
}

DifsErrorCode
verify(Client *client, uint64_t group, uint64_t segment)
{
	uint8_t		control[16];

	return call_without_reply(client, DIFS_MESSAGE_VERIFY, control, difs_pair_pack(group, segment, control));
}

void
get_status(Client *client, DifsServerStatus *status)
{
	DifsError	error;
	Reply		reply;

	assert_int_equal(call(client, DIFS_MESSAGE_STAT, NULL, 0, &reply), DIFS_OK);
	assert_true(difs_status_unpack(reply.control, reply.control_length, status, &error));
}

DifsListEntry *
list_group(Client *client, uint64_t group, uint32_t *count)
{
	DifsListEntry *entries = NULL;
	uint64_t	cursor = 0;
	uint8_t		control[16];
	Reply		reply;

	*count = 0;
	do
	{
		assert_int_equal(call(client, DIFS_MESSAGE_LIST, control, difs_pair_pack(group, cursor, control), &reply),
						 DIFS_OK);
		cursor = difs_get64(reply.control);
		entries = realloc(entries, (*count + reply.payload_length / DIFS_LIST_ENTRY_SIZE + 1) * sizeof(DifsListEntry));
		for (uint32_t at = 0; at < reply.payload_length; at += DIFS_LIST_ENTRY_SIZE)
			difs_list_entry_unpack(reply.payload + at, &entries[(*count)++]);
		reply_free(&reply);
	} while (cursor != 0);
	return entries;
}

bool
find_group(Client *client, uint64_t group, DifsGroupEntry *entry)
{
	uint8_t		control[8];
	bool		found = false;
	Reply		reply;

	assert_int_equal(call(client, DIFS_MESSAGE_LIST_GROUPS, control, difs_group_pack(group - 1, control), &reply),
					 DIFS_OK);
	if (reply.payload_length > 0)
	{
		difs_group_entry_unpack(reply.payload, entry);
		found = entry->group == group;
	}
	reply_free(&reply);
	return found;
}

uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

void
pause_ms(int ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

static void
spawn(Server *server, const char *const *prefix, const char *const *options)
{
	char		address[256];
	int			pipe_fds[2];

	snprintf(address, sizeof(address), "%s/address", server->directory);
	unlink(address);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0)
		exec_server(server, prefix, options, pipe_fds[0]);
	close(pipe_fds[0]);
	server->stdin_fd = pipe_fds[1];
}

static void
exec_server(const Server *server, const char *const *prefix, const char *const *options, int stdin_fd)
{
	const char *program = getenv("DIFSD") != NULL ? getenv("DIFSD") : DIFSD_PROGRAM;
	const char *arguments[MAX_ARGUMENTS];
	char		key[256];
	char		address[256];
	char		log[256];
	int			count = 0;
	int			log_fd;

	snprintf(key, sizeof(key), "%s/key", server->directory);
	snprintf(address, sizeof(address), "%s/address", server->directory);
	snprintf(log, sizeof(log), "%s/log", server->directory);
	while (prefix != NULL && *prefix != NULL)
		arguments[count++] = *prefix++;
	arguments[count++] = program;
	for (const char *const *fixed = (const char *const[]) {"--name", "/storage01", "--data", server->data,
		 "--listen", "127.0.0.1:0", "--key-file", key, "--address-file", address, NULL}; *fixed != NULL; fixed++)
		arguments[count++] = *fixed;
	while (options != NULL && *options != NULL)
		arguments[count++] = *options++;
	arguments[count] = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(log_fd, STDERR_FILENO);
	dup2(stdin_fd, STDIN_FILENO);
	execvp(arguments[0], (char *const *) (uintptr_t) arguments);
	_exit(127);
}

static bool
read_address(Server *server)
{
	char		path[256];
	unsigned	port;
	bool		found = false;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/address", server->directory);
	file = fopen(path, "r");
	if (file == NULL)
		return false;
	if (fscanf(file, "127.0.0.1:%u\n", &port) == 1)
	{
		server->peer.port = (uint16_t) port;
		found = true;
	}
	fclose(file);
	return found;
}

static bool
wait_for(Client *client, uint64_t deadline)
{
	struct pollfd pollfd = {.fd = difs_conn_fd(client->conn), .events = POLLIN};
	uint64_t	now = now_ms();

	if (difs_conn_wants_write(client->conn))
		pollfd.events |= POLLOUT;
	return now < deadline && poll(&pollfd, 1, (int) (deadline - now)) > 0;
}

static void
collect(Client *client, const DifsFrame *frame, Reply *reply)
{
	reply->request = frame->request;
	reply->status = (DifsErrorCode) frame->status;
	reply->control_length = frame->control_length;
	memcpy(reply->control, difs_conn_control(client->conn), frame->control_length);
	reply->payload = client->payload;
	reply->payload_length = frame->payload_length;
	client->payload = NULL;
}
