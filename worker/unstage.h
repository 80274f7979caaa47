/*
 * unstage.h - the duty that moves staged segments to chunk servers.
 */
#ifndef DIFS_UNSTAGE_H
#define DIFS_UNSTAGE_H

/* One round. Results: see below. */
extern void difs_unstage_round(void);

enum DifsUnstageResult
{
	DIFS_UNSTAGE_MOVED,	  /* segments */
	DIFS_UNSTAGE_DROPPED, /* segments that nothing named any more */
};

#endif
