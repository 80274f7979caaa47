/*
 * fsck.h - the parts of difs_fsck().
 */
#ifndef DIFS_FSCK_H
#define DIFS_FSCK_H

#include "postgres.h"

#include "nodes/execnodes.h"

/* A kind of problem: the query returns (object, detail) for each, the newest that is committed. */
typedef struct DifsCheck
{
	const char *kind;
	const char *query;
	const char *hint;
} DifsCheck;

/* Runs checks, within an SPI connection, and adds a row to the result for each problem. */
extern void difs_fsck_run(ReturnSetInfo *result, const DifsCheck *checks, int count);

/* fsck_deep.c: the tables and what each server says it has. */
extern void difs_fsck_deep(ReturnSetInfo *result);

/* fsck_digest.c: reads every version that has a digest. */
extern void difs_fsck_digests(ReturnSetInfo *result);

extern void difs_fsck_report(ReturnSetInfo *result, const char *kind, Datum object, Datum detail, const char *hint);

#endif
