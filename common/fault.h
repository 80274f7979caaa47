/*
 * fault.h - named places at which tests make a process die or leave out a safety.
 *
 * All names stand in fault_points.txt, with a word on each; scripts/check-fault-points compares that list with the code.
 * Without -DDIFS_FAULTS (make FAULTS=1) nothing of this is compiled in.
 *
 *	DIFS_FAULT("chunkd.put.written");					a step has just been taken
 *	if (!DIFS_FAULT_SKIP("chunkd.sync.data") && fdatasync(fd) != 0)		a safety, which a control leaves out
 *
 * The environment variable DIFS_FAULT_FILE names a file with lines of "name action [n]", read at each point anew:
 *
 *	kill	the n-th time (by default the first) that this process comes here, it kills itself, as kill -9 does
 *	wait	it waits until the mark below has been removed
 *	skip	DIFS_FAULT_SKIP() is true, each time
 *
 * What has happened is told by a mark, the empty file "<DIFS_FAULT_FILE>.<name>".  While the mark of a kill or wait is
 * there, it does not happen again: of several processes one takes it, and the one that is started next does not die too.
 */
#ifndef DIFS_FAULT_H
#define DIFS_FAULT_H

#include <stdbool.h>

#ifdef DIFS_FAULTS
extern bool difs_fault_hit(const char *name);
#define DIFS_FAULT(name) ((void) difs_fault_hit(name))
#define DIFS_FAULT_SKIP(name) difs_fault_hit(name)
#else
#define DIFS_FAULT(name) ((void) 0)
#define DIFS_FAULT_SKIP(name) false
#endif

#endif
