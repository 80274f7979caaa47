/*
 * stand_in.c - what fuzz_group needs of chunkd/memory.c, which the rest of the server hangs from.
 */
#include <stdlib.h>

#include "../../chunkd/memory.h"

void *
difs_alloc(size_t size_bytes)
{
	void *memory = calloc(1, size_bytes > 0 ? size_bytes : 1);

	if (memory == NULL)
		abort();
	return memory;
}

void *
difs_realloc(void *memory, size_t size_bytes)
{
	memory = realloc(memory, size_bytes > 0 ? size_bytes : 1);
	if (memory == NULL)
		abort();
	return memory;
}
