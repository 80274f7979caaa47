/*
 * pace.h - how quickly chunk servers answer.
 *
 * A moving average for each server, from what all backends of the database have
 * seen lately.  It is forgotten by half with each second, so that a server that
 * was slow is tried again.  Only a hint for the choice among members: wrong
 * numbers cost time and nothing else.
 */
#ifndef DIFS_PACE_H
#define DIFS_PACE_H

#include "postgres.h"

/* Microseconds of a clock that never jumps. */
extern int64 difs_pace_clock_us(void);

/* A server has answered after so many microseconds, or has not answered for that long. */
extern void difs_pace_note(int32 server, int64 microseconds);

/* Microseconds in which it answers; a small number if nothing is known. */
extern uint32 difs_pace_of(int32 server);

#endif
