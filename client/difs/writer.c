/*
 * writer.c - small local files, written by a thread of their own, so that answers are taken while files are made.
 *
 * The caller gives files, copies of which wait in a queue of at most QUEUE_BYTES (or one file), and is told on its own thread what
 * became of them: when it gives others, or at the end.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define QUEUE_BYTES ((size_t) 8 << 20)

/* A file to be written, then one that was, or was not. */
typedef struct Work
{
	struct Work *next;
	const Item *item;
	int error; /* errno, or 0 */
	size_t length;
	char data[];
} Work;

typedef struct Queue
{
	Work *first;
	Work **end;
} Queue;

struct Writer
{
	const Transfer *transfer;
	Written written;
	void *context;
	pthread_t thread;

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t given;  /* there is something to do, or the end */
	pthread_cond_t taken;  /* half of the queue is free */
	Queue todo;
	Queue done;
	size_t bytes; /* in todo */
	bool ending;
};

static void *run(void *argument);
static void tell(Writer *writer, Work *work);
static void push(Queue *queue, Work *work);
static Work *take_all(Queue *queue);

Writer *
writer_begin(const Transfer *transfer, Written written, void *context)
{
	Writer *writer = need_memory(sizeof(*writer));
	int error;

	*writer = (Writer){.transfer = transfer, .written = written, .context = context};
	writer->todo.end = &writer->todo.first;
	writer->done.end = &writer->done.first;
	pthread_mutex_init(&writer->mutex, NULL);
	pthread_cond_init(&writer->given, NULL);
	pthread_cond_init(&writer->taken, NULL);
	(void) creation_mask(); /* which the thread must not find out, while this one makes directories */
	error = pthread_create(&writer->thread, NULL, run, writer);
	if (error != 0)
		exit(complain_text("could not start a thread: %s", strerror(error)));
	return writer;
}

void
writer_give(Writer *writer, const Item *item, const void *data, size_t length)
{
	Work *work = need_memory(sizeof(*work) + length);
	Work *done;

	*work = (Work){.item = item, .length = length};
	memcpy(work->data, data, length);
	pthread_mutex_lock(&writer->mutex);
	if (writer->bytes + length > QUEUE_BYTES)
		while (writer->bytes > QUEUE_BYTES / 2)
			pthread_cond_wait(&writer->taken, &writer->mutex);
	if (writer->todo.first == NULL)
		pthread_cond_signal(&writer->given);
	push(&writer->todo, work);
	writer->bytes += length;
	done = take_all(&writer->done);
	pthread_mutex_unlock(&writer->mutex);
	tell(writer, done);
}

void
writer_end(Writer *writer, bool give_up)
{
	Work *left = NULL;

	pthread_mutex_lock(&writer->mutex);
	if (give_up)
		left = take_all(&writer->todo);
	writer->ending = true;
	pthread_cond_signal(&writer->given);
	pthread_mutex_unlock(&writer->mutex);
	pthread_join(writer->thread, NULL);
	tell(writer, writer->done.first);
	while (left != NULL)
	{
		Work *next = left->next;

		free(left);
		left = next;
	}
	pthread_cond_destroy(&writer->given);
	pthread_cond_destroy(&writer->taken);
	pthread_mutex_destroy(&writer->mutex);
	free(writer);
}

static void *
run(void *argument)
{
	Writer *writer = argument;
	const Transfer *transfer = writer->transfer;

	pthread_mutex_lock(&writer->mutex);
	for (;;)
	{
		Work *work = writer->todo.first;

		if (work == NULL && writer->ending)
			break;
		if (work == NULL)
		{
			pthread_cond_wait(&writer->given, &writer->mutex);
			continue;
		}
		writer->todo.first = work->next;
		if (work->next == NULL)
			writer->todo.end = &writer->todo.first;
		pthread_mutex_unlock(&writer->mutex);
		if (!write_small(work->item->to, work->data, work->length, transfer->keep_attributes ? work->item : NULL, transfer->no_replace))
			work->error = errno;
		pthread_mutex_lock(&writer->mutex);
		writer->bytes -= work->length;
		push(&writer->done, work);
		if (writer->bytes <= QUEUE_BYTES / 2)
			pthread_cond_signal(&writer->taken);
	}
	pthread_mutex_unlock(&writer->mutex);
	return NULL;
}

static void
tell(Writer *writer, Work *work)
{
	while (work != NULL)
	{
		Work *next = work->next;

		writer->written(writer->context, work->item, work->length, work->error);
		free(work);
		work = next;
	}
}

static void
push(Queue *queue, Work *work)
{
	work->next = NULL;
	*queue->end = work;
	queue->end = &work->next;
}

static Work *
take_all(Queue *queue)
{
	Work *all = queue->first;

	queue->first = NULL;
	queue->end = &queue->first;
	return all;
}
