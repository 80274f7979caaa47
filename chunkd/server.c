/*
 * server.c - starting, listening, the clock, and stopping.
 *
 * Stopping: nothing new is accepted or read, what is under way is finished and its
 * replies are sent, for at most STOP_MS; jobs that have begun are always waited
 * for.  Then no connection and no job keeps uv_run() any more.  Killing the
 * process instead loses nothing that was acknowledged.
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "file_io.h"
#include "group_jobs.h"
#include "log.h"
#include "pull.h"
#include "tenant.h"

#define BACKLOG 1024
#define TICK_MS 1000
#define MEASURE_TICKS 5
#define STOP_MS 10000

typedef struct Measure
{
	DifsJob job;
	DifsServer *server;
	uint64_t free_bytes;
	bool ok;
	DifsError error;
} Measure;

static bool load_tls(DifsServer *server, DifsError *error);
static bool listen_on(DifsServer *server, DifsError *error);
static bool write_address(DifsServer *server, DifsError *error);
static bool watch_stdin(DifsServer *server, DifsError *error);
static void *read_stdin(void *argument);
static void on_connection(uv_stream_t *listener, int status);
static void on_signal(uv_signal_t *signal, int number);
static void on_hangup(uv_signal_t *signal, int number);
static void revoke_removed(DifsServer *server);
static void on_stdin_closed(uv_async_t *async);
static void on_tick(uv_timer_t *timer);
static void measure_run(DifsJob *job);
static void measure_done(DifsJob *job);

bool
difs_server_start(DifsServer *server, uv_loop_t *loop, const DifsOptions *options, DifsStore *store, DifsError *error)
{
	server->loop = loop;
	server->options = options;
	server->store = store;
	difs_pool_init(&server->pool, loop);
	difs_budget_init(&server->budget);
	difs_gather_init(&server->gather);
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->tenants);
	TAILQ_INIT(&server->open_groups);
	TAILQ_INIT(&server->compactions);
	TAILQ_INIT(&server->pulls);
	atomic_init(&server->stopping, false);
	server->listener.data = server->timer.data = server->terminate.data = server->interrupt.data = server->hangup.data = server;

	/* Before anybody learns from the address file that it may be signalled. These cannot fail for a loop that works, but for memory. */
	(void) uv_signal_init(loop, &server->hangup);
	(void) uv_signal_start(&server->hangup, on_hangup, SIGHUP);
	(void) uv_signal_init(loop, &server->terminate);
	(void) uv_signal_start(&server->terminate, on_signal, SIGTERM);
	(void) uv_signal_init(loop, &server->interrupt);
	(void) uv_signal_start(&server->interrupt, on_signal, SIGINT);
	if (!difs_keyring_load(options->key_file, &server->keyring, error) ||
		!load_tls(server, error) ||
		!store->free_space(store, &server->free_bytes, error) ||
		!difs_tenant_load_all(server, error) ||
		!difs_metrics_start(&server->metrics, server, error) ||
		!listen_on(server, error) ||
		!write_address(server, error) ||
		!watch_stdin(server, error))
		return false;

	(void) uv_timer_init(loop, &server->timer);
	(void) uv_timer_start(&server->timer, on_tick, TICK_MS, TICK_MS);
	return true;
}

void
difs_server_stop(DifsServer *server, const char *why)
{
	DifsConnection *connection;
	DifsConnection *next;

	if (server->stopping)
		return;
	difs_log(DIFS_LOG_INFO, "stopping: %s", why);
	atomic_store(&server->stopping, true);
	server->stop_ms = uv_now(server->loop);
	uv_close((uv_handle_t *) &server->listener, NULL);
	difs_metrics_stop(&server->metrics);
	/* They go on, but do not keep uv_run(). */
	uv_unref((uv_handle_t *) &server->timer);
	uv_unref((uv_handle_t *) &server->terminate);
	uv_unref((uv_handle_t *) &server->interrupt);
	uv_unref((uv_handle_t *) &server->hangup);
	if (server->options->exit_with_stdin)
		uv_unref((uv_handle_t *) &server->stdin_closed);
	for (connection = TAILQ_FIRST(&server->connections); connection != NULL; connection = next)
	{
		next = TAILQ_NEXT(connection, link);
		/* What has arrived of a frame that is not whole is of no use any more. */
		if (connection->stage != DIFS_RECEIVE_HEADER || connection->received > 0)
			difs_connection_close(connection, "server stops");
		else
			difs_connection_finish(connection);
	}
}

