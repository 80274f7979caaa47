/*
 * engine.c - queues, workers, and the life of an engine.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define MAX_THREADS 16

struct Engine
{
	pthread_mutex_t mutex;
	pthread_cond_t work; /* for workers */
	pthread_cond_t back; /* for the caller */
	Queue to_work;
	Queue to_network;
	Queue done;
	int under_way; /* submitted and not in done */
	bool ending;
	bool stopping; /* everything that is under way is to be given up; until nothing is */
	int wake_fd;
	DifsTlsContext *tls;
	int threads;
	pthread_t worker[MAX_THREADS];
	pthread_t network;
};

static void *worker(void *argument);
static void encode(Task *task, DifsEncoder *encoder);
static void decode(Task *task);
static void come_back(Engine *engine, Task *task);
static void push(Queue *queue, Task *task);
static Task *pop(Queue *queue);
static void wake_network(Engine *engine);

Engine *
engine_create(int threads, DifsTlsContext *tls, DifsError *error)
{
	Engine *engine = calloc(1, sizeof(*engine));
	pthread_condattr_t monotonic;

	if (engine == NULL)
	{
		difs_error_set(error, DIFS_ERROR_MEMORY, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&engine->mutex, NULL);
	pthread_cond_init(&engine->work, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->back, &monotonic);
	pthread_condattr_destroy(&monotonic);
	engine->tls = tls;
	engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine->wake_fd < 0)
		difs_error_set(error, DIFS_ERROR_IO, "could not make an event descriptor");
	else if ((errno = pthread_create(&engine->network, NULL, engine_network, engine)) != 0)
	{
		difs_error_set(error, DIFS_ERROR_IO, "could not start a thread");
		close(engine->wake_fd);
		engine->wake_fd = -1;
	}
	if (engine->wake_fd < 0)
	{
		free(engine);
		return NULL;
	}
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	while (engine->threads < threads && pthread_create(&engine->worker[engine->threads], NULL, worker, engine) == 0)
		engine->threads++;
	if (engine->threads > 0)
		return engine;
	difs_error_set(error, DIFS_ERROR_IO, "could not start a thread");
	engine_destroy(engine);
	return NULL;
}

void
engine_destroy(Engine *engine)
{
	if (engine == NULL)
		return;
	pthread_mutex_lock(&engine->mutex);
	engine->ending = true;
	pthread_cond_broadcast(&engine->work);
	pthread_mutex_unlock(&engine->mutex);
	wake_network(engine);
	for (int i = 0; i < engine->threads; i++)
		pthread_join(engine->worker[i], NULL);
	pthread_join(engine->network, NULL);
	difs_tls_context_release(engine->tls);
	close(engine->wake_fd);
	pthread_cond_destroy(&engine->work);
	pthread_cond_destroy(&engine->back);
	pthread_mutex_destroy(&engine->mutex);
	free(engine);
}

void
engine_submit(Engine *engine, Task *task)
{
	bool to_work = task->kind == TASK_PUT && !task->encoded;

	task->result = TASK_DONE;
	task->tried = 0;
	memset(task->receipt_from, 0, sizeof(task->receipt_from));
	pthread_mutex_lock(&engine->mutex);
	engine->under_way++;
	push(to_work ? &engine->to_work : &engine->to_network, task);
	if (to_work)
		pthread_cond_signal(&engine->work);
	pthread_mutex_unlock(&engine->mutex);
	if (!to_work)
		wake_network(engine);
}

Task *
engine_wait(Engine *engine, int timeout_ms)
{
	struct timespec until;
	Task *task;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&engine->mutex);
	while (engine->done.first == NULL && engine->under_way > 0 && timeout_ms != 0)
		if (timeout_ms < 0)
			pthread_cond_wait(&engine->back, &engine->mutex);
		else if (pthread_cond_timedwait(&engine->back, &engine->mutex, &until) == ETIMEDOUT)
			break;
	task = pop(&engine->done);
	pthread_mutex_unlock(&engine->mutex);
	return task;
}

void
engine_stop_tasks(Engine *engine)
{
	pthread_mutex_lock(&engine->mutex);
	engine->stopping = engine->under_way > 0;
	pthread_mutex_unlock(&engine->mutex);
	wake_network(engine);
}

