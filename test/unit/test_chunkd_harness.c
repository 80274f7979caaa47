/*
 * test_chunkd_harness.c - see test_chunkd_harness.h.
 */
#include "test_chunkd_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGUMENTS 64

static void spawn(Server *server, const char *const *prefix, const char *const *options);
static void exec_server(const Server *server, const char *const *prefix, const char *const *options, int stdin_fd);
static bool read_address(Server *server);

void
server_prepare(Server *server, const char *directory)
{
	const char *top = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
	char path[256];
	DifsKeyring keyring;
	DifsError error;

	*server = (Server){.stdin_fd = -1};
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
	uint64_t deadline = now_ms() + DEADLINE_MS;

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
	uint64_t deadline = now_ms() + DEADLINE_MS;
	int status;

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
	char path[256];
	char line[2048];
	bool found = false;
	FILE *file;

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
	uint64_t deadline = now_ms() + DEADLINE_MS;

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

void
flip_bits(const char *path, uint64_t offset, uint8_t bits)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t) offset), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t) offset), 1);
	close(fd);
}

Client *
client_connect(const Server *server)
{
	return client_connect_as(&server->peer);
}

static void
spawn(Server *server, const char *const *prefix, const char *const *options)
{
	char address[256];
	int pipe_fds[2];

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
	char key[256];
	char address[256];
	char log[256];
	int count = 0;
	int log_fd;

	snprintf(key, sizeof(key), "%s/key", server->directory);
	snprintf(address, sizeof(address), "%s/address", server->directory);
	snprintf(log, sizeof(log), "%s/log", server->directory);
	while (prefix != NULL && *prefix != NULL)
		arguments[count++] = *prefix++;
	arguments[count++] = program;
	for (const char *const *fixed = (const char *const[]){"--name", "/storage01", "--data", server->data,
														  "--listen", "127.0.0.1:0", "--key-file", key, "--address-file", address, NULL};
		 *fixed != NULL; fixed++)
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
	char path[256];
	unsigned port;
	bool found = false;
	FILE *file;

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
