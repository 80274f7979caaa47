/*
 * groups.h - opening and sealing of block groups.
 */
#ifndef DIFS_GROUPS_H
#define DIFS_GROUPS_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Groups that were open when a former keeper ended are to be taken over or sealed. */
extern void difs_groups_begin(void);

/* Goes on with what is under way and begins what is needed; moves *next to when it wants to be called again. False
 * if the extension is gone. */
extern bool difs_groups_turn(TimestampTz *next);

#endif
