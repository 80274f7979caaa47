/*
 * embedded.c - supervision of chunk servers that are children of the launcher.
 *
 * State: children[], in the launcher's own memory; difs_shared->local[] is its
 * public part, written here under the lock.  On disk, in difs.local_directory
 * (mode 0700): cluster.key, made at the first start unless difs.key_file names
 * another; storageNN, the data; storageNN.address, written by the server when it
 * listens, so that it gets the same port the next time.
 *
 * A child's standard input is one end of a socket pair whose other end is ours.
 * So each side learns of the other's death from the kernel: the child stops when
 * it reads the end (--exit-with-stdin), even if launcher and postmaster were
 * killed, and our wait set fires when the child has gone.  A child that ends is
 * started again (embedded_start.c), after a growing pause.  What it left on disk is
 * its own to repair; nobody else reads it.  A directory of another data directory
 * that is still there is left alone (embedded_owner.c).
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "utils/memutils.h"

#include "src/settings.h"
#include "src/shmem.h"
#include "worker/embedded.h"
#include "worker/process.h"

#define ADDRESS_POLL_MS 50 /* while a server starts, and for how long that often */
#define ADDRESS_QUICK_MS 5000
#define ADDRESS_SLOW_MS 1000
#define SAME_PORT_ATTEMPTS 3 /* then the kernel picks another */
#define STOP_TIMEOUT_MS 5000

typedef struct DifsChild
{
	pid_t pid;		 /* 0 = not running */
	int link;		 /* our end of its standard input */
	bool link_ended; /* it has closed its end: it is about to exit */
	bool listens;
	char host[256];	   /* where it was told to listen */
	char *tls;		   /* how it was told to use TLS, as difs_embedded_tls() */
	uint16 port;	   /* the last one known, 0 = none */
	int port_failures; /* starts with that port that ended before it listened */
	DifsPause pause;
	char problem[DIFS_ERROR_TEXT_SIZE]; /* logged last, so that it is not repeated */
} DifsChild;

static DifsChild children[DIFS_MAX_LOCAL_SERVERS];

static int poll_interval_ms(const DifsChild *child);
static void pass_on_reload(void);
static void start_child(int index);
static bool read_address(int index, uint16 *port);
static bool read_storage(int index);
static void look_whether_listening(int index);
static void look_whether_ended(int index);
static void wait_for_end(DifsChild *child, TimestampTz deadline);
static void log_end(int index, int status);
static void publish(int index);

void
difs_embedded_begin(void)
{
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	memset(difs_shared->local, 0, sizeof(difs_shared->local));
	for (int i = 0; i < difs_local_servers; i++)
		snprintf(difs_shared->local[i].name, sizeof(difs_shared->local[i].name), "/storage%02d", i + 1);
	difs_shared->local_count = difs_local_servers;
	LWLockRelease(&difs_shared->lock);
}

void
difs_embedded_turn(TimestampTz *next)
{
	pass_on_reload();
	for (int i = 0; i < difs_local_servers; i++)
	{
		DifsChild *child = &children[i];

		if (child->pid != 0 && !child->listens)
			look_whether_listening(i);
		if (child->pid != 0)
			look_whether_ended(i);
		if (child->pid == 0 && GetCurrentTimestamp() >= child->pause.retry_at)
			start_child(i);

		if (child->pid == 0)
			difs_process_by(next, child->pause.retry_at);
		else if (!child->listens || child->link_ended)
			difs_process_by(next, difs_process_in(poll_interval_ms(child)));
	}
}

/* A reload of the configuration is one of the key file as well. One that does not listen yet has still to read it. */
static void
pass_on_reload(void)
{
	static TimestampTz passed_on = 0;

	if (passed_on == PgReloadTime)
		return;
	for (int i = 0; passed_on != 0 && i < difs_local_servers; i++)
	{
		if (children[i].pid == 0)
			continue;
		/* It reads files again, but options only when it starts. */
		if (strcmp(children[i].tls, difs_embedded_tls()) != 0)
			kill(children[i].pid, SIGTERM);
		else if (children[i].listens)
			kill(children[i].pid, SIGHUP);
	}
	passed_on = PgReloadTime;
}

void
difs_embedded_wait_for(WaitEventSet *set)
{
	for (int i = 0; i < difs_local_servers; i++)
	{
		if (children[i].pid != 0 && !children[i].link_ended)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, children[i].link, NULL, NULL);
	}
}

void
difs_embedded_stop(void)
{
	TimestampTz deadline = difs_process_in(STOP_TIMEOUT_MS);

	for (int i = 0; i < difs_local_servers; i++)
	{
		if (children[i].pid == 0)
			continue;
		shutdown(children[i].link, SHUT_WR);
		kill(children[i].pid, SIGTERM);
	}
	for (int i = 0; i < difs_local_servers; i++)
	{
		if (children[i].pid != 0)
			wait_for_end(&children[i], deadline);
	}
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < difs_local_servers; i++)
		difs_shared->local[i].pid = difs_shared->local[i].port = 0;
	LWLockRelease(&difs_shared->lock);
}

/* Files and zombies do not wake anybody: look often at first, and seldom at a server that takes long to start. */
static int
poll_interval_ms(const DifsChild *child)
{
	return TimestampDifferenceExceeds(child->pause.started_at, GetCurrentTimestamp(), ADDRESS_QUICK_MS) &&
			!child->link_ended ?
		ADDRESS_SLOW_MS :
		ADDRESS_POLL_MS;
}

