/*
 * metrics_http.c - see metrics_http.h.
 *
 * State: the page that was made last, as a response that the library counts
 * references to: a client that reads slowly keeps the page that it was given.
 */
#include "metrics_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16
#define CONNECTION_BYTES (8 * 1024)
#define IDLE_SECONDS 10
#define PAGE_MS 1000
#define BACKLOG 16
#define MAX_TURNS 100 /* so that nobody keeps whoever uses this from his own work */

struct DifsMetricsHttp
{
	struct MHD_Daemon *daemon;
	int descriptor;
	DifsMetricsWrite write;
	void *context;
	struct MHD_Response *page; /* NULL: none yet */
	int64_t page_ms;		   /* when it was made */
	char url[128];
};

static int listen_on(const char *host, const char *port, char *url, size_t url_size, DifsError *error);
static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
							  const char *upload, size_t *upload_size, void **state);
static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, const char *text);
static struct MHD_Response *current_page(DifsMetricsHttp *http);
static int64_t clock_ms(void);

DifsMetricsHttp *
difs_metrics_http_start(const char *host, const char *port, DifsMetricsWrite write, void *context, DifsError *error)
{
	DifsMetricsHttp *http = calloc(1, sizeof(*http));
	const union MHD_DaemonInfo *information;
	int listener;

	if (http == NULL)
	{
		difs_error_set(error, DIFS_ERROR_MEMORY, "no memory to serve metrics");
		return NULL;
	}
	listener = listen_on(host, port, http->url, sizeof(http->url), error);
	if (listener < 0)
	{
		free(http);
		return NULL;
	}
	http->write = write;
	http->context = context;
	http->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, http,
									MHD_OPTION_LISTEN_SOCKET, listener,
									MHD_OPTION_CONNECTION_LIMIT, (unsigned) MAX_CONNECTIONS,
									MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) CONNECTION_BYTES,
									MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) IDLE_SECONDS,
									MHD_OPTION_END);
	information = http->daemon == NULL ? NULL : MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (information == NULL)
	{
		difs_error_set(error, DIFS_ERROR_MEMORY, "the HTTP library could not be started");
		if (http->daemon != NULL)
			MHD_stop_daemon(http->daemon);
		else
			close(listener);
		free(http);
		return NULL;
	}
	http->descriptor = information->epoll_fd;
	return http;
}

void
difs_metrics_http_stop(DifsMetricsHttp *http)
{
	if (http == NULL)
		return;
	MHD_stop_daemon(http->daemon);
	if (http->page != NULL)
		MHD_destroy_response(http->page);
	free(http);
}

int
difs_metrics_http_descriptor(const DifsMetricsHttp *http)
{
	return http->descriptor;
}

void
difs_metrics_http_run(DifsMetricsHttp *http)
{
	int turns = MAX_TURNS;

	/* What has come and was not taken at once does not make the descriptor readable again. A call fails only of what the next may find mended. */
	do
		(void) MHD_run(http->daemon);
	while (difs_metrics_http_timeout_ms(http) == 0 && --turns > 0);
}

int
difs_metrics_http_timeout_ms(const DifsMetricsHttp *http)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	if (MHD_get_timeout(http->daemon, &timeout_ms) != MHD_YES)
		return -1;
	return timeout_ms > IDLE_SECONDS * 1000 ? IDLE_SECONDS * 1000 : (int) timeout_ms;
}

const char *
difs_metrics_http_url(const DifsMetricsHttp *http)
{
	return http->url;
}

/* A socket that listens, and the page's URL; -1 with *error. */
static int
listen_on(const char *host, const char *port, char *url, size_t url_size, DifsError *error)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *addresses;
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char own_host[64];
	char own_port[8];
	int status = getaddrinfo(host, port, &hints, &addresses);
	int fd;

	if (status != 0)
	{
		difs_error_set(error, DIFS_ERROR_ARGUMENT, "host \"%.100s\" is unknown: %s", host, gai_strerror(status));
		return -1;
	}
	fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
		bind(fd, addresses->ai_addr, addresses->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &length) != 0 ||
		getnameinfo((struct sockaddr *) &address, length, own_host, sizeof(own_host), own_port, sizeof(own_port),
					NI_NUMERICHOST | NI_NUMERICSERV) != 0)
	{
		difs_error_set(error, DIFS_ERROR_NETWORK, "could not listen for metrics on \"%.100s:%s\"", host, port);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	else
		snprintf(url, url_size, address.ss_family == AF_INET6 ? "http://[%s]:%s/metrics" : "http://%s:%s/metrics", own_host, own_port);
	freeaddrinfo(addresses);
	return fd;
}

/* Called when the headers have come; what is answered then ends the request, whatever its body was to be. */
static enum MHD_Result
answer(void *context, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
	   const char *upload, size_t *upload_size, void **state)
{
	DifsMetricsHttp *http = context;
	struct MHD_Response *page;

	(void) version, (void) upload, (void) upload_size, (void) state;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "metrics can be read only\n");
	if (strcmp(path, "/metrics") != 0)
		return answer_text(connection, MHD_HTTP_NOT_FOUND, "metrics are at /metrics\n");
	page = current_page(http);
	if (page == NULL)
		return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory for the page\n");
	return MHD_queue_response(connection, MHD_HTTP_OK, page);
}

static enum MHD_Result
answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), (void *) (uintptr_t) text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	(void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* NULL: no memory. */
static struct MHD_Response *
current_page(DifsMetricsHttp *http)
{
	DifsMetricsPage page = {0};
	struct MHD_Response *response;

	if (http->page != NULL && clock_ms() - http->page_ms < PAGE_MS)
		return http->page;
	http->write(http->context, &page);
	response = page.failed ? NULL : MHD_create_response_from_buffer(page.length, page.text, MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
	{
		free(page.text);
		return NULL;
	}
	(void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
	(void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (http->page != NULL)
		MHD_destroy_response(http->page);
	http->page = response;
	http->page_ms = clock_ms();
	return response;
}

static int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
