/*
 * journal.h - steps that a server is asked to take, one after the other, and what it has acknowledged of them.
 *
 * The journal is a file with a line for each step: "OPERATION GROUP SEGMENT LENGTH RESULT", where RESULT is the status of the reply, 0 for an
 * acknowledgement.  It stands empty from before the request until its reply has come, and is read as CLIENT_LOST then.  So after the death
 * of the server, or of whoever asks, the journal says what was acknowledged, and what may have been done.
 */
#ifndef FAULTS_JOURNAL_H
#define FAULTS_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_MAX_STEPS 256

typedef struct Step
{
	int operation; /* the place of its name among the names */
	uint64_t group;
	uint64_t segment;
	uint32_t length;
	int result;
} Step;

/* Takes a step: its result; *wrong is set if the server returned wrong bytes. */
typedef int (*TakeStep)(const Step *step, bool *wrong);

/* Takes steps, and appends them to the journal, until the connection breaks.  True if wrong bytes came, which is printed.  Ends the
 * program with 2 if there can be no journal. */
extern bool journal_run(const char *path, const char *const *names, const Step *steps, int count, TakeStep take);

/* Reads a journal; names has its length in name_count.  The number of steps. */
extern int journal_read(const char *path, const char *const *names, int name_count, Step *steps);

/* The first such step, NULL if none has been begun. */
extern const Step *journal_find(const Step *steps, int count, int operation, uint64_t group, uint64_t segment);

#endif