static void *
worker(void *argument)
{
	Engine *engine = argument;
	DifsEncoder *encoder = difs_encoder_create();

	pthread_mutex_lock(&engine->mutex);
	while (!engine->ending)
	{
		Task *task = pop(&engine->to_work);
		bool to_network;

		if (task == NULL)
		{
			pthread_cond_wait(&engine->work, &engine->mutex);
			continue;
		}
		pthread_mutex_unlock(&engine->mutex);
		if (task->kind == TASK_GET)
			decode(task);
		else if (encoder != NULL)
			encode(task, encoder);
		else
		{
			difs_error_set(&task->error, DIFS_ERROR_MEMORY, "out of memory");
			task->result = TASK_BROKEN;
		}
		/* what did not decode came from a bad copy: the network thread asks the next member */
		to_network = task->kind == TASK_PUT ? task->result == TASK_DONE : task->result == TASK_FAILED && task->tried < task->server_count;
		pthread_mutex_lock(&engine->mutex);
		if (engine->stopping && to_network)
		{
			to_network = false;
			task->result = TASK_FAILED;
		}
		if (to_network)
		{
			task->result = TASK_DONE;
			push(&engine->to_network, task);
			wake_network(engine);
		}
		else
			come_back(engine, task);
	}
	pthread_mutex_unlock(&engine->mutex);
	difs_encoder_destroy(encoder);
	difs_segment_thread_end();
	return NULL;
}

static void
encode(Task *task, DifsEncoder *encoder)
{
	DifsCodec codec = DIFS_CODEC_RAW;

	if (task->level == 0)
		task->stored_length = task->raw_length;
	else
		task->stored_length = difs_segment_encode(encoder, task->raw, task->raw_length, task->level, task->stored, &codec);
	task->codec = (uint8_t) codec;
	difs_segment_checksum(task->level == 0 ? task->raw : task->stored, task->stored_length, task->block_crc, &task->crc);
	task->encoded = true;
}

/* The header has been compared with what was asked for; here the bytes are proved. */
static void
decode(Task *task)
{
	uint8_t *bytes = task->codec == DIFS_CODEC_RAW ? task->raw : task->stored;

	if (!difs_segment_verify(task->packed, 0, bytes, task->stored_length, &task->error) ||
		(task->codec != DIFS_CODEC_RAW &&
		 !difs_segment_decode((DifsCodec) task->codec, bytes, task->stored_length, task->raw, task->raw_length, &task->error)))
		task->result = TASK_FAILED;
}

Task *
engine_take_network(Engine *engine)
{
	Task *task;

	pthread_mutex_lock(&engine->mutex);
	task = pop(&engine->to_network);
	pthread_mutex_unlock(&engine->mutex);
	return task;
}

void
engine_from_network(Engine *engine, Task *task)
{
	pthread_mutex_lock(&engine->mutex);
	if (task->kind == TASK_GET && task->result == TASK_DONE)
	{
		push(&engine->to_work, task);
		pthread_cond_signal(&engine->work);
	}
	else
		come_back(engine, task);
	pthread_mutex_unlock(&engine->mutex);
}

/* With the mutex. */
static void
come_back(Engine *engine, Task *task)
{
	if (--engine->under_way == 0)
		engine->stopping = false;
	push(&engine->done, task);
	pthread_cond_signal(&engine->back);
}

bool
engine_ended(Engine *engine, bool *stop)
{
	uint64_t count;
	bool ending;

	if (read(engine->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		abort(); /* a descriptor of our own */
	pthread_mutex_lock(&engine->mutex);
	ending = engine->ending;
	*stop = engine->stopping;
	pthread_mutex_unlock(&engine->mutex);
	return ending;
}

int
engine_wake_fd(const Engine *engine)
{
	return engine->wake_fd;
}

DifsTlsContext *
engine_tls(const Engine *engine)
{
	return engine->tls;
}

static void
wake_network(Engine *engine)
{
	uint64_t one = 1;

	/* full means that it is awake already */
	if (write(engine->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort();
}

static void
push(Queue *queue, Task *task)
{
	task->next = NULL;
	if (queue->last != NULL)
		queue->last->next = task;
	else
		queue->first = task;
	queue->last = task;
}

static Task *
pop(Queue *queue)
{
	Task *task = queue->first;

	if (task == NULL)
		return NULL;
	queue->first = task->next;
	if (queue->first == NULL)
		queue->last = NULL;
	return task;
}
