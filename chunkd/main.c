/*
 * main.c - difsd, the chunk server of difs.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "directory.h"
#include "log.h"
#include "memory.h"
#include "options.h"
#include "register.h"
#include "server.h"

static void prepare_process(void);
static DifsStore *open_store(DifsOptions *options, DifsError *error);

int
main(int argc, char **argv)
{
	static DifsServer server;
	DifsOptions options;
	DifsStore *store;
	DifsError error;
	int exit_code;
	bool ended;

	if (!difs_options_parse(argc, argv, &options, &exit_code))
		return exit_code;
	difs_log_name(options.name);
	prepare_process();
	store = open_store(&options, &error);
	if (store == NULL ||
		!difs_server_start(&server, uv_default_loop(), &options, store, &error))
	{
		difs_log(DIFS_LOG_ERROR, "could not start: %s", error.text);
		return 1;
	}
	difs_register_start(&options, server.port);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	ended = difs_register_stop();
	difs_server_destroy(&server);
	uv_loop_close(uv_default_loop());
	difs_log(DIFS_LOG_INFO, "stopped");
	if (!ended)
		_exit(0); /* the thread that registers still runs: what exit() would clean up may be in use */
	return 0;
}

/* What has to be so before anything else is done. */
static void
prepare_process(void)
{
	struct rlimit limit;
	int fd;

	difs_memory_prepare();

	/* Descriptors 0 to 2 must not become those of group files. */
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);

	/* A peer that is gone and a file that is too large are errors of write(), not reasons to die. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	setenv("UV_THREADPOOL_SIZE", DIFS_POOL_THREADS, 1);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max)
	{
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			difs_log(DIFS_LOG_WARNING, "the limit on open files could not be raised to %llu",
					 (unsigned long long) limit.rlim_max);
	}
}

/* The memory tier gets half of the machine's memory if nothing else is said. */
static DifsStore *
open_store(DifsOptions *options, DifsError *error)
{
	int directory_fd = -1;
	struct sysinfo info;

	if (options->data != NULL)
	{
		directory_fd = difs_directory_open(options, error);
		if (directory_fd < 0)
			return NULL;
	}
	if (options->tier == DIFS_TIER_DISK)
		return difs_store_disk_create(directory_fd);
	if (options->capacity_bytes == 0 && sysinfo(&info) != 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not get the size of memory");
		return NULL;
	}
	if (options->capacity_bytes == 0)
		options->capacity_bytes = (uint64_t) info.totalram * info.mem_unit / 2;
	return difs_store_memory_create();
}
