/*
 * upload.h - what upload.c and upload_place.c share; not installed.
 *
 * An upload lives in its call, on the thread of its client.
 */
#ifndef DIFS_CLIENT_UPLOAD_H
#define DIFS_CLIENT_UPLOAD_H

#include "client.h"
#include "engine.h"

#define MAX_AVOIDED 8

/* Numbers [from, to) that are stored already. */
typedef struct Range
{
	int64_t from;
	int64_t to;
} Range;

typedef struct Upload
{
	DifsClient *client;
	const char *path;
	const DifsPutOptions *options;
	int64_t id;
	uint32_t segment_size;
	int level;

	DifsReader reader;
	void *reader_context;
	const char *begun; /* read before */
	size_t begun_length;
	int64_t size;	   /* -1: not known */
	int64_t total;	   /* read */
	int64_t confirmed; /* bytes of segments that are stored */
	int64_t sent;	   /* segments that are, by this call */
	bool fall_back;	   /* no chunk server can be reached from here */

	PGresult *places; /* of numbers from first_place on; NULL: none */
	int64_t first_place;
	int64_t avoid[MAX_AVOIDED]; /* block groups that have failed */
	int avoided;

	char *receipts; /* a bytea[] in the making */
	size_t receipts_length;
	size_t receipts_room;
	int receipt_segments;

	Range *done;
	int done_count;
	int tries[64]; /* of the segment in a task */
} Upload;

/* Says where a task goes. anew: it had a place that failed. */
extern bool upload_place(Upload *up, Task *task, bool anew);

/* What became of a task (NULL: nothing, it took too long). Returns the task if it is free again. */
extern Task *upload_take_back(Upload *up, Task *task, bool *good);

/* The receipts that have come since the last time. */
extern bool upload_hand_in(Upload *up);

#endif
