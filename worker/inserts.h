/*
 * inserts.h - the keeper's helpers for difs_insert() (src/insert.h).
 */
#ifndef DIFS_INSERTS_H
#define DIFS_INSERTS_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "src/shmem.h"

/* Keeper: begins helpers if there is work, notices those that have ended, clears old processes; moves *next. False if the extension is gone. And at
 * its end. */
extern bool difs_inserts_turn(TimestampTz *next);
extern void difs_inserts_stop(void);

/* A process that a helper has taken. */
typedef struct DifsInsert
{
	int64 id;
	char *path;
	char *source;
	Oid role;
	int32 if_version; /* or DIFS_ANY_VERSION */
	bool parents;
	int begun; /* how often, this time included */
} DifsInsert;

/* insert_helper.c: the helper's life. */
extern PGDLLEXPORT void difs_insert_main(Datum arg);

/* In a helper: serves interrupts, and ends the helper if the database's workers are to stop. And what others see of its process. */
extern void difs_insert_interrupts(void);
extern void difs_insert_show(int64 segments, int64 bytes, int64 total_bytes);
extern void difs_insert_show_bytes(int64 bytes, int64 total_bytes);

/* In a helper: a transaction (served.h). A statement in it, with the rights of a superuser; returns the number of rows. */
extern bool difs_insert_begin(void);
extern uint64 difs_insert_execute(const char *statement, int count, Oid *types, Datum *values, const char *nulls);

/* insert_run.c: works at a process until it has ended, one way or the other. Does not error. */
extern void difs_insert_run(const DifsInsert *insert);

#endif