void
difs_server_destroy(DifsServer *server)
{
	uv_close((uv_handle_t *) &server->timer, NULL);
	uv_close((uv_handle_t *) &server->terminate, NULL);
	uv_close((uv_handle_t *) &server->interrupt, NULL);
	uv_close((uv_handle_t *) &server->hangup, NULL);
	/* stdin_closed stays, and with it the loop: the thread that reads standard input may use it at any time. */
	uv_run(server->loop, UV_RUN_DEFAULT);
	difs_pulls_free(server);
	difs_tenant_free_all(server);
	difs_tls_context_release(server->tls);
	server->store->destroy(server->store);
}

bool
difs_server_has_room(const DifsServer *server, uint64_t bytes)
{
	uint64_t capacity = server->options->capacity_bytes;

	return capacity == 0 || server->used_bytes + server->queued_bytes + bytes <= capacity;
}

/* Takes the certificate files as they are now; the former context stays in force if they are not right. */
static bool
load_tls(DifsServer *server, DifsError *error)
{
	const DifsOptions *options = server->options;
	DifsTlsContext *context;

	if (options->tls_files.certificate == NULL)
		return true;
	context = difs_tls_server_context(&options->tls_files, options->tls == DIFS_TLS_MUTUAL, error);
	if (context == NULL)
		return false;
	difs_tls_context_release(server->tls);
	server->tls = context;
	return true;
}

static bool
listen_on(DifsServer *server, DifsError *error)
{
	const DifsOptions *options = server->options;
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *addresses;
	int status = getaddrinfo(options->host, options->port, &hints, &addresses);

	if (status != 0)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "host \"%.100s\" is unknown: %s", options->host,
							  gai_strerror(status));
	(void) uv_tcp_init(server->loop, &server->listener);
	status = uv_tcp_bind(&server->listener, addresses->ai_addr, 0);
	freeaddrinfo(addresses);
	if (status == 0)
		status = uv_listen((uv_stream_t *) &server->listener, BACKLOG, on_connection);
	if (status != 0)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "could not listen on \"%.100s:%s\": %s", options->host,
							  options->port, uv_strerror(status));
	return true;
}

static bool
write_address(DifsServer *server, DifsError *error)
{
	struct sockaddr_storage address;
	int length = sizeof(address);
	char host[64];
	char port[8];
	char text[80];
	int status = uv_tcp_getsockname(&server->listener, (struct sockaddr *) &address, &length);

	if (status != 0)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "could not get the address listened on: %s",
							  uv_strerror(status));
	status = getnameinfo((struct sockaddr *) &address, (socklen_t) length, host, sizeof(host), port, sizeof(port),
						 NI_NUMERICHOST | NI_NUMERICSERV);
	if (status != 0)
		return difs_error_set(error, DIFS_ERROR_ARGUMENT, "could not name the address listened on: %s",
							  gai_strerror(status));
	snprintf(text, sizeof(text), address.ss_family == AF_INET6 ? "[%s]:%s\n" : "%s:%s\n", host, port);
	if (server->options->address_file != NULL &&
		!difs_file_replace(AT_FDCWD, server->options->address_file, text, error))
		return false;
	text[strlen(text) - 1] = '\0';
	server->port = (uint16_t) strtoul(port, NULL, 10);
	difs_log(DIFS_LOG_INFO, "listening on %s", text);
	return true;
}

/* A thread reads it, as standard input may be anything: a pipe, a socket, a file, a terminal. */
static bool
watch_stdin(DifsServer *server, DifsError *error)
{
	pthread_t thread;
	pthread_attr_t detached;
	sigset_t all;
	sigset_t before;
	int status;

	if (!server->options->exit_with_stdin)
		return true;
	(void) uv_async_init(server->loop, &server->stdin_closed, on_stdin_closed);
	server->stdin_closed.data = server;
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&thread, &detached, read_stdin, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&detached);
	if (status != 0)
		return difs_error_set(error, DIFS_ERROR_MEMORY, "could not start a thread: %s", strerror(status));
	return true;
}

