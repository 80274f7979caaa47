/*
 * job.h - work that may block, done by a pool thread.
 *
 * The loop thread starts a job; its run() is called in a pool thread and sees
 * only what the job struct holds and what never changes; then its done() is
 * called on the loop thread, which owns everything else.  Nothing is locked.
 *
 * Lanes keep one kind of work from taking all threads: a flood of cold reads
 * never makes a commit wait for more than the reads that already run.
 */
#ifndef DIFS_JOB_H
#define DIFS_JOB_H

#include <sys/queue.h>
#include <uv.h>

#define DIFS_POOL_THREADS "16"

typedef enum DifsLane
{
	/* commit, delete, create, seal, drop, epoch: no limit but one at a time for each group */
	DIFS_LANE_WRITE,
	DIFS_LANE_READ, /* cold reads, lists, opening of groups */
	DIFS_LANE_SLOW, /* verification, compaction */
	DIFS_LANE_PULL	/* copies from other servers, which wait for these */
} DifsLane;

#define DIFS_LANES 4

typedef struct DifsJob DifsJob;
typedef STAILQ_HEAD(DifsJobQueue, DifsJob) DifsJobQueue;

typedef struct DifsPool
{
	uv_loop_t *loop;
	int running[DIFS_LANES];
	DifsJobQueue waiting[DIFS_LANES];
} DifsPool;

struct DifsJob
{
	uv_work_t work;
	STAILQ_ENTRY(DifsJob) next;
	DifsPool *pool;
	DifsLane lane;
	void (*run)(DifsJob *job);
	void (*done)(DifsJob *job); /* owns the job, and frees it */
};

extern void difs_pool_init(DifsPool *pool, uv_loop_t *loop);
extern void difs_job_start(DifsPool *pool, DifsLane lane, DifsJob *job,
						   void (*run)(DifsJob *), void (*done)(DifsJob *));

/* Runs a job on the loop thread, before it returns, and calls done(): for one that takes less time than two threads need to
 * wake each other, while there is nobody whom it would keep waiting. */
extern void difs_job_run_here(DifsPool *pool, DifsLane lane, DifsJob *job,
							  void (*run)(DifsJob *), void (*done)(DifsJob *));

#endif