static void
start_child(int index)
{
	DifsChild *child = &children[index];
	DifsError error;
	uint16 port = 0;
	char *listen;

	if (child->tls != NULL)
		pfree(child->tls);
	child->tls = MemoryContextStrdup(TopMemoryContext, difs_embedded_tls());

	strlcpy(child->host, difs_advertise_address[0] != '\0' ? difs_advertise_address : "127.0.0.1", sizeof(child->host));
	if (child->port == 0)
		read_address(index, &child->port);
	if (child->port_failures < SAME_PORT_ATTEMPTS)
		port = child->port;
	listen = psprintf(strchr(child->host, ':') != NULL ? "[%s]:%u" : "%s:%u", child->host, port);

	difs_pause_started(&child->pause);
	if (difs_embedded_start(index, listen, &child->pid, &child->link, &error))
	{
		child->link_ended = false;
		child->listens = false;
		child->problem[0] = '\0';
		publish(index);
		return;
	}
	difs_pause_ended(&child->pause);
	if (strcmp(child->problem, error.text) != 0)
		ereport(WARNING,
				(errmsg("difs launcher: could not start chunk server %s", difs_shared->local[index].name),
				 errdetail_internal("%s", error.text),
				 errhint("It is tried again every few seconds.")));
	strlcpy(child->problem, error.text, sizeof(child->problem));
}

/* The port in the address file, "host:port" and a line end; false if it is not there, or not complete yet. */
static bool
read_address(int index, uint16 *port)
{
	char line[512];
	char *colon;
	long number;
	ssize_t length;
	int fd = open(difs_embedded_path(index, ".address"), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	length = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (length <= 0 || line[length - 1] != '\n')
		return false;
	line[length] = '\0';
	colon = strrchr(line, ':');
	if (colon == NULL)
		return false;
	number = strtol(colon + 1, NULL, 10);
	if (number < 1 || number > 65535)
		return false;
	*port = (uint16) number;
	return true;
}

/* The identity of its data directory, which the server has written before it listens. */
static bool
read_storage(int index)
{
	char text[DIFS_NAME_SIZE + 256];
	uint8 storage[DIFS_UUID_SIZE];
	char *digits;
	ssize_t length;
	int fd = open(difs_embedded_path(index, "/identity"), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[Max(length, 0)] = '\0';
	digits = strstr(text, "\nstorage ");
	if (digits == NULL)
		return false;
	digits += strlen("\nstorage ");
	for (int i = 0; i < DIFS_UUID_SIZE; i++)
	{
		if (sscanf(digits + 2 * i, "%2hhx", &storage[i]) != 1)
			return false;
	}
	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	memcpy(difs_shared->local[index].storage, storage, DIFS_UUID_SIZE);
	LWLockRelease(&difs_shared->lock);
	return true;
}

static void
look_whether_listening(int index)
{
	DifsChild *child = &children[index];

	if (!read_address(index, &child->port) || !read_storage(index))
		return;
	child->listens = true;
	child->port_failures = 0;
	publish(index);
	ereport(LOG,
			(errmsg("difs launcher: chunk server %s (%s:%u) started, pid %d",
					difs_shared->local[index].name, child->host, child->port, (int) child->pid)));
}

static void
look_whether_ended(int index)
{
	DifsChild *child = &children[index];
	char byte;
	int status;
	pid_t got = waitpid(child->pid, &status, WNOHANG);

	if (got == 0 || (got < 0 && errno == EINTR))
	{
		child->link_ended = recv(child->link, &byte, 1, MSG_DONTWAIT) == 0;
		return;
	}
	log_end(index, got < 0 ? -1 : status);
	if (!child->listens)
		child->port_failures++;
	close(child->link);
	child->pid = 0;
	child->listens = false;
	difs_pause_ended(&child->pause);
	publish(index);
}

/* At our exit. Its end of the socket pair closes shortly before it has gone. */
static void
wait_for_end(DifsChild *child, TimestampTz deadline)
{
	struct pollfd link = {.fd = child->link, .events = POLLIN};

	while (waitpid(child->pid, NULL, WNOHANG) == 0)
	{
		long left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left_ms <= 0)
		{
			kill(child->pid, SIGKILL); /* it is made to survive that */
			while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
				;
			break;
		}
		if (poll(&link, 1, Min(left_ms, ADDRESS_POLL_MS)) > 0)
			link.fd = -1; /* from now on only the time passes */
	}
	close(child->link);
	child->pid = 0;
}

static void
log_end(int index, int status)
{
	const char *name = difs_shared->local[index].name;
	int pid = (int) children[index].pid;

	if (status != -1 && WIFSIGNALED(status))
		ereport(LOG,
				(errmsg("difs launcher: chunk server %s, pid %d, was terminated by signal %d: %s",
						name, pid, WTERMSIG(status), pg_strsignal(WTERMSIG(status)))));
	else if (status != -1 && WIFEXITED(status))
		ereport(LOG,
				(errmsg("difs launcher: chunk server %s, pid %d, exited with exit code %d",
						name, pid, WEXITSTATUS(status))));
	else
		ereport(LOG,
				(errmsg("difs launcher: chunk server %s, pid %d, has gone", name, pid)));
}

/* Tells the keepers where a server listens now. */
static void
publish(int index)
{
	DifsChild *child = &children[index];
	DifsLocalServer *local = &difs_shared->local[index];

	LWLockAcquire(&difs_shared->lock, LW_EXCLUSIVE);
	strlcpy(local->host, child->host, sizeof(local->host));
	local->port = child->listens ? child->port : 0;
	local->pid = child->pid;
	for (int i = 0; i < difs_shared->database_count; i++)
		difs_wake(difs_shared->databases[i].keeper);
	LWLockRelease(&difs_shared->lock);
}