static void *
read_stdin(void *argument)
{
	DifsServer *server = argument;
	char bytes[256];
	ssize_t got;

	do
		got = read(STDIN_FILENO, bytes, sizeof(bytes));
	while (got > 0 || (got < 0 && errno == EINTR));
	(void) uv_async_send(&server->stdin_closed);
	return NULL;
}

static void
on_connection(uv_stream_t *listener, int status)
{
	if (status != 0)
		difs_log(DIFS_LOG_WARNING, "a connection could not be accepted: %s", uv_strerror(status));
	else
		difs_connection_accept(listener->data, listener);
}

static void
on_signal(uv_signal_t *signal, int number)
{
	difs_server_stop(signal->data, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* Takes keys and certificates as they are now.  Who has proved a key that is still there goes on; a file that cannot be read
 * changes nothing. */
static void
on_hangup(uv_signal_t *signal, int number)
{
	DifsServer *server = signal->data;
	DifsKeyring keyring;
	DifsError error;

	(void) number;
	if (difs_keyring_load(server->options->key_file, &keyring, &error))
	{
		server->keyring = keyring;
		difs_log(DIFS_LOG_INFO, "key file was read again: %d keys", keyring.count);
		revoke_removed(server);
	}
	else
		difs_log(DIFS_LOG_WARNING, "key file was not read again, the former keys stay in force: %s", error.text);
	explicit_bzero(&keyring, sizeof(keyring));
	if (!load_tls(server, &error))
		difs_log(DIFS_LOG_WARNING, "certificates were not read again, the former ones stay in force: %s", error.text);
	else if (server->tls != NULL)
		difs_log(DIFS_LOG_INFO, "certificates were read again");
}

/* Connections with keys that are not there any more end. */
static void
revoke_removed(DifsServer *server)
{
	DifsConnection *connection;
	DifsConnection *next;

	for (connection = TAILQ_FIRST(&server->connections); connection != NULL; connection = next)
	{
		next = TAILQ_NEXT(connection, link);
		if (connection->phase != DIFS_PHASE_HELLO && difs_keyring_find(&server->keyring, connection->key_id) < 0)
			difs_connection_revoke(connection);
	}
}

static void
on_stdin_closed(uv_async_t *async)
{
	difs_server_stop(async->data, "standard input was closed");
}

static void
on_tick(uv_timer_t *timer)
{
	DifsServer *server = timer->data;
	uint64_t now_ms = uv_now(server->loop);
	DifsConnection *connection;
	DifsConnection *next;

	for (connection = TAILQ_FIRST(&server->connections); connection != NULL; connection = next)
	{
		next = TAILQ_NEXT(connection, link);
		if (server->stopping && now_ms - server->stop_ms >= STOP_MS)
			difs_connection_close(connection, "server stops");
		else
			difs_connection_tick(connection, now_ms);
	}
	difs_pulls_tick(server);
	difs_memory_tick(&server->budget, now_ms);
	difs_metrics_tick(&server->metrics);
	if (!server->stopping && !server->measuring && now_ms / TICK_MS % MEASURE_TICKS == 0)
	{
		Measure *measure = difs_alloc(sizeof(*measure));

		server->measuring = true;
		measure->server = server;
		difs_job_start(&server->pool, DIFS_LANE_READ, &measure->job, measure_run, measure_done);
	}
}

static void
measure_run(DifsJob *job)
{
	Measure *measure = (Measure *) job;
	DifsStore *store = measure->server->store;

	measure->ok = store->free_space(store, &measure->free_bytes, &measure->error);
}

static void
measure_done(DifsJob *job)
{
	Measure *measure = (Measure *) job;

	measure->server->measuring = false;
	if (measure->ok)
		measure->server->free_bytes = measure->free_bytes;
	else
		difs_log(DIFS_LOG_WARNING, "free space is not known: %s", measure->error.text);
	free(measure);
}
