/*
 * embedded_start.c - the start of an embedded chunk server: what it needs on disk, its options, and the fork (embedded.h).
 *
 * No state here.  What is made on disk stays: directories of mode 0700, and the
 * key, unless difs.key_file names another.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "common/auth.h"
#include "src/compat.h"
#include "src/settings.h"
#include "src/shmem.h"
#include "worker/embedded.h"

#define MAX_DESCRIPTORS 65536
#define MAX_ARGUMENTS 24

static void add_tls(char **arguments);
static bool prepare_files(int index, DifsError *error);
static bool make_directory(const char *path, DifsError *error);
static bool fork_child(char **arguments, pid_t *pid, int *link, DifsError *error);
pg_noreturn static void become_server(int input, char **arguments);
static char *program_path(void);

bool
difs_embedded_start(int index, const char *listen, pid_t *pid, int *link, DifsError *error)
{
	char *arguments[MAX_ARGUMENTS] = {
		program_path(),
		"--name",
		difs_shared->local[index].name,
		"--data",
		difs_embedded_path(index, ""),
		"--listen",
		(char *) listen,
		"--key-file",
		difs_settings_key_file(),
		"--tier",
		"disk",
		"--address-file",
		difs_embedded_path(index, ".address"),
		"--exit-with-stdin",
		NULL,
	};

	add_tls(arguments);
	return prepare_files(index, error) && fork_child(arguments, pid, link, error);
}

char *
difs_embedded_tls(void)
{
	return psprintf("%d %s %s %s", difs_tls != DIFS_TLS_OFF, difs_tls_files.certificate, difs_tls_files.key, difs_tls_files.ca);
}

char *
difs_embedded_path(int index, const char *suffix)
{
	return psprintf("%s%s%s", difs_settings_local_directory(), difs_shared->local[index].name, suffix);
}

/* The certificate of this server is that of its embedded chunk servers.  Without one they have no TLS. */
static void
add_tls(char **arguments)
{
	int at = 0;

	if (difs_tls_files.certificate[0] == '\0')
		return;
	while (arguments[at] != NULL)
		at++;
	arguments[at++] = "--tls";
	arguments[at++] = difs_tls == DIFS_TLS_OFF ? "optional" : "required";
	arguments[at++] = "--tls-cert";
	arguments[at++] = pstrdup(difs_tls_files.certificate);
	arguments[at++] = "--tls-key";
	arguments[at++] = pstrdup(difs_tls_files.key);
	if (difs_tls_files.ca[0] != '\0')
	{
		arguments[at++] = "--tls-ca";
		arguments[at++] = pstrdup(difs_tls_files.ca);
	}
	arguments[at] = NULL;
	Assert(at < MAX_ARGUMENTS);
}

/* Whatever a server needs to find: its program, directories of mode 0700 and the key. An address file of old must
 * not be taken for a new one. */
static bool
prepare_files(int index, DifsError *error)
{
	char *program = program_path();
	char *key_file = difs_settings_key_file();
	char *address_file = difs_embedded_path(index, ".address");

	if (access(program, X_OK) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not execute \"%s\" (difs.server_program)", program);
	if (!make_directory(difs_settings_local_directory(), error) ||
		!difs_embedded_own(difs_settings_local_directory(), error) ||
		!make_directory(difs_embedded_path(index, ""), error))
		return false;
	if (difs_key_file[0] == '\0' && access(key_file, F_OK) != 0 &&
		!difs_keyring_create(key_file, error) && error->code != DIFS_ERROR_EXISTS)
		return false;
	if (unlink(address_file) != 0 && errno != ENOENT)
		return difs_error_set(error, DIFS_ERROR_IO, "could not remove file \"%s\"", address_file);
	return true;
}

static bool
make_directory(const char *path, DifsError *error)
{
	if (mkdir(path, S_IRWXU) == 0)
	{
		char *parent = pstrdup(path);

		get_parent_directory(parent);
		fsync_fname(parent, true);
		return true;
	}
	return errno == EEXIST || difs_error_set(error, DIFS_ERROR_IO, "could not create directory \"%s\"", path);
}

static bool
fork_child(char **arguments, pid_t *pid, int *link, DifsError *error)
{
	sigset_t all;
	sigset_t before;
	int ends[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		return difs_error_set(error, DIFS_ERROR_IO, "could not create a socket pair");

	/* no handler of ours may run in the child */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	fflush(NULL);
	child = fork();
	if (child == 0)
		become_server(ends[1], arguments);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(ends[1]);
	if (child < 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not fork");
		close(ends[0]);
		return false;
	}
	*pid = child;
	*link = ends[0];
	return true;
}

/* In the child: nothing of PostgreSQL is left but standard error. Only calls that are safe after a fork. */
static void
become_server(int input, char **arguments)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;
	long limit = sysconf(_SC_OPEN_MAX);
	static const char failed[] = "difs launcher: could not execute the chunk server's program\n";

	setpgid(0, 0); /* the postmaster signals its children's groups */
	for (int i = 1; i < NSIG; i++)
		sigaction(i, &standard, NULL);
	dup2(input, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	for (int fd = STDERR_FILENO + 1; fd < (limit > 0 && limit < MAX_DESCRIPTORS ? limit : MAX_DESCRIPTORS); fd++)
		close(fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(arguments[0], arguments);
	if (write(STDERR_FILENO, failed, sizeof(failed) - 1) < 0)
		_exit(126);
	_exit(127);
}

static char *
program_path(void)
{
	char directory[MAXPGPATH];

	if (difs_server_program[0] != '\0')
		return pstrdup(difs_server_program);
	strlcpy(directory, my_exec_path, sizeof(directory));
	get_parent_directory(directory);
	return psprintf("%s/difsd", directory);
}
