/*
 * register.c - see register.h.
 *
 * Nothing here waits but in poll(), on libpq's socket and the descriptor that
 * difs_register_stop() writes to; only libpq's look-up of a host name can't be
 * interrupted.
 */
#include "register.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "log.h"

#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 60000
#define ATTEMPT_MS 60000 /* for one attempt, the database's look at us included */
#define STOP_S 2

static const DifsOptions *options;
static char port[8];	 /* that others connect to */
static int stop_fd = -1; /* readable: the thread is to end */
static pthread_t thread;
static bool running = false;

static void *try_for_ever(void *unused);
static bool try_once(void);
static PGconn *connect_to_database(int64_t deadline_ms);
static char *find_function(PGconn *connection, int64_t deadline_ms);
static bool call(PGconn *connection, const char *function, int64_t deadline_ms);
static PGresult *query(PGconn *connection, const char *text, int count, const char *const *values, int64_t deadline_ms);
static bool wait_for(PGconn *connection, short events, int64_t deadline_ms);
static bool stopped_within(int milliseconds);
static int64_t clock_ms(void);
static void complain(const char *what, const char *why);

void
difs_register_start(const DifsOptions *given, uint16_t listened_on)
{
	sigset_t all;
	sigset_t before;

	if (given->register_at == NULL)
		return;
	options = given;
	if (strcmp(given->advertise_port, "0") == 0)
		snprintf(port, sizeof(port), "%u", (unsigned) listened_on);
	else
		memcpy(port, given->advertise_port, sizeof(port));

	/* signals are for the loop */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	running = stop_fd >= 0 && pthread_create(&thread, NULL, try_for_ever, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!running)
		difs_log(DIFS_LOG_ERROR, "could not begin to register: %s", strerror(errno));
}

bool
difs_register_stop(void)
{
	uint64_t one = 1;
	struct timespec until;

	if (!running)
		return true;
	if (write(stop_fd, &one, sizeof(one)) != sizeof(one))
		return false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_S;
	running = pthread_timedjoin_np(thread, NULL, &until) != 0;
	return !running;
}

static void *
try_for_ever(void *unused)
{
	int pause_ms = FIRST_PAUSE_MS;

	(void) unused;
	while (!try_once() && !stopped_within(pause_ms))
		pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
	return NULL;
}

static bool
try_once(void)
{
	int64_t deadline_ms = clock_ms() + ATTEMPT_MS;
	PGconn *connection = connect_to_database(deadline_ms);
	char *function = connection == NULL ? NULL : find_function(connection, deadline_ms);
	bool done = function != NULL && call(connection, function, deadline_ms);

	free(function);
	PQfinish(connection);
	return done;
}

/* NULL if that failed, which has been said then. */
static PGconn *
connect_to_database(int64_t deadline_ms)
{
	const char *const words[] = {"dbname", "fallback_application_name", NULL};
	const char *const values[] = {options->register_at, "difsd", NULL};
	PGconn *connection = PQconnectStartParams(words, values, 1);
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;

	while (connection != NULL && PQstatus(connection) != CONNECTION_BAD &&
		   state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED)
	{
		if (!wait_for(connection, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms))
		{
			complain("the database cannot be reached", "it does not answer");
			PQfinish(connection);
			return NULL;
		}
		state = PQconnectPoll(connection);
	}
	if (connection != NULL && PQstatus(connection) == CONNECTION_OK && PQsetnonblocking(connection, 1) == 0)
		return connection;
	complain("the database cannot be reached", connection == NULL ? "out of memory" : PQerrorMessage(connection));
	PQfinish(connection);
	return NULL;
}

/* Its name with the schema that the extension is in, to be freed. */
static char *
find_function(PGconn *connection, int64_t deadline_ms)
{
	PGresult *result = query(connection, "SELECT pg_catalog.quote_ident(n.nspname) || '.difs_server_register'"
										 " FROM pg_catalog.pg_extension e, pg_catalog.pg_namespace n"
										 " WHERE e.extname = 'difs' AND n.oid = e.extnamespace",
							 0, NULL, deadline_ms);
	char *name = NULL;

	if (result != NULL && PQntuples(result) == 1)
		name = strdup(PQgetvalue(result, 0, 0));
	else if (result != NULL)
		complain("the database does not take it", "it does not have the extension difs");
	PQclear(result);
	return name;
}

static bool
call(PGconn *connection, const char *function, int64_t deadline_ms)
{
	const char *const values[] = {options->name, options->advertise_host, port, options->zone,
								  options->tier == DIFS_TIER_MEMORY ? "memory" : "disk"};
	char text[512];
	PGresult *result;
	bool done;

	snprintf(text, sizeof(text), "SELECT %.256s($1, $2, $3::integer, zone => $4, tier => $5)", function);
	result = query(connection, text, 5, values, deadline_ms);
	done = result != NULL && PQntuples(result) == 1;
	if (done)
		difs_log(DIFS_LOG_INFO, "registered in database %s as %s:%s (%s)", PQdb(connection), options->advertise_host, port,
				 PQgetvalue(result, 0, 0));
	PQclear(result);
	return done;
}

/* NULL if it failed, which has been said then. */
static PGresult *
query(PGconn *connection, const char *text, int count, const char *const *values, int64_t deadline_ms)
{
	PGresult *result;
	PGresult *more;

	if (PQsendQueryParams(connection, text, count, NULL, values, NULL, NULL, 0) == 0)
	{
		complain("the database cannot be asked", PQerrorMessage(connection));
		return NULL;
	}
	for (;;)
	{
		int unsent = PQflush(connection);

		if (unsent == 0 && !PQisBusy(connection))
			break;
		if (unsent < 0 || !wait_for(connection, (short) (POLLIN | (unsent > 0 ? POLLOUT : 0)), deadline_ms) ||
			PQconsumeInput(connection) == 0)
		{
			complain("the database does not answer", PQerrorMessage(connection));
			return NULL;
		}
	}
	result = PQgetResult(connection);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		complain("the database does not take it", PQerrorMessage(connection));
		PQclear(result);
		return NULL;
	}
	while ((more = PQgetResult(connection)) != NULL)
		PQclear(more);
	return result;
}

/* False if the time is over, or we are to stop. */
static bool
wait_for(PGconn *connection, short events, int64_t deadline_ms)
{
	struct pollfd sockets[] = {{.fd = PQsocket(connection), .events = events}, {.fd = stop_fd, .events = POLLIN}};

	for (;;)
	{
		int64_t left_ms = deadline_ms - clock_ms();
		int ready = left_ms <= 0 ? 0 : poll(sockets, 2, (int) left_ms);

		if (ready < 0 && errno == EINTR)
			continue;
		return ready > 0 && sockets[1].revents == 0;
	}
}

static bool
stopped_within(int milliseconds)
{
	struct pollfd stop = {.fd = stop_fd, .events = POLLIN};

	return poll(&stop, 1, milliseconds) > 0;
}

static int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* libpq's messages have several lines; the log has one for each event. Nothing is said of an end that we were told to make. */
static void
complain(const char *what, const char *why)
{
	char line[1024];
	size_t length;

	if (stopped_within(0))
		return;
	snprintf(line, sizeof(line), "%s", why);
	length = strlen(line);
	while (length > 0 && line[length - 1] == '\n')
		line[--length] = '\0';
	for (char *at = line; *at != '\0'; at++)
	{
		if (*at == '\n' || *at == '\t')
			*at = ' ';
	}
	difs_log(DIFS_LOG_WARNING, "not registered yet: %s: %s", what, line);
}
