/*
 * control.c - what test/valgrind/backend must find: a read behind the end, and memory that nobody knows of any more.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(valgrind_control);

Datum
valgrind_control(PG_FUNCTION_ARGS)
{
	volatile char *bytes = malloc(10);
	int beyond = bytes[10];

	bytes = NULL;
	PG_RETURN_INT32(beyond & 0);
}
