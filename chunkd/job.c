/*
 * job.c - see job.h.  All state belongs to the loop thread.
 */
#include "job.h"

/* Together less than DIFS_POOL_THREADS, so that writes always find a thread. */
static const int lane_limit[DIFS_LANES] = {
	[DIFS_LANE_WRITE] = 1000000,
	[DIFS_LANE_READ] = 8,
	[DIFS_LANE_SLOW] = 3,
	[DIFS_LANE_PULL] = 2,
};

static void start_waiting(DifsPool *pool, DifsLane lane);
static void run_job(uv_work_t *work);
static void after_job(uv_work_t *work, int status);

void
difs_pool_init(DifsPool *pool, uv_loop_t *loop)
{
	pool->loop = loop;
	for (int lane = 0; lane < DIFS_LANES; lane++)
	{
		pool->running[lane] = 0;
		STAILQ_INIT(&pool->waiting[lane]);
	}
}

void
difs_job_start(DifsPool *pool, DifsLane lane, DifsJob *job, void (*run)(DifsJob *), void (*done)(DifsJob *))
{
	job->pool = pool;
	job->lane = lane;
	job->run = run;
	job->done = done;
	job->work.data = job;
	STAILQ_INSERT_TAIL(&pool->waiting[lane], job, next);
	start_waiting(pool, lane);
}

void
difs_job_run_here(DifsPool *pool, DifsLane lane, DifsJob *job, void (*run)(DifsJob *), void (*done)(DifsJob *))
{
	job->pool = pool;
	job->lane = lane;
	run(job);
	done(job);
}

static void
start_waiting(DifsPool *pool, DifsLane lane)
{
	DifsJob *job;

	while (pool->running[lane] < lane_limit[lane] && (job = STAILQ_FIRST(&pool->waiting[lane])) != NULL)
	{
		STAILQ_REMOVE_HEAD(&pool->waiting[lane], next);
		pool->running[lane]++;
		/* Fails only without a function to run. */
		(void) uv_queue_work(pool->loop, &job->work, run_job, after_job);
	}
}

static void
run_job(uv_work_t *work)
{
	DifsJob *job = work->data;

	job->run(job);
}

/* Jobs are never cancelled, so status is always 0. */
static void
after_job(uv_work_t *work, int status)
{
	DifsJob *job = work->data;
	DifsPool *pool = job->pool;
	DifsLane lane = job->lane;

	(void) status;
	pool->running[lane]--;
	job->done(job);
	start_waiting(pool, lane);
}
