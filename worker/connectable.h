/*
 * connectable.h - which databases the launcher may start workers in.
 *
 * Nobody but the launcher calls these.
 */
#ifndef DIFS_CONNECTABLE_H
#define DIFS_CONNECTABLE_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* All databases that allow connections, but for templates: a worker there would be in the way of CREATE DATABASE. In the current memory context. */
extern List *difs_connectable_read(void);

/* Is it one of them? They are read once in a turn; the next one begins by forgetting them. */
extern bool difs_connectable(Oid database);
extern void difs_connectable_forget(void);

#endif
