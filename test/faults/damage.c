/*
 * damage.c - see damage.h.
 */
#include "damage.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *
damage_path(const char *directory, uint64_t group, const char *suffix)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/01010101010101010101010101010101/%016llx%s", directory, (unsigned long long) group, suffix);
	return path;
}

void
damage_bytes(const char *directory, uint64_t group, const char *suffix, uint64_t offset, size_t length)
{
	const char *path = damage_path(directory, group, suffix);
	uint8_t bytes[256];
	int fd = length <= sizeof(bytes) ? open(path, O_RDWR) : -1;
	bool done = fd >= 0 && pread(fd, bytes, length, (off_t) offset) == (ssize_t) length;

	for (size_t i = 0; done && i < length; i++)
		bytes[i] = (uint8_t) ~bytes[i];
	if (!done || pwrite(fd, bytes, length, (off_t) offset) != (ssize_t) length)
	{
		printf("could not damage %s\n", path);
		exit(1);
	}
	close(fd);
}
