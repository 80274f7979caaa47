/*
 * batch.h - what batch.c, batch_change.c and batch_get.c share; not installed.
 *
 * A batch belongs to the thread of its client.
 */
#ifndef DIFS_CLIENT_BATCH_H
#define DIFS_CLIENT_BATCH_H

#include "client.h"

#define WINDOW_ITEMS 512 /* a power of two */

typedef enum ItemKind
{
	ITEM_STATEMENT,
	ITEM_GETS,
	ITEM_SYNC
} ItemKind;

/* Files that are asked for by one statement. */
#define GETS_FILES 128
typedef struct Gets
{
	struct Gets *next; /* in batch->again */
	int count;
	size_t bytes; /* that they are expected to have */
	size_t path_bytes;
	int64_t tags[GETS_FILES];
	char *paths[GETS_FILES];
} Gets;

typedef struct Item
{
	ItemKind kind;
	int64_t tag;
	size_t bytes;
	bool answered; /* the result is there, the NULL behind it is not */
	Gets *gets;
} Item;

struct DifsBatch
{
	DifsClient *client;
	bool own; /* transaction */
	bool failed;
	int64_t failed_tag;
	size_t window;	/* bytes that may be on their way */
	size_t bytes;	/* that are */
	unsigned first; /* of the ring; both grow for ever */
	unsigned next;
	unsigned unasked; /* statements since the last request for answers */
	Item ring[WINDOW_ITEMS];

	/* a batch of gets */
	DifsGotCallback got; /* NULL: of changes */
	void *context;
	Gets *gathering; /* not sent yet, or NULL */
	Gets *again;	 /* of statements that failed: to be asked for one by one */
};

/* batch.c */
extern DifsBatch *batch_begin(DifsClient *client); /* NULL: failed */

/* Waits until there is room, sends, and takes what answers there are. gets: NULL, or from then on the batch's. False: failed. */
extern bool batch_send(DifsBatch *batch, Statement statement, int count, const Parameter *parameters, size_t bytes, int64_t tag, Gets *gets);
extern bool batch_fail(DifsBatch *batch, DifsStatus status, const char *message); /* false */

/* batch_get.c */
extern void batch_send_gathered(DifsBatch *batch);
extern void batch_got(DifsBatch *batch, Item *item, const PGresult *result); /* the answer of ITEM_GETS */
extern void batch_ask_again(DifsBatch *batch);								 /* the pipeline has ended */
extern void batch_free_gets(Gets *gets);									 /* NULL is fine */

#endif
